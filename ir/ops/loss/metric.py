"""Metrics."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, product, require, require_rank
from graphc.ir.ops.loss.loss import FLOAT, LABEL_ERROR, LABELS
from graphc.ir.types import UNKNOWN, DType, TensorType


def _checked(call: Call) -> TensorType:
    """Type of the predictions (N, classes); there is a label a row."""
    x, shape, label = require(call, 0, FLOAT), require_rank(call, 0, 2), require(call, 1, LABELS).shape
    if shape is not None and label is not None:
        agree(call, product(label), shape[0], "number of labels")
    return x


def _scalar(call: Call) -> list[TensorType]:
    """One float of rank 0."""
    _checked(call)
    bounded(call, call.arg("top_k"), 1, "top_k")
    return [TensorType(DType.FLOAT, ())]


def _accuracy_loop(x: np.ndarray, label: np.ndarray, y: np.ndarray, top_k: int) -> int:
    """A label is right where fewer than top_k classes precede it: greater score, or equal score at a lower index."""
    right = 0
    for i in range(x.shape[0]):
        k = int(label.flat[i])
        if k < 0 or k >= x.shape[1]:
            return 1
        before = 0
        for j in range(x.shape[1]):
            if x[i, j] > x[i, k] or (x[i, j] == x[i, k] and j < k):
                before += 1
        right += 1 if before < top_k else 0
    y.flat[0] = np.float32(right / max(x.shape[0], 1))
    return 0


op(
    "Accuracy",
    _scalar,
    inputs="predictions labels",
    outputs="accuracy",
    args=(Arg("top_k", "int", 1, "a label among the top_k scores counts as right"),),
    loop=_accuracy_loop,
    errors=LABEL_ERROR,
    doc="the share of rows whose label is among the top_k scores",
)


def _class_types(call: Call) -> list[TensorType]:
    """For every class a share, and a number of rows."""
    shape = _checked(call).shape
    classes = UNKNOWN if shape is None else shape[1]
    return [TensorType(DType.FLOAT, (classes,)), TensorType(DType.INT32, (classes,))]


def _class_loop(x: np.ndarray, label: np.ndarray, shares: np.ndarray, amounts: np.ndarray) -> int:
    for i in range(x.shape[0]):
        k = int(label.flat[i])
        if k < 0 or k >= x.shape[1]:
            return 1
        best = 0
        for j in range(1, x.shape[1]):
            if x[i, j] > x[i, best]:
                best = j
        amounts[k] += 1
        if best == k:
            shares[k] += np.float32(1)
    for k in range(x.shape[1]):
        if amounts[k] > 0:
            shares[k] = np.float32(shares[k] / amounts[k])
    return 0


op(
    "MultiClassAccuracy",
    _class_types,
    inputs="prediction labels",
    outputs="accuracies amounts",
    loop=_class_loop,
    errors=LABEL_ERROR,
    doc="for each class the share of its rows that are predicted right, and how many rows it has",
)


def _precision_type(call: Call) -> list[TensorType]:
    """One float a class; labels are zeros and ones of the shape of the predictions."""
    shape, label = require_rank(call, 0, 2), require_rank(call, 1, 2)
    require(call, 0, FLOAT)
    require(call, 1, (DType.INT32,))
    bounded(call, call.arg("buffer_size"), 1, "buffer_size")
    if shape is not None and label is not None:
        agree(call, label[0], shape[0], "rows of the labels")
        agree(call, label[1], shape[1], "classes of the labels")
    return [TensorType(DType.FLOAT, (UNKNOWN if shape is None else shape[1],))]


def _precision_loop(x: np.ndarray, label: np.ndarray, y: np.ndarray, buffer_size: int) -> None:
    """The rank of a row among the scores of a class: those above it, and those before it that are equal."""
    first = max(x.shape[0] - buffer_size, 0)
    for k in range(x.shape[1]):
        total, positives = 0.0, 0
        for i in range(first, x.shape[0]):
            if label[i, k] != 1:
                continue
            rank, found = 1, float(label[i, k])
            for j in range(first, x.shape[0]):
                if x[j, k] > x[i, k] or (x[j, k] == x[i, k] and j < i):
                    rank += 1
                    found += label[j, k]
            positives += 1
            total += found / rank
        y[k] = np.float32(total / max(positives, 1))


op(
    "APMeter",
    _precision_type,
    inputs="predictions labels",
    outputs="AP",
    args=(Arg("buffer_size", "int", 1000, "the last so many rows count"),),
    loop=_precision_loop,
    doc="the average precision of each class, of the rows of one run",
)
