from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph, Location, Node, Origin, Value
from graphc.ir.builder import Builder
from graphc.passes import FuseElementwise, FuseEpilogue

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]


def inside(node: Node) -> list[str]:
    """The operators of a node's fused graph."""
    (graph,) = node.subgraphs()
    return [n.op for n in graph.nodes]


def conv(b: Builder, random: Random, x: Value, name: str = "c") -> Value:
    weights = [b.constant(f"{name}_w", random(4, 4, 3, 3)), b.constant(f"{name}_b", random(4))]
    origin = Location((Origin("n", len(b.graph.nodes), "Conv", name),))
    return b.op("Conv", [x, *weights], {"kernel": 3, "pad": 1}, name, origin)


@pytest.fixture
def x(net: Net) -> Value:
    return net[1].input("x", "float[N,4,5,5]")


def feed(random: Random) -> dict[str, np.ndarray]:
    return {"x": random(2, 4, 5, 5)}


def test_a_chain_after_a_convolution(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    y = b.op("Mul", [conv(b, random, x), b.constant("m", random(4))], {"broadcast": 1, "axis": 1})
    y = b.op("Relu", [y], {}, "r", Location((Origin("n", 7, "Relu"),)))
    y = b.op("PRelu", [y, b.constant("s", random(4))])
    b.output(b.op("Clip", [y], {"min": 0.0, "max": 6.0}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Conv"]
    node = graph.nodes[0]
    assert inside(node) == ["Mul", "Relu", "PRelu", "Clip"]
    assert node.results[0].name == "y"
    assert [o.op_type for o in node.location.origins] == ["Conv", "Relu"]
    assert len(node.operands) == 5


def test_a_residual_computed_before(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    b.output(b.op("Relu", [b.op("Sum", [b.op("Tanh", [x]), conv(b, random, x)])], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Tanh", "Conv"]
    assert inside(graph.nodes[1]) == ["Sum", "Relu"]


def test_a_residual_computed_later_moves_the_convolution(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    c = conv(b, random, x)
    b.output(b.op("Add", [c, b.op("Tanh", [x])], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Tanh", "Conv"]


def test_of_two_convolutions_the_later_takes_the_addition(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    first, second = conv(b, random, x, "first"), conv(b, random, x, "second")
    b.output(b.op("Relu", [b.op("Add", [first, second])], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Conv", "Conv"]
    assert "epilogue" not in graph.nodes[0].attrs
    assert inside(graph.nodes[1]) == ["Add", "Relu"]


def test_a_diamond_is_fused_after_its_operators_became_one(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    c = conv(b, random, x)
    b.output(b.op("Mul", [c, b.op("Sigmoid", [c])], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random), changed=False) == ["Conv", "Sigmoid", "Mul"]
    assert check(FuseElementwise(), graph, feed(random)) == ["Conv", "g.pointwise"]
    assert check(FuseEpilogue(), graph, feed(random)) == ["Conv"]
    assert inside(graph.nodes[0]) == ["Sigmoid", "Mul"]


def test_a_square_reads_the_bare_result_twice(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    c = conv(b, random, x)
    b.output(b.op("Mul", [c, c], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Conv"]


@pytest.mark.parametrize("op", ["FC", "MatMul"])
def test_matrix_products(net: Net, check: Check, random: Random, op: str) -> None:
    graph, b = net
    operands = [b.input("x", "float[N,6]"), b.constant("w", random(5, 6) if op == "FC" else random(6, 5))]
    y = b.op(op, [*operands, b.constant("b", random(5))] if op == "FC" else operands)
    y = b.op("Add", [y, b.constant("a", random(5))])
    b.output(b.op("Sigmoid", [y], {}, "y"))
    assert check(FuseEpilogue(), graph, {"x": random(3, 6)}) == [op]


def test_through_a_concat(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    joined = b.node("Concat", [conv(b, random, x, "a"), conv(b, random, x, "b")], {"axis": 1}, ["j", "info"])
    b.output(b.op("Relu", [joined.results[0]], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Conv", "Conv", "Concat"]
    assert [inside(n) for n in graph.nodes[:2]] == [["Relu"], ["Relu"]]
    assert graph.outputs[0].name == "y"


def test_relu_behind_a_max_pool_moves_into_the_convolution(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    b.output(b.op("Relu", [b.op("MaxPool", [conv(b, random, x)], {"kernel": 3, "pad": 1})], {}, "y"))
    assert check(FuseEpilogue(), graph, feed(random)) == ["Conv", "MaxPool"]
    assert inside(graph.nodes[0]) == ["Relu"]
    assert graph.outputs[0].name == "y"


def refuse_average_pool(b: Builder, random: Random, x: Value) -> None:
    b.output(b.op("Relu", [b.op("AveragePool", [conv(b, random, x)], {"kernel": 3})], {}, "y"))


def refuse_negative_behind_a_max_pool(b: Builder, random: Random, x: Value) -> None:
    b.output(b.op("Negative", [b.op("MaxPool", [conv(b, random, x)], {"kernel": 3})], {}, "y"))


def refuse_concat_of_another(b: Builder, random: Random, x: Value) -> None:
    joined = b.node("Concat", [conv(b, random, x), x], {"axis": 1}, ["j", "info"])
    b.output(b.op("Relu", [joined.results[0]], {}, "y"))


def refuse_other_reader(b: Builder, random: Random, x: Value) -> None:
    c = conv(b, random, x)
    b.output(b.op("Relu", [c], {}, "y"))
    b.output(b.op("MaxPool", [c], {"kernel": 2}, "z"))


def refuse_output(b: Builder, random: Random, x: Value) -> None:
    c = conv(b, random, x)
    b.output(c)
    b.output(b.op("Relu", [c], {}, "y"))


def refuse_broadcast_over_images(b: Builder, random: Random, x: Value) -> None:
    gate = b.op("AveragePool", [x], {"global_pooling": 1})
    b.output(b.op("Mul", [conv(b, random, x), gate], {}, "y"))


def refuse_growth(b: Builder, random: Random, x: Value) -> None:
    b.output(b.op("Add", [conv(b, random, x), b.constant("big", random(3, 1, 4, 5, 5))], {}, "y"))


def refuse_other_type(b: Builder, random: Random, x: Value) -> None:
    b.output(b.op("Cast", [conv(b, random, x)], {"to": 13}, "y"))


REFUSED = [
    refuse_average_pool,
    refuse_negative_behind_a_max_pool,
    refuse_concat_of_another,
    refuse_other_reader,
    refuse_output,
    refuse_broadcast_over_images,
    refuse_growth,
    refuse_other_type,
]


@pytest.mark.parametrize("build", REFUSED)
def test_an_epilogue_is_refused(
    net: Net, x: Value, check: Check, random: Random, build: Callable[[Builder, Random, Value], None]
) -> None:
    graph, b = net
    build(b, random, x)
    check(FuseEpilogue(), graph, feed(random), changed=False)


def test_limits_of_an_epilogue(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    y = b.op("Relu", [b.op("Add", [conv(b, random, x), x])])
    b.output(b.op("Add", [y, b.op("Tanh", [x])], {}, "y"))
    assert check(FuseEpilogue(limit=2), graph, feed(random)) == ["Conv", "Tanh", "Add"]


def test_operands_of_an_epilogue_are_limited(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    y = b.op("Relu", [b.op("Add", [conv(b, random, x), x])])
    b.output(b.op("Add", [y, b.op("Tanh", [x])], {}, "y"))
    assert check(FuseEpilogue(operands=1), graph, feed(random)) == ["Conv", "Tanh", "Add"]


def test_a_tree_of_pointwise_operators(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    left = b.op("Mul", [b.op("Relu", [x]), b.constant("m", random(4, 1, 1))])
    right = b.op("Add", [b.op("Tanh", [x]), b.constant("one", [1.0])])
    b.output(b.op("Sub", [left, right], {}, "y"))
    assert check(FuseElementwise(), graph, feed(random)) == ["g.pointwise"]
    assert inside(graph.nodes[0]) == ["Relu", "Mul", "Tanh", "Add", "Sub"]
    assert len(graph.nodes[0].operands) == 3
    assert graph.outputs[0].name == "y"


def test_a_vector_that_two_operators_read_is_passed_twice(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    v = b.constant("v", random(4))
    y = b.op("Mul", [x, v], {"broadcast": 1, "axis": 1})
    b.output(b.op("PRelu", [y, v], {}, "y"))
    assert check(FuseElementwise(), graph, feed(random)) == ["g.pointwise"]
    assert len(graph.nodes[0].operands) == 3


def test_groups_end_where_a_result_is_read_outside(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    inner = b.op("Relu", [b.op("Tanh", [x])], {}, "inner")
    b.output(inner)
    b.output(b.op("Abs", [b.op("Sqr", [inner])], {}, "y"))
    assert check(FuseElementwise(), graph, feed(random)) == ["g.pointwise", "g.pointwise"]


def test_a_later_run_takes_in_what_an_earlier_fused(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    y = b.op("Abs", [b.op("Sqr", [b.op("Relu", [b.op("Tanh", [x])])])], {}, "y")
    b.output(y)
    assert check(FuseElementwise(limit=2), graph, feed(random)) == ["g.pointwise", "g.pointwise"]
    assert check(FuseElementwise(), graph, feed(random)) == ["g.pointwise"]
    assert inside(graph.nodes[0]) == ["Tanh", "Relu", "Sqr", "Abs"]


def test_pointwise_fusion_is_refused(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    row, column = b.input("row", "float[1,4]"), b.input("column", "float[5,1]")
    b.output(b.op("Relu", [b.op("Add", [row, column])], {}, "outer"))
    i = b.input("i", "int32[3]")
    b.output(b.op("Negative", [b.op("Negative", [i])], {}, "ints"))
    q = b.input("q", "float[?]")
    b.output(b.op("Relu", [b.op("Tanh", [q])], {}, "unknown"))
    inputs = {"row": random(1, 4), "column": random(5, 1), "i": np.arange(3, dtype=np.int32), "q": random(3)}
    check(FuseElementwise(), graph, inputs, changed=False)
