"""Weights of a layer in the order of Int8 operators: (M, kH, kW, C / group), and (M, H, W, C) for an FC on images."""

from __future__ import annotations

import numpy as np

from graphc.ir import Call, Graph, Value
from graphc.passes.matching import fresh_constant
from graphc.passes.quantize.layers import IMAGE_RANK, Layer


def float_weight(layer: Layer) -> np.ndarray:
    """The weights of a product as float64, in the order in which windows of an NHWC image meet them."""
    weight = Call(layer.node).constant(1)
    assert weight is not None
    full = weight.astype(np.float64)
    if layer.op == "Int8Conv":
        return np.ascontiguousarray(full.transpose(0, 2, 3, 1))
    maps = layer.node.results[0].type.static_shape[1]
    image = layer.inputs[0].type
    if image.rank != IMAGE_RANK:
        return full.reshape(maps, -1)
    return np.ascontiguousarray(full.reshape(maps, *image.static_shape[1:]).transpose(0, 2, 3, 1))


def set_float_weight(graph: Graph, layer: Layer, weight: np.ndarray, bias: np.ndarray) -> None:
    """Give a product other weights, in the order of ``float_weight``, and another bias; as new constants."""
    node, old = layer.node, layer.node.operands[1]
    assert old is not None
    plain = weight.transpose(0, 3, 1, 2) if weight.ndim == IMAGE_RANK else weight
    data = np.ascontiguousarray(plain.reshape(old.type.static_shape), np.float32)
    names = [f"{layer.name}_{part}" for part in ("weight", "bias")]
    made = [fresh_constant(graph, n, a) for n, a in zip(names, (data, np.asarray(bias, np.float32)))]
    operands: list[Value | None] = [node.operands[0], *made]
    node.set_operands(operands)
    node.attrs.pop("no_bias", None)


def float_bias(layer: Layer) -> np.ndarray:
    """The bias of a product as float64 (M,); zeros where it has none."""
    call = Call(layer.node)
    bias = call.constant(2) if call.has(2) else None
    maps = layer.node.results[0].type.static_shape[1]
    return np.zeros(maps) if bias is None else bias.reshape(-1).astype(np.float64)
