"""Equalisation across layers: channels are scaled so that all weights of a tensor use the 8 bits alike.

Source: Nagel et al. 2019 (arXiv 1906.04721), section 4.1. What is between two products, Relu, pools, Concat, gives
twice as much for twice as much; a channel may therefore be scaled where it is made and scaled back where it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir import Call, Graph, Node, Value
from graphc.passes.matching import is_output, unused_but_first
from graphc.passes.quantize.layers import Kind, Layer
from graphc.passes.quantize.weights import float_bias, float_weight, set_float_weight

SWEEPS = 20
CLOSE = 0.01
"""Sweeps end when no channel is scaled by more than this part."""
LARGEST = 64.0
"""No channel is scaled by more than this, or its inverse, in all: what is nearly dead stays small."""
HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "ResizeNearest")
"""Operators that leave channels apart and give s * y for s * x, s > 0."""


@dataclass(frozen=True)
class Reader:
    """A product that reads all channels of another, from its channel ``first`` on."""

    layer: Layer
    first: int


def equalize(graph: Graph, layers: Sequence[Layer]) -> int:
    """Scale channels between products, in place; says between how many products and their readers.

    Handles readers behind Relu, LeakyRelu, PRelu, pools, ResizeNearest, Concat and views in front of an FC; groups.
    Refuses channels that anything else reads, or that the graph gives: they would be seen scaled. The net computes what
    it did, up to rounding.
    """
    products = [layer for layer in layers if layer.kind is Kind.PRODUCT]
    readers = {layer: found for layer in products if (found := _readers(graph, layer, products))}
    weights = {layer: float_weight(layer) for layer in products}
    total = {layer: np.ones(len(weights[layer])) for layer in readers}
    for _ in range(SWEEPS):
        change = max([_balance(layer, found, weights, total) for layer, found in readers.items()], default=0.0)
        if change < CLOSE:
            break
    for layer in dict.fromkeys([*readers, *(r.layer for found in readers.values() for r in found)]):
        set_float_weight(graph, layer, weights[layer], float_bias(layer) * total.get(layer, 1.0))
    return len(readers)


def _balance(
    layer: Layer, readers: Sequence[Reader], weights: dict[Layer, np.ndarray], total: dict[Layer, np.ndarray]
) -> float:
    """Let each channel's largest weight be the same before and after it; the largest change, as |log|."""
    own = _largest(weights[layer], keep=0)
    theirs = np.max([_largest_read(r, weights[r.layer], len(own)) for r in readers], axis=0)
    alive = (own > 0) & (theirs > 0)
    factor = np.sqrt(np.divide(theirs, own, out=np.ones_like(own), where=alive))
    factor = np.clip(factor * total[layer], 1 / LARGEST, LARGEST) / total[layer]
    total[layer] = total[layer] * factor
    weights[layer] = weights[layer] * factor.reshape(-1, *(1,) * (weights[layer].ndim - 1))
    for r in readers:
        weights[r.layer] = _divided(r, weights[r.layer], factor)
    return float(np.max(np.abs(np.log(factor))))


def _largest(weight: np.ndarray, keep: int) -> np.ndarray:
    axes = tuple(i for i in range(weight.ndim) if i != keep)
    return np.asarray(np.max(np.abs(weight), axis=axes))


def _by_group(reader: Reader, weight: np.ndarray) -> np.ndarray:
    """(group, M / group, ..., C / group)"""
    group = reader.layer.groups
    return weight.reshape(group, len(weight) // group, -1, weight.shape[-1])


def _largest_read(reader: Reader, weight: np.ndarray, count: int) -> np.ndarray:
    """Largest weight that meets each of the ``count`` channels."""
    found = np.max(np.abs(_by_group(reader, weight)), axis=(1, 2)).reshape(-1)
    return np.asarray(found[reader.first : reader.first + count])


def _divided(reader: Reader, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    parts = _by_group(reader, weight)
    inverse = np.ones(parts.shape[0] * parts.shape[-1])
    inverse[reader.first : reader.first + len(factor)] = 1 / factor
    return (parts * inverse.reshape(parts.shape[0], 1, 1, -1)).reshape(weight.shape)


def _readers(graph: Graph, layer: Layer, products: Sequence[Layer]) -> list[Reader] | None:
    """The products that read the layer's channels, None where something else does."""
    found: list[Reader] = []
    of_node = {p.node: p for p in products}
    bounded = layer.relu is not None and layer.relu.op not in HOMOGENEOUS
    return found if not bounded and _follow(graph, layer.result, 0, of_node, found) and found else None


def _follow(graph: Graph, value: Value, first: int, products: dict[Node, Layer], found: list[Reader]) -> bool:
    """Collect the readers of a value whose channels start at ``first``; False where one is no product in the end."""
    if is_output(graph, value) or not value.users:
        return False
    return all(_follow_user(graph, value, node, first, products, found) for node in value.users)


def _follow_user(
    graph: Graph, value: Value, node: Node, first: int, products: dict[Node, Layer], found: list[Reader]
) -> bool:
    if node in products:
        layer = products[node]
        found.append(Reader(layer, first))
        return (
            sum(v is value for v in node.operands) == 1 and node.operands[0] is value and _channels_last(layer, value)
        )
    if not unused_but_first(graph, node):
        return False
    result = node.results[0]
    behind = [
        p for p in products.values() if result in p.node.operands and p.inputs[0] is value and value.type.rank == 4
    ]
    if behind and len(result.users) == len(behind):  # a view in front of products
        found += [Reader(p, first) for p in behind]
        return not is_output(graph, result)
    if node.op == "Concat":
        places = [i for i, v in enumerate(node.operands) if v is value]
        before = [v.type.static_shape[1] for v in node.operands[: places[0]] if v is not None]
        joins = len(places) == 1 and Call(node).type(0).rank in (2, 4) and _joins_channels(node)
        return joins and _follow(graph, result, first + sum(before), products, found)
    if node.op in HOMOGENEOUS and node.operands[0] is value and _is_plain(node):
        return _follow(graph, result, first, products, found)
    return False


def _channels_last(layer: Layer, value: Value) -> bool:
    """The reader's weights have a column for each channel: of the value itself, not of one flattened from an image."""
    return layer.inputs[0] is value


def _joins_channels(node: Node) -> bool:
    types = [v.type for v in (*node.operands, node.results[0]) if v is not None]
    if not all(t.is_static for t in types):
        return False
    *parts, total = (t.static_shape[1] for t in types)
    return total == sum(parts)


def _is_plain(node: Node) -> bool:
    return not node.opdef.has_arg("order") or Call(node).arg("order") == "NCHW"
