"""Equalisation keeps what a net computes, and balances what it should."""

from __future__ import annotations

import numpy as np
from small_quantized_nets import branching_net, samples

from graphc.ir import Graph
from graphc.ir.builder import Builder
from graphc.ir.reference import evaluate
from graphc.ir.verify import verify
from graphc.passes.quantize import equalize, find_layers
from graphc.passes.quantize.weights import float_weight


def test_outputs_stay_and_channels_are_balanced() -> None:
    graph = branching_net()
    before = [evaluate(graph, s) for s in samples()]
    assert equalize(graph, find_layers(graph)) == 1  # only one -> left, right
    verify(graph)
    for sample, expected in zip(samples(), before):
        found = evaluate(graph, sample)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * np.abs(values).max())
    layers = {layer.name: layer for layer in find_layers(graph)}
    before_it, left, right = (np.abs(float_weight(layers[n])) for n in ("one", "left", "right"))
    after = np.maximum(left.max((0, 1, 2)), right.reshape(2, 4, 9, 4).max((1, 2)).reshape(-1))
    np.testing.assert_allclose(before_it.max((1, 2, 3)), after, rtol=0.05)


def test_concat_pools_and_fc_on_images_are_seen_through() -> None:
    rng = np.random.default_rng(0)
    graph = Graph("joined")
    build = Builder(graph)
    data = build.input("data", "float[1,3,8,8]")

    def constant(*shape: int):
        return build.constant(f"w{len(graph.constants)}", rng.normal(0, 1, shape).astype(np.float32))

    parts = [
        build.op("Relu", [build.op("Conv", [data, constant(m, 3, 1, 1), constant(m)], {"kernel": 1})]) for m in (4, 2)
    ]
    joined = build.node("Concat", parts, {"axis": 1}, ["joined", "sizes"]).results[0]
    pooled = build.op("MaxPool", [joined], {"kernel": 2, "stride": 2}, "pooled")
    flat = build.node("Reshape", [pooled], {"shape": (0, -1)}, ["flat", "old"]).results[0]
    build.output(build.op("FC", [flat, constant(5, 96), constant(5)], name="scores"))
    infer = {"data": rng.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)}
    expected = evaluate(graph, infer)["scores"]
    for node in graph.nodes:
        for r in node.results:
            r.name = r.name or f"{node.op}{graph.nodes.index(node)}"
    graph.stage = "typed"
    layers = find_layers(graph)
    assert equalize(graph, layers) == 2
    np.testing.assert_allclose(evaluate(graph, infer)["scores"], expected, rtol=1e-4, atol=1e-4)
