"""Int8 convolutions and matrix products against the reference, bit for bit, on every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import operator_cases
import pytest
from harness import Machine, run_call
from int8_calls import Operand, assert_exact, int8_call, kernels, quantised

import graphc
from graphc.backends.cpu.kernels import int8_depthwise, int8_rules, int8_taps
from graphc.backends.cpu.kernels.tiles import Tile
from graphc.backends.cpu.target import native
from graphc.compiler import import_model
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import evaluate
from graphc.ir.infer import infer_types
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.types import Quant


@dataclass(frozen=True)
class Case:
    """shape: of X; filter: (M, kH, kW, C / group). zeros: of X, W and Y; scale: units of Y per unit of the sums."""

    shape: tuple[int, ...]
    filter: tuple[int, ...]
    attrs: dict = field(default_factory=dict)
    zeros: tuple[int, int, int] = (128, 128, 128)
    scale: float = 1 / 4096
    op: str = "Int8Conv"
    weights: tuple[int, int] = (0, 256)


CASES = [
    Case((2, 5, 7, 64), (48, 1, 1, 64)),
    Case((1, 6, 5, 36), (33, 1, 1, 36), {"stride": 2}, (3, 0, 5)),
    Case((1, 9, 8, 19), (20, 1, 1, 19), {}, (255, 255, 255), op="Int8ConvRelu"),
    Case((2, 9, 11, 16), (16, 3, 3, 16), {"pad": 1}, (7, 100, 31), op="Int8ConvRelu"),
    Case((1, 8, 17, 3), (40, 3, 5, 3), {"stride": 2, "pads": (1, 2, 0, 3)}, (114, 140, 0)),
    Case((1, 13, 10, 12), (7, 3, 3, 12), {"dilation": 2, "pad": 2}, (0, 3, 77)),
    Case((1, 7, 9, 24), (18, 3, 3, 4), {"group": 6, "pad": 1}, (90, 121, 9)),
    Case((1, 7, 9, 10), (4, 2, 3, 5), {"group": 2, "stride_h": 2, "stride_w": 1}, (1, 254, 200)),
    Case((1, 5, 5, 32), (64, 1, 1, 32), {"pad": 1}, (10, 130, 3), op="Int8ConvRelu"),
    Case((1, 4, 6, 20), (32, 1, 1, 20), {"stride": 3, "legacy_pad": 2}, (9, 77, 128)),
    Case((1, 6, 6, 8), (8, 3, 3, 8), {"pad": 1}, (128, 128, 128), scale=1.5, weights=(120, 137)),
    Case((1, 3, 3, 8), (8, 1, 1, 8), {}, (128, 0, 100), scale=3e9),
    Case((1, 3, 3, 8), (8, 1, 1, 8), {}, (128, 0, 100), scale=1e-20),
    Case((1, 3, 3, 8), (8, 1, 1, 8), {}, (128, 0, 100), scale=0.5),
    Case((1, 1, 1, 600), (33, 1, 1, 600), {}, (128, 90, 100), scale=2**-14),
]
DEPTHWISE = [
    Case((2, 9, 13, 33), (33, 3, 3, 1), {"group": 33, "pad": 1}, (128, 3, 128), 1 / 512),
    Case((1, 12, 9, 16), (16, 3, 3, 1), {"group": 16, "pad": 1, "stride": 2}, (0, 255, 4), 1 / 512, "Int8ConvRelu"),
    Case((1, 7, 8, 16), (16, 2, 5, 1), {"group": 16, "dilation": 2, "pads": (1, 4, 0, 3)}, (200, 128, 4), 1 / 99),
    Case((1, 5, 6, 5), (5, 1, 1, 1), {"group": 5}, (20, 128, 4), 1.25),
    Case((1, 6, 9, 70), (70, 3, 3, 1), {"group": 70, "pad": 1, "stride": 2}, (9, 128, 4), 1 / 512, weights=(1, 256)),
    Case((1, 6, 7, 64), (64, 3, 4, 1), {"group": 64, "pad": 1}, (9, 128, 4), 1.25, "Int8ConvRelu", weights=(127, 130)),
]
PRODUCTS = [
    Case((1, 100), (37, 100), {}, (3, 128, 7), 1 / 8192, "Int8FC"),
    Case((19, 35), (20, 35), {}, (128, 11, 7), 1 / 8192, "Int8FCRelu"),
    Case((3, 2, 4, 5), (20, 20), {"axis": 2}, (128, 11, 7), 1 / 8192, "Int8FC"),
]


TRANSPOSED = [
    Case((2, 3, 4, 8), (8, 3, 3, 20), {"stride": 2, "pad": 1, "adj": 1}, (7, 128, 31)),
    Case((1, 4, 3, 6), (6, 2, 4, 5), {"strides": (1, 3), "pads": (1, 0, 0, 2)}, (200, 3, 128)),
    Case((1, 3, 3, 12), (12, 2, 2, 33), {"stride": 2}, (0, 255, 4)),
    Case((1, 3, 2, 4), (4, 1, 2, 3), {"stride": 3, "adj": 2}, (90, 121, 9)),
    Case((1, 5, 4, 5), (5, 1, 1, 7), {}, (90, 121, 9), 1.5),
]


def call_of(case: Case) -> tuple[Call, Sequence[Operand]]:
    rng = np.random.default_rng(3)
    x = quantised(rng, case.shape, 0.5, case.zeros[0])
    w = (rng.integers(*case.weights, case.filter).astype(np.uint8), Quant(0.25, case.zeros[1]))
    maps = case.filter[3 if case.op == "Int8ConvTranspose" else 0]
    bias = (rng.integers(-5000, 5000, maps).astype(np.int32), Quant(0.125, 0))
    attrs = {**case.attrs, "Y_scale": 0.125 / case.scale, "Y_zero_point": case.zeros[2]}
    if case.op.startswith("Int8Conv"):
        attrs |= {"kernels": case.filter[1:3], "order": b"NHWC"}
    return int8_call(case.op, [x, w, bias], attrs), [x, w, bias]


@pytest.fixture
def small_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile for all sizes: few kernels that compile quickly."""
    monkeypatch.setattr(int8_rules, "tile_of", lambda p, target: Tile(3, 1, 2))
    monkeypatch.setattr(int8_depthwise, "tile_for", lambda p, target: Tile(3, 1, 1))
    monkeypatch.setattr(int8_taps, "TILE", Tile(2, 1, 1))


