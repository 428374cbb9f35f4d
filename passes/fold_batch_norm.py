"""fold_batch_norm: per-channel affine operators after a convolution or FC become part of its weights and bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Call, Graph, Node
from graphc.passes.affine import Affine, affine_of
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import (
    absorb,
    channel_axis,
    fresh_constant,
    is_float,
    same_shape,
    sole_use,
    unused_but_first,
)

_WEIGHTED = ("Conv", "Conv1D", "Conv2D", "Conv3D", "ConvTranspose", "FC", "FCTransposed")


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold SpatialBN, AffineChannel, Mul, Add, Sub, Div, Scale after Conv, ConvTranspose, FC into weights and bias.

    Handles chains of them, groups, both orders, weights shared with other operators (they get their own copy), absent
    biases, legacy broadcasting. Refuses: weights, bias or parameters that are not constants with storage; SpatialBN
    without is_test (the original's pass ignored that, and other readers of the bare result, which are refused too);
    parameters that vary along another dimension than the channels; results that would not be finite.
    """

    def run(self, graph: Graph) -> bool:
        return at_each_node(graph, _fold, *_WEIGHTED)


def _fold(graph: Graph, node: Node) -> bool:
    call = Call(node)
    if not _has_constant_weights(call):
        return False
    axis = channel_axis(call) if node.op.startswith("Conv") else -1
    total: Affine | None = None
    weights: tuple[np.ndarray, np.ndarray] | None = None
    while (found := _follower(graph, node, axis)) is not None:
        follower, affine = found
        combined = total.then(affine) if total else affine
        scaled = _weights(call, combined)
        if scaled is None:
            break
        total, weights = combined, scaled
        absorb(graph, node, follower)
    if weights is None:
        return False
    _store(graph, node, *weights)
    return True


def _has_constant_weights(call: Call) -> bool:
    node = call.node
    biased = call.has(2)
    return (
        "epilogue" not in node.attrs
        and all(call.constant(i) is not None and is_float(node.operands[i]) for i in ((1, 2) if biased else (1,)))
        and len(node.operands) <= 3
        and is_float(node.results[0])
    )


def _follower(graph: Graph, node: Node, axis: int) -> tuple[Node, Affine] | None:
    """The one operator that reads the result, and its map, where it can be folded."""
    result = node.results[0]
    use = sole_use(graph, result)
    if use is None:
        return None
    follower, slot = use
    if not unused_but_first(graph, follower) or not same_shape(follower.results[0].type, result.type):
        return None
    affine = affine_of(follower, slot, axis)
    return (follower, affine) if affine is not None and affine.is_finite else None


def _weights(call: Call, affine: Affine) -> tuple[np.ndarray, np.ndarray] | None:
    """Weight and bias of ``call`` followed by ``affine``, rounded once to float32; None where they overflow."""
    weight, bias = call.constant(1), call.constant(2) if call.has(2) else None
    assert weight is not None
    with np.errstate(over="ignore"):
        new_weight = (weight * _aligned_scale(call, weight, affine.scale)).astype(np.float32)
        old = bias.reshape(-1).astype(np.float64) if bias is not None else 0.0
        new_bias = (old * affine.scale + affine.shift).astype(np.float32)
    return (new_weight, new_bias) if np.isfinite(new_weight).all() and np.isfinite(new_bias).all() else None


def _aligned_scale(call: Call, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """``scale`` in a shape that broadcasts with ``weight`` so that each output channel's weights meet its element."""
    name = call.node.op
    if name == "FCTransposed":  # (K, N)
        return np.tile(scale, weight.size // scale.size).reshape(weight.shape)
    if name != "ConvTranspose":  # output channels are the outermost elements: (M, ...), or (N, K) under leading ones
        rows = np.repeat(scale, weight.size // scale.size)
        return rows.reshape(weight.shape)
    per_group = scale.reshape(call.arg("group"), -1)  # (C, M / group, kh, kw), or (C, kh, kw, M / group) in NHWC
    by_input = np.repeat(per_group, weight.shape[0] // per_group.shape[0], axis=0)
    middle = (1,) * (weight.ndim - 2)
    return by_input.reshape((len(by_input), *middle, -1) if channel_axis(call) == -1 else (len(by_input), -1, *middle))


def _store(graph: Graph, node: Node, weight: np.ndarray, bias: np.ndarray) -> None:
    x, old = node.operands[0], node.operands[1]
    assert old is not None
    base = node.results[0].name
    new_weight, new_bias = (fresh_constant(graph, f"{base}_{k}", a) for k, a in (("weight", weight), ("bias", bias)))
    node.set_operands([x, new_weight, new_bias])
    node.attrs.pop("no_bias", None)
