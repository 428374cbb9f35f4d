"""Normalisation: Softmax, SpatialBN, LRN, InstanceNorm, GroupNorm, LayerNorm and channel-wise affine maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import (
    HINTS,
    ORDER,
    Shape,
    agree,
    axis_of,
    bounded,
    channel_axis,
    count_of,
    merge_shapes,
    nhwc,
    per_channel,
    product,
    require,
    vector,
)
from graphc.ir.ops.nn._norms import batch_norm, group_norm, layer_norm, normalize, response_scales, rms_norm
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

SMALLEST_BLOCK = 4
"""Channels in a block of NCHWc on the narrowest target."""
EPSILON = Arg("epsilon", "float", float(np.float32(1e-5)), "added to the variance")


def _axis_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; ``axis`` lies within its dimensions."""
    x = require(call, 0)
    if x.rank is not None:
        axis_of(call, call.arg("axis"), x.rank)
    return [x]


def _softmax_infer(call: Call) -> list[TensorType]:
    """Y has the type of X, float; ``axis`` lies within its dimensions."""
    require(call, 0, (DType.FLOAT,))
    return _axis_infer(call)


def _softmax_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    axis = call.arg("axis") % x.ndim
    rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    if rows.size == 0:
        return [x]
    e = np.exp(rows - rows.max(axis=1, keepdims=True))
    return [(e / e.sum(axis=1, keepdims=True)).reshape(x.shape)]


op(
    "Softmax",
    _softmax_infer,
    inputs="X",
    outputs="Y",
    args=(Arg("axis", "int", 1, "X is flattened to a matrix before this dimension"), ORDER, *HINTS),
    reference=_softmax_reference,
    flops=lambda call: 4 * call.type(0).size,
    doc="Softmax of each row, X flattened to a matrix: not along one axis, but over all dimensions from it on.",
)


NORM_FLOOR = 1e-12
"""The floor under the norm: Caffe2's kEps of normalize_op.h."""


def _normalize_loop(x: np.ndarray, y: np.ndarray, axis: int) -> None:
    normalize(x, y, axis, 2, NORM_FLOOR)


def _normalize_l1_loop(x: np.ndarray, y: np.ndarray, axis: int) -> None:
    normalize(x, y, axis, 1, 0.0)


def axis_constant(call: Call) -> Sequence[Any]:
    """The axis counted from the front; fails for half floats, which a loop does not compute with."""
    float_only(call)
    return [axis_of(call, call.arg("axis"), call.type(0).rank or 0)]


def float_only(call: Call) -> None:
    """Fail for half floats, which a loop does not compute with."""
    if call.type(0).dtype is DType.FLOAT16:
        call.fail("it is not computed in half precision", "insert HalfToFloat before and FloatToHalf behind it")


for _name, _loop, _text in (("Normalize", _normalize_loop, "L2"), ("NormalizeL1", _normalize_l1_loop, "L1")):
    op(
        _name,
        _axis_infer,
        inputs="X",
        outputs="Y",
        args=(Arg("axis", "int", -1, "the dimension along which"),),
        loop=_loop,
        constants=axis_constant,
        doc=f"X divided by its {_text} norm along one dimension.",
    )


def _channels(call: Call, shape: Shape | None) -> Dim:
    if shape is None:
        return UNKNOWN
    if len(shape) < 2:
        call.fail(f"the input has {len(shape)} dimensions, at least 2 are needed")
    return shape[channel_axis(call, len(shape))]