@pytest.mark.usefixtures("small_tile")
@pytest.mark.parametrize("cases", [[*CASES, *PRODUCTS], DEPTHWISE], ids=["direct", "depthwise"])
def test_products_are_those_of_the_reference(int8_machine: Machine, cases: Sequence[Case]) -> None:
    made = [call_of(case) for case in cases]
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_conv")


@pytest.mark.usefixtures("small_tile")
def test_transposed_convolutions(int8_machine: Machine) -> None:
    """Phases with few taps and with none, borders, weights with any zero point."""
    made = [call_of(replace(case, op="Int8ConvTranspose")) for case in TRANSPOSED]
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_transposed")


@pytest.mark.usefixtures("small_tile")
@pytest.mark.parametrize("op", ["Int8Conv", "Int8ConvRelu", "Int8ConvTranspose"])
def test_the_recorded_answers_of_caffe2(machines: dict[str, Machine], shared: Path, op: str) -> None:
    """Weights and bias as constants, so that the kernels and not the loops answer: within the one unit that Caffe2's
    own kernels differ from each other, and equal to the reference."""
    reader, machine = operator_cases.golden_io(shared), machines[native().name]
    made = []
    for case in reader.cases(str(shared / "golden" / f"{op}.npz")):
        recorded, inputs = operator_cases.operator(case.op), [v for _, v in case.inputs]
        if recorded.engine or any(not isinstance(v, tuple) or v[0] != "int8" for v in inputs):
            continue
        operands = [(np.asarray(v[1]), Quant(float(v[2]), int(v[3]))) for v in inputs]
        call = int8_call(op, operands, operator_cases.coerced(op, recorded.args))
        made.append((call, operands, case.outputs[0][1][1]))
    assert made
    kernels(machine, [(call, operands) for call, operands, _ in made])
    for call, operands, want in made:
        assert_exact(machine, call, operands, "int8_transposed" if op == "Int8ConvTranspose" else "int8_conv")
        got = evaluate_node(call.node, [data for data, _ in operands])[0]
        assert np.abs(got.astype(int) - want.astype(int)).max(initial=0) <= 1


