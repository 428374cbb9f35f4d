"""lower_int8: graphc's own int8 products take sums and conversions along; on request Caffe2's become such products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Attr, Call, DType, Graph, Node, Value, lookup
from graphc.ir.ops.quantized.native import LONGEST, RESIDUAL
from graphc.ir.types import OPEN_QUANT
from graphc.passes.base import Pass, at_each_node, in_each_net
from graphc.passes.matching import absorb, fresh_constant, make_node, only_user

CONVOLUTIONS = ("Int8Conv", "Int8ConvRelu")
PRODUCTS = (*CONVOLUTIONS, "Int8FC", "Int8FCRelu")
SUMS = ("Int8Sum", "Int8SumRelu", "Int8Add", "Int8AddRelu")
NATIVE = ("g.int8_conv", "g.int8_fc")


@dataclass(frozen=True)
class LowerInt8(Pass):
    """Let ``g.int8_conv`` and ``g.int8_fc`` do what follows; with ``caffe2`` turn Int8Conv and Int8FC into them before.

    Results differ by a unit here and there: they are rounded once, where otherwise the product is rounded and then the
    sum. So Caffe2's operators stay Caffe2's unless somebody asks (docs/decisions/0007): a graph has the other ones only
    if who quantised it wanted them.

    Handles, behind a product that nobody else reads: a sum with a value of its shape, Int8Relu, and Int8Dequantize
    where the product has no Relu (what is above the greatest value stays above it then). Of Caffe2's products those
    with constant weights and biases, whatever zero point leaves the weights within int8, with their Relu. Refuses
    other weights, sums of more than 65536 products, scales that only the data decides.
    """

    caffe2: bool = False

    def run(self, graph: Graph) -> bool:
        made = self.caffe2 and at_each_node(graph, _make_native, *PRODUCTS)
        changed = in_each_net(graph, _fuse) or made
        if changed:
            graph.stage = "optimised"
        return changed


def _make_native(graph: Graph, node: Node) -> bool:
    x, w, b = node.operands[:3]
    if x is None or w is None or b is None or w.data is None or b.data is None:
        return False
    if not (has_scale(x) and has_scale(w)):
        return False
    quant = w.type.quant
    assert quant is not None
    rows = w.data if node.op in CONVOLUTIONS else w.data.reshape(b.data.size, -1)
    centred = rows.astype(np.int16) - quant.zero_point
    if not rows.size or rows[0].size > LONGEST or centred.min() < -128 or centred.max() > 127:
        return False
    scales = np.full(len(rows), quant.scale, np.float32)
    constants = [
        fresh_constant(graph, f"{w.name}_s8", centred.astype(np.int8)),
        fresh_constant(graph, f"{b.name}_s32", b.data.reshape(-1)),
        fresh_constant(graph, f"{w.name}_scales", scales),
    ]
    record = lookup("g.int8_conv" if node.op in CONVOLUTIONS else "g.int8_fc")
    attrs: dict[str, Attr] = {k: v for k, v in node.attrs.items() if record.has_arg(k)}
    attrs["relu"] = int(node.op.endswith("Relu"))
    made = make_node(record.name, [x, *constants], node.results[0].type, node, attrs)
    graph.insert_before(node, made)
    graph.replace(node.results[0], made.results[0])
    graph.erase(node)
    return True


def _fuse(graph: Graph) -> bool:
    """Let native products take what follows them. Of two that are added the later one takes the sum."""
    changed = False
    for node in reversed([n for n in graph.nodes if n.op in NATIVE]):
        while _fuse_next(graph, node):
            changed = True
    return changed


def _fuse_next(graph: Graph, node: Node) -> bool:
    call, follower = Call(node), only_user(graph, node.results[0])
    if follower is None or call.arg("to_float"):
        return False
    is_linear = not call.arg("relu") and call.arg("high") == 255
    if follower.op == "Int8Relu":
        node.attrs["relu"] = 1
    elif follower.op == "Int8Dequantize" and is_linear:
        node.attrs["to_float"] = 1
    elif follower.op in SUMS and is_linear and _takes_sum(node, follower):
        node.attrs |= {name: Call(follower).arg(name) for name in ("Y_scale", "Y_zero_point")}
        node.attrs["relu"] = int(follower.op.endswith("Relu"))
    else:
        return False
    absorb(graph, node, follower)
    return True


def _takes_sum(node: Node, follower: Node) -> bool:
    """Give the product what is added, where it adds nothing yet and a scale says what that means."""
    others = [v for v in follower.operands if v is not node.results[0]]
    if Call(node).has(RESIDUAL) or len(others) != 1 or others[0] is None or not has_scale(others[0]):
        return False
    node.set_operands([*node.operands, others[0]])
    return True


def has_scale(value: Value) -> bool:
    """The value is uint8 of a known scale and zero point."""
    return value.type.dtype is DType.UINT8 and value.type.quant not in (None, OPEN_QUANT)