def _bn_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; the four further outputs of training are vectors of C elements."""
    x = require(call, 0)
    c = _channels(call, x.shape)
    training = not call.arg("is_test")
    if training and call.n_outputs != 5:
        call.fail(
            f"is_test is 0, which wants 5 outputs, but there are {call.n_outputs}",
            "set is_test=1 to use the stored mean and variance, or name all 5 outputs",
        )
    if not training and call.n_outputs != 1:
        call.fail(f"is_test is 1, which gives 1 output, but there are {call.n_outputs}", "name 1 output")
    for i, what in enumerate(("scale", "bias", "mean", "var"), 1):
        if call.has(i) or i < 3 or not training:
            require(call, i)
            c = vector(call, i, c, f"length of {what}")
    for i, what in ((3, "mean and var"), (5, "sums and sumsq")):
        if call.has(i) != call.has(i + 1):
            call.fail(f"one of {what} is missing", "give both or none")
    for i, what in ((5, "sums"), (6, "sumsq")):
        if call.has(i):
            c = vector(call, i, c, f"length of {what}")
    return [x] + [TensorType(x.dtype, (c,))] * (call.n_outputs - 1)


def _bn_scalar(o: ScalarOps, call: Call, x: Expr, scale: Expr, bias: Expr, mean: Expr, var: Expr) -> Expr:
    factor = scale / o.sqrt(var + o.const(call.arg("epsilon")))
    return (x - mean) * factor + bias


def _channel_shape(a: np.ndarray, call: Call, rank: int) -> np.ndarray:
    shape = [1] * rank
    shape[channel_axis(call, rank)] = a.size
    return a.reshape(shape)


def _bn_reference(
    call: Call, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *stored: np.ndarray
) -> Sequence[np.ndarray]:
    epsilon = np.float32(call.arg("epsilon"))
    if call.arg("is_test"):
        mean, var = stored[:2]
        factor = scale / np.sqrt(var + epsilon)
        return [_affine(call, x, factor, bias - mean * factor)]
    if x.size == 0:  # without pixels the running statistics stay, and the saved ones are zero
        nothing = np.zeros_like(scale)
        return [x, *(stored[:2] or (nothing, nothing)), nothing, nothing]
    axes = tuple(i for i in range(x.ndim) if i != channel_axis(call, x.ndim))
    count = x.size // scale.size * call.arg("num_batches")
    if len(stored) == 4:
        mean = stored[2] / np.float32(count)
        var = stored[3] / np.float32(count) - mean * mean
    else:
        mean, var = x.mean(axis=axes, dtype=x.dtype), x.var(axis=axes, dtype=x.dtype)
    inverse = 1 / np.sqrt(var + epsilon)
    y = _affine(call, x, scale * inverse, bias - mean * scale * inverse)
    momentum = np.float32(call.arg("momentum"))
    unbiased = np.float32(count / max(count - 1, 1))
    running = [momentum * old + (1 - momentum) * new for old, new in zip(stored, (mean, var * unbiased))]
    return [y, *(running or [mean, var * unbiased]), mean, inverse]


def _affine(call: Call, x: np.ndarray, factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.asarray(x * _channel_shape(factor, call, x.ndim) + _channel_shape(offset, call, x.ndim))


def _bn_loop(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    y: np.ndarray,
    new_mean: np.ndarray,
    new_var: np.ndarray,
    saved_mean: np.ndarray,
    saved_inverse: np.ndarray,
    last: int,
    test: int,
    batches: int,
    epsilon: float,
    momentum: float,
) -> None:
    batch_norm(
        x, scale, bias, mean, var, sums, squares, y, new_mean, new_var, saved_mean, saved_inverse,
        last, test, batches, epsilon, momentum,
    )  # fmt: skip


def _bn_constants(call: Call) -> Sequence[Any]:
    float_only(call)
    numbers = (call.arg(name) for name in ("num_batches", "epsilon", "momentum"))
    return [int(nhwc(call)), int(bool(call.arg("is_test"))), *numbers]


def _bn_traits(call: Call) -> Trait:
    return Trait.POINTWISE | Trait.BLOCKED if call.arg("is_test") else Trait.NONE


def align_channels(call: Call, i: int) -> Shape:
    """Input 0 as it is, the others as vectors over its channels."""
    return per_channel(call, i) if i else call.type(0).shape or ()


op(
    "SpatialBN",
    _bn_infer,
    inputs="X scale bias mean? var? sums? sumsq?",
    outputs="Y mean? var? saved_mean? saved_var?",
    args=(
        Arg("is_test", "int", 0, "use the stored mean and variance"),
        EPSILON,
        Arg("momentum", "float", float(np.float32(0.9)), "share of the old running mean and variance"),
        Arg("num_batches", "int", 1, "batches that sums and sumsq come from"),
        ORDER,
        *HINTS,
    ),
    scalar=_bn_scalar,
    align=align_channels,
    loop=_bn_loop,
    constants=_bn_constants,
    reference=_bn_reference,
    call_traits=_bn_traits,
    inplace=((0, 0), (5, 3), (6, 4)),
    enforced=((3, 1), (4, 2)),
    flops=lambda call: 2 * call.type(0).size,
    doc="Batch normalisation per channel. saved_var is 1 / sqrt(var + epsilon) of the batch.",
)


def _lrn_infer(call: Call) -> list[TensorType]:
    """Y and the optional Y_scale have the type of X, which has 4 dimensions."""
    x = require(call, 0)
    if x.rank not in (None, 4):
        call.fail(f"the input has {x.rank} dimensions, 4 are needed")
    nhwc(call)
    bounded(call, call.arg("size"), 1, "size")
    return [x] * call.n_outputs


def _lrn_traits(call: Call) -> Trait:
    """Blocked kernels reach into the neighbouring blocks alone, and give one result."""
    return Trait.BLOCKED if call.n_outputs == 1 and call.arg("size") <= 2 * SMALLEST_BLOCK + 1 else Trait.NONE


def _lrn_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    size, axis = call.arg("size"), channel_axis(call, 4)
    # Of an even window the longer part lies behind the channel.
    before = (size - 1) // 2
    widths = [(0, 0)] * 4
    widths[axis] = (before, size - 1 - before)
    square = np.pad(x * x, widths)
    if not x.shape[axis]:
        return [x, x][: call.n_outputs]
    window = np.lib.stride_tricks.sliding_window_view(square, size, axis=axis).sum(axis=-1)
    scale = np.float32(call.arg("bias")) + np.float32(call.arg("alpha") / size) * window
    return [x * scale ** np.float32(-call.arg("beta")), scale][: call.n_outputs]


LRN_ARGS = (
    Arg("size", "int", 0, "channels in the window"),
    Arg("alpha", "float", 0.0, "factor of the mean square"),
    Arg("beta", "float", 0.0, "the power"),
    Arg("bias", "float", 1.0, "added to the scaled mean square"),
    Arg("pre_pad", "int", None, "written by old exporters; follows from size"),
    ORDER,
)


def _lrn_loop(
    x: np.ndarray,
    y: np.ndarray,
    scales: np.ndarray,
    work: np.ndarray,
    last: int,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
) -> None:
    response_scales(x, work, last, size, alpha, bias)
    for i in range(x.size):
        y.flat[i] = x.flat[i] * np.float32(work.flat[i] ** np.float32(-beta))
        if scales.size > 0:
            scales.flat[i] = work.flat[i]


def lrn_constants(call: Call) -> Sequence[Any]:
    """(order is NHWC, size, alpha, beta, bias)."""
    float_only(call)
    return [int(nhwc(call)), *(call.arg(name) for name in ("size", "alpha", "beta", "bias"))]


op(
    "LRN",
    _lrn_infer,
    inputs="X",
    outputs="Y Y_scale?",
    args=LRN_ARGS,
    loop=_lrn_loop,
    scratch=lambda call: [call.type(0)],
    constants=lrn_constants,
    reference=_lrn_reference,
    call_traits=_lrn_traits,
    flops=lambda call: call.type(0).size * (2 * call.arg("size") + 2),
    doc="Local response normalisation: X * (bias + alpha / size * sum of X**2 over a window of channels) ** -beta.",
)


def _instance_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; saved mean and inverse deviation are (N, C)."""
    x = require(call, 0)
    c = _channels(call, x.shape)
    for i, what in ((1, "scale"), (2, "bias")):
        require(call, i)
        c = vector(call, i, c, f"length of {what}")
    n = x.shape[0] if x.shape else UNKNOWN
    return [x, *[TensorType(x.dtype, (n, c))] * 2][: call.n_outputs]