def test_sums_that_could_leave_32_bits_stay_with_the_loop(machines: dict[str, Machine]) -> None:
    case = Case((1, 1, 1, 40000), (1, 1, 1, 40000), {}, (0, 0, 0), 2**-24)
    call, operands = call_of(replace(case, weights=(255, 256)))
    machine = machines[native().name]
    assert machine.library.choose(call).rule == "loop"
    arrays = [data for data, _ in operands]
    assert np.array_equal(run_call(machine, call, arrays)[0], evaluate_node(call.node, arrays)[0])


@pytest.mark.usefixtures("small_tile")
def test_int16_in_the_widest_vectors(machines: dict[str, Machine]) -> None:
    """AVX-512 without VNNI: the code of AVX2 in wider vectors."""
    if "avx512" not in machines:
        pytest.skip("this processor has no avx512")
    for call, operands in (call_of(case) for case in CASES[3:9]):
        assert_exact(machines["avx512"], call, operands, "int8_conv")


@pytest.mark.usefixtures("small_tile")
def test_the_greatest_sums_are_exact(int8_machine: Machine) -> None:
    """Just below 2**31, of either sign, where half a unit and the zero point would not fit beside them."""
    depth, made = 33000, []
    for value, zeros in ((255, (0, 0, 5)), (0, (255, 0, 250))):
        x = (np.full((1, depth), value, np.uint8), Quant(0.5, zeros[0]))
        w = (np.full((2, depth), 255, np.uint8), Quant(0.25, zeros[1]))
        bias = (np.zeros(2, np.int32), Quant(0.125, 0))
        attrs = {"Y_scale": 0.125 * 2**24, "Y_zero_point": zeros[2]}
        made.append((int8_call("Int8FC", [x, w, bias], attrs), [x, w, bias]))
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_conv")


@pytest.mark.usefixtures("small_tile")
def test_a_saved_plan_serves_other_batches(tmp_path: Path) -> None:
    """Packed weights, zero points and scales come back from the file; sizes are bound anew."""
    rng = np.random.default_rng(8)
    weights = rng.integers(0, 256, (20, 3, 3, 6)).astype(np.uint8)
    fills = [
        Operator("Int8GivenTensorFill", [], ["w"], fill(weights.shape, weights.tobytes(), 0.02, 131)),
        Operator("Int8GivenIntTensorFill", [], ["b"], fill((20,), tuple(range(20)), 0.001, 0)),
    ]
    window = {"kernel": 3, "pad": 1, "order": b"NHWC", "Y_scale": 0.5, "Y_zero_point": 9}
    ops = [
        Operator("Int8Quantize", ["x"], ["q"], {"Y_scale": 0.05, "Y_zero_point": 120}),
        Operator("Int8Conv", ["q", "w", "b"], ["r"], window),
        Operator("Int8Dequantize", ["r"], ["y"]),
    ]
    init, net = write_net(Net("init", fills, [], ["w", "b"])), write_net(Net("net", ops, ["x", "w", "b"], ["y"]))
    plan = graphc.compile(net, init, inputs={"x": (1, 5, 6, 6)}, threads=1)
    assert "int8_conv" in {k.template for k in plan.schedules[0].kernels}
    plan.save(tmp_path / "plan.pkl")
    loaded = graphc.load(tmp_path / "plan.pkl", threads=1)
    x = rng.standard_normal((3, 9, 4, 6), np.float32)
    graph = import_model(net, init, {"x": x.shape})
    infer_types(graph)
    want = evaluate(graph, {"x": x})["y"]
    assert np.array_equal(loaded.run({"x": x})["y"], want)


def fill(shape: tuple[int, ...], values: object, scale: float, zero: int) -> dict[str, object]:
    return {"shape": shape, "values": values, "Y_scale": scale, "Y_zero_point": zero}
