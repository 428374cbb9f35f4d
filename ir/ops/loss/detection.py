"""Losses of Detectron's networks, and their gradients.

Caffe2 has them on CUDA alone; the meaning is that of its kernels (``modules/detectron``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, merge_shapes, product, require, require_rank
from graphc.ir.ops.loss.loss import FLOAT
from graphc.ir.ops.loss.softmax import spatial_softmax
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

INT = (DType.INT32,)
ONE = TensorType(DType.FLOAT, ())
SCALE = Arg("scale", "float", 1.0, "factor of the loss")
BETA = Arg("beta", "float", 1.0, "differences below it count squared")
SMALLEST = 1.1754943508222875e-38
"""Floor of a probability before its logarithm: the smallest normal float."""


def _elements(call: Call, i: int, count: Dim, dtypes: Sequence[DType] = FLOAT) -> None:
    shape = require(call, i, dtypes).shape
    if shape is not None:
        agree(call, product(shape), count, f"elements of {call.input_name(i)}")


def _positive(call: Call, name: str) -> None:
    if not call.arg(name) >= 0:
        call.fail(f"{name} is {call.arg(name)}", f"use a {name} of at least 0")


def _smooth_inputs(call: Call) -> TensorType:
    """Type of Y_hat; Y has as many elements and rows, the two factors as many elements."""
    predicted = require(call, 0, FLOAT)
    _positive(call, "beta")
    _positive(call, "scale")
    count: Dim = UNKNOWN if predicted.shape is None else product(predicted.shape)
    for i in (1, 2, 3):
        _elements(call, i, count)
    wanted = call.type(1).shape
    if predicted.shape is not None and wanted is not None:
        if not predicted.shape or not wanted:
            call.fail("Y_hat and Y need at least one dimension")
        agree(call, wanted[0], predicted.shape[0], "rows of Y")
    return predicted


def _smooth_type(call: Call) -> list[TensorType]:
    """One float of rank 0."""
    _smooth_inputs(call)
    return [ONE]


def _smooth(v: float, beta: float) -> float:
    return 0.5 * v * v / beta if abs(v) < beta else abs(v) - 0.5 * beta


def _smooth_slope(v: float, beta: float) -> float:
    if abs(v) < beta:
        return v / beta
    return (1.0 if v > 0 else 0.0) - (1.0 if v < 0 else 0.0)


def _smooth_loop(
    predicted: np.ndarray,
    wanted: np.ndarray,
    inside: np.ndarray,
    outside: np.ndarray,
    loss: np.ndarray,
    beta: float,
    scale: float,
) -> None:
    total = 0.0
    for i in range(predicted.size):
        v = inside.flat[i] * (predicted.flat[i] - wanted.flat[i])
        total += outside.flat[i] * _smooth(float(v), beta)
    loss.flat[0] = np.float32(scale / max(wanted.shape[0], 1) * total)


op(
    "SmoothL1Loss",
    _smooth_type,
    inputs="Y_hat Y alpha_in alpha_out",
    outputs="loss",
    args=(BETA, SCALE),
    loop=_smooth_loop,
    doc="sum of alpha_out * smooth(alpha_in * (Y_hat - Y)) over the batch size; smooth: x**2 / 2 near zero, then |x|",
)


def _one(call: Call, i: int) -> None:
    _elements(call, i, 1)


def _smooth_gradient_type(call: Call) -> list[TensorType]:
    """The gradient has the type of Y_hat."""
    _one(call, 4)
    return [_smooth_inputs(call)]


def _smooth_gradient_loop(
    predicted: np.ndarray,
    wanted: np.ndarray,
    inside: np.ndarray,
    outside: np.ndarray,
    d_loss: np.ndarray,
    dx: np.ndarray,
    beta: float,
    scale: float,
) -> None:
    factor = d_loss.flat[0] * scale / max(wanted.shape[0], 1)
    for i in range(predicted.size):
        v = inside.flat[i] * (predicted.flat[i] - wanted.flat[i])
        dx.flat[i] = np.float32(factor * _smooth_slope(float(v), beta) * inside.flat[i] * outside.flat[i])


op(
    "SmoothL1LossGradient",
    _smooth_gradient_type,
    inputs="Y_hat Y alpha_in alpha_out d_loss",
    outputs="d_Y_hat",
    args=(BETA, SCALE),
    loop=_smooth_gradient_loop,
    doc="gradient of SmoothL1Loss",
)


def _select_inputs(call: Call) -> TensorType:
    """Type of Y_hat (N, C, H, W); Y and locations are (M, 4), the normalizer one number."""
    predicted = require(call, 0, FLOAT)
    require_rank(call, 0, 4)
    _positive(call, "beta")
    _positive(call, "scale")
    rows: Dim = UNKNOWN
    for i in (1, 2):
        require(call, i, FLOAT)
        shape = require_rank(call, i, 2)
        if shape is not None:
            rows = agree(call, shape[0], rows, f"rows of {call.input_name(i)}")
            agree(call, shape[1], 4, f"columns of {call.input_name(i)}")
    _one(call, 3)
    return predicted


def _select_type(call: Call) -> list[TensorType]:
    """One float of rank 0."""
    _select_inputs(call)
    return [ONE]


def _place(predicted: np.ndarray, places: np.ndarray, i: int) -> int:
    """Where the first of the four numbers of location i is; -1 outside of the images."""
    c, h, w = predicted.shape[1], predicted.shape[2], predicted.shape[3]
    for j in range(4):
        if not 0 <= places[i, j] < 2147483648.0:
            return -1
    item, channel, y, x = int(places[i, 0]), int(places[i, 1]), int(places[i, 2]), int(places[i, 3])
    if item >= predicted.shape[0] or channel + 4 > c or y >= h or x >= w:
        return -1
    return int(((item * c + channel) * h + y) * w + x)


_PLACE_ERROR = ("a location is outside of the images",)


def _select_loop(
    predicted: np.ndarray,
    wanted: np.ndarray,
    places: np.ndarray,
    normalizer: np.ndarray,
    loss: np.ndarray,
    beta: float,
    scale: float,
) -> int:
    total, step = 0.0, predicted.shape[2] * predicted.shape[3]
    for i in range(wanted.shape[0]):
        at = _place(predicted, places, i)
        if at < 0:
            return 1
        for j in range(4):
            total += _smooth(float(predicted.flat[at + j * step] - wanted[i, j]), beta)
    loss.flat[0] = np.float32(scale * total / max(float(normalizer.flat[0]), 1.0))
    return 0


op(
    "SelectSmoothL1Loss",
    _select_type,
    inputs="Y_hat Y locations normalizer",
    outputs="loss",
    args=(BETA, SCALE),
    loop=_select_loop,
    errors=_PLACE_ERROR,
    doc="smooth L1 loss of the four channels at each location (image, channel, row, column) over the normalizer",
)


def _select_gradient_type(call: Call) -> list[TensorType]:
    """The gradient has the type of Y_hat."""
    _one(call, 4)
    return [_select_inputs(call)]


def _select_gradient_loop(
    predicted: np.ndarray,
    wanted: np.ndarray,
    places: np.ndarray,
    normalizer: np.ndarray,
    d_loss: np.ndarray,
    dx: np.ndarray,
    beta: float,
    scale: float,
) -> int:
    step = predicted.shape[2] * predicted.shape[3]
    factor = scale * d_loss.flat[0] / max(float(normalizer.flat[0]), 1.0)
    for i in range(wanted.shape[0]):
        at = _place(predicted, places, i)
        if at < 0:
            return 1
        for j in range(4):
            v = float(predicted.flat[at + j * step] - wanted[i, j])
            dx.flat[at + j * step] = np.float32(factor * _smooth_slope(v, beta))
    return 0


op(
    "SelectSmoothL1LossGradient",
    _select_gradient_type,
    inputs="Y_hat Y locations normalizer d_loss",
    outputs="d_Y_hat",
    args=(BETA, SCALE),
    loop=_select_gradient_loop,
    errors=_PLACE_ERROR,
    doc="gradient of SelectSmoothL1Loss; a place that is named twice has the gradient of the last",
)

NORMALIZE = Arg("normalize", "int", 1, "divide by the number of targets that count")
LEAST_COUNT = 1e-5


def _sigmoid_type(call: Call) -> list[TensorType]:
    """One float of rank 0; X and targets have as many elements."""
    _sigmoid_inputs(call)
    return [ONE]


def _sigmoid_inputs(call: Call) -> TensorType:
    x = require(call, 0, FLOAT)
    _positive(call, "scale")
    _elements(call, 1, UNKNOWN if x.shape is None else product(x.shape), INT)
    return x


def log_of_complement(x: float) -> float:
    """log(1 - sigmoid(x))."""
    return -(max(x, 0.0) + math.log1p(math.exp(-abs(x))))


def _sigmoid_loop(x: np.ndarray, target: np.ndarray, loss: np.ndarray, scale: float, normalize: int) -> None:
    total, count = 0.0, 0.0
    for i in range(x.size):
        if target.flat[i] != -1:
            v = float(x.flat[i])
            total -= v * target.flat[i] + log_of_complement(v)
            count += 1.0
    loss.flat[0] = np.float32(scale * total / (max(count, LEAST_COUNT) if normalize else 1.0))


op(
    "SigmoidCrossEntropyLoss",
    _sigmoid_type,
    inputs="X targets",
    outputs="loss",
    args=(SCALE, NORMALIZE),
    loop=_sigmoid_loop,
    doc="mean cross entropy of sigmoid(X) with targets 0 and 1; those of -1 do not count",
)


def _sigmoid_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X."""
    _one(call, 2)
    return [_sigmoid_inputs(call)]


