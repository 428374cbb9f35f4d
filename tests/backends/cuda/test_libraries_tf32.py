"""The engine CUDNN where images lie in blocks of channels, and what it may round to TF32 there.

The libraries are stand-ins (``library_card.py``) that round operands wherever they may. x and p are whole numbers that
float32 has and TF32 has not, so that all that follows reads the same operands, whoever adds them up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import TARGET, on_emulated_card
from library_card import COMPUTE_32F_FAST_TF32
from one_net import nets, operator, reference
from test_libraries import CALL, on_card
from test_library_extents import MATRICES, at_addresses

import graphc
from graphc.ir import Graph, Layout, Node, TensorType, Value, infer_node
from graphc.ir.engine import CHOSEN, CUDNN
from graphc.ir.fpmath import to_tf32
from graphc.ir.library_call import LibraryCall, read_call
from graphc.ir.library_extents import spans
from graphc.ir.memory_check import check_memory
from graphc.ir.reference import run_graph
from graphc.ir.schedule_text import parse_schedule, print_schedule
from graphc.plan import Plan
from graphc.runtime import cudnn as runtime_cudnn

EXACT = 2e-6
"""What sums of some hundred products lose in float32, of the largest result."""
ROUNDED = 2e-3
"""Two operands are rounded to 11 bits, each by at most 2^-11 = 5e-4 of itself."""
RANDOM = np.random.default_rng(11)
X = RANDOM.integers(-4000, 4000, (3, 3, 6, 4)).astype(np.float32)
SHAPES = {
    "square": (20, 20, 3, 3),
    "wide": (24, 20, 1, 1),
    "narrow": (16, 20, 3, 3),
    "each": (20, 1, 3, 3),
    "back": (20, 24, 1, 1),
    "rows": (16, 3 * 6 * 4),
}
WEIGHTS = {
    name: RANDOM.standard_normal(shape).astype(np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
    for name, shape in SHAPES.items()
}
WEIGHTS["first"] = RANDOM.integers(-40, 40, (20, 3, 1, 1)).astype(np.float32)
WEIGHTS["bias"] = RANDOM.standard_normal(20).astype(np.float32)
WEIGHTS["ends"] = RANDOM.standard_normal(16).astype(np.float32)

OPS = [
    operator("Conv", "x first", "p", kernel=1),  # reads plain, writes blocks
    operator("Conv", "p square bias", "c", kernel=3, pad=1),
    operator("Relu", "c", "r"),
    operator("Conv", "p square", "d", kernel=3, pad=1),
    operator("Add", "d p", "e"),
    operator("Relu", "e", "s"),  # a residual
    operator("Conv", "p wide", "f", kernel=1),
    operator("Relu", "f", "w"),  # a Relu without a bias
    operator("Conv", "p narrow ends", "n", kernel=3, pad=1),
    operator("Concat", "w n", "j i", axis=1),  # of a single image: w and n are pieces of j
    operator("Conv", "w back", "b", kernel=1),
    operator("Conv", "p each bias", "g", kernel=3, pad=1, group=20, stride=2),
    operator("FC", "x rows ends", "m"),
]
OUTPUTS = "r s j b g m"


def compiled(precision: Any, x: np.ndarray = X, ops: list[Any] = OPS, outputs: str = OUTPUTS, **options: Any) -> Plan:
    predict, init = nets(ops, {"x": x}, outputs, WEIGHTS)
    graph = graphc.import_model(predict, init, {"x": x})
    return graphc.compile_graph(graph, target=TARGET, prepare=False, precision=precision, **options)


def calls(plan: Plan) -> Iterator[tuple[str, LibraryCall]]:
    """Calls of libraries, with the blobs that they compute."""
    for schedule in plan.schedules:
        for step in schedule.steps:
            yield from ((t.label, read_call(t.kernel, t.params)) for t in step if t.kernel.library)


def rounded(plan: Plan) -> set[str]:
    """Blobs whose calls may round to TF32."""
    return {label for label, call in calls(plan) if call.x.kind == "tf"}


def has_rounded_weights(plan: Plan, call: LibraryCall) -> bool:
    """TF32 has the numbers that a call finds in a plan of one segment."""
    (segment,) = plan.segments
    _, constants = segment.bound
    numbers = constants[call.w.place.index].view(np.float32)
    return np.array_equal(numbers, to_tf32(numbers))


@pytest.mark.parametrize(
    ("precision", "blobs"),
    [
        ({"*": "tf32", "b": "float"}, {"r", "s", "w", "n", "m"}),
        ({"*": "float", "m": "tf32"}, {"m"}),  # blocks as above, of float32 that stays float32
    ],
    ids=["tf32", "float"],
)
def test_blocked_images(precision: Any, blobs: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bias and a Relu, with other endings, of channels that do not fill their blocks, at two batches."""
    plan = compiled(precision, X[:1], engine="CUDNN")
    assert sorted(label for label, _ in calls(plan)) == sorted("prswnbgm")
    assert rounded(plan) == blobs
    assert all(check_memory(schedule).ok for schedule in plan.schedules)
    _, log, _ = on_card(plan, monkeypatch)
    for batch in (1, 3):
        got = plan.run({"x": X[:batch]})
        want = dict(zip(plan.graph.output_names, run_graph(plan.graph, [X[:batch]])))
        exact = dict(zip(OUTPUTS.split(), reference(OPS, {"x": X[:batch]}, OUTPUTS, WEIGHTS)))
        for name in OUTPUTS.split():
            scale = float(np.abs(exact[name]).max())
            np.testing.assert_allclose(got[name], want[name], rtol=0, atol=EXACT * scale, err_msg=name)
            np.testing.assert_allclose(got[name], exact[name], rtol=0, atol=ROUNDED * scale, err_msg=name)
        for name in blobs & {*OUTPUTS.split()}:
            assert np.abs(got[name] - exact[name]).max() > 20 * EXACT * float(np.abs(exact[name]).max()), name
    asked = 2 * 7  # convolutions
    assert log.count(("create_execution_plans", "A", "FALLBACK")) == asked
    assert log.count(("without", "TENSOR_CORE")) == asked - 2 * len(blobs - {"m"})


