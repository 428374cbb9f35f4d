"""Losses of probabilities and logits, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, merge_shapes, product, require
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

LOG_THRESHOLD = 1e-20
"""Caffe2's floor for probabilities before a logarithm."""

FLOAT = (DType.FLOAT,)
LABELS = (DType.INT32, DType.INT64)
LABEL_ERROR = ("a label is not the number of a class",)


def rows_and_columns(call: Call, i: int) -> tuple[Dim, Dim]:
    """Input ``i`` as a matrix: its first dimension, and the product of the others; a vector is one row."""
    shape = require(call, i, FLOAT).shape
    if shape is None:
        return UNKNOWN, UNKNOWN
    if not shape:
        call.fail(f"input {i} ({call.input_name(i)}) has no dimensions, at least one is needed")
    return (1, shape[0]) if len(shape) == 1 else (shape[0], product(shape[1:]))


def _label_rows(call: Call) -> Dim:
    """Rows of X; the label has one element a row."""
    rows, _ = rows_and_columns(call, 0)
    label = require(call, 1, LABELS).shape
    if label is None:
        return rows
    if len(label) not in (1, 2) or (len(label) == 2 and label[1] not in (1, UNKNOWN)):
        call.fail(f"the label has the shape {[str(d) for d in label]}, a vector or a column is needed")
    return agree(call, label[0], rows, "number of labels")


def _rows_type(call: Call) -> list[TensorType]:
    """Y: float, one element a row of X."""
    return [TensorType(DType.FLOAT, (_label_rows(call),))]


def _label_loop(x: np.ndarray, label: np.ndarray, y: np.ndarray) -> int:
    columns = x.size // max(y.shape[0], 1)
    for i in range(y.shape[0]):
        k = label.flat[i]
        if k < 0 or k >= columns:
            return 1
        y[i] = np.float32(-math.log(max(float(x.flat[i * columns + k]), LOG_THRESHOLD)))
    return 0


op(
    "LabelCrossEntropy",
    _rows_type,
    inputs="X label",
    outputs="Y",
    loop=_label_loop,
    errors=LABEL_ERROR,
    doc="-log of the probability that each row of X gives to its label",
)


def _vector_of(call: Call, i: int, rows: Dim) -> None:
    shape = require(call, i, FLOAT).shape
    if shape is not None:
        agree(call, product(shape), rows, f"elements of {call.input_name(i)}")


def _label_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has an element a row."""
    _vector_of(call, 2, _label_rows(call))
    return [call.type(0)]


def _label_gradient_loop(x: np.ndarray, label: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> int:
    columns = x.size // max(dy.size, 1)
    for i in range(dy.size):
        k = label.flat[i]
        if k < 0 or k >= columns:
            return 1
        p = i * columns + k
        dx.flat[p] = np.float32(-dy.flat[i] / max(float(x.flat[p]), LOG_THRESHOLD))
    return 0


op(
    "LabelCrossEntropyGradient",
    _label_gradient_type,
    inputs="X label dY",
    outputs="dX",
    loop=_label_gradient_loop,
    errors=LABEL_ERROR,
    doc="gradient of LabelCrossEntropy",
)


def _distribution_rows(call: Call) -> Dim:
    """Rows of X; the label has a probability for every element."""
    rows, columns = rows_and_columns(call, 0)
    label = require(call, 1, FLOAT).shape
    if label is None:
        return rows
    if len(label) not in (1, 2):
        call.fail(f"the label has {len(label)} dimensions, 2 are needed")
    agree(call, 1 if len(label) == 1 else label[1], columns, "probabilities in a row of the label")
    return agree(call, label[0], rows, "rows of the label")


def _cross_entropy_type(call: Call) -> list[TensorType]:
    """Y: float, one element a row of X."""
    return [TensorType(DType.FLOAT, (_distribution_rows(call),))]


def _cross_entropy_loop(x: np.ndarray, label: np.ndarray, y: np.ndarray) -> None:
    columns = x.size // max(y.shape[0], 1)
    for i in range(y.shape[0]):
        total = 0.0
        for j in range(columns):
            p = i * columns + j
            total += label.flat[p] * math.log(max(float(x.flat[p]), LOG_THRESHOLD))
        y[i] = np.float32(-total)


op(
    "CrossEntropy",
    _cross_entropy_type,
    inputs="X label",
    outputs="Y",
    loop=_cross_entropy_loop,
    doc="-sum(label * log X) of each row; label is a distribution",
)


def _cross_entropy_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has an element a row."""
    _vector_of(call, 2, _distribution_rows(call))
    return [call.type(0)]


