"""graphc's int8 products on an emulated card against the reference interpreter, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import simt
from int8_calls import Case, call_of, int8_call
from simt_memory import DeviceMemory
from tiles import TILES, use_only

from graphc.backends.cuda.kernels import int8_tensor, tensor_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.cuda.target import find
from graphc.backends.cuda.tiling import Tiling
from graphc.backends.cuda.tuning import Measured, Tuning
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.schedule import Address, Choice, View
from graphc.ir.types import DType, Quant, TensorType

LIBRARY = CudaLibrary(find("cuda:sm_90a"))


TENSOR = [
    Case((2, 5, 7, 64), (48, 1, 1, 64)),
    Case((2, 9, 11, 16), (64, 3, 3, 16), {"pad": 1, "relu": 1}, 1 / 9000, 0.75),
    Case((1, 6, 5, 36), (33, 1, 1, 36), {"stride": 2, "relu": 1, "high": 200}, zeros=(255, 0, 40)),
    Case((1, 8, 17, 3), (40, 3, 5, 3), {"stride": 2, "pads": (1, 2, 0, 3), "to_float": 1}, 1.0),
    Case((1, 7, 9, 64), (36, 3, 3, 32), {"group": 2, "pad": 2, "dilation": 2}, 1 / 9000, 3.5, (0, 255, 240)),
    Case((1, 5, 4, 40), (12, 3, 3, 10), {"group": 4, "pad": 1, "to_float": 1, "relu": 1}, 1 / 9000, 0.5),
    Case((1, 3, 3, 16), (34, 1, 1, 16), {}, 3e9),
    Case((19, 35), (40, 35), {"relu": 1}, 1 / 2048, 0.5),
    Case((70, 96), (131, 96), {"to_float": 1}),
]
DIRECT = [
    Case((2, 5, 7, 33), (33, 2, 3, 1), {"group": 33, "pad": 1}, 1 / 300),
    Case((1, 7, 8, 16), (16, 2, 5, 1), {"group": 16, "dilation": 2, "pads": (1, 4, 0, 3), "relu": 1}, 1 / 99, 0.5),
    Case((1, 7, 9, 24), (18, 3, 3, 4), {"group": 6, "pad": 1, "stride": 2, "to_float": 1}, 1 / 512),
]


def of_case(case: Case) -> tuple[Call, list[np.ndarray]]:
    """A call and its operands."""
    call, operands = call_of(case)
    return call, [data for data, _ in operands]


def run(
    call: Call, arrays: Sequence[np.ndarray], choice: Choice | None = None, shift: int = 0
) -> tuple[str, np.ndarray]:
    """The rule of a call and its answer on an emulated card.

    choice: made for other sizes. shift: bytes by which operands and result lie behind an address that is a multiple of
    256.
    """
    memory, choice = DeviceMemory(1 << 22), choice or LIBRARY.choose(call)

    def placed(array: np.ndarray, type: TensorType, shift: int = 0) -> View:
        address = memory.allocate(array.nbytes + shift) + shift
        memory.view(address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
        return View(Address("arena", address), type, strides)

    ins = [placed(choice.packed.get(i, data), call.type(i), 0 if i else shift) for i, data in enumerate(arrays)]
    type = call.node.results[0].type
    answer = np.zeros(type.static_shape, type.dtype.numpy)
    out = placed(answer, type, shift)
    work = Address("arena", memory.allocate(max(LIBRARY.needs(call, choice).workspace, 1)))
    for step in LIBRARY.bind(call, choice, ins, [out], work):
        for task in step:
            params = [p if isinstance(p, int) else p.offset for p in task.params]
            kernel, source = task.kernel, LIBRARY.source(task.kernel)
            simt.launch(memory, kernel.name, source, task.units, kernel.int("threads"), params, kernel.shared)
    got = memory.view(out.address.offset, answer.nbytes).view(answer.dtype).reshape(answer.shape)
    return choice.rule, got


@pytest.mark.parametrize("case", [*TENSOR, *DIRECT], ids=lambda c: f"{c.shape}{c.filter}")
def test_products_are_exact(case: Case) -> None:
    call, arrays = of_case(case)
    rule, got = run(call, arrays)
    assert rule == ("int8_tensor" if case in TENSOR else "int8_direct")
    np.testing.assert_array_equal(got, evaluate_node(call.node, arrays)[0])


@pytest.mark.parametrize(("compiled", "rows"), [(40, 1), (40, 3), (1, 40), (3, 40), (1, 1)])
def test_other_rows_than_compiled_for(compiled: int, rows: int) -> None:
    """A single row may be a piece of a longer one, at any address."""
    whole, operands = call_of(Case((40, 32), (24, 32), {"relu": 1}, 1 / 2048, 0.5))

    def of_rows(n: int) -> tuple[Call, list[np.ndarray]]:
        some = [(data[:n] if i in (0, 4) else data, quant) for i, (data, quant) in enumerate(operands)]
        return int8_call("g.int8_fc", some, whole.node.attrs, (1, 2, 3)), [data for data, _ in some]

    choice = LIBRARY.choose(of_rows(compiled)[0])
    call, arrays = of_rows(rows)
    rule, got = run(call, arrays, choice, shift=19 if rows == 1 else 0)
    assert rule == "int8_tensor"
    np.testing.assert_array_equal(got, evaluate_node(call.node, arrays)[0])


@pytest.mark.parametrize("case", [TENSOR[i] for i in (1, 4, 5, 7)], ids=lambda c: f"{c.shape}{c.filter}")
def test_sums_in_parts_are_exact(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (3,))
    call, arrays = of_case(case)
    choice = LIBRARY.choose(call)
    assert choice.spec is not None
    assert choice.spec.int("parts")
    np.testing.assert_array_equal(run(call, arrays)[1], evaluate_node(call.node, arrays)[0])


def test_a_table_of_tilings_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tile than the model's, and parts that it would not make: three of 2 * 9 * 11 pixels and 64 maps."""
    call, arrays = of_case(TENSOR[1])
    problem, tiling = int8_tensor.problem_of(call), Tiling(TensorTile(32, 64, 16, 32, 8), 3)
    assert problem is not None
    assert decide(problem, LIBRARY.target) != tiling
    table = Tuning(entries={str(problem): Measured(str(tiling), 1e-6, "", 1e-6)})
    library = CudaLibrary(replace(LIBRARY.target, tuning=table))
    monkeypatch.setitem(globals(), "LIBRARY", library)
    assert library.needs(call, library.choose(call)).workspace == 3 * 4 * (2 * 9 * 11) * 64
    np.testing.assert_array_equal(run(call, arrays)[1], evaluate_node(call.node, arrays)[0])