def _sigmoid(x: float) -> float:
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)


def _sigmoid_gradient_loop(
    x: np.ndarray, target: np.ndarray, d_loss: np.ndarray, dx: np.ndarray, scale: float, normalize: int
) -> None:
    count = 0.0
    for i in range(x.size):
        count += 0.0 if target.flat[i] == -1 else 1.0
    factor = scale * d_loss.flat[0] / (max(count, LEAST_COUNT) if normalize else 1.0)
    for i in range(x.size):
        if target.flat[i] != -1:
            dx.flat[i] = np.float32((_sigmoid(float(x.flat[i])) - target.flat[i]) * factor)


op(
    "SigmoidCrossEntropyLossGradient",
    _sigmoid_gradient_type,
    inputs="X targets d_loss",
    outputs="dX",
    args=(SCALE, NORMALIZE),
    loop=_sigmoid_gradient_loop,
    doc="gradient of SigmoidCrossEntropyLoss",
)


def _focal_args(classes: int) -> tuple[Arg, ...]:
    return (
        SCALE,
        Arg("alpha", "float", 0.25, "weight of the foreground"),
        Arg("gamma", "float", 1.0, "power of how wrong a prediction is"),
        Arg("num_classes", "int", classes, "channels of an anchor"),
    )


def _anchors(call: Call, i: int) -> Dim:
    """How many groups of ``num_classes`` the channels of input ``i``, (N, C, H, W), are."""
    require(call, i, FLOAT)
    shape, classes = require_rank(call, i, 4), bounded(call, call.arg("num_classes"), 1, "num_classes")
    if shape is None:
        return UNKNOWN
    if isinstance(shape[1], int) and shape[1] % classes:
        call.fail(f"{shape[1]} channels are no multiple of num_classes {classes}")
    return shape[1] // classes