def _cross_entropy_gradient_loop(x: np.ndarray, label: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    columns = x.size // max(dy.size, 1)
    for i in range(x.size):
        slope = label.flat[i] / max(float(x.flat[i]), LOG_THRESHOLD)
        dx.flat[i] = np.float32(-dy.flat[i // columns] * slope)


op(
    "CrossEntropyGradient",
    _cross_entropy_gradient_type,
    inputs="X label dY",
    outputs="dX",
    loop=_cross_entropy_gradient_loop,
    doc="gradient of CrossEntropy",
)


def _averaged_type(call: Call) -> list[TensorType]:
    """One float of rank 0."""
    require(call, 0, FLOAT)
    return [TensorType(DType.FLOAT, ())]


def _averaged_loop(x: np.ndarray, y: np.ndarray) -> None:
    total = 0.0
    for i in range(x.size):
        total += x.flat[i]
    y.flat[0] = np.float32(total / max(x.size, 1))


op(
    "AveragedLoss",
    _averaged_type,
    inputs="X",
    outputs="Y",
    loop=_averaged_loop,
    doc="mean of all elements; 0 for none",
)


def _averaged_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has one element."""
    _vector_of(call, 1, 1)
    return [require(call, 0, FLOAT)]


def _averaged_gradient_loop(x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    for i in range(x.size):
        dx.flat[i] = dy.flat[0] / np.float32(x.size)


op(
    "AveragedLossGradient",
    _averaged_gradient_type,
    inputs="X dY",
    outputs="dX",
    loop=_averaged_gradient_loop,
    doc="gradient of AveragedLoss",
)


def _two_class_type(call: Call) -> list[TensorType]:
    """Y: the shape of X and a further dimension of 2."""
    shape = require(call, 0, FLOAT).shape
    two: tuple[Dim, ...] = (2,)
    return [TensorType(DType.FLOAT, None if shape is None else shape + two)]


def _two_class_loop(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y.flat[2 * i] = np.float32(1) - x.flat[i]
        y.flat[2 * i + 1] = x.flat[i]


op(
    "MakeTwoClass",
    _two_class_type,
    inputs="X",
    outputs="Y",
    loop=_two_class_loop,
    doc="the pair (1 - x, x) for each probability x",
)


_LOG_D_TRICK = Arg("log_D_trick", "int", 0, "maximise log D(G) instead of minimising log(1 - D(G))")
_UNJOINED = Arg("unjoined_lr_loss", "int", 0, "positives count once more as negatives")


def _logits(call: Call, first: int, n: int) -> TensorType:
    """Type of the logits; targets, and weights where n is 3, have their shape."""
    x = require(call, first, FLOAT)
    shape = x.shape
    for i in range(first + 1, first + n):
        what = f"{call.input_name(i)} has not the shape of the logits"
        shape = merge_shapes(call, shape, require(call, i, FLOAT).shape, what)
    if call.opdef.has_arg("log_D_trick") and call.arg("log_D_trick") and call.arg("unjoined_lr_loss"):
        call.fail("log_D_trick and unjoined_lr_loss exclude each other", "remove one of them")
    return x.with_shape(shape)


def _logit_rows(shape: tuple[Dim, ...] | None) -> TensorType:
    return TensorType(DType.FLOAT, None if shape is None else shape[:-1])


def _sigmoid_type(call: Call) -> list[TensorType]:
    """xentropy: the shape of the logits without its last dimension."""
    return [_logit_rows(_logits(call, 0, 2).shape)]


def _sigmoid_term(x: float, target: float, log_d: int, unjoined: int) -> float:
    """log(sigmoid) times targets, written so that no exponential overflows."""
    soft = math.log1p(math.exp(-abs(x)))
    if unjoined:
        return target * x - (1.0 - target) * (max(x, 0.0) + soft)
    if log_d:
        return (2.0 * target - 1.0) * (min(x, 0.0) - soft)
    return target * (min(x, 0.0) - soft) + (1.0 - target) * (min(-x, 0.0) - soft)


def _sigmoid_slope(x: float, target: float, log_d: int, unjoined: int) -> float:
    """The derivative of ``_sigmoid_term``."""
    e = math.exp(-abs(x))
    sigmoid = 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)
    if unjoined:
        return target - (1.0 - target) * sigmoid
    if log_d:
        return (2.0 * target - 1.0) * (1.0 - sigmoid)
    return target - sigmoid


def _sigmoid_loop(x: np.ndarray, target: np.ndarray, y: np.ndarray, log_d: int, unjoined: int) -> None:
    n = x.size // max(y.size, 1)
    for i in range(y.size):
        total = 0.0
        for j in range(n):
            p = i * n + j
            total += _sigmoid_term(float(x.flat[p]), float(target.flat[p]), log_d, unjoined)
        y.flat[i] = np.float32(-total / n) if n > 0 else np.float32(0)


op(
    "SigmoidCrossEntropyWithLogits",
    _sigmoid_type,
    inputs="logits targets",
    outputs="xentropy",
    args=(_LOG_D_TRICK, _UNJOINED),
    loop=_sigmoid_loop,
    doc="mean over the last dimension of the cross entropy of sigmoid(logits) with targets",
)


def _sigmoid_gradient_type(call: Call) -> list[TensorType]:
    """dX has the shape of the logits; g that of the loss."""
    x = _logits(call, 1, call.n_inputs - 1)
    what = "g has not the shape of the loss"
    merge_shapes(call, require(call, 0, FLOAT).shape, _logit_rows(x.shape).shape, what)
    return [x]


def _sigmoid_gradient_loop(
    g: np.ndarray, x: np.ndarray, target: np.ndarray, dx: np.ndarray, log_d: int, unjoined: int
) -> None:
    n = x.size // max(g.size, 1)
    for i in range(x.size):
        slope = _sigmoid_slope(float(x.flat[i]), float(target.flat[i]), log_d, unjoined)
        dx.flat[i] = np.float32(-g.flat[i // n] / n * slope)


op(
    "SigmoidCrossEntropyWithLogitsGradient",
    _sigmoid_gradient_type,
    inputs="g logits targets",
    outputs="dX",
    args=(_LOG_D_TRICK, _UNJOINED),
    loop=_sigmoid_gradient_loop,
    doc="gradient of SigmoidCrossEntropyWithLogits",
)


def _weighted_type(call: Call) -> list[TensorType]:
    """xentropy: the shape of the logits without its last dimension."""
    return [_logit_rows(_logits(call, 0, 3).shape)]


def _weighted_loop(x: np.ndarray, target: np.ndarray, weight: np.ndarray, y: np.ndarray) -> None:
    n = x.size // max(y.size, 1)
    for i in range(y.size):
        total = 0.0
        for j in range(n):
            p = i * n + j
            total += _sigmoid_term(float(x.flat[p]), float(target.flat[p]), 0, 0) * weight.flat[p]
        y.flat[i] = np.float32(-total / n) if n > 0 else np.float32(0)


op(
    "WeightedSigmoidCrossEntropyWithLogits",
    _weighted_type,
    inputs="logits targets weights",
    outputs="xentropy",
    loop=_weighted_loop,
    doc="SigmoidCrossEntropyWithLogits with a weight for every element",
)


def _weighted_gradient_loop(
    g: np.ndarray, x: np.ndarray, target: np.ndarray, weight: np.ndarray, dx: np.ndarray
) -> None:
    n = x.size // max(g.size, 1)
    for i in range(x.size):
        slope = _sigmoid_slope(float(x.flat[i]), float(target.flat[i]), 0, 0)
        dx.flat[i] = np.float32(-g.flat[i // n] / n * slope * weight.flat[i])


op(
    "WeightedSigmoidCrossEntropyWithLogitsGradient",
    _sigmoid_gradient_type,
    inputs="g logits targets weights",
    outputs="dX",
    loop=_weighted_gradient_loop,
    doc="gradient of WeightedSigmoidCrossEntropyWithLogits",
)