@pytest.mark.parametrize("parts", [1, 3])
def test_every_tile(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (parts,))
    call, arrays = of_case(Case((1, 12, 11, 48), (138, 3, 3, 48), {"pad": 1}, 1 / 9000))
    want = evaluate_node(call.node, arrays)[0]
    for tile in TILES:
        use_only(monkeypatch, tile)
        np.testing.assert_array_equal(run(call, arrays)[1], want)


def test_what_stands_around_products() -> None:
    """Images from planes to pixels, what is no number or too large among them; pieces side by side."""
    x = np.random.default_rng(4).uniform(-300, 300, (2, 3, 5, 7)).astype(np.float32)
    x[0, 0, 0, :4] = np.nan, np.inf, -np.inf, 3e38
    call = int8_call("g.int8_image", [(x, None)], {"Y_scale": 1.7, "Y_zero_point": 130})
    np.testing.assert_array_equal(run(call, [x])[1], evaluate_node(call.node, [x])[0])
    rng, quant = np.random.default_rng(5), Quant(0.5, 3)
    for widths in ((8, 24, 16), (5, 12)):
        pieces = [(rng.integers(0, 256, (2, 3, 4, c)).astype(np.uint8), quant) for c in widths]
        call = concat_of(pieces)
        arrays = [data for data, _ in pieces]
        rule, got = run(call, arrays)
        assert rule == "int8_concat"
        np.testing.assert_array_equal(got, np.concatenate(arrays, 3))


def concat_of(pieces: Sequence[tuple[np.ndarray, Quant]]) -> Call:
    """Int8Concat along the channels of NHWC values."""
    graph = Graph("test")
    values = [
        graph.add_input(TensorType(DType.of(data.dtype), data.shape, quant=quant), f"x{i}")
        for i, (data, quant) in enumerate(pieces)
    ]
    node = Node("Int8Concat", values, [Value(TensorType(), "y"), Value(TensorType(), "sizes")], {"order": b"NHWC"})
    graph.append(node)
    for result, type in zip(node.results, node.opdef.infer(Call(node))):
        result.type = type
    return Call(node)
