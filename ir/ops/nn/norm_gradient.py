"""Gradients of normalisation. Each has the arguments of the forward operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import (
    HINTS,
    ORDER,
    agree,
    axis_of,
    bounded,
    channel_axis,
    count_of,
    merge_shapes,
    nhwc,
    product,
    require,
    vector,
)
from graphc.ir.ops.nn._norms import (
    batch_norm_gradient,
    group_norm_gradient,
    layer_norm_gradient,
    normalize_gradient,
    response_gradient,
    response_scales,
    rms_norm_gradient,
)
from graphc.ir.ops.nn.norm import (
    EPS,
    EPSILON,
    LRN_ARGS,
    NORM_FLOOR,
    RMS_FLOATS,
    UNUSED_EPSILON,
    axis_constant,
    group_constants,
    lrn_constants,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

FLOAT = (DType.FLOAT,)


def same_shapes(call: Call, *inputs: int) -> TensorType:
    """The float type that the inputs share; fails if their shapes differ."""
    first = require(call, inputs[0], FLOAT)
    shape = first.shape
    for i in inputs[1:]:
        shape = merge_shapes(
            call, shape, require(call, i, FLOAT).shape, f"{call.input_name(i)} has not the shape of the others"
        )
    return first.with_shape(shape)


def _channels(call: Call, x: TensorType, least: int) -> Dim:
    if x.shape is None:
        return UNKNOWN
    if len(x.shape) < least:
        call.fail(f"the input has {len(x.shape)} dimensions, at least {least} are needed")
    return x.shape[channel_axis(call, len(x.shape))]


def _elements(call: Call, i: int, count: Dim, what: str) -> None:
    shape = require(call, i, FLOAT).shape
    if shape is not None:
        agree(call, product(shape), count, f"elements of {what}")


def _instance_types(call: Call) -> list[TensorType]:
    """Types of input, scale and bias; mean and inverse deviation are (N, C), both or neither."""
    x = same_shapes(call, 0, 3)
    c = _channels(call, x, 2)
    for i, what in ((1, "scale"), (2, "bias")):
        require(call, i, FLOAT)
        c = vector(call, i, c, f"length of {what}")
    if call.has(4) != call.has(5):
        call.fail("of mean and inverse deviation only one is given", "give both, or neither")
    for i in (4, 5) if call.has(4) else ():
        _elements(call, i, product((x.shape[0] if x.shape else UNKNOWN, c)), call.input_name(i))
    return [x, *[TensorType(DType.FLOAT, (c,))] * 2]


def _instance_loop(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    dy: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    dx: np.ndarray,
    d_scale: np.ndarray,
    d_bias: np.ndarray,
    last: int,
    group: int,
    epsilon: float,
) -> None:
    group_norm_gradient(x, scale, dy, mean, inverse, dx, d_scale, d_bias, last, group, epsilon)


op(
    "InstanceNormGradient",
    _instance_types,
    inputs="input scale bias output_grad mean? inv_stdev?",
    outputs="input_grad scale_grad bias_grad",
    args=(EPSILON, ORDER),
    loop=_instance_loop,
    constants=group_constants,
    doc="gradients of InstanceNorm; the statistics are computed again where they are not given",
)


def _group_types(call: Call) -> list[TensorType]:
    """Types of X, gamma and beta; mean and inverse deviation are (N, group)."""
    x = same_shapes(call, 0, 1)
    c, group = _channels(call, x, 2), bounded(call, call.arg("group"), 1, "group")
    if isinstance(c, int) and c % group:
        call.fail(f"{c} channels cannot be divided into {group} groups", "use a group that divides the channels")
    for i in (2, 3):
        _elements(call, i, c, call.input_name(i))
    for i in (4, 5):
        _elements(call, i, product((x.shape[0] if x.shape else UNKNOWN, group)), call.input_name(i))
    return [x, *[TensorType(DType.FLOAT, (c,))] * 2]


def _group_loop(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    dx: np.ndarray,
    d_gamma: np.ndarray,
    d_beta: np.ndarray,
    last: int,
    group: int,
    epsilon: float,
) -> None:
    group_norm_gradient(x, gamma, dy, mean, inverse, dx, d_gamma, d_beta, last, group, epsilon)


op(
    "GroupNormGradient",
    _group_types,
    inputs="dY X gamma beta mean inv_std",
    outputs="dX dgamma dbeta",
    args=(
        Arg("group", "int", 32, "number of groups"),
        EPSILON,
        ORDER,
        Arg("is_test", "int", 1, "of the forward operator"),
    ),
    loop=_group_loop,
    constants=group_constants,
    doc="gradients of GroupNorm",
)


def _layer_types(call: Call) -> list[TensorType]:
    """dX has the type of X; with ``elementwise_affine`` dgamma and dbeta have the shape of gamma."""
    x = same_shapes(call, 4, 0, 1)
    affine = bool(call.arg("elementwise_affine"))
    if affine != call.has(5) or call.n_outputs != (3 if affine else 1):
        wanted = "6 inputs and 3 outputs" if affine else "5 inputs and 1 output"
        call.fail(f"elementwise_affine is {int(affine)}, which wants {wanted}")
    if x.shape is None:
        return [x, *[TensorType(DType.FLOAT)] * 2][: call.n_outputs]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    for i in (2, 3):
        _elements(call, i, product(x.shape[:axis]), call.input_name(i))
    if not affine:
        return [x]
    _elements(call, 5, product(x.shape[axis:]), "gamma")
    return [x, *[TensorType(DType.FLOAT, x.shape[axis:])] * 2]


def _layer_loop(
    dy: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    dx: np.ndarray,
    d_gamma: np.ndarray,
    d_beta: np.ndarray,
    axis: int,
    affine: int,
) -> None:
    layer_norm_gradient(dy, y, mean, deviation, x, gamma, dx, d_gamma, d_beta, axis, affine)


def _layer_constants(call: Call) -> Sequence[Any]:
    axis = axis_of(call, call.arg("axis"), call.type(4).rank or 0)
    return [axis, int(bool(call.arg("elementwise_affine")))]


op(
    "LayerNormGradient",
    _layer_types,
    inputs="dY Y mean stddev X gamma?",
    outputs="dX dgamma? dbeta?",
    args=(
        Arg("axis", "int", 1, "everything from this dimension on is normalised together"),
        EPSILON,
        Arg("elementwise_affine", "int", 0, "gamma and beta were applied"),
    ),
    loop=_layer_loop,
    constants=_layer_constants,
    doc="gradients of LayerNorm",
)


def _normalize_types(call: Call) -> list[TensorType]:
    """dX has the type of X, dY its shape."""
    x = same_shapes(call, 0, 1)
    if x.shape is not None:
        axis_of(call, call.arg("axis"), len(x.shape))
    return [x]


def _normalize_loop(x: np.ndarray, dy: np.ndarray, dx: np.ndarray, axis: int) -> None:
    normalize_gradient(x, dy, dx, axis, NORM_FLOOR)


op(
    "NormalizeGradient",
    _normalize_types,
    inputs="X dY",
    outputs="dX",
    args=(Arg("axis", "int", -1, "the dimension along which"),),
    loop=_normalize_loop,
    constants=axis_constant,
    doc="gradient of Normalize",
)


def _rms_types(call: Call) -> list[TensorType]:
    """Types of the input, gamma and beta, all float or all double; rrms has an element a row."""
    types = [require(call, i, RMS_FLOATS) for i in range(4)]
    if len({t.dtype for t in types if t.dtype}) > 1:
        call.fail("the inputs have elements of different types", "insert a Cast")
    x = types[1].with_shape(merge_shapes(call, types[1].shape, types[0].shape, "dY has not the shape of the input"))
    if x.shape is not None:
        axis = axis_of(call, call.arg("axis"), len(x.shape))
        for i, dims in ((2, x.shape[axis:]), (3, x.shape[:axis])):
            agree(call, count_of(types[i].shape), product(dims), f"elements of {call.input_name(i)}")
    return [x, types[2], types[2]]


def _rms_loop(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    inverse: np.ndarray,
    dx: np.ndarray,
    d_gamma: np.ndarray,
    d_beta: np.ndarray,
    axis: int,
) -> None:
    rms_norm_gradient(dy, x, gamma, inverse, dx, d_gamma, d_beta, axis)


op(
    "RMSNormGradient",
    _rms_types,
    inputs="dY X gamma rrms",
    outputs="dX dgamma dbeta",
    args=(Arg("axis", "int", 1, "everything from this dimension on is normalised together"), EPS, UNUSED_EPSILON),
    loop=_rms_loop,
    constants=axis_constant,
    doc="gradients of RMSNorm",
)


def _bn_types(call: Call) -> list[TensorType]:
    """dX has the type of X, dscale and dbias are vectors of C elements.

    With 7 inputs the last two sum over batches; of one batch they are not read, as in Caffe2.
    """
    x = same_shapes(call, 0, 2)
    c = _channels(call, x, 3)
    sums = call.arg("num_batches") > 1
    if call.has(5) != call.has(6) or (sums and not call.has(5)):
        call.fail(f"num_batches is {call.arg('num_batches')}, which wants {7 if sums else '5 or 7'} inputs")
    for i in range(1, call.n_inputs):
        if i != 2:
            require(call, i, FLOAT)
            c = vector(call, i, c, f"length of {call.input_name(i)}")
    return [x, *[TensorType(DType.FLOAT, (c,))] * 2]


def _bn_loop(
    x: np.ndarray,
    scale: np.ndarray,
    dy: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    scale_sums: np.ndarray,
    bias_sums: np.ndarray,
    dx: np.ndarray,
    d_scale: np.ndarray,
    d_bias: np.ndarray,
    last: int,
    batches: int,
) -> None:
    batch_norm_gradient(x, scale, dy, mean, inverse, scale_sums, bias_sums, dx, d_scale, d_bias, last, batches)


op(
    "SpatialBNGradient",
    _bn_types,
    inputs="X scale dY saved_mean saved_var dscale_sums? dbias_sums?",
    outputs="dX dscale dbias",
    args=(
        Arg("is_test", "int", 0, "of the forward operator"),
        EPSILON,
        Arg("momentum", "float", float(np.float32(0.9)), "of the forward operator"),
        Arg("num_batches", "int", 1, "batches that dscale_sums and dbias_sums come from"),
        ORDER,
        *HINTS,
    ),
    loop=_bn_loop,
    constants=lambda call: [int(nhwc(call)), call.arg("num_batches")],
    inplace=((2, 0), (5, 1), (6, 2)),
    doc="gradients of SpatialBN in training",
)


def _lrn_types(call: Call) -> list[TensorType]:
    """dX has the type of X, which has 4 dimensions."""
    x = same_shapes(call, 0, 1, 2)
    if x.rank not in (None, 4):
        call.fail(f"the input has {x.rank} dimensions, 4 are needed")
    nhwc(call)
    bounded(call, call.arg("size"), 1, "size")
    return [x]


def _lrn_loop(
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    scales: np.ndarray,
    last: int,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
) -> None:
    response_scales(x, scales, last, size, alpha, bias)
    response_gradient(x, y, dy, dx, scales, last, size, alpha, beta)


op(
    "LRNGradient",
    _lrn_types,
    inputs="X Y dY",
    outputs="dX",
    args=LRN_ARGS,
    loop=_lrn_loop,
    scratch=lambda call: [call.type(0)],
    constants=lrn_constants,
    doc="gradient of LRN",
)
