"""The pass half: what gets a precision, where conversions stand, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import DType, Graph, GraphcError, Location, Origin, Value
from graphc.ir.builder import Builder
from graphc.ir.precision import PRECISION, precision_of
from graphc.passes import AssignLayout, Dce, FuseEpilogue, Half, run_pipeline

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]
BF16 = 2e-2
HALF = 2e-3
"""Some roundings of weights and values, relative to the largest result."""


def conv(b: Builder, random: Random, x: Value, maps: int, name: str = "") -> Value:
    channels = x.type.shape[1] if x.type.shape else 0
    w = b.constant(f"w{len(b.graph.nodes)}", 0.2 * random(maps, int(str(channels)), 1, 1))
    bias = b.constant(f"b{len(b.graph.nodes)}", random(maps))
    return b.op("Conv", [x, w, bias], {"kernel": 1}, name)


def prepared(graph: Graph) -> Graph:
    run_pipeline(graph, (AssignLayout(block=4),))
    return graph


def types(graph: Graph) -> list[str]:
    """Operator and element type of its result, in order."""
    return [f"{n.op}:{n.results[0].type.dtype.text if n.results[0].type.dtype else '?'}" for n in graph.nodes]


def test_convolutions_and_what_follows_them(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = conv(b, random, b.input("x", "float[2,3,6,6]"), 16)
    y = b.op("Relu", [x])
    y = b.op("Concat", [conv(b, random, y, 16), b.op("MaxPool", [y], {"kernel": 1})], {"axis": 1})
    y = b.op("AveragePool", [conv(b, random, y, 16)], {"global_pooling": 1})
    y = b.op("FC", [y, b.constant("fc", random(600, 16)), b.constant("fb", random(600))])
    b.output(b.op("Softmax", [y], {}, "y"))
    check(Half("bfloat16"), prepared(graph), {"x": random(2, 3, 6, 6)}, BF16)
    assert types(graph) == [
        "Conv:bfloat16",  # reads the float32 image itself
        "Relu:bfloat16",
        "Conv:bfloat16",
        "MaxPool:bfloat16",
        "Concat:bfloat16",
        "Conv:bfloat16",
        "AveragePool:float",  # writes float32 for the change of layout
        "g.reorder:float",
        "g.convert:bfloat16",
        "FC:float",  # writes float32 for the softmax
        "Softmax:float",
    ]
    weights = {str(v.name): v.type.dtype for n in graph.nodes if n.op in ("Conv", "FC") for v in n.operands[1:] if v}
    kinds = list(weights.values())
    assert kinds.count(DType.BFLOAT16) == 3
    assert all(weights[n] is DType.FLOAT for n in weights if n.startswith(("b", "fb", "w0")))


def window(b: Builder, random: Random, x: Value, name: str, kernel: int = 5, maps: int = 16) -> None:
    """Two convolutions, of which the first reads an image as it is, in sums of ``3 * kernel * kernel`` products."""
    w = b.constant(f"{name}_w", 0.2 * random(maps, 3, kernel, kernel))
    y = b.op("Conv", [x, w], {"kernel": kernel, "pad": 2, "stride": 2}, name)
    b.output(conv(b, random, y, 600, f"{name}_last"))


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", HALF), ("bfloat16", BF16)])
def test_images_in_blocks_for_tensor_cores(
    net: Net, check: Check, random: Random, precision: str, tolerance: float
) -> None:
    graph, b = net
    x = b.input("x", "float[2,3,9,7]")
    for name in ("first", "second", "asked", "host"):
        window(b, random, x, name)
    window(b, random, x, "short", kernel=3)
    window(b, random, x, "narrow", maps=15)
    next(n for n in graph.nodes if n.results[0].name == "host").device = "cpu:0"
    check(Half(precision, "asked:float", tensor_cores=True), prepared(graph), {"x": random(2, 3, 9, 7)}, tolerance)
    (moved,) = (n for n in graph.nodes if n.op == "g.reorder" and n.operands[0] is x)
    assert str(moved.results[0].type) == f"{precision}[2,3,9,7]{{nchw4c}}"
    assert [n.results[0].name for n in moved.results[0].users] == ["first", "second"]
    kinds = {n.results[0].name: n.operands[1].type.dtype for n in graph.nodes if n.op == "Conv" and n.operands[1]}
    floats = {name for name, kind in kinds.items() if kind is DType.FLOAT}
    assert floats == {"asked", "host", "short", "narrow", "narrow_last"}


def test_an_image_of_halves_for_tensor_cores(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    row = b.op("FC", [b.input("x", "float[2,16]"), b.constant("fc", random(75, 16)), b.constant("fb", random(75))])
    image = b.node("Reshape", [row], {"shape": [2, 3, 5, 5]}, ["image", "old"]).results[0]
    window(b, random, image, "y")
    check(Half("float16", "", tensor_cores=True), prepared(graph), {"x": random(2, 16)}, HALF)
    assert types(graph)[1:5] == ["FC:float16", "Reshape:float16", "g.reorder:float16", "Conv:float16"]


@pytest.mark.parametrize("behind", ["Softmax", "Relu", "Flatten"])
def test_last_weights_stay_float_where_they_are_few(net: Net, random: Random, behind: str) -> None:
    graph, b = net
    y = conv(b, random, b.input("x", "float[2,16,4,4]"), 16, "c1")
    z = conv(b, random, b.op("LRN", [y], {"size": 3}), 16, "c2")
    b.output(b.op(behind, [z], {}, "z"))
    b.output(conv(b, random, b.op("Relu", [y]), 600, "large"), "w")  # 38 kB
    Half("bfloat16").run(prepared(graph))
    halves = [n.results[0].name for n in graph.nodes if n.op == "Conv" and PRECISION in n.attrs]
    assert halves == ["c1", "large"]
    last = graph.outputs[0].producer
    assert last is not None
    assert PRECISION not in last.attrs


def test_values_are_converted_once_between_precisions(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.input("x", "float[2,16,4,4]")
    y = conv(b, random, x, 16, "c")
    z = b.op("LRN", [y], {"size": 3})
    b.output(b.op("Softmax", [y], {}, "s"))
    b.output(conv(b, random, z, 16, "d"), "d")
    b.output(b.op("Add", [y, conv(b, random, y, 16, "e")]), "f")
    check(Half("float16"), prepared(graph), {"x": random(2, 16, 4, 4)}, HALF)
    names = [(n.op, n.results[0].name, n.results[0].type.dtype) for n in graph.nodes if n.op == "g.convert"]
    assert names.count(("g.convert", "c", DType.FLOAT)) == 1
    assert [v.type.dtype for v in (*graph.inputs, *graph.outputs)] == [DType.FLOAT] * 4


def test_residuals_stay_halves_inside_an_epilogue(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    first = conv(b, random, b.input("x", "float[2,16,4,4]"), 16)
    second = conv(b, random, first, 16)
    b.output(conv(b, random, b.op("Relu", [b.op("Add", [second, first])]), 16), "y")
    run_pipeline(graph, (FuseEpilogue(),))
    check(Half("bfloat16"), prepared(graph), {"x": random(2, 16, 4, 4)}, BF16)
    fused = next(n for n in graph.nodes if "epilogue" in n.attrs)
    assert [v.type.dtype for v in fused.operands if v and not v.is_constant] == [DType.BFLOAT16] * 2


def test_what_the_rule_leaves_alone(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.input("x", "float[2,16,4,4]")
    b.output(b.op("Relu", [b.op("MaxPool", [x], {"kernel": 2})], {}, "p"))
    b.output(b.op("Conv", [x, b.input("w", "float[16,16,1,1]")], {"kernel": 1}), "c")
    b.output(b.op("FC", [x, b.input("v", "float[20,256]"), b.input("u", "float[20]")]), "f")
    few = conv(b, random, x, 15, "few")
    b.output(conv(b, random, few, 600, "narrow"), "narrow")
    inputs = {"x": random(2, 16, 4, 4), "w": random(16, 16, 1, 1), "v": random(20, 256), "u": random(20)}
    check(Half(), prepared(graph), inputs, changed=False)
    assert not any(PRECISION in n.attrs for n in graph.nodes)


def chain(net: Net, random: Random) -> Graph:
    graph, b = net
    y = b.input("x", "float[2,16,4,4]")
    for name in ("c1", "c2", "c3"):
        y = conv(b, random, y, 16, name)
    b.output(b.op("Softmax", [y], {}, "y"))
    for i, node in enumerate(graph.nodes):
        node.location = Location((Origin("n", i, node.op, f"operator{i}"),))
    return prepared(graph)


def precisions(graph: Graph) -> dict[str, str]:
    return {n.results[0].name: d.text for n in graph.nodes if n.op == "Conv" and (d := precision_of(n))}


def test_requests_by_blob_and_by_name(net: Net, check: Check, random: Random) -> None:
    graph = chain(net, random)
    inputs = {"x": random(2, 16, 4, 4)}
    check(Half("bfloat16", "c2:float;operator0:float16"), graph, inputs, BF16)
    assert precisions(graph) == {"c1": "float"}  # writes what c2 wants; c3 is last and small
    kinds = [n.operands[1].type.dtype for n in graph.nodes if n.op == "Conv" and n.operands[1]]
    assert kinds == [DType.FLOAT16, DType.FLOAT, DType.FLOAT]


def test_neighbours_of_other_precision(net: Net, check: Check, random: Random) -> None:
    graph = chain(net, random)
    check(Half("float", "c1:float16;c2:bfloat16"), graph, {"x": random(2, 16, 4, 4)}, BF16)
    assert precisions(graph) == {"c1": "float16", "c2": "float"}
    assert [n.results[0].type.dtype for n in graph.nodes if n.op == "g.convert"] == [DType.FLOAT16, DType.BFLOAT16]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ("c9:float16", "'c9', which no operator computes"),
        ("y:float16", "Softmax has no form in float16"),
        ("c1:int8", "'int8' is no precision"),
    ],
)
def test_requests_that_cannot_be_met(net: Net, random: Random, requests: str, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        Half("float", requests).run(chain(net, random))


def test_weights_in_float_go(net: Net, random: Random) -> None:
    graph = chain(net, random)
    run_pipeline(graph, (Half("float16", "c3:float16"), Dce()))
    assert {v.type.dtype for v in graph.constants if v.type.rank == 4} == {DType.FLOAT16}
