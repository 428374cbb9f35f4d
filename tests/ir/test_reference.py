"""The oracle against NumPy: what it feeds to the records' meanings and what it makes of their answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphc.ir import Graph, OpDef, RunError, TensorType, evaluate, infer_types, opdef, parse
from graphc.ir.opdef import Arg, Call, Port

X = np.float32([[-1.5, 0.0, 2.0], [3.0, -0.25, np.inf]])


def run(body: str, stage: str = "imported", **inputs: np.ndarray) -> dict[str, np.ndarray]:
    graph = parse(f'graph "g" stage={stage} {{\n{body}\n}}')
    text = str(graph)
    answers = evaluate(graph, inputs)
    assert str(graph) == text, "evaluation changed the graph"
    return answers


def test_pointwise_meanings_compute_in_float32() -> None:
    answer = run('input %x %y = Relu(%x) %z = Tanh(%y) output %z as "out"', x=X)["out"]
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, np.tanh(np.maximum(X, 0)))


def test_symbols_take_the_size_of_the_arrays() -> None:
    body = "input %x : float[N,3] %y : float[N,3] = Relu(%x) output %y"
    for n in (0, 1, 5):
        assert run(body, "typed", x=np.ones((n, 3), np.float32))["y"].shape == (n, 3)


def test_keep_all_gives_every_blob_as_it_is_after_the_run() -> None:
    graph = parse('graph "g" { input %x %x#1 = Relu(%x) %y = Tanh(%x#1) output %y as "out" }')
    blobs = evaluate(graph, {"x": X}, keep_all=True)
    assert list(blobs) == ["x", "y", "out"]
    np.testing.assert_array_equal(blobs["x"], np.maximum(X, 0))
    assert blobs["y"] is blobs["out"]


def test_an_epilogue_is_applied_to_the_bare_result() -> None:
    epilogue = 'graph "e" { input %r input %b %s = Add(%r, %b) %t = Tanh(%s) output %t }'
    answer = run(f"input %x input %b %y = Relu(%x, %b) {{epilogue={epilogue}}} output %y", "optimised", x=X, b=X)["y"]
    np.testing.assert_array_equal(answer, np.tanh(np.maximum(X, 0) + X))


def test_a_pointwise_graph_is_evaluated_node_by_node() -> None:
    body = 'graph "b" { input %a input %b %c = Mul(%a, %b) {broadcast=1, axis=0} %d = Relu(%c) output %d }'
    b = np.float32([2, -1])
    answer = run(f"input %x input %b %y = g.pointwise(%x, %b) {{body={body}}} output %y", "optimised", x=X, b=b)["y"]
    np.testing.assert_array_equal(answer, np.maximum(X * b[:, None], 0))


def test_reorder_changes_no_element() -> None:
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    body = 'input %x %y = g.reorder(%x) {layout="nchw16c"} %z = Relu(%y) output %z'
    np.testing.assert_array_equal(run(body, "optimised", x=x)["z"], x)


def test_weights_come_from_the_graph() -> None:
    body = "input %x constant %w : float[3] = dense<[1.0, 2.0, 3.0]> %y = Mul(%x, %w) {broadcast=1} output %y"
    np.testing.assert_array_equal(run(body, x=X)["y"], X * np.float32([1, 2, 3]))
    with pytest.raises(RunError, match="'w' has no storage"):
        run("input %x constant %w : float[3] = @w %y = Mul(%x, %w) {broadcast=1} output %y", x=X)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing"),
        ({"x": X, "z": X}, "no input 'z'"),
        ({"x": X.astype(np.float64)}, "of type double, not float"),
        ({"x": X[0]}, r"shape \[3\]"),
        ({"x": X[:, :2]}, r"shape \[2, 2\]"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(RunError, match=message):
        run("input %x : float[N,3] %y = Relu(%x) output %y", "typed", **inputs)


@pytest.fixture
def loop_op(monkeypatch: pytest.MonkeyPatch) -> OpDef:
    """An operator whose only meaning is a loop: the first ``n`` elements, scaled."""

    def loop(x: np.ndarray, y: np.ndarray, n: int, scale: float) -> None:
        for i in range(n):
            y[i] = x[i] * scale

    def infer(call: Call) -> list[TensorType]:
        return [call.type(0).with_shape((call.arg("n"),))]

    args = (Arg("n", "int"), Arg("scale", "float", 2.0))
    record = OpDef("t.head", "", (Port("X"),), (Port("Y"),), infer, args, loop=loop)
    monkeypatch.setitem(opdef.registry.__globals__["_REGISTRY"], record.name, record)
    return record


def test_a_loop_is_interpreted_with_inputs_outputs_arguments(loop_op: OpDef) -> None:
    answer = run("input %x %y = t.head(%x) {n=2} output %y", x=np.arange(5, dtype=np.int32))["y"]
    assert answer.dtype == np.int32
    assert answer.tolist() == [0, 2]


def test_a_typed_graph_gives_the_same_as_an_imported_one() -> None:
    graph: Graph = parse('graph "g" { input %x : float[N,3] %y = Sigmoid(%x) output %y }')
    before = evaluate(graph, {"x": X})["y"]
    infer_types(graph)
    np.testing.assert_array_equal(evaluate(graph, {"x": X})["y"], before)


def test_no_memory_is_an_error_of_the_run(loop_op: OpDef, monkeypatch: pytest.MonkeyPatch) -> None:
    def reference(call: Call, x: np.ndarray) -> list[np.ndarray]:
        raise MemoryError("192 GiB")

    monkeypatch.setitem(opdef.registry.__globals__["_REGISTRY"], "t.head", replace(loop_op, reference=reference))
    with pytest.raises(RunError, match=r"t\.head: there is no memory: 192 GiB"):
        run("input %x %y = t.head(%x) {n=2} output %y", x=np.arange(5, dtype=np.int32))
