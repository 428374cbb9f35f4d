"""Small float nets that the tests quantise, with their data."""

from __future__ import annotations

import numpy as np

from graphc.ir import Graph
from graphc.ir.builder import Builder
from graphc.ir.reference import evaluate
from graphc.passes.quantize import Moments, Observation, prepare
from graphc.passes.quantize.layers import Kind, Layer

BATCHES = 4


def branching_net() -> Graph:
    """Two convolutions joined by Concat, pools, a residual sum, grouped and strided windows, Reshape, FC, Softmax."""
    rng = np.random.default_rng(3)
    graph = Graph("branching")
    build = Builder(graph)

    def weights(name: str, *shape: int) -> list:
        spread = np.exp(rng.normal(0, 0.7, (shape[0],) + (1,) * (len(shape) - 1)))
        w = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape) * spread
        return [
            build.constant(f"{name}_w", w.astype(np.float32)),
            build.constant(f"{name}_b", rng.normal(0, 0.1, shape[0]).astype(np.float32)),
        ]

    def conv(name: str, x, maps: int, channels: int, kernel: int, relu: bool = True, **args):
        y = build.op(
            "Conv",
            [x, *weights(name, maps, channels, kernel, kernel)],
            {"kernel": kernel, **args},
            name + ("_raw" if relu else ""),
        )
        return build.op("Relu", [y], name=name) if relu else y

    data = build.input("data", "float[2,3,12,12]")
    one = conv("one", data, 8, 3, 3, pad=1, stride=1)
    left, right = conv("left", one, 8, 8, 1), conv("right", one, 8, 4, 3, pad=1, group=2)
    joined = build.node("Concat", [left, right], {"axis": 1}, ["joined", "joined_sizes"]).results[0]
    pooled = build.op("MaxPool", [joined], {"kernel": 3, "stride": 2, "pad": 1}, "pooled")
    two = conv("two", pooled, 16, 16, 3, relu=False, pad=1)
    added = build.op("Relu", [build.op("Sum", [two, pooled], name="added_raw")], name="added")
    mean = build.op("AveragePool", [added], {"kernel": 3, "stride": 3}, "mean")
    flat = build.node("Reshape", [mean], {"shape": (0, -1)}, ["flat", "old"]).results[0]
    scores = build.op("FC", [flat, *weights("scores", 5, 64)], name="scores")
    build.output(build.op("Softmax", [scores], name="prob"))
    build.output(scores)
    prepare(graph)
    return graph


def samples() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(4)
    return [{"data": rng.normal(0.3, 1, (2, 3, 12, 12)).astype(np.float32)} for _ in range(BATCHES)]


def observed(graph: Graph, layers: list[Layer], with_products: bool = True) -> tuple[dict, dict]:
    """Observations and moments of the samples, by the reference interpreter."""
    names = {v.name for layer in layers for v in (*layer.inputs, layer.result)}
    seen = {n: Observation(n) for n in names}
    products = [layer for layer in layers if layer.kind is Kind.PRODUCT]
    moments = {layer.name: Moments.of(layer, with_products) for layer in products}
    for batch in samples():
        values = evaluate(graph, batch, keep_all=True)
        for n, record in seen.items():
            record.add(values[n])
        for layer in products:
            moments[layer.name].add(layer, values[layer.inputs[0].name])
    return seen, moments
