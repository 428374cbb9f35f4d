"""The verifier on graphs that text cannot express; ``tests/text/ir/verify.gir`` has the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Constant, Graph, Node, TensorType, Value, VerifyError, parse, verify
from graphc.ir.verify import fits

TEXT = """graph "g" stage=typed {
  input %x : float[2,3]
  constant %w : float[3] = dense<[1.0, 2.0, 3.0]>
  %y : float[2,3] = Relu(%x)
  %z : float[2,3] = Tanh(%y) loc("net":4:"Tanh":"last")
  output %z
}"""


def foreign(graph: Graph) -> None:
    graph.nodes[1].set_operand(0, Value(TensorType(), "elsewhere"))


def unlisted_use(graph: Graph) -> None:
    graph.nodes[1].operands[0] = graph.inputs[0]


def stale_use(graph: Graph) -> None:
    graph.inputs[0].uses[(graph.nodes[1], 0)] = None


def removed_node(graph: Graph) -> None:
    node = graph.append(Node("Relu", [graph.inputs[0]], [Value(graph.inputs[0].type, "u")]))
    graph.nodes.remove(node)


def wrong_producer(graph: Graph) -> None:
    graph.nodes[1].results[0].producer = graph.nodes[0]


def wrong_constant(graph: Graph) -> None:
    graph.constants[0].type = TensorType.parse("float[4]")


def wrong_elements(graph: Graph) -> None:
    value = graph.constants[0]
    value.constant = Constant("w", value.type, np.zeros(4, np.float32))


def no_constant(graph: Graph) -> None:
    graph.constants[0].constant = None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g: g.nodes.reverse(), "net op #4 Tanh 'last': Tanh -> 'z': operand 0 'y' is used before it is defined"),
        (foreign, "operand 0 'elsewhere' is no value of this graph"),
        (unlisted_use, "operand 0 'x' does not list this use"),
        (stale_use, "'x' is listed as operand 0 of Tanh, which it is not"),
        (removed_node, "'x' is used by Relu, which is not in the graph"),
        (wrong_producer, "result 0 'z' does not know the node that makes it"),
        (wrong_constant, "is float\\[4\\], but its weight is float\\[3\\]"),
        (wrong_elements, "its elements are float32\\[4\\]"),
        (no_constant, "has no weight"),
        (lambda g: g.nodes.append(g.nodes[0]), "'y' is defined twice"),
        (lambda g: g.inputs.append(g.inputs[0]), "'x' is defined twice"),
        (lambda g: g.inputs.append(g.nodes[0].results[0]), "'y' is defined twice"),
        (lambda g: g.output_names.append("more"), "1 outputs, but 2 names"),
        (lambda g: g.outputs.__setitem__(0, Value(TensorType(), "q")), "output 'q' is no value of the graph"),
        (lambda g: setattr(g.nodes[0], "graph", None), "does not know the graph that it is in"),
    ],
)
def test_damage_is_found_and_named(damage: Callable[[Graph], None], message: str) -> None:
    graph = parse(TEXT)
    verify(graph)
    damage(graph)
    with pytest.raises(VerifyError, match=message):
        verify(graph)


def test_the_verifier_changes_nothing() -> None:
    graph = parse(
        'graph "g" stage=optimised { input %x : float[2] %y : float[2] = g.pointwise(%x)'
        ' {body=graph "b" { input %a %b = Relu(%a) output %b }} output %y }'
    )
    before = str(graph)
    verify(graph)
    assert str(graph) == before


def test_a_breach_inside_a_sub_graph_is_found_and_shown() -> None:
    graph = parse(
        'graph "g" stage=optimised { input %x : float[2] %y : float[2] = g.pointwise(%x)'
        ' {body=graph "b" { input %a %b = Nothing(%a) output %b }} output %y }'
    )
    with pytest.raises(VerifyError, match="graph 'b': Nothing -> 'b': operator 'Nothing' is unknown") as error:
        verify(graph)
    assert "%b = Nothing(%a)" in error.value.excerpt


@pytest.mark.parametrize(
    ("value", "kind", "answer"),
    [
        (1, "int", True),
        (1, "float", True),
        (1.0, "int", False),
        (b"s", "string", True),
        (b"s", "int", False),
        ((), "ints", True),
        ((1, 2), "ints", True),
        ((1, 2), "int", False),
        (1, "ints", False),
        ((1.5, 2), "floats", True),
        ((b"s",), "strings", True),
        ((b"s",), "floats", False),
        (Graph(), "graph", True),
        ((Graph(),), "graph", True),
        (Graph(), "string", False),
        (True, "int", False),
        ((1, b"s"), "any", True),
    ],
)
def test_argument_kinds(value: object, kind: str, answer: bool) -> None:
    assert fits(value, kind) is answer  # type: ignore[arg-type]
