from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph, Value
from graphc.ir.builder import Builder
from graphc.passes import Canonicalize, Dce

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]
Build = Callable[[Builder, Value], Value]


def two(b: Builder, op: str, operands: list[Value], **attrs: object) -> Value:
    """Result 0 of an operator with two."""
    return b.node(op, operands, attrs, ["", ""]).results[0]


NOTHING: list[tuple[str, Build]] = [
    ("copy", lambda b, x: b.op("Copy", [x])),
    ("alias", lambda b, x: b.op("Alias", [x])),
    ("stop gradient", lambda b, x: b.op("StopGradient", [x])),
    ("dropout at test time", lambda b, x: two(b, "Dropout", [x], is_test=1)),
    ("reshape to the same", lambda b, x: two(b, "Reshape", [x], shape=(0, 3, 4, 4))),
    ("flatten and back", lambda b, x: two(b, "Reshape", [b.op("Flatten", [x])], shape=(0, 3, 4, 4))),
    ("expand and squeeze", lambda b, x: b.op("Squeeze", [b.op("ExpandDims", [x], {"dims": (0,)})], {"dims": (0,)})),
    ("transpose that keeps the order", lambda b, x: b.op("Transpose", [x], {"axes": (0, 1, 2, 3)})),
    ("transpose twice", lambda b, x: b.op("Transpose", [b.op("Transpose", [x])])),
    ("orders", lambda b, x: b.op("NHWC2NCHW", [b.op("NCHW2NHWC", [x])])),
    (
        "orders by transpose",
        lambda b, x: b.op("Transpose", [b.op("NCHW2NHWC", [x])], {"axes": (0, 3, 1, 2)}),
    ),
    ("slice of everything", lambda b, x: b.op("Slice", [x], {"starts": (0, 0, 0, 0), "ends": (-1, -1, -1, -1)})),
    ("tile by one", lambda b, x: b.op("Tile", [x], {"tiles": 1, "axis": 1})),
    ("concat of one", lambda b, x: two(b, "Concat", [x], axis=1)),
    ("sum of one", lambda b, x: b.op("Sum", [x])),
    ("max of one", lambda b, x: b.op("Max", [x])),
    ("cast to the same", lambda b, x: b.op("Cast", [x], {"to": 1})),
    ("scale by one", lambda b, x: b.op("Scale", [x], {"scale": 1.0})),
]


@pytest.mark.parametrize("build", [b for _, b in NOTHING], ids=[n for n, _ in NOTHING])
@pytest.mark.parametrize("batch", ["N", "2"])
def test_operators_that_do_nothing_go(net: Net, check: Check, random: Random, build: Build, batch: str) -> None:
    graph, b = net
    x = b.input("x", f"float[{batch},3,4,4]")
    b.output(b.op("Tanh", [build(b, b.op("Relu", [x]))], {}, "y"))
    check(Canonicalize(), graph, {"x": random(2, 3, 4, 4)})
    Dce().run(graph)
    assert [n.op for n in graph.nodes] == ["Relu", "Tanh"]


CHANGES_SOMETHING: list[tuple[str, Build]] = [
    ("dropout in training", lambda b, x: two(b, "Dropout", [x], ratio=0.0)),
    ("reshape to another shape", lambda b, x: two(b, "Reshape", [x], shape=(0, -1))),
    ("transpose", lambda b, x: b.op("NCHW2NHWC", [x])),
    ("slice of a part", lambda b, x: b.op("Slice", [x], {"starts": (0, 0, 0, 1), "ends": (-1, -1, -1, -1)})),
    ("slice of all there is now", lambda b, x: b.op("Slice", [x], {"starts": (0, 0, 0, 0), "ends": (-1, -1, 4, -1)})),
    ("reshape to the same for now", lambda b, x: two(b, "Reshape", [x], shape=(0, 3, -1, 4))),
    ("tile", lambda b, x: b.op("Tile", [x], {"tiles": 2, "axis": 1})),
    ("concat", lambda b, x: two(b, "Concat", [x, x], axis=1)),
    ("stack of one", lambda b, x: two(b, "Concat", [x], axis=1, add_axis=1)),
    ("cast", lambda b, x: b.op("Cast", [x], {"to": 13})),
    ("scale", lambda b, x: b.op("Scale", [x], {"scale": 2.0})),
    ("relu of tanh", lambda b, x: b.op("Relu", [b.op("Tanh", [x])])),
]


@pytest.mark.parametrize("build", [b for _, b in CHANGES_SOMETHING], ids=[n for n, _ in CHANGES_SOMETHING])
def test_operators_that_do_something_stay(net: Net, check: Check, random: Random, build: Build) -> None:
    graph, b = net
    b.output(build(b, b.input("x", "float[N,3,4,4]")), "y")
    check(Canonicalize(), graph, {"x": random(2, 3, 4, 4)}, changed=False)


def test_another_result_in_use_keeps_an_operator(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    node = b.node("Dropout", [b.input("x", "float[2,3]")], {"is_test": 1}, ["y", "mask"])
    b.output(node.results[0])
    b.output(node.results[1])
    assert check(Canonicalize(), graph, {"x": random(2, 3)}, changed=False) == ["Dropout"]


def test_a_run_of_views_is_one_reshape(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.op("Flatten", [b.input("x", "float[N,3,4,4]")])
    x = b.op("ExpandDims", [x], {"dims": (1,)})
    b.output(two(b, "Reshape", [x], shape=(0, 6, 8)), "y")
    check(Canonicalize(), graph, {"x": random(2, 3, 4, 4)})
    Dce().run(graph)
    assert [(n.op, n.attrs) for n in graph.nodes] == [("Reshape", {"shape": (0, 6, 8)})]


def test_a_run_of_transposes_is_one(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.op("Transpose", [b.input("x", "float[2,3,4]")], {"axes": (1, 2, 0)})
    b.output(b.op("Transpose", [x], {"axes": (0, 2, 1)}, "y"))
    check(Canonicalize(), graph, {"x": random(2, 3, 4)})
    Dce().run(graph)
    assert [n.attrs for n in graph.nodes] == [{"axes": (1, 0, 2)}]


def test_relu_of_relu_is_one(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    b.output(b.op("Relu", [b.op("Relu", [b.input("x", "float[4]")])], {}, "y"))
    assert check(Canonicalize(), graph, {"x": random(4)}) == ["Relu"]


def test_an_output_keeps_its_name(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    b.output(b.op("Copy", [b.op("Relu", [b.input("x", "float[4]")], {}, "inner")], {}, "prob"))
    check(Canonicalize(), graph, {"x": random(4)})
    assert (graph.outputs[0].name, graph.output_names) == ("prob", ["prob"])


def test_an_input_may_be_an_output(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    b.output(b.op("Copy", [b.input("x", "float[4]")], {}, "y"))
    assert check(Canonicalize(), graph, {"x": random(4)}) == []
    assert graph.outputs == graph.inputs