def test_weights_come_rounded() -> None:
    """To the nearest number: a library may cut off what TF32 does not have."""
    plan = compiled({"*": "tf32", "r": "float"}, engine="CUDNN")
    for label, call in calls(plan):
        assert has_rounded_weights(plan, call) == (call.w.kind == "tf" or label == "p"), label


@pytest.mark.parametrize(
    ("precision", "kind", "engine"),
    [("float", "f4", "CUDNN"), ("float", "f4", {"c": "CUDNN"}), ("tf32", "tf", {"*": "CUDNN", "c": "CUDNN"})],
    ids=["all", "one", "tf32"],
)
def test_float32_between_halves(precision: str, kind: str, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values in blocks of channels need not be halves. g.convert behind c has the name c, too, and is not meant."""
    ops = [
        *OPS[:1],
        operator("Conv", "p square", "h", kernel=3, pad=1),
        operator("Conv", "h square", "i", kernel=3, pad=1),
        operator("Conv", "i square bias", "c", kernel=3, pad=1),
        operator("Conv", "c wide", "y", kernel=1),
    ]
    plan = compiled({"*": "float16", "c": precision, "y": "float16"}, ops=ops, outputs="y", engine=engine)
    kinds = {label: call.x.kind for label, call in calls(plan)}
    assert kinds == ({"c": kind} if engine == {"c": "CUDNN"} else {"h": "f2", "c": kind})
    on_card(plan, monkeypatch)
    (want,) = run_graph(plan.graph, [X])
    np.testing.assert_allclose(plan.run({"x": X})["y"], want, rtol=0, atol=2e-3 * np.abs(want).max())


@pytest.mark.parametrize(("reads", "writes"), [(8, 1), (1, 8), (8, 8), (1, 1)])
@pytest.mark.parametrize("fpmath", [False, True], ids=["float", "tf32"])
def test_every_layout(reads: int, writes: int, fpmath: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input and result may lie differently."""
    image = RANDOM.integers(-4000, 4000, (2, 20, 5, 4)).astype(np.float32)
    graph = Graph("t", stage="optimised")
    x = graph.add_input(TensorType(graphc.ir.DType.FLOAT, image.shape), "x")
    weights = [graph.add_constant(name, WEIGHTS[name]) for name in ("square", "bias")]
    read = reordered(graph, x, reads)
    y = Value(TensorType(), "y")
    node = Node("Conv", [read, *weights], [y], {"kernel": 3, "pad": 1, CHOSEN: CUDNN.encode()})
    node.attrs |= {"fpmath": b"tf32"} if fpmath else {}
    graph.append(node)
    infer_node(node)
    y.type = TensorType(y.type.dtype, y.type.shape, Layout(writes))
    graph.add_output(reordered(graph, y, 1), "y")
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False, pipeline=())
    (call,) = (call for _, call in calls(plan))
    assert (call.x.strides[1] == 1) == (max(reads, writes) > 1)
    assert (call.x.kind, call.y.kind) == ("tf" if fpmath else "f4", "f4")
    assert has_rounded_weights(plan, call) == fpmath
    on_card(plan, monkeypatch)
    (want,) = run_graph(graph, [image])
    np.testing.assert_allclose(plan.run({"x": image})["y"], want, rtol=0, atol=EXACT * np.abs(want).max())


