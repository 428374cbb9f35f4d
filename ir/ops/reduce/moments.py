"""Means, variances and sums of channels and over axes, with their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.ir.opdef import Call, Trait, op
from graphc.ir.ops._rules import ORDER, Shape, along, channel_axis, merge_shapes, require, vector
from graphc.ir.ops._walk import advance, offset, set_steps, steps_type
from graphc.ir.ops.nn.channels_gradient import channel_sizes
from graphc.ir.ops.reduce.reduce import AXES_ARGS, reduced_axes, reduced_shape
from graphc.ir.ops.reduce.reduce_gradient import spread
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

FLOAT = (DType.FLOAT,)


def _moments_infer(call: Call) -> list[TensorType]:
    """mean and variance: the dimensions ``axes`` reduced."""
    x = require(call, 0, FLOAT)
    return [x.with_shape(reduced_shape(call, x.shape))] * 2


def _count(call: Call, i: int) -> int:
    shape = call.type(i).static_shape
    return math.prod(shape[k] for k in reduced_axes(call, len(shape)))


def _moment_of_run(x: Any, start: Any, run: Any, mean: Any, turn: Any) -> Any:
    """The sum of elements side by side, or of the squares of their distances from the mean; four at a time."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    shift = mean * turn
    whole = run // 4 * 4
    for i in range(start, start + whole, 4):
        p, q = x.flat[i] - shift, x.flat[i + 1] - shift
        u, v = x.flat[i + 2] - shift, x.flat[i + 3] - shift
        a += p * p if turn else p
        b += q * q if turn else q
        c += u * u if turn else u
        d += v * v if turn else v
    for i in range(start + whole, start + run):
        p = x.flat[i] - shift
        a += p * p if turn else p
    return (a + b) + (c + d)


