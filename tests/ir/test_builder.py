"""Builder: insertion point, inference at once, argument values."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import Builder, Graph, Location, Origin, VerifyError, parse, verify


def test_nodes_are_appended_and_typed_at_once() -> None:
    b = Builder(Graph("g", "typed"))
    x = b.input("x", "float[N,3]")
    y = b.op("Relu", [x], name="y")
    assert str(y.type) == "float[N,3]"
    b.output(b.op("LeakyRelu", [y], {"alpha": 0.1}, "z"), "out")
    verify(b.graph)
    assert b.graph == parse(
        'graph "g" stage=typed { input %x : float[N,3] %y : float[N,3] = Relu(%x)'
        ' %z : float[N,3] = LeakyRelu(%y) {alpha=0.1} output %z as "out" }'
    )


def test_nodes_are_inserted_before_a_node() -> None:
    graph = parse('graph "g" stage=typed { input %x : float[3] %z : float[3] = Tanh(%x) output %z }')
    last = graph.nodes[0]
    where = Location((Origin("net", 4, "Relu"),))
    b = Builder(graph, before=last, location=where)
    y = b.op("Relu", [graph.inputs[0]], name="y")
    last.set_operand(0, y)
    assert [n.op for n in graph.nodes] == ["Relu", "Tanh"]
    assert graph.nodes[0].location == where
    verify(graph)


def test_constants_from_arrays_and_lists() -> None:
    b = Builder(Graph("g", "typed"))
    w = np.zeros((2, 3), np.int64)
    assert b.constant("w", w).data is w
    assert str(b.constant("c", [1, 2]).type) == "float[2]"


def test_a_refused_call_leaves_no_trace() -> None:
    b = Builder(Graph("g", "typed"))
    x = b.input("x", "float[3]")
    with pytest.raises(VerifyError):
        b.op("NoSuchOperator", [x])
    assert not x.uses
    assert not b.graph.nodes


def test_values_that_no_argument_can_hold_are_refused() -> None:
    b = Builder(Graph("g", "typed"))
    with pytest.raises(TypeError, match="dict is no value of an argument"):
        b.op("Relu", [b.input("x", "float[3]")], {"order": {}})
