"""Normalisation in the engine DNNLOWP: SpatialBN by given moments, GroupNorm; see ``_dnnlowp.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops._rules import ORDER, agree, channel_axis, require, vector
from graphc.ir.ops.quantized._dnnlowp import (
    HIGH,
    chosen,
    either_input,
    input_numbers,
    number,
    output_numbers,
    output_type,
    parameters,
    quantised_twice,
    range_parameters,
    real,
    report,
    span_parameters,
)
from graphc.ir.ops.quantized._fixed_point import clamped, half_even
from graphc.ir.ops.quantized.dnnlowp import dnnlowp, store
from graphc.ir.types import DType, TensorType


def _shape_of(call: Call, first: int, last: int, least: int) -> tuple[TensorType, int | None]:
    """Type of X and its channels' axis; the inputs from ``first`` to ``last`` have an element for each channel."""
    x = either_input(call, 0)
    for i in range(first, last + 1):
        require(call, i, (DType.FLOAT,))
    if x.shape is None:
        return x, None
    if len(x.shape) < least:
        call.fail(f"the input has {len(x.shape)} dimensions, at least {least} are needed")
    axis = channel_axis(call, len(x.shape))
    for i in range(first, last + 1):
        vector(call, i, x.shape[axis], f"channels of X and elements of {call.input_name(i)} differ")
    return x, axis


def _geometry(call: Call) -> tuple[int, ...]:
    """Images, channels, pixels; the steps from channel to channel and from pixel to pixel."""
    shape = call.type(0).static_shape
    axis = channel_axis(call, len(shape))
    channels, inner = shape[axis], math.prod(shape[1:]) // max(shape[axis], 1)
    steps = (inner, 1) if axis == 1 and len(shape) > 2 else (1, channels)
    return (shape[0], channels, inner, *steps)


# ---- SpatialBN -------------------------------------------------------------------------------------------------------


def _batch_type(relu: bool) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        """Y has the shape of X."""
        if not call.arg("is_test"):
            call.fail("it only works for inference", "set is_test=1")
        if not call.arg("epsilon") > 0:
            call.fail(f"epsilon is {call.arg('epsilon')}, a positive number is needed")
        return [output_type(call, _shape_of(call, 1, 4, 3)[0].shape, relu)]

    return infer


def _slope(scale: np.ndarray, var: np.ndarray, c: int, epsilon: float) -> Any:
    return scale[c] * (np.float32(1.0) / np.float32(np.sqrt(var[c] + np.float32(epsilon))))


def _batch_range(
    x: np.ndarray,
    gain: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    x_scale: float,
    x_zero: int,
    epsilon: float,
    positive: int,
    sparse: int,
) -> tuple[float, int]:
    """Scale and zero point for what float32 inputs would give."""
    low = high = np.float32(0.0)
    empty = True
    for c in range(channels):
        slope = _slope(gain, var, c, epsilon)
        offset = bias[c] - slope * mean[c]
        for n in range(images):
            for j in range(inner):
                at = n * channels * inner + c * c_step + j * j_step
                value = np.float32(real(x, at, x_scale > 0.0, x_scale, x_zero) * slope + offset)
                low, high = (value, value) if empty else (min(low, value), max(high, value))
                empty = False
    return range_parameters(low, high, positive, sparse)


