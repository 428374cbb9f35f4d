from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph, Value
from graphc.ir.builder import Builder
from graphc.passes import AssignLayout, FuseElementwise, FuseEpilogue, InferTypes, run_pipeline

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]
BLOCK = AssignLayout(block=4)


def conv(b: Builder, random: Random, x: Value, maps: int, group: int = 1, **attrs: object) -> Value:
    channels = x.type.static_shape[1] if x.type.is_static else x.type.shape[1]  # type: ignore[index]
    w = b.constant(f"w{len(b.graph.nodes)}", random(maps, int(channels) // group, 1, 1))
    return b.op("Conv", [x, w], {"kernel": 1, "group": group, **attrs})


def layouts(graph: Graph) -> list[str]:
    """Operator and the layout of its result, in order."""
    return [f"{n.op}:{n.results[0].type.layout.text}" for n in graph.nodes]


def test_the_first_convolution_reads_plain_rows_and_writes_blocks(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    y = conv(b, random, b.input("x", "float[N,3,6,6]"), 8)
    y = b.op("Relu", [conv(b, random, y, 6)])
    y = b.op("MaxPool", [y], {"kernel": 2, "stride": 2})
    b.output(b.op("Softmax", [y], {}, "y"))
    check(BLOCK, graph, {"x": random(2, 3, 6, 6)})
    assert layouts(graph) == [
        "Conv:nchw4c",
        "Conv:nchw4c",
        "Relu:nchw4c",
        "MaxPool:nchw4c",
        "g.reorder:plain",
        "Softmax:plain",
    ]
    assert graph.stage == "optimised"


def test_inputs_and_outputs_stay_plain(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    b.output(conv(b, random, b.input("x", "float[2,8,6,6]"), 8), "y")
    assert check(BLOCK, graph, {"x": random(2, 8, 6, 6)}) == ["g.reorder", "Conv", "g.reorder"]
    assert [v.type.layout.block for v in (*graph.inputs, *graph.outputs)] == [1, 1]


def test_a_value_is_reordered_once(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.input("x", "float[2,8,6,6]")
    b.output(b.op("Sum", [conv(b, random, x, 8), conv(b, random, x, 8), x], {}, "y"))
    b.output(b.op("Softmax", [x], {}, "z"))
    assert check(BLOCK, graph, {"x": random(2, 8, 6, 6)}) == [
        "g.reorder",
        "Conv",
        "Conv",
        "Sum",
        "Softmax",
        "g.reorder",
    ]


@pytest.mark.parametrize(
    ("channels", "maps", "group", "blocked"),
    [(8, 8, 1, True), (6, 10, 1, True), (6, 6, 6, True), (8, 16, 2, True), (8, 4, 2, False), (6, 12, 6, False)],
)
def test_groups(net: Net, check: Check, random: Random, channels: int, maps: int, group: int, blocked: bool) -> None:
    graph, b = net
    b.output(conv(b, random, b.input("x", f"float[1,{channels},3,3]"), maps, group), "y")
    check(BLOCK, graph, {"x": random(1, channels, 3, 3)}, changed=blocked)


@pytest.mark.parametrize(("pieces", "layout"), [((8, 4), "nchw4c"), ((8, 6), "plain")])
def test_concat_of_whole_blocks(net: Net, check: Check, random: Random, pieces: tuple[int, ...], layout: str) -> None:
    graph, b = net
    x = b.input("x", "float[2,8,3,3]")
    joined = b.node("Concat", [conv(b, random, x, m) for m in pieces], {"axis": 1}, ["y", "info"])
    b.output(joined.results[0])
    check(BLOCK, graph, {"x": random(2, 8, 3, 3)})
    assert f"Concat:{layout}" in layouts(graph)


def test_operands_per_channel_stay_plain(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    y = conv(b, random, b.input("x", "float[2,8,3,3]"), 8)
    y = b.op("PRelu", [y, b.constant("s", random(8))])
    b.output(b.op("Mul", [y, b.constant("m", random(8, 1, 1))], {}, "y"))
    assert check(BLOCK, graph, {"x": random(2, 8, 3, 3)}) == ["g.reorder", "Conv", "PRelu", "Mul", "g.reorder"]


def test_operands_that_spread_over_images_make_an_operator_plain(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    y = conv(b, random, b.input("x", "float[2,8,3,3]"), 8)
    gate = b.op("AveragePool", [y], {"global_pooling": 1})
    b.output(b.op("Mul", [y, gate], {}, "y"))
    check(BLOCK, graph, {"x": random(2, 8, 3, 3)})
    assert layouts(graph)[-1] == "Mul:plain"


def test_fused_graphs_have_the_layouts_too(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.input("x", "float[2,8,3,3]")
    y = b.op("Add", [conv(b, random, x, 8), x])
    pooled = b.op("MaxPool", [b.op("Relu", [y])], {"kernel": 2})
    b.output(b.op("Tanh", [b.op("PRelu", [pooled, b.constant("s", random(8))])], {}, "y"))
    run_pipeline(graph, (FuseEpilogue(), FuseElementwise()))
    assert check(BLOCK, graph, {"x": random(2, 8, 3, 3)}) == [
        "g.reorder",
        "Conv",
        "MaxPool",
        "g.pointwise",
        "g.reorder",
    ]
    for node in graph.nodes[1:4]:
        for inner in node.subgraphs():
            assert {v.type.layout.text for v in inner.values() if v.type.rank == 4} == {"nchw4c"}
    text = str(graph)
    assert not InferTypes().run(graph)
    assert str(graph) == text


def refuse_nhwc(b: Builder, random: Random) -> Value:
    x = b.input("x", "float[2,3,3,8]")
    return b.op("Conv", [x, b.constant("w", random(8, 1, 1, 8))], {"kernel": 1, "order": "NHWC"})


def refuse_fed_weights(b: Builder, random: Random) -> Value:
    return b.op("Conv", [b.input("x", "float[2,8,3,3]"), b.input("w", "float[8,8,1,1]")], {"kernel": 1})


def refuse_one_dimension(b: Builder, random: Random) -> Value:
    return b.op("Conv", [b.input("x", "float[2,8,3]"), b.constant("w", random(8, 8, 1))], {"kernels": (1,)})


def refuse_transposed(b: Builder, random: Random) -> Value:
    return b.op("ConvTranspose", [b.input("x", "float[2,8,3,3]"), b.constant("w", random(8, 8, 1, 1))], {"kernel": 1})


def refuse_without_convolution(b: Builder, random: Random) -> Value:
    return b.op("Relu", [b.op("MaxPool", [b.input("x", "float[2,8,3,3]")], {"kernel": 2})])


REFUSED = [refuse_nhwc, refuse_fed_weights, refuse_one_dimension, refuse_transposed, refuse_without_convolution]


@pytest.mark.parametrize("build", REFUSED)
def test_refusals(net: Net, random: Random, build: Callable[[Builder, Random], Value]) -> None:
    graph, b = net
    b.output(build(b, random), "y")
    before = str(graph)
    assert not BLOCK.run(graph)
    assert str(graph) == before


def test_block_one_is_plain(net: Net, random: Random) -> None:
    graph, b = net
    b.output(conv(b, random, b.input("x", "float[2,8,3,3]"), 8), "y")
    assert not AssignLayout(block=1).run(graph)