@pytest.mark.parametrize(
    ("op", "shapes", "arguments"),
    [
        ("MatMul", ((5, 24), (24, 20)), {}),
        ("MatMul", ((24, 8), (20, 24)), {"trans_a": 1, "trans_b": 1}),
        ("BatchMatMul", ((3, 5, 16), (3, 20, 16)), {"trans_b": 1}),
    ],
)
def test_products_of_computed_matrices(op: str, shapes: Any, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {name: RANDOM.standard_normal(shape).astype(np.float32) for name, shape in zip("ab", shapes)}
    ops = [operator(op, "a b", "y", **arguments)]
    predict, _ = nets(ops, inputs, "y", {})
    graph = graphc.import_model(predict, None, inputs)
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False, precision="tf32", engine="CUDNN")
    assert rounded(plan) == {"y"}
    on_card(plan, monkeypatch)
    got, (want,), (exact,) = (
        plan.run(inputs)["y"],
        run_graph(plan.graph, [*inputs.values()]),
        reference(ops, inputs, "y"),
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=EXACT * np.abs(want).max())
    assert np.abs(got - exact).max() > 20 * EXACT * np.abs(exact).max()


def reordered(graph: Graph, value: Value, block: int) -> Value:
    """The value in blocks of channels, or plain."""
    if value.type.layout == Layout(block):
        return value
    result = Value(TensorType(value.type.dtype, value.type.shape, Layout(block)), value.name)
    graph.append(Node("g.reorder", [value], [result], {"layout": Layout(block).text.encode()}))
    return result


def test_calls_in_tf32_are_data_of_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = compiled("tf32", ops=[*OPS[:3], OPS[-1]], outputs="r m", engine={"r": "CUDNN", "m": "CUDNN"})
    (schedule,) = plan.schedules
    assert parse_schedule(print_schedule(schedule)) == schedule
    on_emulated_card(plan)
    path = str(tmp_path / "net.pkl")
    plan.save(path)
    loaded = graphc.load(path)
    assert rounded(loaded) == {"r", "m"}
    on_card(loaded, monkeypatch)
    for got, want in zip(loaded.run({"x": X}).values(), run_graph(plan.graph, [X]), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=EXACT * np.abs(want).max())


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ("tf,f4,f4,f4", "does not agree with itself: element types tf, f4, f4, f4"),
        ("f4,tf,f4,f4", "does not agree with itself"),
        ("tf,tf,tf,tf", "does not agree with itself"),
        ("f4,f4,tf,tf", "does not agree with itself"),
        ("tf,tf,f2,f2", "does not agree with itself"),
        ("t4,t4,f4,f4", "'t4' is no element type"),
        ("tf,tf,f4", "cannot be read"),
    ],
)
@pytest.mark.parametrize("library", ["cudnn", "cublaslt"])
def test_kinds_that_do_not_agree(library: str, kinds: str, message: str) -> None:
    """float32 may be rounded where it is multiplied, in both operands, and nowhere else."""
    call = CALLS[library]
    task = call.task("y", 0, 0)
    assert read_call(task.kernel, task.params) == call
    assert spans(call)
    with pytest.raises(graphc.PlanError, match=message):
        spans(read_call(task.kernel.but(kinds=kinds), task.params))


def in_tf32(call: LibraryCall) -> LibraryCall:
    x, w = (replace(o, kind="tf") for o in (call.x, call.w))
    return at_addresses(replace(call, x=x, w=w, bias=replace(call.bias, kind="f4"), y=replace(call.y, kind="f4")))


CALLS = {"cudnn": in_tf32(CALL), "cublaslt": in_tf32(MATRICES)}


@pytest.mark.parametrize("library", CALLS)
def test_numbers_in_tf32_have_four_bytes(library: str) -> None:
    call = CALLS[library]
    x, w = (replace(o, kind="f4") for o in (call.x, call.w))
    assert spans(call) == spans(replace(call, x=x, w=w))


def test_the_real_front_end_leaves_kernels_out() -> None:
    """Of float32 those that round, and of TF32 none. What asks the heuristics needs a card."""
    cudnn = pytest.importorskip("cudnn", reason="needs pip install 'graphc[cudnn]'", exc_type=ImportError)
    try:
        assert cudnn.backend_version() >= 90000
    except RuntimeError as error:
        pytest.skip(f"the library itself is missing: {error}")
    for call, left_out in ((CALL, [cudnn.numerical_note.TENSOR_CORE]), (in_tf32(CALL), [])):
        graph, tensors = runtime_cudnn.describe(cudnn, call)
        assert {str(t.get_data_type()) for t in tensors} == {str(cudnn.data_type.FLOAT)}
        front = Front(graph)
        runtime_cudnn.choose(cudnn, front, call)
        assert front.left_out == left_out


class Front:
    """A graph of the real front end, for which no heuristics are asked. left_out: the notes that are."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.left_out: list[Any] = []

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        self.graph.deselect_numeric_notes(notes)
        self.left_out += notes

    def __getattr__(self, name: str) -> Any:
        assert callable(getattr(self.graph, name))
        return lambda *given: None


def test_the_real_bindings_have_the_type_of_sums() -> None:
    pytest.importorskip("nvmath", reason="needs pip install 'graphc[cudnn]'", exc_type=ImportError)
    from nvmath.bindings import cublas

    assert int(cublas.ComputeType.COMPUTE_32F_FAST_TF32) == COMPUTE_32F_FAST_TF32
