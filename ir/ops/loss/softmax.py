"""Softmax and cross entropy in one operator, for rows and for the pixels of images, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._products import span
from graphc.ir.ops._rules import agree, axis_of, count_of, merge_shapes, product, require, require_rank
from graphc.ir.ops.loss.loss import FLOAT, LABEL_ERROR, LABELS, LOG_THRESHOLD
from graphc.ir.types import UNKNOWN, DType, TensorType

_ARGS = (
    Arg("axis", "int", 1, "the dimensions from here on are the classes"),
    Arg("scale", "float", 1.0, "factor of the loss"),
    Arg("label_prob", "int", 0, "labels are distributions over the classes"),
    Arg("average_by_batch_size", "int", 0, "divide by the rows, not by the sum of the weights"),
    Arg("only_loss", "int", 0, "let the gradient reuse the memory of the probabilities"),
    Arg("order", "string", b"NCHW"),
)
_ERRORS = (
    *LABEL_ERROR,
    "a probability of the labels is negative",
    "the probabilities of the labels of a row do not add up to 1",
)
DONT_CARE = -1
"""The label of a pixel that does not count."""


def _checked(call: Call) -> TensorType:
    """Type of the logits; labels are classes, one a row, or with ``label_prob`` distributions."""
    x, label = require(call, 0, FLOAT), require(call, 1, FLOAT if call.arg("label_prob") else LABELS)
    if call.arg("scale") < 0:
        call.fail(f"scale is {call.arg('scale')}", "use a scale of at least 0")
    if x.shape is None or label.shape is None:
        return x
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    rows, columns = product(x.shape[:axis]), product(x.shape[axis:])
    if call.arg("label_prob"):
        if len(label.shape) < 2:
            call.fail(f"the labels have {len(label.shape)} dimensions, with label_prob at least 2 are needed")
        agree(call, product(label.shape[:axis]), rows, "rows of the labels")
        agree(call, product(label.shape[axis:]), columns, "classes in a row of the labels")
    else:
        agree(call, product(label.shape), rows, "number of labels")
    return x


def _weights(call: Call, x: TensorType, i: int) -> None:
    shape = require(call, i, FLOAT).shape
    if x.shape is not None and shape is not None:
        axis = axis_of(call, call.arg("axis"), len(x.shape))
        agree(call, product(shape), product(x.shape[:axis]), "number of weights")


def _types(call: Call) -> list[TensorType]:
    """softmax has the type of the logits, loss is one number."""
    x = _checked(call)
    if call.has(2):
        _weights(call, x, 2)
    return [x, TensorType(DType.FLOAT, ())]


def _softmax_rows(x: np.ndarray, p: np.ndarray, rows: int, columns: int) -> None:
    for i in range(rows):
        top = x.flat[i * columns] if columns > 0 else np.float32(0)
        for j in range(columns):
            top = max(top, x.flat[i * columns + j])
        total = 0.0
        for j in range(columns):
            e = math.exp(x.flat[i * columns + j] - top)
            p.flat[i * columns + j] = np.float32(e)
            total += e
        for j in range(columns):
            p.flat[i * columns + j] = np.float32(p.flat[i * columns + j] / total)


def _log_of_row(x: np.ndarray, at: int, columns: int, k: int) -> float:
    """The logarithm of the softmax of element k of a row."""
    top = float(x.flat[at])
    for j in range(columns):
        top = max(top, float(x.flat[at + j]))
    total = 0.0
    for j in range(columns):
        total += math.exp(x.flat[at + j] - top)
    return float(x.flat[at + k]) - top - math.log(total)


def _loop(
    x: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    loss: np.ndarray,
    axis: int,
    scale: float,
    label_prob: int,
    by_rows: int,
) -> int:
    rows, columns = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    _softmax_rows(x, p, rows, columns)
    total, weights = 0.0, 0.0
    for i in range(rows):
        w, term = 1.0, 0.0
        if weight.size > 0:
            w = float(weight.flat[i])
        if label_prob:
            sum_of_label = 0.0
            for j in range(columns):
                t = float(label.flat[i * columns + j])
                if t < 0.0:
                    return 2
                sum_of_label += t
                term -= t * math.log(max(float(p.flat[i * columns + j]), LOG_THRESHOLD))
            if abs(sum_of_label - 1.0) >= 1e-5:
                return 3
        else:
            k = int(label.flat[i])
            if k < 0 or k >= columns:
                return 1
            term = -_log_of_row(x, i * columns, columns, k)
        total += term * w
        weights += w
    divisor = float(rows) if by_rows else weights
    if weights != 0.0 and divisor != 0.0:
        loss.flat[0] = np.float32(total * scale / divisor)
    return 0


def _constants(call: Call) -> Sequence[Any]:
    axis = axis_of(call, call.arg("axis"), call.type(0).rank or 0)
    return [axis, call.arg("scale"), int(bool(call.arg("label_prob"))), int(bool(call.arg("average_by_batch_size")))]


op(
    "SoftmaxWithLoss",
    _types,
    inputs="logits labels weight?",
    outputs="softmax loss",
    args=_ARGS,
    loop=_loop,
    errors=_ERRORS,
    constants=_constants,
    doc="softmax of each row, and the weighted mean of the cross entropies with the labels",
)


def _gradient_type(call: Call) -> list[TensorType]:
    """d_logits has the type of the logits."""
    x = _checked(call)
    weighted = call.has(4)
    if weighted:
        _weights(call, x, 2)
    what = "softmax has not the shape of the logits"
    merge_shapes(call, require(call, 2 + weighted, FLOAT).shape, x.shape, what)
    _one(call, 3 + weighted)
    return [x]


def _one(call: Call, i: int) -> None:
    shape = require(call, i, FLOAT).shape
    if shape is not None:
        agree(call, product(shape), 1, f"elements of {call.input_name(i)}")


def _gradient(
    label: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    d_loss: np.ndarray,
    dx: np.ndarray,
    rows: int,
    columns: int,
    weighted: int,
    scale: float,
    label_prob: int,
    by_rows: int,
) -> int:
    weights = 0.0
    for i in range(rows):
        weights += weight.flat[i] if weighted else 1.0
    divisor = float(rows) if by_rows else weights
    factor = scale / divisor * d_loss.flat[0] if divisor > 0.0 else 1.0
    for i in range(rows):
        w = weight.flat[i] * factor if weighted else factor
        for j in range(columns):
            q = i * columns + j
            target = float(label.flat[q]) if label_prob else 0.0
            dx.flat[q] = np.float32((p.flat[q] - target) * w)
        if not label_prob:
            k = int(label.flat[i])
            if k < 0 or k >= columns:
                return 1
            dx.flat[i * columns + k] = np.float32((p.flat[i * columns + k] - 1.0) * w)
    return 0


def _gradient_loop(
    x: np.ndarray,
    label: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    dx: np.ndarray,
    weighted: int,
    axis: int,
    scale: float,
    label_prob: int,
    by_rows: int,
) -> int:
    rows, columns = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    if weighted:
        return _gradient(label, a, b, c, dx, rows, columns, 1, scale, label_prob, by_rows)
    return _gradient(label, a, a, b, dx, rows, columns, 0, scale, label_prob, by_rows)


op(
    "SoftmaxWithLossGradient",
    _gradient_type,
    inputs="logits labels weight_or_softmax softmax_or_d_loss d_loss?",
    outputs="d_logits",
    args=_ARGS,
    loop=_gradient_loop,
    errors=_ERRORS,
    constants=lambda call: [int(call.has(4)), *_constants(call)],
    doc="gradient of SoftmaxWithLoss; inputs: logits, labels, weight where the loss had it, softmax, d_loss",
)

_SPATIAL_ARGS = (Arg("scale", "float", 1.0, "factor of the gradient"), Arg("order", "string", b"NCHW"))


def _pixels(call: Call, weights: int | None) -> TensorType:
    """Type of the logits (N, D, H, W); labels and weights are (N, H, W)."""
    x, shape = require(call, 0, FLOAT), require_rank(call, 0, 4)
    if call.arg("order") != "NCHW":
        call.fail(f"order '{call.arg('order')}' is not served", "use NCHW")
    wanted = (UNKNOWN,) * 3 if shape is None else (shape[0], *shape[2:])
    require(call, 1, LABELS)
    merge_shapes(call, require_rank(call, 1, 3), wanted, "the labels have not the shape of the images")
    if weights is not None:
        found = require(call, weights, FLOAT).shape
        agree(call, count_of(found), product(wanted), "number of weights")
    return x


def _spatial_types(call: Call) -> list[TensorType]:
    """softmax has the type of the logits, loss is one number."""
    return [_pixels(call, 2 if call.has(2) else None), TensorType(DType.FLOAT, ())]


def _spatial_loop(x: np.ndarray, label: np.ndarray, weight: np.ndarray, p: np.ndarray, loss: np.ndarray) -> int:
    n, d, s = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    total, weights = 0.0, 0.0
    for i in range(n * s):
        at = i // s * d * s + i % s
        spatial_softmax(x, p, at, d, s)
        k = int(label.flat[i])
        if k == DONT_CARE:
            continue
        if k < 0 or k >= d:
            return 1
        w = 1.0
        if weight.size > 0:
            w = float(weight.flat[i])
        weights += w
        total -= math.log(max(float(p.flat[at + k * s]), LOG_THRESHOLD)) * w
    if weights != 0.0:
        loss.flat[0] = np.float32(total / weights)
    return 0


def spatial_softmax(x: np.ndarray, p: np.ndarray, at: int, n: int, step: int) -> None:
    """Softmax of n elements, ``step`` apart."""
    top, total = float(x.flat[at]) if n > 0 else 0.0, 0.0
    for j in range(n):
        top = max(top, float(x.flat[at + j * step]))
    for j in range(n):
        e = math.exp(x.flat[at + j * step] - top)
        p.flat[at + j * step] = np.float32(e)
        total += e
    for j in range(n):
        p.flat[at + j * step] = np.float32(p.flat[at + j * step] / total)


op(
    "SpatialSoftmaxWithLoss",
    _spatial_types,
    inputs="logits labels weight?",
    outputs="softmax loss",
    args=_SPATIAL_ARGS,
    loop=_spatial_loop,
    constants=lambda call: [],
    errors=LABEL_ERROR,
    doc="softmax over the channels of each pixel, and the mean cross entropy; pixels of label -1 do not count",
)


def _spatial_gradient_type(call: Call) -> list[TensorType]:
    """d_logits has the type of the logits."""
    weighted = call.has(4)
    x = _pixels(call, 2 if weighted else None)
    what = "softmax has not the shape of the logits"
    merge_shapes(call, require(call, 2 + weighted, FLOAT).shape, x.shape, what)
    _one(call, 3 + weighted)
    return [x]


def _spatial_gradient(
    x: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    d_loss: np.ndarray,
    dx: np.ndarray,
    weighted: int,
    scale: float,
) -> int:
    n, d, s = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    weights = 0.0
    for i in range(n * s):
        if label.flat[i] != DONT_CARE:
            weights += weight.flat[i] if weighted else 1.0
    factor = d_loss.flat[0] * (scale / weights if weights > 0.0 else 1.0)
    for i in range(n * s):
        k = int(label.flat[i])
        if k == DONT_CARE:
            continue
        if k < 0 or k >= d:
            return 1
        at, w = i // s * d * s + i % s, weight.flat[i] * factor if weighted else factor
        for j in range(d):
            target = 1.0 if j == k else 0.0
            dx.flat[at + j * s] = np.float32((p.flat[at + j * s] - target) * w)
    return 0


def _spatial_gradient_loop(
    x: np.ndarray,
    label: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    dx: np.ndarray,
    weighted: int,
    scale: float,
) -> int:
    if weighted:
        return _spatial_gradient(x, label, a, b, c, dx, 1, scale)
    return _spatial_gradient(x, label, a, a, b, dx, 0, scale)


op(
    "SpatialSoftmaxWithLossGradient",
    _spatial_gradient_type,
    inputs="logits labels weight_or_softmax softmax_or_d_loss d_loss?",
    outputs="d_logits",
    args=_SPATIAL_ARGS,
    loop=_spatial_gradient_loop,
    constants=lambda call: [int(call.has(4)), call.arg("scale")],
    errors=LABEL_ERROR,
    doc="gradient of SpatialSoftmaxWithLoss; inputs: logits, labels, weight where the loss had it, softmax, d_loss",
)
