"""Metrics."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops.loss import check_labels
from graphc.ir.types import UNKNOWN, DType, TensorType


def _scalar(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, ())]


def _accuracy(call: Call, x: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    """A label is right where fewer than top_k classes precede it: greater score, or equal score at a lower index."""
    wanted = check_labels(call, label, x.shape[1])[:, None]
    score = np.take_along_axis(x, wanted, axis=1)
    before = (x > score) | ((x == score) & (np.arange(x.shape[1]) < wanted))
    right = before.sum(axis=1) < call.arg("top_k")
    return [np.asarray(right.mean() if len(right) else 0.0, np.float32)]


op(
    "Accuracy",
    _scalar,
    inputs="predictions labels",
    outputs="accuracy",
    args=(Arg("top_k", "int", 1, "a label among the top_k scores counts as right"),),
    reference=_accuracy,
    doc="the share of rows whose label is among the top_k scores",
)


def _class_types(call: Call) -> list[TensorType]:
    shape = call.type(0).shape
    classes = UNKNOWN if shape is None else shape[1]
    return [TensorType(DType.FLOAT, (classes,)), TensorType(DType.INT32, (classes,))]


def _class_accuracy(call: Call, x: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    classes = x.shape[1]
    wanted = check_labels(call, label, classes)
    amounts = np.bincount(wanted, minlength=classes)
    right = np.bincount(wanted[x.argmax(axis=1) == wanted], minlength=classes)
    return [np.where(amounts > 0, right / np.maximum(amounts, 1), 0).astype(np.float32), amounts.astype(np.int32)]


op(
    "MultiClassAccuracy",
    _class_types,
    inputs="prediction labels",
    outputs="accuracies amounts",
    reference=_class_accuracy,
    doc="for each class the share of its rows that are predicted right, and how many rows it has",
)
