"""Pooling in the engine DNNLOWP: of two or three spatial dimensions, in both orders; the border does not count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.ops._rules import Shape
from graphc.ir.ops._window import WINDOW_ARGS, Window, batch_and_channels, join_shape, output_image, window
from graphc.ir.ops.quantized._dnnlowp import (
    HIGH,
    check_quant_args,
    either_input,
    input_numbers,
    number,
    output_numbers,
    output_type,
    parameters,
    quantised_dtype,
    range_parameters,
    real,
    report,
)
from graphc.ir.ops.quantized._fixed_point import clamped, half_even
from graphc.ir.ops.quantized.dnnlowp import dnnlowp, store
from graphc.ir.types import OPEN_QUANT, DType, TensorType

SPATIAL = 3
"""Spatial dimensions of the loops; missing ones are 1."""


def _pooled(call: Call) -> Shape | None:
    """Shape of the result; fails for dilations and for borders that a window could lie in."""
    shape, image = either_input(call, 0).shape, output_image(call)
    if shape is None or image is None:
        return None
    if len(image) not in (1, 2, 3):
        call.fail(f"the input has {len(image)} spatial dimensions, 1 to 3 are supported")
    n, c = batch_and_channels(call, shape)
    return join_shape(call, n, c, image)


def geometry(call: Call) -> tuple[int, ...]:
    """Images, steps of image, channel and the three spatial dimensions in X, their sizes, and the window's.

    n, channels, x_image, x_channel, (size, x_step, out, kernel, stride, head) of three dimensions; then y's steps:
    y_image, y_channel, y_step of three dimensions.
    """
    shape, win = call.type(0).static_shape, window(call)
    _check_window(call, win)
    out = [d for d in output_image(call) or () if isinstance(d, int)]
    last = call.arg("order") == "NHWC"
    sizes, channels = list(shape[1:-1] if last else shape[2:]), shape[-1] if last else shape[1]
    rest = SPATIAL - len(sizes)
    sizes, out = [1] * rest + sizes, [1] * rest + out
    kernel, stride, heads = ([k] * rest + list(v) for k, v in ((1, win.kernel), (1, win.stride), (0, win.heads)))
    x_steps, y_steps = _steps(sizes, channels, last), _steps(out, channels, last)
    dims = [n for i in range(3) for n in (sizes[i], x_steps[2 + i], out[i], kernel[i], stride[i], heads[i])]
    return (shape[0], channels, *x_steps[:2], *dims, *y_steps)


def _check_window(call: Call, win: Window) -> None:
    if any(d != 1 for d in win.dilation):
        call.fail("dilation is not supported by pooling of this engine", "remove it")
    if any(p >= k for p, k in zip((*win.heads, *win.tails), (*win.kernel, *win.kernel))) and not call.arg(
        "global_pooling"
    ):
        call.fail("a pad is not smaller than the kernel", "use a smaller pad")


def _steps(sizes: Sequence[int], channels: int, last: bool) -> list[int]:
    """Distance of the next image, channel, and spatial element of three dimensions."""
    inner = channels if last else 1
    steps = [sizes[1] * sizes[2] * inner, sizes[2] * inner, inner]
    return [channels * sizes[0] * sizes[1] * sizes[2], 1 if last else sizes[0] * sizes[1] * sizes[2], *steps]


def _average_type(call: Call) -> list[TensorType]:
    return [output_type(call, _pooled(call))]


def _max_type(call: Call) -> list[TensorType]:
    """Scale and zero point stay, or are those that quantising X gives."""
    check_quant_args(call)
    x, shape = either_input(call, 0), _pooled(call)
    if call.arg("dequantize_output"):
        return [TensorType(DType.FLOAT, shape)]
    return [TensorType(quantised_dtype(call), shape, quant=OPEN_QUANT if x.dtype is DType.FLOAT else x.quant)]


def _start(position: int, stride: int, head: int) -> int:
    return max(position * stride - head, 0)


def _end(position: int, stride: int, head: int, kernel: int, size: int) -> int:
    return min(position * stride - head + kernel, size)


def _average_range(
    x: np.ndarray,
    images: int,
    channels: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    x_scale: float,
    x_zero: int,
    positive: int,
    sparse: int,
) -> tuple[float, int]:
    """Scale and zero point for the means that float32 inputs would give."""
    low = high = np.float32(0.0)
    first = True
    for n in range(images):
        for c in range(channels):
            at = n * x_image + c * x_channel
            for i in range(o0):
                for j in range(o1):
                    for k in range(o2):
                        total, count = np.float32(0.0), 0
                        for a in range(_start(i, t0, h0), _end(i, t0, h0, k0, d0)):
                            for b in range(_start(j, t1, h1), _end(j, t1, h1, k1, d1)):
                                for e in range(_start(k, t2, h2), _end(k, t2, h2, k2, d2)):
                                    total += real(x, at + a * p0 + b * p1 + e * p2, x_scale > 0.0, x_scale, x_zero)
                                    count += 1
                        value = total / np.float32(count) if count > 0 else total
                        low, high = (value, value) if first else (min(low, value), max(high, value))
                        first = False
    return range_parameters(low, high, positive, sparse)


def _average_sizes(
    x: np.ndarray,
    dims: np.ndarray,
    images: int,
    channels: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _average_range(
        x,
        images,
        channels,
        x_image,
        x_channel,
        d0,
        p0,
        o0,
        k0,
        t0,
        h0,
        d1,
        p1,
        o1,
        k1,
        t1,
        h1,
        d2,
        p2,
        o2,
        k2,
        t2,
        h2,
        y_image,
        y_channel,
        q0,
        q1,
        q2,
        x_scale,
        x_zero,
        positive,
        sparse,
    )
    report(dims, found, found_zero)


def _average(
    x: np.ndarray,
    y: np.ndarray,
    images: int,
    channels: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    if not scale > 0.0:
        scale, zero = _average_range(
            x,
            images,
            channels,
            x_image,
            x_channel,
            d0,
            p0,
            o0,
            k0,
            t0,
            h0,
            d1,
            p1,
            o1,
            k1,
            t1,
            h1,
            d2,
            p2,
            o2,
            k2,
            t2,
            h2,
            y_image,
            y_channel,
            q0,
            q1,
            q2,
            x_scale,
            x_zero,
            positive,
            sparse,
        )
    given = x_scale > 0.0
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    for n in range(images):
        for c in range(channels):
            at, to = n * x_image + c * x_channel, n * y_image + c * y_channel
            for i in range(o0):
                for j in range(o1):
                    for k in range(o2):
                        total, count = 0, 0
                        for a in range(_start(i, t0, h0), _end(i, t0, h0, k0, d0)):
                            for b in range(_start(j, t1, h1), _end(j, t1, h1, k1, d1)):
                                for e in range(_start(k, t2, h2), _end(k, t2, h2, k2, d2)):
                                    total += number(x, at + a * p0 + b * p1 + e * p2, given, x_scale, x_zero) - x_zero
                                    count += 1
                        unit = np.float32(x_scale) / np.float32(scale) / np.float32(max(count, 1))
                        mean = half_even(np.float32(np.float32(total) * unit + np.float32(zero)))
                        store(y, to + i * q0 + j * q1 + k * q2, clamped(mean, 0, HIGH), scale, zero, as_float)


def _max_sizes(
    x: np.ndarray,
    dims: np.ndarray,
    images: int,
    channels: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    x_scale: float,
    x_zero: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = parameters(x, x_scale, x_zero, sparse)
    report(dims, found, found_zero)


def _maximum(
    x: np.ndarray,
    y: np.ndarray,
    images: int,
    channels: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    x_scale: float,
    x_zero: int,
    sparse: int,
    as_float: int,
) -> None:
    given = x_scale > 0.0
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    for n in range(images):
        for c in range(channels):
            at, to = n * x_image + c * x_channel, n * y_image + c * y_channel
            for i in range(o0):
                for j in range(o1):
                    for k in range(o2):
                        best = 0
                        for a in range(_start(i, t0, h0), _end(i, t0, h0, k0, d0)):
                            for b in range(_start(j, t1, h1), _end(j, t1, h1, k1, d1)):
                                for e in range(_start(k, t2, h2), _end(k, t2, h2, k2, d2)):
                                    best = max(best, number(x, at + a * p0 + b * p1 + e * p2, given, x_scale, x_zero))
                        store(y, to + i * q0 + j * q1 + k * q2, best, x_scale, x_zero, as_float)


def _max_constants(call: Call) -> Sequence[float]:
    flags = (int(call.arg("preserve_activation_sparsity")), int(call.arg("dequantize_output")))
    return (*geometry(call), *input_numbers(call, 0), *flags)


dnnlowp(
    "AveragePool",
    "Int8AveragePool",
    infer=_average_type,
    more="AveragePool_16",
    inputs="X",
    outputs="Y",
    args=WINDOW_ARGS,
    loop=_average,
    sizes=_average_sizes,
    constants=lambda call: (*geometry(call), *input_numbers(call, 0), *output_numbers(call)),
    doc="mean over windows in fixed point",
)
dnnlowp(
    "MaxPool",
    "Int8MaxPool",
    infer=_max_type,
    more="MaxPool_16",
    inputs="X",
    outputs="Y",
    args=WINDOW_ARGS,
    loop=_maximum,
    sizes=_max_sizes,
    constants=_max_constants,
    doc="maximum over windows; scale and zero point stay",
)