def _focal_inputs(call: Call) -> TensorType:
    """Type of the logits (N, A * num_classes, H, W); labels are (N, A, H, W), the normalizer one number."""
    anchors, x = _anchors(call, 0), call.type(0)
    _positive(call, "scale")
    labels = require(call, 1, INT).shape
    if x.shape is not None and labels is not None:
        agree(call, product(labels), product((x.shape[0], anchors, *x.shape[2:])), "number of labels")
    _one(call, 2)
    return x


def _focal_type(call: Call) -> list[TensorType]:
    """One float of rank 0."""
    _focal_inputs(call)
    return [ONE]


def _label_at(labels: np.ndarray, i: int, d: int, s: int, classes: int) -> int:
    """The label of the anchor that element i of the logits belongs to."""
    anchor = i // s % d // classes
    return int(labels.flat[(i // s // d * (d // classes) + anchor) * s + i % s])


def _sigmoid_focal_loop(
    x: np.ndarray,
    labels: np.ndarray,
    normalizer: np.ndarray,
    loss: np.ndarray,
    scale: float,
    alpha: float,
    gamma: float,
    classes: int,
) -> None:
    d, s = x.shape[1], x.shape[2] * x.shape[3]
    count, total = max(float(normalizer.flat[0]), 1.0), 0.0
    for i in range(x.size):
        label, v = _label_at(labels, i, d, s, classes), float(x.flat[i])
        p = _sigmoid(v)
        if label == i // s % d % classes + 1:
            total -= alpha * (1.0 - p) ** gamma * math.log(max(p, SMALLEST))
        elif label != -1:
            total -= (1.0 - alpha) * p**gamma * log_of_complement(v)
    loss.flat[0] = np.float32(scale * total / count)


op(
    "SigmoidFocalLoss",
    _focal_type,
    inputs="logits labels normalizer",
    outputs="loss",
    args=_focal_args(80),
    loop=_sigmoid_focal_loop,
    doc="focal loss of a sigmoid a class; label 0 is background, -1 does not count",
)


def _focal_gradient_type(call: Call) -> list[TensorType]:
    """The gradient has the type of the logits."""
    _one(call, 3)
    return [_focal_inputs(call)]


def _sigmoid_focal_gradient_loop(
    x: np.ndarray,
    labels: np.ndarray,
    normalizer: np.ndarray,
    d_loss: np.ndarray,
    dx: np.ndarray,
    scale: float,
    alpha: float,
    gamma: float,
    classes: int,
) -> None:
    d, s = x.shape[1], x.shape[2] * x.shape[3]
    factor = scale * d_loss.flat[0] / max(float(normalizer.flat[0]), 1.0)
    for i in range(x.size):
        label, v = _label_at(labels, i, d, s, classes), float(x.flat[i])
        p = _sigmoid(v)
        if label == i // s % d % classes + 1:
            slope = (1.0 - p) ** gamma * (1.0 - p - gamma * p * math.log(max(p, SMALLEST)))
            dx.flat[i] = np.float32(-alpha * slope * factor)
        elif label != -1:
            slope = p**gamma * (gamma * (1.0 - p) * log_of_complement(v) - p)
            dx.flat[i] = np.float32(-(1.0 - alpha) * slope * factor)


op(
    "SigmoidFocalLossGradient",
    _focal_gradient_type,
    inputs="logits labels normalizer d_loss",
    outputs="d_logits",
    args=_focal_args(80),
    loop=_sigmoid_focal_gradient_loop,
    doc="gradient of SigmoidFocalLoss",
)


def _softmax_focal_types(call: Call) -> list[TensorType]:
    """loss is one number, probabilities a vector with the elements of the scores."""
    x = _focal_inputs(call)
    return [ONE, TensorType(DType.FLOAT, (UNKNOWN if x.shape is None else product(x.shape),))]


_CLASS_ERROR = ("a label is not the number of a class",)


def group_softmax(x: np.ndarray, p: np.ndarray, classes: int) -> None:
    """Softmax of every group of ``classes`` channels of each pixel."""
    s = x.shape[2] * x.shape[3]
    for i in range(x.size // classes):
        spatial_softmax(x, p, i // s * classes * s + i % s, classes, s)


def _softmax_focal_loop(
    x: np.ndarray,
    labels: np.ndarray,
    normalizer: np.ndarray,
    loss: np.ndarray,
    p: np.ndarray,
    scale: float,
    alpha: float,
    gamma: float,
    classes: int,
) -> int:
    group_softmax(x, p, classes)
    s, total = x.shape[2] * x.shape[3], 0.0
    for i in range(labels.size):
        label = int(labels.flat[i])
        if label >= classes:
            return 1
        if label >= 0:
            v = float(p.flat[(i // s * classes + label) * s + i % s])
            weight = alpha if label >= 1 else 1.0 - alpha
            total -= (1.0 - v) ** gamma * math.log(max(v, SMALLEST)) * weight
    loss.flat[0] = np.float32(scale * total / max(float(normalizer.flat[0]), 1.0))
    return 0


op(
    "SoftmaxFocalLoss",
    _softmax_focal_types,
    inputs="scores labels normalizer",
    outputs="loss probabilities",
    args=_focal_args(81),
    loop=_softmax_focal_loop,
    errors=_CLASS_ERROR,
    doc="focal loss of the softmax of each anchor's classes; class 0 is background, a negative label does not count",
)


def _softmax_focal_gradient_type(call: Call) -> list[TensorType]:
    """The gradient has the type of the scores; probabilities have as many elements."""
    x = _focal_inputs(call)
    _elements(call, 3, UNKNOWN if x.shape is None else product(x.shape))
    _one(call, 4)
    return [x]


def _softmax_focal_gradient_loop(
    x: np.ndarray,
    labels: np.ndarray,
    normalizer: np.ndarray,
    p: np.ndarray,
    d_loss: np.ndarray,
    dx: np.ndarray,
    scale: float,
    alpha: float,
    gamma: float,
    classes: int,
) -> int:
    s, factor = x.shape[2] * x.shape[3], scale * d_loss.flat[0] / max(float(normalizer.flat[0]), 1.0)
    for i in range(labels.size):
        label = int(labels.flat[i])
        if label >= classes:
            return 1
        if label < 0:
            continue
        at = i // s * classes * s + i % s
        v, weight = float(p.flat[at + label * s]), alpha if label >= 1 else 1.0 - alpha
        slope = -((1.0 - v) ** gamma) + gamma * (1.0 - v) ** (gamma - 1.0) * v * math.log(max(v, SMALLEST))
        for j in range(classes):
            target = 1.0 if j == label else 0.0
            dx.flat[at + j * s] = np.float32(factor * weight * slope * (target - p.flat[at + j * s]))
    return 0


op(
    "SoftmaxFocalLossGradient",
    _softmax_focal_gradient_type,
    inputs="scores labels normalizer probabilities d_loss",
    outputs="d_scores",
    args=_focal_args(81),
    loop=_softmax_focal_gradient_loop,
    errors=_CLASS_ERROR,
    doc="gradient of SoftmaxFocalLoss",
)

CLASSES = Arg("num_classes", "int", 81, "channels of a group")


def _group_type(call: Call) -> list[TensorType]:
    """The output has the type of the first input, (N, A * num_classes, H, W), and its gradient the same shape."""
    _anchors(call, 0)
    x = call.type(0)
    for i in range(1, call.n_inputs):
        what = f"{call.input_name(i)} has another shape"
        x = x.with_shape(merge_shapes(call, x.shape, require(call, i, FLOAT).shape, what))
    return [x]


def _group_loop(x: np.ndarray, p: np.ndarray, classes: int) -> None:
    group_softmax(x, p, classes)


op(
    "GroupSpatialSoftmax",
    _group_type,
    inputs="scores",
    outputs="probabilities",
    args=(CLASSES,),
    loop=_group_loop,
    doc="softmax of every num_classes channels of each pixel",
)


def _group_gradient_loop(p: np.ndarray, dp: np.ndarray, dx: np.ndarray, classes: int) -> None:
    s = p.shape[2] * p.shape[3]
    for i in range(p.size // classes):
        at, total = i // s * classes * s + i % s, 0.0
        for j in range(classes):
            total += p.flat[at + j * s] * dp.flat[at + j * s]
        for j in range(classes):
            dx.flat[at + j * s] = np.float32(p.flat[at + j * s] * (dp.flat[at + j * s] - total))


op(
    "GroupSpatialSoftmaxGradient",
    _group_type,
    inputs="probabilities d_probabilities",
    outputs="d_scores",
    args=(CLASSES,),
    loop=_group_gradient_loop,
    doc="gradient of GroupSpatialSoftmax",
)
