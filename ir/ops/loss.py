"""Losses and the gradients of them that saved training nets contain."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

LOG_THRESHOLD = np.float32(1e-20)
"""Caffe2's floor for probabilities before a logarithm."""


def rows_type(call: Call) -> list[TensorType]:
    """Float, one element per row of input 0."""
    shape = call.type(0).shape
    return [TensorType(DType.FLOAT, (UNKNOWN if shape is None else shape[0],))]


def like_input(call: Call) -> list[TensorType]:
    """The type of input 0."""
    return [call.type(0)]


def scalar_type(call: Call) -> list[TensorType]:
    """One float of rank 0."""
    return [TensorType(DType.FLOAT, ())]


def check_labels(call: Call, label: np.ndarray, classes: int) -> np.ndarray:
    """Labels as a flat int64 array; fails where one is not a class, which Caffe2 would read out of bounds."""
    flat = label.reshape(-1).astype(np.int64)
    if flat.size and (flat.min() < 0 or flat.max() >= classes):
        call.fail(f"label {int(flat.min() if flat.min() < 0 else flat.max())} is outside 0 ... {classes - 1}")
    return flat


def _as_rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], math.prod(x.shape[1:])) if x.ndim else x.reshape(1, 1)


def _label_cross_entropy(call: Call, x: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    rows = _as_rows(x)
    picked = rows[np.arange(len(rows)), check_labels(call, label, rows.shape[1])]
    return [-np.log(np.maximum(picked, LOG_THRESHOLD))]


def _label_cross_entropy_gradient(call: Call, x: np.ndarray, label: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    rows = _as_rows(x)
    at = (np.arange(len(rows)), check_labels(call, label, rows.shape[1]))
    dx = np.zeros_like(rows)
    dx[at] = -dy.reshape(-1) / np.maximum(rows[at], LOG_THRESHOLD)
    return [dx.reshape(x.shape)]


op(
    "LabelCrossEntropy",
    rows_type,
    inputs="X label",
    outputs="Y",
    reference=_label_cross_entropy,
    doc="-log of the probability that each row of X gives to its label",
)
op(
    "LabelCrossEntropyGradient",
    like_input,
    inputs="X label dY",
    outputs="dX",
    reference=_label_cross_entropy_gradient,
    doc="gradient of LabelCrossEntropy",
)


def _cross_entropy(call: Call, x: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    return [-(label * np.log(np.maximum(x, LOG_THRESHOLD))).sum(axis=1, dtype=np.float32)]


def _cross_entropy_gradient(call: Call, x: np.ndarray, label: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    return [-dy[:, None] * label / np.maximum(x, LOG_THRESHOLD)]


op(
    "CrossEntropy",
    rows_type,
    inputs="X label",
    outputs="Y",
    reference=_cross_entropy,
    doc="-sum(label * log X) of each row; label is a distribution",
)
op(
    "CrossEntropyGradient",
    like_input,
    inputs="X label dY",
    outputs="dX",
    reference=_cross_entropy_gradient,
    doc="gradient of CrossEntropy",
)


def _averaged_loss(call: Call, x: np.ndarray) -> list[np.ndarray]:
    mean = x.mean(dtype=np.float64) if x.size else 0.0
    return [np.asarray(mean, np.float32)]


def _averaged_loss_gradient(call: Call, x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    return [np.full(x.shape, dy.reshape(-1)[0] / np.float32(max(x.size, 1)), np.float32)]


op(
    "AveragedLoss",
    scalar_type,
    inputs="X",
    outputs="Y",
    reference=_averaged_loss,
    doc="mean of all elements; 0 for none",
)
op(
    "AveragedLossGradient",
    like_input,
    inputs="X dY",
    outputs="dX",
    reference=_averaged_loss_gradient,
    doc="gradient of AveragedLoss",
)

_SOFTMAX_ARGS = (
    Arg("axis", "int", 1, "the dimensions from here on are the classes"),
    Arg("scale", "float", 1.0, "factor of the loss"),
    Arg("label_prob", "int", 0, "labels are distributions over the classes"),
    Arg("average_by_batch_size", "int", 0, "divide by the rows, not by the sum of the weights"),
    Arg("only_loss", "int", 0, "let the gradient reuse the memory of the probabilities"),
    Arg("order", "string", b"NCHW"),
)


def _softmax_with_loss_type(call: Call) -> list[TensorType]:
    return [call.type(0), TensorType(DType.FLOAT, ())]


def _matrix(call: Call, x: np.ndarray) -> np.ndarray:
    axis = call.arg("axis") % max(x.ndim, 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _loss_weights(weight: np.ndarray | None, n: int) -> np.ndarray:
    return np.ones(n, np.float32) if weight is None else weight.reshape(-1)


def _divisor(call: Call, weights: np.ndarray) -> float:
    if call.arg("average_by_batch_size"):
        return float(len(weights))
    return float(weights.sum(dtype=np.float64))


def _softmax_with_loss(
    call: Call, x: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None
) -> list[np.ndarray]:
    p = _softmax(_matrix(call, x))
    log_p = np.log(np.maximum(p, LOG_THRESHOLD))
    weights = _loss_weights(weight, len(p))
    if call.arg("label_prob"):
        losses = -(label.reshape(p.shape) * log_p).sum(axis=1)
    else:
        losses = -log_p[np.arange(len(p)), check_labels(call, label, p.shape[1])]
    divisor = _divisor(call, weights)
    mean = (losses * weights).sum(dtype=np.float64) / divisor if divisor > 0 else 0.0
    return [p.reshape(x.shape), np.asarray(mean * call.arg("scale"), np.float32)]


op(
    "SoftmaxWithLoss",
    _softmax_with_loss_type,
    inputs="logits labels weight?",
    outputs="softmax loss",
    args=_SOFTMAX_ARGS,
    reference=_softmax_with_loss,
    doc="softmax of each row, and the weighted mean of the cross entropies with the labels",
)


def _softmax_with_loss_gradient(call: Call, x: np.ndarray, label: np.ndarray, *rest: np.ndarray) -> list[np.ndarray]:
    weight = rest[0] if len(rest) == 3 else None
    p, d_loss = _matrix(call, rest[-2]), rest[-1].reshape(-1)[0]
    weights = _loss_weights(weight, len(p))
    if call.arg("label_prob"):
        target = label.reshape(p.shape)
        d = p * target.sum(axis=1, keepdims=True) - target
    else:
        d = p.copy()
        d[np.arange(len(p)), check_labels(call, label, p.shape[1])] -= 1
    divisor = _divisor(call, weights)
    factor = call.arg("scale") * d_loss / divisor if divisor > 0 else 0.0
    return [(d * weights[:, None] * np.float32(factor)).reshape(x.shape).astype(np.float32)]


op(
    "SoftmaxWithLossGradient",
    like_input,
    inputs="logits labels rest*",
    outputs="d_logits",
    args=_SOFTMAX_ARGS,
    reference=_softmax_with_loss_gradient,
    doc="gradient of SoftmaxWithLoss; inputs: logits, labels, weight where the loss had it, softmax, d_loss",
)


def _two_class_type(call: Call) -> list[TensorType]:
    shape = call.type(0).shape
    two: tuple[Dim, ...] = (2,)
    return [TensorType(DType.FLOAT, None if shape is None else shape + two)]


def _make_two_class(call: Call, x: np.ndarray) -> list[np.ndarray]:
    return [np.stack([1 - x, x], axis=-1)]


op(
    "MakeTwoClass",
    _two_class_type,
    inputs="X",
    outputs="Y",
    reference=_make_two_class,
    doc="the pair (1 - x, x) for each probability x",
)


def _logit_rows_type(call: Call) -> list[TensorType]:
    shape = call.type(0).shape
    return [TensorType(DType.FLOAT, None if shape is None else shape[:-1])]


def _sigmoid_loss(call: Call, x: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """log(sigmoid) is written so that no exponential overflows."""
    soft = np.log1p(np.exp(-np.abs(x)))
    positive, negative = np.minimum(x, 0) - soft, np.minimum(-x, 0) - soft
    if call.arg("unjoined_lr_loss"):
        terms = target * x - (1 - target) * (np.maximum(x, 0) + soft)
    elif call.arg("log_D_trick"):
        terms = (2 * target - 1) * positive
    else:
        terms = target * positive + (1 - target) * negative
    return [-terms.mean(axis=-1, dtype=np.float32)]


op(
    "SigmoidCrossEntropyWithLogits",
    _logit_rows_type,
    inputs="logits targets",
    outputs="xentropy",
    args=(
        Arg("log_D_trick", "int", 0, "maximise log D(G) instead of minimising log(1 - D(G))"),
        Arg("unjoined_lr_loss", "int", 0, "positives count once more as negatives"),
    ),
    reference=_sigmoid_loss,
    doc="mean over the last dimension of the cross entropy of sigmoid(logits) with targets",
)
