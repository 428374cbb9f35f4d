"""lower_dnnlowp: operators of the engine DNNLOWP become those with fast kernels that give the same integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphc.ir import Attr, Call, DType, Graph, Node, Value, lookup
from graphc.ir.ops.quantized._fixed_point import LIMIT
from graphc.ir.ops.quantized.native import LONGEST
from graphc.passes.base import Pass, at_each_node
from graphc.passes.lower_int8 import has_scale
from graphc.passes.matching import fresh_constant, make_node

ENGINE = "_ENGINE_DNNLOWP"
VARIANTS = ("", "_ACC16", "_ROWWISE")
"""Of the engine: preferences for sums of 16 bits, and scales a row for weights in float."""
CONVOLUTIONS = ("Conv", "ConvRelu", "Int8Conv", "Int8ConvRelu")
MATRICES = ("FC", "Int8FC", "Int8FCRelu")
SAME = {
    **dict.fromkeys(("MaxPool", "Int8MaxPool"), "Int8MaxPool"),
    **dict.fromkeys(("Relu", "Int8Relu"), "Int8Relu"),
    **dict.fromkeys(("Dequantize", "Int8Dequantize", "Int8DequantizeRowWise"), "Int8Dequantize"),
}
"""What means the same on bytes with a scale."""
IMAGE_RANK = 4
GREATEST = 2**31 - 1


@dataclass(frozen=True)
class LowerDnnlowp(Pass):
    """Let operators of the engine whose scales are all known be computed by others, with the same integers.

    Handles convolutions of images in order NHWC and matrix products whose weights are constants in uint8: the engine
    scales an exact sum by one product in float32 and rounds once, as ``g.int8_conv`` and ``g.int8_fc`` do. Besides
    MaxPool in that order, Relu and Dequantize. Refuses weights and values in float, results in float, weights that do
    not fit int8 without their zero point, sums that could leave 32 bits.
    """

    def run(self, graph: Graph) -> bool:
        products = [name + ENGINE + variant for name in (*CONVOLUTIONS, *MATRICES) for variant in VARIANTS]
        made = at_each_node(graph, _product, *products)
        renamed = at_each_node(graph, _rename, *(name + ENGINE for name in SAME))
        if made:
            graph.stage = "optimised"
        return made or renamed


def _base(node: Node) -> str:
    return node.op.partition(ENGINE)[0]


def _product(graph: Graph, node: Node) -> bool:
    x, w, y = node.operands[0], node.operands[1], node.results[0]
    bias = node.operands[2] if len(node.operands) > 2 else None
    if x is None or w is None or w.data is None or (bias is not None and bias.data is None):
        return False
    if not (has_scale(x) and has_scale(w) and has_scale(y)):
        return False
    call, is_image = Call(node), _base(node) in CONVOLUTIONS
    if is_image and (x.type.rank != IMAGE_RANK or w.type.rank != IMAGE_RANK or call.arg("order") != "NHWC"):
        return False
    rows = w.data if is_image else w.data.reshape(math.prod(w.data.shape[: call.arg("axis_w") % w.data.ndim]), -1)
    integers = _operands(x, w, y, bias, rows)
    if integers is None:
        return False
    names = (f"{w.name}_s8", f"{node.results[0].name}_bias", f"{w.name}_scales")
    constants = [fresh_constant(graph, name, data) for name, data in zip(names, integers)]
    record = lookup("g.int8_conv" if is_image else "g.int8_fc")
    quant = y.type.quant
    assert quant is not None
    attrs: dict[str, Attr] = {k: v for k, v in node.attrs.items() if record.has_arg(k)}
    attrs |= {"Y_scale": quant.scale, "Y_zero_point": quant.zero_point, "relu": int(_base(node).endswith("Relu"))}
    _replace(graph, node, make_node(record.name, [x, *constants], y.type, node, attrs))
    return True


def _operands(
    x: Value, w: Value, y: Value, bias: Value | None, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Weights as int8 in the shape of ``rows``, bias as int32, scales of the maps; None where they do not fit."""
    assert x.type.quant is not None
    assert w.type.quant is not None
    assert y.type.quant is not None
    centred = rows.astype(np.int16) - w.type.quant.zero_point
    if not rows.size or rows[0].size > LONGEST or centred.min() < -128 or centred.max() > 127:
        return None
    unit = np.float32(x.type.quant.scale) * np.float32(w.type.quant.scale)
    whole = _whole_bias(bias, len(rows), unit)
    most = 255 * np.abs(centred.astype(np.int64)).reshape(len(rows), -1).sum(1) + np.abs(whole)
    with np.errstate(all="ignore"):
        scaled = unit / np.float32(y.type.quant.scale)
    if most.max() > GREATEST or not (0 < unit < np.inf and np.isfinite(scaled)):
        return None
    return centred.astype(np.int8), whole.astype(np.int32), np.full(len(rows), w.type.quant.scale, np.float32)


def _whole_bias(bias: Value | None, maps: int, unit: np.float32) -> np.ndarray:
    """The bias in units of the sums, int64: numbers as they are, real values to the nearest, the even one of two."""
    if bias is None or bias.data is None:
        return np.zeros(maps, np.int64)
    if bias.type.dtype is not DType.FLOAT:
        return bias.data.reshape(-1).astype(np.int64)
    with np.errstate(all="ignore"):
        real = bias.data.reshape(-1) * (np.float32(1) / unit)
    numbers = np.where(np.isnan(real), -LIMIT, real).clip(-LIMIT, LIMIT)
    return np.asarray(np.rint(numbers), np.int64)


def _rename(graph: Graph, node: Node) -> bool:
    """The same operator without the engine, where it takes the call."""
    x, name = node.operands[0], SAME[_base(node)]
    if x is None or not has_scale(x):
        return False
    attrs: dict[str, Attr] = {}
    if name == "Int8MaxPool":
        call, record = Call(node), lookup(name)
        if x.type.rank != IMAGE_RANK or call.arg("order") != "NHWC":
            return False
        if call.arg("legacy_pad") or call.arg("dequantize_output"):
            return False
        attrs = {k: v for k, v in node.attrs.items() if record.has_arg(k) and not k.startswith("Y_")}
    _replace(graph, node, make_node(name, [x], node.results[0].type, node, attrs))
    return True


def _replace(graph: Graph, node: Node, made: Node) -> None:
    graph.insert_before(node, made)
    graph.replace(node.results[0], made.results[0])
    graph.erase(node)
