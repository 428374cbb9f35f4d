"""Pooling in the engine DNNLOWP: of two or three spatial dimensions, in both orders; the border does not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
Numbers = Sequence[int]
Ends = tuple[int, int]


def _pooled(call: Call) -> Shape | None:
    """Shape of the result; fails for dilations and for borders that a window could lie in."""
    shape, image = either_input(call, 0).shape, output_image(call)
    if shape is None or image is None:
        return None
    if len(image) not in (1, 2, 3):
        call.fail(f"the input has {len(image)} spatial dimensions, 1 to 3 are supported")
    n, c = batch_and_channels(call, shape)
    return join_shape(call, n, c, image)


COUNT, CHANNELS, X_IMAGE, X_CHANNEL, Y_IMAGE, Y_CHANNEL, DIMENSIONS = range(7)
"""Places in the numbers of ``geometry``: of images and channels how many and the steps, then the dimensions."""
SIZE, X_STEP, Y_STEP, OUT, KERNEL, STRIDE, HEAD, FIELDS = range(8)
"""Places in the numbers of a dimension: of image, result and window."""


def geometry(call: Call) -> list[int]:
    """Sizes and steps of X and Y, and the window; fails for windows that the engine does not have."""
    shape, win = call.type(0).static_shape, window(call)
    _check_window(call, win)
    out = [d for d in output_image(call) or () if isinstance(d, int)]
    last = call.arg("order") == "NHWC"
    sizes, channels = list(shape[1:-1] if last else shape[2:]), shape[-1] if last else shape[1]
    rest = SPATIAL - len(sizes)
    sizes, out = [1] * rest + sizes, [1] * rest + out
    kernel, stride, heads = ([k] * rest + list(v) for k, v in ((1, win.kernel), (1, win.stride), (0, win.heads)))
    x_steps, y_steps = _steps(sizes, channels, last), _steps(out, channels, last)
    dims = zip(sizes, x_steps[2:], y_steps[2:], out, kernel, stride, heads)
    return [shape[0], channels, *x_steps[:2], *y_steps[:2], *(n for dimension in dims for n in dimension)]


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


def _of(g: Numbers, d: int, field: int) -> int:
    """A number of dimension d of 3."""
    return g[DIMENSIONS + FIELDS * d + field]


def _under(g: Numbers, d: int, i: int) -> tuple[int, int]:
    """The pixels of the image that lie under window i, in dimension d: the first, and the one behind the last."""
    low = i * _of(g, d, STRIDE) - _of(g, d, HEAD)
    return max(low, 0), min(low + _of(g, d, KERNEL), _of(g, d, SIZE))


def _place(g: Numbers, at: int, a: int, b: int, e: int) -> int:
    """A pixel of the channel of X that begins at ``at``."""
    return at + a * _of(g, 0, X_STEP) + b * _of(g, 1, X_STEP) + e * _of(g, 2, X_STEP)


def _target(g: Numbers, n: int, c: int, i: int, j: int, k: int) -> int:
    """An element of Y."""
    to = n * g[Y_IMAGE] + c * g[Y_CHANNEL]
    return to + i * _of(g, 0, Y_STEP) + j * _of(g, 1, Y_STEP) + k * _of(g, 2, Y_STEP)


def _average_range(
    x: np.ndarray, g: Numbers, x_scale: float, x_zero: int, positive: int, sparse: int
) -> tuple[float, int]:
    """Scale and zero point for the means that float32 inputs would give."""
    low = high = np.float32(0.0)
    first = True
    for n in range(g[COUNT]):
        for c in range(g[CHANNELS]):
            at = n * g[X_IMAGE] + c * g[X_CHANNEL]
            for i in range(_of(g, 0, OUT)):
                for j in range(_of(g, 1, OUT)):
                    for k in range(_of(g, 2, OUT)):
                        value = _real_mean(x, g, at, _under(g, 0, i), _under(g, 1, j), _under(g, 2, k), x_scale, x_zero)
                        low, high = (value, value) if first else (min(low, value), max(high, value))
                        first = False
    return range_parameters(low, high, positive, sparse)


def _real_mean(
    x: np.ndarray, g: Numbers, at: int, deep: Ends, high: Ends, wide: Ends, x_scale: float, x_zero: int
) -> Any:
    total, count = np.float32(0.0), 0
    for a in range(deep[0], deep[1]):
        for b in range(high[0], high[1]):
            for e in range(wide[0], wide[1]):
                total += real(x, _place(g, at, a, b, e), x_scale > 0.0, x_scale, x_zero)
                count += 1
    return total / np.float32(count) if count > 0 else total


def _average_sizes(
    x: np.ndarray,
    dims: np.ndarray,
    g: Numbers,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _average_range(x, g, x_scale, x_zero, positive, sparse)
    report(dims, found, found_zero)


def _average(
    x: np.ndarray,
    y: np.ndarray,
    g: Numbers,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    if not scale > 0.0:
        scale, zero = _average_range(x, g, x_scale, x_zero, positive, sparse)
    given = x_scale > 0.0
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    for n in range(g[COUNT]):
        for c in range(g[CHANNELS]):
            at = n * g[X_IMAGE] + c * g[X_CHANNEL]
            for i in range(_of(g, 0, OUT)):
                for j in range(_of(g, 1, OUT)):
                    for k in range(_of(g, 2, OUT)):
                        total, count = 0, 0
                        deep, high, wide = _under(g, 0, i), _under(g, 1, j), _under(g, 2, k)
                        for a in range(deep[0], deep[1]):
                            for b in range(high[0], high[1]):
                                for e in range(wide[0], wide[1]):
                                    total += number(x, _place(g, at, a, b, e), given, x_scale, x_zero) - x_zero
                                    count += 1
                        unit = np.float32(x_scale) / np.float32(scale) / np.float32(max(count, 1))
                        mean = half_even(np.float32(np.float32(total) * unit + np.float32(zero)))
                        store(y, _target(g, n, c, i, j, k), clamped(mean, 0, HIGH), scale, zero, as_float)


def _max_sizes(
    x: np.ndarray, dims: np.ndarray, g: Numbers, x_scale: float, x_zero: int, sparse: int, as_float: int
) -> None:
    found, found_zero = parameters(x, x_scale, x_zero, sparse)
    report(dims, found, found_zero)


def _maximum(x: np.ndarray, y: np.ndarray, g: Numbers, x_scale: float, x_zero: int, sparse: int, as_float: int) -> None:
    given = x_scale > 0.0
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    for n in range(g[COUNT]):
        for c in range(g[CHANNELS]):
            at = n * g[X_IMAGE] + c * g[X_CHANNEL]
            for i in range(_of(g, 0, OUT)):
                for j in range(_of(g, 1, OUT)):
                    for k in range(_of(g, 2, OUT)):
                        best = 0
                        deep, high, wide = _under(g, 0, i), _under(g, 1, j), _under(g, 2, k)
                        for a in range(deep[0], deep[1]):
                            for b in range(high[0], high[1]):
                                for e in range(wide[0], wide[1]):
                                    best = max(best, number(x, _place(g, at, a, b, e), given, x_scale, x_zero))
                        store(y, _target(g, n, c, i, j, k), best, x_scale, x_zero, as_float)


def _max_constants(call: Call) -> Sequence[Any]:
    flags = (int(call.arg("preserve_activation_sparsity")), int(call.arg("dequantize_output")))
    return (geometry(call), *input_numbers(call, 0), *flags)


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
    constants=lambda call: (geometry(call), *input_numbers(call, 0), *output_numbers(call)),
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
