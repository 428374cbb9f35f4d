"""Operators in half precision: types, the reference against NumPy in float32, the text, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import Builder, DType, Graph, Node, TensorType, Value, VerifyError, evaluate, infer_types
from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16
from graphc.ir.parser import parse
from graphc.ir.precision import PRECISION, float_twin, precision_of
from graphc.ir.printer import constant_arrays, print_graph
from graphc.ir.verify import verify

NUMPY = {"float16": lambda a: a.astype(np.float16), "bfloat16": to_bfloat16}
BACK = {"float16": lambda a: a.astype(np.float32), "bfloat16": from_bfloat16}


def product(kind: str) -> Graph:
    """FC of a converted input with weights of that kind and a float32 bias, then back to float."""
    rng = np.random.default_rng(0)
    graph = Graph("half")
    b = Builder(graph)
    x = b.input("x", "float[2,5]")
    weights = NUMPY[kind](rng.standard_normal((3, 5)).astype(np.float32))
    w = graph.add_constant("w", weights, TensorType(DType.parse(kind), (3, 5)))
    bias = b.constant("b", rng.standard_normal(3).astype(np.float32))
    half = b.op("g.convert", [x], {PRECISION: kind}, "half")
    y = b.op("FC", [half, w, bias], {PRECISION: kind}, "y")
    b.output(b.op("g.convert", [y], {PRECISION: "float"}, "z"))
    graph.stage = "optimised"
    return graph


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_results_are_rounded_once(kind: str) -> None:
    graph = product(kind)
    verify(graph)
    blobs = graph.blobs()
    assert [str(blobs[n].type) for n in ("half", "y", "z")] == [f"{kind}[2,5]", f"{kind}[2,3]", "float[2,3]"]
    x = np.random.default_rng(1).standard_normal((2, 5)).astype(np.float32)
    found = evaluate(graph, {"x": x}, keep_all=True)
    w, bias = (v.data for v in graph.constants)
    exact = BACK[kind](NUMPY[kind](x)) @ BACK[kind](w).T + bias
    np.testing.assert_array_equal(found["y"].view(np.uint16), NUMPY[kind](exact).view(np.uint16))
    np.testing.assert_array_equal(found["z"], BACK[kind](NUMPY[kind](exact)))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_text_comes_back(kind: str) -> None:
    graph = product(kind)
    text = print_graph(graph)
    again = parse(text, constant_arrays(graph))
    verify(again)
    assert print_graph(again) == text
    x = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(evaluate(again, {"x": x})["z"], evaluate(graph, {"x": x})["z"])


def test_types_follow_other_sizes() -> None:
    graph = product("bfloat16")
    graph.inputs[0].type = TensorType.parse("float[7,5]")
    infer_types(graph)
    assert [str(r.type) for n in graph.nodes for r in n.results] == ["bfloat16[7,5]", "bfloat16[7,3]", "float[7,3]"]


def test_results_that_are_no_floats_stay() -> None:
    graph = Graph("g")
    b = Builder(graph)
    x = b.input("x", "bfloat16[2,5]")
    assert str(b.op("ArgMax", [x], {PRECISION: "bfloat16", "axis": 1}).type).startswith("int64[2,1")


def test_twin_is_the_call_on_floats() -> None:
    graph = product("float16")
    node = graph.nodes[1]
    twin = float_twin(node)
    assert [str(v.type) for v in twin.operands if v] == ["float[2,5]", "float[3,5]", "float[3]"]
    assert PRECISION not in twin.attrs
    assert precision_of(node) is DType.FLOAT16
    assert precision_of(twin) is None
    assert graph.nodes[1].operands[0].users == [node]  # the twin stands outside of the graph


@pytest.mark.parametrize("given", [b"int8", b"half", 3])
def test_what_is_no_precision(given: bytes | int) -> None:
    node = Node("Relu", [Value(TensorType.parse("float[2]"), "x")], [Value(TensorType(), "y")], {PRECISION: given})
    graph = Graph("g")
    graph.inputs.append(node.operands[0])
    graph.append(node)
    with pytest.raises(VerifyError, match=r"precision|element type"):
        infer_types(graph)


def test_precision_has_no_place_in_an_imported_graph() -> None:
    graph = product("float16")
    graph.stage = "typed"
    with pytest.raises(VerifyError, match=r"an operator of graphc.s own|precision of its own"):
        verify(graph)