def _batch_sizes(
    x: np.ndarray,
    gain: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    dims: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    x_scale: float,
    x_zero: int,
    epsilon: float,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _batch_range(
        x, gain, bias, mean, var, images, channels, inner, c_step, j_step, x_scale, x_zero, epsilon, positive, sparse
    )
    report(dims, found, found_zero)


def _batch(
    x: np.ndarray,
    gain: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    y: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    x_scale: float,
    x_zero: int,
    epsilon: float,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    """positive: 2 where Relu is a part of the operator."""
    if not scale > 0.0:
        scale, zero = _batch_range(
            x,
            gain,
            bias,
            mean,
            var,
            images,
            channels,
            inner,
            c_step,
            j_step,
            x_scale,
            x_zero,
            epsilon,
            positive,
            sparse,
        )
    given = x_scale > 0.0
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    low = zero if positive >= 2 else 0
    for c in range(channels):
        slope = _slope(gain, var, c, epsilon)
        offset = (bias[c] - slope * mean[c]) / np.float32(scale)
        slope = slope * (np.float32(x_scale) / np.float32(scale))
        for n in range(images):
            for j in range(inner):
                at = n * channels * inner + c * c_step + j * j_step
                shift = np.float32(number(x, at, given, x_scale, x_zero) - x_zero)
                value = np.float32(np.float64(slope) * np.float64(shift) + np.float64(offset))
                if c_step > 1:
                    value = np.float32(slope * shift) + offset
                store(y, at, clamped(half_even(value) + zero, low, HIGH), scale, zero, as_float)


def _batch_constants(relu: bool) -> Callable[[Call], Sequence[float]]:
    def constants(call: Call) -> Sequence[float]:
        scale, zero, positive, sparse, as_float = output_numbers(call, relu)
        out = (scale, zero, 2 if relu else positive, sparse, as_float)
        return (*_geometry(call), *input_numbers(call, 0), call.arg("epsilon"), *out)

    return constants


for _relu in (False, True):
    dnnlowp(
        *(("Int8SpatialBNRelu",) if _relu else ("SpatialBN", "Int8SpatialBN")),
        infer=_batch_type(_relu),
        inputs="X scale bias mean var",
        outputs="Y",
        args=(
            Arg("is_test", "int", 0, "1: the moments are inputs"),
            Arg("epsilon", "float", 1e-5, "added to the variance"),
            Arg("momentum", "float", 0.9, "not read"),
            ORDER,
        ),
        loop=_batch,
        sizes=_batch_sizes,
        constants=_batch_constants(_relu),
        doc="SpatialBN by given moments in fixed point" + (", then Relu" if _relu else ""),
    )

# ---- GroupNorm -------------------------------------------------------------------------------------------------------


def _group_type(call: Call) -> list[TensorType]:
    """Y has the shape of X; ``group`` divides its channels."""
    x, axis = _shape_of(call, 1, 2, 2)
    group = call.arg("group")
    if group < 1:
        call.fail(f"group is {group}, a positive number is needed")
    if x.shape is not None and axis is not None:
        c = x.shape[axis]
        if isinstance(c, int):
            agree(call, c % group, 0, f"{c} channels do not divide into {group} groups; the rest is")
    return [output_type(call, x.shape)]


def _moments(
    xs: np.ndarray,
    moments: np.ndarray,
    groups: int,
    epsilon: float,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
) -> int:
    """Mean and inverse deviation of every group of every image."""
    size = channels // groups
    for n in range(images):
        for g in range(groups):
            total = squares = 0.0
            for c in range(g * size, (g + 1) * size):
                for j in range(inner):
                    value = xs[n * channels * inner + c * c_step + j * j_step]
                    total += value
                    squares += value * value
            count = max(size * inner, 1)
            mean = total / count
            moments[0, n * groups + g] = mean
            moments[1, n * groups + g] = 1.0 / math.sqrt(max(squares / count - mean * mean, 0.0) + epsilon)
    return 0


def _normal(
    xs: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    moments: np.ndarray,
    at: int,
    n: int,
    c: int,
    groups: int,
    size: int,
) -> Any:
    """One element in float32."""
    k = n * groups + c // size
    slope = gamma[c] * np.float32(moments[1, k])
    return np.float32(np.float32(xs[at]) * slope) + np.float32(beta[c] - slope * np.float32(moments[0, k]))


def _group_range(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    xs: np.ndarray,
    moments: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    groups: int,
    epsilon: float,
    x_scale: float,
    x_zero: int,
    positive: int,
    sparse: int,
) -> tuple[float, int]:
    for i in range(x.size):
        xs[i] = real(x, i, x_scale > 0.0, x_scale, x_zero)
    _moments(xs, moments, groups, epsilon, images, channels, inner, c_step, j_step)
    low = high = np.float32(0.0)
    empty = True
    for n in range(images):
        for c in range(channels):
            for j in range(inner):
                at = n * channels * inner + c * c_step + j * j_step
                value = _normal(xs, gamma, beta, moments, at, n, c, groups, channels // groups)
                low, high = (value, value) if empty else (min(low, value), max(high, value))
                empty = False
    return range_parameters(low, high, positive, sparse)


def _group_sizes(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    dims: np.ndarray,
    xs: np.ndarray,
    moments: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    groups: int,
    epsilon: float,
    w_sparse: int,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _group_range(
        x,
        gamma,
        beta,
        xs,
        moments,
        images,
        channels,
        inner,
        c_step,
        j_step,
        groups,
        epsilon,
        x_scale,
        x_zero,
        positive,
        sparse,
    )
    report(dims, found, found_zero)


def _group(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    y: np.ndarray,
    xs: np.ndarray,
    moments: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    groups: int,
    epsilon: float,
    w_sparse: int,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    """A float32 result is computed in float32, of the quantised input; a quantised one in whole numbers."""
    if not scale > 0.0 and not as_float:
        scale, zero = _group_range(
            x,
            gamma,
            beta,
            xs,
            moments,
            images,
            channels,
            inner,
            c_step,
            j_step,
            groups,
            epsilon,
            x_scale,
            x_zero,
            positive,
            sparse,
        )
    given, size = x_scale > 0.0, channels // groups
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    for i in range(x.size):
        xs[i] = number(x, i, given, x_scale, x_zero) - x_zero
        if as_float:
            xs[i] = np.float32(xs[i]) * np.float32(x_scale)
    unit = 1.0 if as_float else np.float64(np.float32(x_scale) * np.float32(x_scale))
    _moments(xs, moments, groups, epsilon / unit, images, channels, inner, c_step, j_step)
    if as_float:
        for n in range(images):
            for c in range(channels):
                for j in range(inner):
                    at = n * channels * inner + c * c_step + j * j_step
                    y.flat[at] = _normal(xs, gamma, beta, moments, at, n, c, groups, size)
        return
    _whole_numbers(
        xs, gamma, beta, y, moments, images, channels, inner, c_step, j_step, groups, w_sparse, x_scale, scale, zero
    )


def _whole_numbers(
    xs: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    y: np.ndarray,
    moments: np.ndarray,
    images: int,
    channels: int,
    inner: int,
    c_step: int,
    j_step: int,
    groups: int,
    w_sparse: int,
    x_scale: float,
    scale: float,
    zero: int,
) -> int:
    """xs: the numbers less the zero point. The mean is rounded; deviations get a scale like weights."""
    size, least, most = channels // groups, 0.0, 0.0
    for k in range(images * groups):
        value = moments[1, k] / np.float64(x_scale)
        least, most = (value, value) if k == 0 else (min(least, value), max(most, value))
    r_scale, _ = chosen(least, most, w_sparse)
    g_scale, _ = span_parameters(gamma, 0, gamma.size, w_sparse)
    b_scale = np.float32(x_scale) * np.float32(g_scale)
    product = np.float32(np.float32(r_scale) * np.float32(g_scale)) * np.float32(x_scale)
    unit = np.float64(product / np.float32(scale))
    for n in range(images):
        for c in range(channels):
            k = n * groups + c // size
            mean = moments[0, k]
            mean = math.floor(mean + 0.5) if mean >= 0.0 else -math.floor(0.5 - mean)
            rows = quantised_twice(moments[1, k] / np.float64(x_scale), r_scale, 0)
            slope = quantised_twice(gamma[c], g_scale, 0) * rows
            offset = math.floor(quantised_twice(beta[c], b_scale, 0) / np.float64(r_scale) + 0.5) - slope * mean
            for j in range(inner):
                at = n * channels * inner + c * c_step + j * j_step
                raw = int(xs[at]) * slope + offset
                y.flat[at] = clamped(math.floor(raw * unit + 0.5) + zero, 0, HIGH)
    return 0


dnnlowp(
    "GroupNorm",
    "Int8GroupNorm",
    infer=_group_type,
    inputs="X gamma beta",
    outputs="Y",
    args=(
        Arg("group", "int", 32, "groups of channels that are normalised together"),
        Arg("epsilon", "float", 1e-5, "added to the variance"),
        Arg("is_test", "int", 1, "not read"),
        Arg("is_param_constant", "int", 1, "a preference, never changes the answer"),
        ORDER,
    ),
    loop=_group,
    sizes=_group_sizes,
    scratch=lambda call: [
        TensorType(DType.DOUBLE, (call.type(0).size,)),
        TensorType(DType.DOUBLE, (2, call.type(0).static_shape[0] * call.arg("group"))),
    ],
    constants=lambda call: (
        *_geometry(call),
        call.arg("group"),
        call.arg("epsilon"),
        int(call.arg("preserve_weight_sparsity")),
        *input_numbers(call, 0),
        *output_numbers(call),
    ),
    doc="GroupNorm in fixed point",
)
