"""fuse_int8: Int8 operators become fewer that give the same integers: Relu, conversions there and back, images."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir import Graph, Node, Quant
from graphc.ir.ops.quantized.images import MOST_CHANNELS
from graphc.ir.types import OPEN_QUANT
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import absorb, is_float, make_node, only_user, unused_but_first

_WITH_RELU = {op: f"{op}Relu" for op in ("Int8Conv", "Int8FC", "Int8Sum", "Int8Add", "Int8AveragePool", "Int8MaxPool")}
IMAGE_RANK = 4
_SCALES = (2.0**-100, 2.0**100)
"""Between them no real value of 8 bits overflows or loses digits, so that it comes back as it was."""


@dataclass(frozen=True)
class FuseInt8(Pass):
    """Rewrite Int8 operators into fewer of them that give the same integers.

    Handles Int8Relu behind a product, sum or pool that nobody else reads; Int8Quantize that takes back what
    Int8Dequantize did, with the same scale and zero point, or that alone reads an image of few channels that NCHW2NHWC
    gives. Refuses other engines' operators and scales that are not known.
    """

    def run(self, graph: Graph) -> bool:
        with_relu = at_each_node(graph, _take_relu, *_WITH_RELU)
        cancelled = at_each_node(graph, _cancel, "Int8Quantize")
        images = at_each_node(graph, _take_image, "NCHW2NHWC")
        if images:
            graph.stage = "optimised"
        return with_relu or cancelled or images


def _take_relu(graph: Graph, node: Node) -> bool:
    relu = only_user(graph, node.results[0])
    if relu is None or relu.op != "Int8Relu" or not unused_but_first(graph, node):
        return False
    node.op = _WITH_RELU[node.op]
    absorb(graph, node, relu)
    return True


def _cancel(graph: Graph, node: Node) -> bool:
    """The real value of an integer, quantised alike, is the integer again."""
    real = node.operands[0]
    before = real.producer if real is not None else None
    source = before.operands[0] if before is not None and before.op == "Int8Dequantize" else None
    if source is None or not same_quant(source.type.quant, node.results[0].type.quant):
        return False
    graph.replace(node.results[0], source)
    graph.erase(node)
    return True


def _take_image(graph: Graph, node: Node) -> bool:
    """Change the order and the precision of an image at once."""
    follower, x = only_user(graph, node.results[0]), node.operands[0]
    if follower is None or follower.op != "Int8Quantize" or x is None or x.type.rank != IMAGE_RANK or not is_float(x):
        return False
    channels = x.type.shape[1] if x.type.shape else None
    if not isinstance(channels, int) or channels > MOST_CHANNELS:
        return False
    attrs = {name: v for name, v in follower.attrs.items() if name in ("Y_scale", "Y_zero_point")}
    image = make_node("g.int8_image", [x], follower.results[0].type, node, attrs)
    graph.insert_before(node, image)
    graph.replace(node.results[0], image.results[0])
    graph.erase(node)
    absorb(graph, image, follower)
    return True


def same_quant(a: Quant | None, b: Quant | None) -> bool:
    """Both are known and equal, and values that are dequantised by them come back."""
    return a is not None and a == b and a != OPEN_QUANT and _SCALES[0] <= a.scale <= _SCALES[1]
