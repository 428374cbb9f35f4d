"""order_after_mean: the mean of an image is taken in the order that the image has, and the order changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir import Call, Graph, Node, TensorType
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import absorb, is_float, make_node, only_user

IMAGE_RANK = 4


@dataclass(frozen=True)
class OrderAfterMean(Pass):
    """NHWC2NCHW, then AveragePool over the whole image, becomes ReduceMean, then NHWC2NCHW of single pixels.

    So the image is not transposed: products of int8 nets that give floats leave them in order NHWC. Handles
    ``global_pooling`` behind an NHWC2NCHW that nobody else reads. Refuses other windows, whose size may fit by chance.
    """

    def run(self, graph: Graph) -> bool:
        return at_each_node(graph, _rewrite, "NHWC2NCHW")


def _rewrite(graph: Graph, node: Node) -> bool:
    x, pool = node.operands[0], only_user(graph, node.results[0])
    if x is None or x.type.shape is None or x.type.rank != IMAGE_RANK or not is_float(x):
        return False
    if pool is None or pool.op != "AveragePool" or "epilogue" in pool.attrs or not _is_mean(Call(pool)):
        return False
    shape = (x.type.shape[0], 1, 1, x.type.shape[3])
    mean = make_node("ReduceMean", [x], TensorType(x.type.dtype, shape), node, {"axes": (1, 2), "keepdims": 1})
    graph.insert_before(node, mean)
    node.set_operand(0, mean.results[0])
    absorb(graph, node, pool)
    return True


def _is_mean(call: Call) -> bool:
    return bool(call.arg("global_pooling")) and call.arg("order") == "NCHW"