def _moments_loop(x: Any, mean: Any, variance: Any, steps: Any, sums: Any, kept: Any, count: Any) -> None:
    shape = (1,) + x.shape  # noqa: RUF005  # Numba has no unpacking
    run = shape[len(shape) - 1]
    for turn in range(2):
        for d in range(steps.shape[1]):
            steps[0, d] = 0
        set_steps(steps, 1, shape, kept)
        step = steps[1, len(shape) - 1]
        for r in range(x.size // max(run, 1)):
            at = offset(steps, 1)
            if step == 0:
                sums[turn, at] += _moment_of_run(x, r * run, run, sums[0, at], turn)
            else:
                for i in range(run):
                    value = x.flat[r * run + i] - sums[0, at + i] * turn
                    sums[turn, at + i] += value * value if turn else value
            advance(steps, shape)
        for k in range(mean.size):
            sums[turn, k] /= max(count, 1)
    for k in range(mean.size):
        mean.flat[k] = sums[0, k]
        variance.flat[k] = sums[1, k]


def _moments_constants(call: Call) -> Sequence[Any]:
    rank = len(call.type(0).static_shape)
    axes = reduced_axes(call, rank)
    return [(0, *(int(i not in axes) for i in range(rank))), _count(call, 0)]


op(
    "Moments",
    _moments_infer,
    inputs="data",
    outputs="mean variance",
    args=AXES_ARGS,
    loop=_moments_loop,
    scratch=lambda call: [
        steps_type(call.type(0).rank or 0, 1),
        TensorType(DType.DOUBLE, (2, call.node.results[0].type.size)),
    ],
    constants=_moments_constants,
    flops=lambda call: 3 * call.type(0).size,
    doc="Mean and variance over axes.",
)


def _moments_gradient_infer(call: Call) -> list[TensorType]:
    """dX has the type of X; dmean, dvariance and mean have the shape of X reduced."""
    x = require(call, 2, FLOAT)
    for i in (0, 1, 3):
        small = require(call, i, FLOAT).shape
        merge_shapes(call, reduced_shape(call, x.shape), small, f"{call.input_name(i)} has not the shape of X reduced")
    return [x]


def _moments_align(call: Call, i: int) -> Shape:
    shape = call.type(2).shape or ()
    return shape if i == 2 else spread(call, shape, reduced_axes(call, len(shape)))


def _moments_gradient(o: ScalarOps, call: Call, dmean: Expr, dvariance: Expr, x: Expr, mean: Expr) -> Expr:
    return (dmean + (x - mean) * o.const(2.0) * dvariance) * o.const(1.0 / max(_count(call, 2), 1))


op(
    "MomentsGradient",
    _moments_gradient_infer,
    inputs="dmean dvariance X mean",
    outputs="dX",
    args=AXES_ARGS,
    scalar=_moments_gradient,
    align=_moments_align,
    traits=Trait.POINTWISE | Trait.SIZED,
    doc="(dmean + 2 (X - mean) dvariance) divided by the number of elements.",
)


def _channels(call: Call, i: int = 0) -> Dim:
    """Number of channels of input ``i``; fails where it has no dimension of channels."""
    shape = require(call, i, FLOAT).shape
    if shape is not None and len(shape) < 2:
        call.fail(f"{call.input_name(i)} has {len(shape)} dimensions, at least 2 are needed")
    return UNKNOWN if shape is None else shape[channel_axis(call, len(shape))]


def _stats_infer(call: Call) -> list[TensorType]:
    """Both results have one element for each channel."""
    return [TensorType(DType.FLOAT, (_channels(call),))] * 2


def _stats_loop(
    x: Any, first: Any, second: Any, sums: Any, images: Any, channels: Any, size: Any, divisor: Any
) -> None:
    """Sums of the elements of a channel and of their squares, divided by ``divisor``."""
    for n in range(images):
        for c in range(channels):
            total, squares = 0.0, 0.0
            start = (n * channels + c) * size
            for i in range(start, start + size):
                total += x.flat[i]
                squares += x.flat[i] * x.flat[i]
            sums[0, c] += total
            sums[1, c] += squares
    for c in range(channels):
        first[c] = sums[0, c] / divisor
        second[c] = sums[1, c] / divisor


def _two_sums(call: Call) -> list[TensorType]:
    return [TensorType(DType.DOUBLE, (2, channel_sizes(call)[1]))]


def _pixels(call: Call, i: int = 0) -> int:
    images, _, size = channel_sizes(call, i)
    return max(images * size, 1)


op(
    "ChannelStats",
    _stats_infer,
    inputs="X",
    outputs="sum sumsq",
    args=(ORDER,),
    loop=_stats_loop,
    scratch=_two_sums,
    constants=lambda call: [*channel_sizes(call), 1],
    flops=lambda call: 3 * call.type(0).size,
    doc="Sum and sum of squares of every channel.",
)
op(
    "BatchMoments",
    _stats_infer,
    inputs="X",
    outputs="mu var",
    args=(ORDER,),
    loop=_stats_loop,
    scratch=_two_sums,
    constants=lambda call: [*channel_sizes(call), _pixels(call)],
    flops=lambda call: 3 * call.type(0).size,
    doc="Mean, and mean of the squares, of every channel.",
)


def _batch_gradient_infer(call: Call) -> list[TensorType]:
    """dX has the type of X; dmu and dvar have one element for each channel."""
    channels = _channels(call, 2)
    for i in (0, 1):
        require(call, i, FLOAT)
        vector(call, i, channels, f"length of {call.input_name(i)}")
    return [call.type(2)]


def _batch_align(call: Call, i: int) -> Shape:
    shape = call.type(2).shape or ()
    axis = channel_axis(call, len(shape))
    return shape if i == 2 else along((shape[axis],), axis, len(shape))


op(
    "BatchMomentsGradient",
    _batch_gradient_infer,
    inputs="dmu dvar X",
    outputs="dX",
    args=(ORDER,),
    scalar=lambda o, call, dmu, dvar, x: (x * dvar * o.const(2.0) + dmu) * o.const(1.0 / _pixels(call, 2)),
    align=_batch_align,
    traits=Trait.POINTWISE,
    doc="(dmu + 2 X dvar) divided by the number of elements of a channel.",
)


def _backprop_infer(call: Call) -> list[TensorType]:
    """Both results have one element for each channel, dimension 1 of X of 3 to 5 dimensions."""
    x, dy = require(call, 0, FLOAT), require(call, 3, FLOAT)
    shape = merge_shapes(call, x.shape, dy.shape, "the shapes of X and output_grad differ")
    if shape is not None and not 3 <= len(shape) <= 5:
        call.fail(f"X has {len(shape)} dimensions, 3 to 5 are needed")
    for i in (1, 2):
        require(call, i, FLOAT)
        vector(call, i, UNKNOWN if shape is None else shape[1], f"length of {call.input_name(i)}")
    return [TensorType(DType.FLOAT, (UNKNOWN if shape is None else shape[1],))] * 2


def _backprop_loop(x: Any, mean: Any, inv_std: Any, dy: Any, dscale: Any, dbias: Any, sums: Any, images: Any) -> None:
    channels = mean.shape[0]
    size = x.size // max(images * channels, 1)
    for n in range(images):
        for c in range(channels):
            scaled, total = 0.0, 0.0
            start = (n * channels + c) * size
            for i in range(start, start + size):
                scaled += (x.flat[i] - mean[c]) * inv_std[c] * dy.flat[i]
                total += dy.flat[i]
            sums[0, c] += scaled
            sums[1, c] += total
    for c in range(channels):
        dscale[c] = sums[0, c]
        dbias[c] = sums[1, c]


op(
    "ChannelBackpropStats",
    _backprop_infer,
    inputs="X mean inv_std output_grad",
    outputs="scale_grad bias_grad",
    loop=_backprop_loop,
    scratch=lambda call: [TensorType(DType.DOUBLE, (2, call.type(1).size))],
    constants=lambda call: [call.type(0).static_shape[0]],
    doc="For every channel the sums of (X - mean) * inv_std * output_grad and of output_grad.",
)
