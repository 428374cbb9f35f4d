"""batch_norm_to_affine: a normalisation with known statistics is a multiplication and an addition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Call, Graph, Node, Value
from graphc.passes.affine import affine_of
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import channel_axis, fresh_constant, is_float, make_node, unused_but_first


@dataclass(frozen=True)
class BatchNormToAffine(Pass):
    """Replace SpatialBN with is_test and constant parameters by Mul and Add, which fuse as all pointwise operators do.

    Run it after fold_batch_norm, which needs no operator at all for those that follow a convolution. Refuses SpatialBN
    without is_test, with other results in use, of another type than float, or with parameters that are not finite.
    """

    def run(self, graph: Graph) -> bool:
        return at_each_node(graph, _rewrite, "SpatialBN")


def _rewrite(graph: Graph, node: Node) -> bool:
    x, result = node.operands[0], node.results[0]
    if x is None or not is_float(x) or not unused_but_first(graph, node):
        return False
    axis = channel_axis(Call(node))
    affine = affine_of(node, 0, axis)
    if affine is None or not affine.is_finite:
        return False
    trailing = (1,) * ((x.type.rank or 0) - 2) if axis == 1 else ()
    scaled = _append(graph, node, "Mul", x, affine.scale, trailing)
    graph.replace(result, _append(graph, node, "Add", scaled, affine.shift, trailing))
    graph.erase(node)
    return True


def _append(graph: Graph, like: Node, op: str, x: Value, vector: np.ndarray, trailing: tuple[int, ...]) -> Value:
    """``op(x, vector)`` in front of ``like``, the vector shaped so that it meets the channels by NumPy's rules."""
    kind = "scale" if op == "Mul" else "shift"
    data = vector.astype(np.float32).reshape(-1, *trailing)
    constant = fresh_constant(graph, f"{like.results[0].name}_{kind}", data)
    made = make_node(op, [x, constant], like.results[0].type, like)
    return graph.insert_before(like, made).results[0]