def _instance_reference(call: Call, x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> Sequence[np.ndarray]:
    axes = tuple(range(1, x.ndim - 1)) if nhwc(call) else tuple(range(2, x.ndim))
    mean = x.mean(axis=axes, keepdims=True, dtype=x.dtype)
    inverse = 1 / np.sqrt(x.var(axis=axes, keepdims=True, dtype=x.dtype) + np.float32(call.arg("epsilon")))
    y = _affine(call, (x - mean) * inverse, scale, bias)
    flat = (x.shape[0], scale.size)
    return [y, mean.reshape(flat), inverse.reshape(flat)][: call.n_outputs]


def _group_loop(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    last: int,
    group: int,
    epsilon: float,
) -> None:
    group_norm(x, gamma, beta, y, mean, inverse, last, group, epsilon)


def group_constants(call: Call) -> Sequence[Any]:
    """(order is NHWC, group or 0 for one a channel, epsilon)."""
    float_only(call)
    return [int(nhwc(call)), call.arg("group") if call.opdef.has_arg("group") else 0, call.arg("epsilon")]


op(
    "InstanceNorm",
    _instance_infer,
    inputs="input scale bias",
    outputs="output saved_mean? saved_inv_stdev?",
    args=(EPSILON, ORDER),
    loop=_group_loop,
    constants=group_constants,
    reference=_instance_reference,
    inplace=((0, 0),),
    flops=lambda call: 6 * call.type(0).size,
    doc="Each channel of each image normalised to mean 0 and variance 1, then scale and bias per channel.",
)


def _group_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; mean and inverse deviation are (N, group)."""
    x = require(call, 0)
    c = _channels(call, x.shape)
    group = bounded(call, call.arg("group"), 1, "group")
    if isinstance(c, int) and c % group:
        call.fail(f"{c} channels cannot be divided into {group} groups", "use a group that divides the channels")
    for i, what in ((1, "gamma"), (2, "beta")):
        require(call, i)
        vector(call, i, c, f"length of {what}")
    n = x.shape[0] if x.shape else UNKNOWN
    return [x, *[TensorType(x.dtype, (n, group))] * 2][: call.n_outputs]


def _group_reference(call: Call, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> Sequence[np.ndarray]:
    group, axis = call.arg("group"), channel_axis(call, x.ndim)
    parts = x.reshape(*x.shape[:axis], group, x.shape[axis] // group, *x.shape[axis + 1 :])
    axes = tuple(i for i in range(1, parts.ndim) if i != axis)
    mean = parts.mean(axis=axes, keepdims=True, dtype=x.dtype)
    inverse = 1 / np.sqrt(parts.var(axis=axes, keepdims=True, dtype=x.dtype) + np.float32(call.arg("epsilon")))
    y = _affine(call, ((parts - mean) * inverse).reshape(x.shape), gamma, beta)
    flat = (x.shape[0], group)
    return [y, mean.reshape(flat), inverse.reshape(flat)][: call.n_outputs]


op(
    "GroupNorm",
    _group_infer,
    inputs="X gamma beta",
    outputs="Y mean? std?",
    args=(
        Arg("group", "int", 32, "number of groups"),
        EPSILON,
        ORDER,
        Arg("is_test", "int", 1, "the two further outputs are not needed"),
    ),
    loop=_group_loop,
    constants=group_constants,
    reference=_group_reference,
    flops=lambda call: 6 * call.type(0).size,
    doc="Each group of channels of each image normalised, then gamma and beta. std is the inverse deviation.",
)


def _layer_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; mean and stddev have X's dimensions before ``axis``, then 1."""
    x = require(call, 0)
    if x.shape is None:
        return [x, *[TensorType(x.dtype)] * 2][: call.n_outputs]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    if product(x.shape[axis:]) == 0:
        call.fail(f"the rows of X, the dimensions {x.shape[axis:]}, have no elements", "give at least one")
    if call.arg("elementwise_affine"):
        for i in (1, 2):
            merge = count_of(require(call, i).shape)
            agree(call, merge, product(x.shape[axis:]), f"elements of {call.input_name(i)}")
    return [x, *[TensorType(x.dtype, (*x.shape[:axis], 1))] * 2][: call.n_outputs]


def _row_means(rows: np.ndarray) -> np.ndarray:
    """Means as a column: of eight sums of every eighth element, as Caffe2's processors with AVX2 take them."""
    n = rows.shape[1]
    lanes = rows[:, : n // 8 * 8].reshape(len(rows), n // 8, 8)
    a = np.add.reduce(lanes, axis=1)
    a = a[:, :4] + a[:, 4:]
    total = (a[:, 0] + a[:, 2]) + (a[:, 1] + a[:, 3])
    for column in rows[:, n // 8 * 8 :].T:
        total = total + column
    mean: np.ndarray = (total / rows.dtype.type(max(n, 1)))[:, None]
    return mean


def _layer_reference(call: Call, x: np.ndarray, *affine: np.ndarray) -> Sequence[np.ndarray]:
    """Elements are scaled and shifted in single precision, as in Caffe2: rows of nearly equal ones keep its digits."""
    axis = call.arg("axis") % x.ndim
    rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    mean = _row_means(rows)
    deviation = np.sqrt(rows.var(axis=1, keepdims=True, dtype=np.float64) + call.arg("epsilon")).astype(x.dtype)
    scale = 1 / deviation
    y = rows * scale - mean * scale
    if call.arg("elementwise_affine"):
        y = y * affine[0].reshape(-1) + affine[1].reshape(-1)
    lead = (*x.shape[:axis], 1)
    return [y.reshape(x.shape), mean.reshape(lead), deviation.reshape(lead)][: call.n_outputs]


def _layer_loop(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    axis: int,
    epsilon: float,
    affine: int,
) -> None:
    layer_norm(x, gamma, beta, y, mean, deviation, axis, epsilon, affine)


def _layer_constants(call: Call) -> Sequence[Any]:
    return [*axis_constant(call), call.arg("epsilon"), int(bool(call.arg("elementwise_affine")))]


for _name in ("LayerNorm", "C10LayerNorm_DontUseThisOpYet"):
    op(
        _name,
        _layer_infer,
        inputs="input gamma? beta?",
        outputs="output mean stddev",
        args=(
            Arg("axis", "int", 1, "everything from this dimension on is normalised together"),
            EPSILON,
            Arg("elementwise_affine", "int", 0, "gamma and beta are applied"),
        ),
        loop=_layer_loop,
        constants=_layer_constants,
        reference=_layer_reference,
        flops=lambda call: 6 * call.type(0).size,
        doc="Each row normalised to mean 0 and variance 1; stddev is sqrt(variance + epsilon).",
    )


def _affine_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; scale and bias are vectors of C elements."""
    x = require(call, 0)
    c = _channels(call, x.shape)
    for i, what in ((1, "scale"), (2, "bias")):
        require(call, i)
        c = vector(call, i, c, f"length of {what}")
    return [x]


op(
    "AffineChannel",
    _affine_infer,
    inputs="X scale bias",
    outputs="Y",
    args=(ORDER, Arg("is_learnable", "int", 0, "gradients of scale and bias are wanted")),
    scalar=lambda o, call, x, scale, bias: x * scale + bias,
    align=align_channels,
    traits=Trait.POINTWISE | Trait.BLOCKED,
    inplace=((0, 0),),
    doc="scale[c] * X + bias[c].",
)


def _linear_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; w and b have as many elements as X's dimensions from ``axis`` on."""
    x = require(call, 0)
    require(call, 1)
    require(call, 2)
    merge_shapes(call, call.type(1).shape, call.type(2).shape, "the shapes of w and b differ")
    if x.shape is not None:
        row = product(x.shape[axis_of(call, call.arg("axis"), len(x.shape)) :])
        vector(call, 1, row, "length of w")
    return [x]


def _linear_align(call: Call, i: int) -> Shape:
    shape = call.type(0).shape or ()
    return shape[call.arg("axis") % max(len(shape), 1) :] if i else shape


op(
    "ElementwiseLinear",
    _linear_infer,
    inputs="X w b",
    outputs="Y",
    args=(Arg("axis", "int", 1, "X is flattened to a matrix before this dimension"),),
    scalar=lambda o, call, x, w, b: x * w + b,
    align=_linear_align,
    traits=Trait.POINTWISE,
    doc="Each row of X times w plus b, elementwise.",
)


RMS_FLOATS = (DType.FLOAT, DType.DOUBLE)
EPS = Arg("eps", "float", 0.0, "added to the mean square")
UNUSED_EPSILON = Arg("epsilon", "float", 0.0, "of Caffe2's documentation, which its operator does not read")


def _rms_infer(call: Call) -> list[TensorType]:
    """output has the type of the input, float or double; rrms has its dimensions before ``axis``."""
    x = require(call, 0, RMS_FLOATS)
    for i in (1, 2):
        if require(call, i, RMS_FLOATS).dtype not in (None, x.dtype) and x.dtype:
            call.fail(f"{call.input_name(i)} has elements of another type than the input", "insert a Cast")
    if x.shape is None:
        return [x, TensorType(x.dtype)]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    for i in (1, 2):
        elements = count_of(call.type(i).shape)
        agree(call, elements, product(x.shape[axis:]), f"elements of {call.input_name(i)}")
    return [x, TensorType(x.dtype, x.shape[:axis])]


def _rms_loop(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, y: np.ndarray, inverse: np.ndarray, axis: int, epsilon: float
) -> None:
    rms_norm(x, gamma, beta, y, inverse, axis, epsilon)


op(
    "RMSNorm",
    _rms_infer,
    inputs="input gamma beta",
    outputs="output rrms",
    args=(Arg("axis", "int", 1, "everything from this dimension on is normalised together"), EPS, UNUSED_EPSILON),
    loop=_rms_loop,
    constants=lambda call: [*axis_constant(call), call.arg("eps")],
    flops=lambda call: 4 * call.type(0).size,
    doc="Each row divided by its root mean square, then gamma and beta; rrms is the factor.",
)
