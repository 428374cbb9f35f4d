"""The loop of convolution and FC in the engine DNNLOWP: FC is a convolution of images of one pixel.

It computes with whole numbers in float64, which are exact, or, to find the range of the result, with what they stand
for. Three spatial dimensions; missing ones are 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.ops.quantized._dnnlowp import (
    HIGH,
    number,
    parameters,
    quantised_twice,
    range_parameters,
    real,
    report,
    requantised,
    span_parameters,
)
from graphc.ir.ops.quantized._fixed_point import clamped, half_even

IMAGES, ROWS, PER_GROUP, DEPTH, X_IMAGE, X_CHANNEL, Y_IMAGE, Y_CHANNEL, W_ROW, W_CHANNEL, DIMENSIONS = range(11)
"""Places in the numbers that describe a call: how many images and output channels, output channels of a group, input
channels of one; steps from one image, channel or filter to the next; then the dimensions."""
SIZE, X_STEP, Y_STEP, W_STEP, OUT, KERNEL, STRIDE, DILATION, HEAD, FIELDS = range(10)
"""Places in the numbers of a dimension: of image, steps, result and window."""
Numbers = Sequence[int]


def _fill_input(x: np.ndarray, xs: np.ndarray, scale: float, zero: int, sparse: int, real_values: bool) -> Any:
    """The input as whole numbers less the zero point, or as real values; the scale."""
    given = scale > 0.0
    if not real_values:
        scale, zero = parameters(x, scale, zero, sparse)
    for i in range(x.size):
        xs[i] = real(x, i, given, scale, zero) if real_values else number(x, i, given, scale, zero) - zero
    return np.float32(scale)


def _weight_number(x: float, scale: float, zero: int) -> int:
    """A weight as a signed number less its zero point."""
    inverse, signed = np.float32(1.0) / np.float32(scale), zero - 128
    value = np.float32(np.float64(x) * np.float64(inverse) + signed)
    return clamped(half_even(value), -128, 127) - signed


def _fill_weights(
    w: np.ndarray,
    ws: np.ndarray,
    scales: np.ndarray,
    parts: int,
    scale: float,
    zero: int,
    sparse: int,
    real_values: bool,
) -> int:
    """The weights as whole numbers less the zero point, or as real values; ``parts`` of them have a scale each."""
    size, given = w.size // max(parts, 1), scale > 0.0
    for part in range(parts):
        first = part * size
        mine, my_zero = np.float32(scale), zero
        if not given and not real_values:
            mine, my_zero = span_parameters(w, first, first + size, sparse)
        scales[part] = mine
        for i in range(first, first + size):
            if real_values or given:
                ws[i] = real(w, i, given, mine, my_zero) if real_values else np.int64(w.flat[i]) - my_zero
            else:
                ws[i] = _weight_number(w.flat[i], mine, my_zero)
    return 0


def _of(g: Numbers, d: int, field: int) -> int:
    """A number of dimension d of 3."""
    return g[DIMENSIONS + FIELDS * d + field]


def _under(g: Numbers, d: int, place: int, tap: int) -> int:
    """The pixel of X under an element of the window, in dimension d; -1 outside of the image."""
    pixel = place * _of(g, d, STRIDE) - _of(g, d, HEAD) + tap * _of(g, d, DILATION)
    return pixel if 0 <= pixel < _of(g, d, SIZE) else -1


def _total(xs: np.ndarray, ws: np.ndarray, first: int, filter: int, place: tuple[int, int, int], g: Numbers) -> float:
    """The sum of products of one element of the result. first, filter: where image and filter begin."""
    depth, x_channel, w_channel = g[DEPTH], g[X_CHANNEL], g[W_CHANNEL]
    total = 0.0
    for a in range(_of(g, 0, KERNEL)):
        i = _under(g, 0, place[0], a)
        for b in range(_of(g, 1, KERNEL) if i >= 0 else 0):
            j = _under(g, 1, place[1], b)
            for e in range(_of(g, 2, KERNEL) if j >= 0 else 0):
                k = _under(g, 2, place[2], e)
                if k >= 0:
                    at = first + i * _of(g, 0, X_STEP) + j * _of(g, 1, X_STEP) + k * _of(g, 2, X_STEP)
                    to = filter + a * _of(g, 0, W_STEP) + b * _of(g, 1, W_STEP) + e * _of(g, 2, W_STEP)
                    for c in range(depth):
                        total += xs[at + c * x_channel] * ws[to + c * w_channel]
    return total


def _bias(b: np.ndarray, m: int, scale: float) -> Any:
    """The real value of a bias; scale: of one that is quantised."""
    if b.size == 0:
        return 0.0
    return np.float64(b.flat[m]) * scale if scale > 0.0 else np.float64(b.flat[m])


def _start(g: Numbers, n: int, m: int) -> int:
    """Where the channels of image n begin from which channel m of the result follows."""
    return n * g[X_IMAGE] + m // g[PER_GROUP] * g[DEPTH] * g[X_CHANNEL]


def _range(
    b: np.ndarray, xs: np.ndarray, ws: np.ndarray, g: Numbers, b_scale: float, positive: int, sparse: int
) -> tuple[float, int]:
    """Scale and zero point for the results of real values."""
    low = high = np.float32(0.0)
    empty = True
    for n in range(g[IMAGES]):
        for m in range(g[ROWS]):
            start, bias = _start(g, n, m), _bias(b, m, b_scale)
            for i in range(_of(g, 0, OUT)):
                for j in range(_of(g, 1, OUT)):
                    for k in range(_of(g, 2, OUT)):
                        value = np.float32(_total(xs, ws, start, m * g[W_ROW], (i, j, k), g) + bias)
                        low, high = (value, value) if empty else (min(low, value), max(high, value))
                        empty = False
    return range_parameters(low, high, positive, sparse)


def product_sizes(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    dims: np.ndarray,
    xs: np.ndarray,
    ws: np.ndarray,
    scales: np.ndarray,
    g: Numbers,
    parts: int,
    x_scale: float,
    x_zero: int,
    w_scale: float,
    w_zero: int,
    b_scale: float,
    w_sparse: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    """The size pass: scale and zero point of the result."""
    _fill_input(x, xs, x_scale, x_zero, sparse, True)
    _fill_weights(w, ws, scales, parts, w_scale, w_zero, w_sparse, True)
    found, found_zero = _range(b, xs, ws, g, b_scale, positive, sparse)
    report(dims, found, found_zero)


def products(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    xs: np.ndarray,
    ws: np.ndarray,
    scales: np.ndarray,
    g: Numbers,
    parts: int,
    x_scale: float,
    x_zero: int,
    w_scale: float,
    w_zero: int,
    b_scale: float,
    w_sparse: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    """The products. positive: 2 where Relu is a part of the operator."""
    if not scale > 0.0 and not as_float:
        _fill_input(x, xs, x_scale, x_zero, sparse, True)
        _fill_weights(w, ws, scales, parts, w_scale, w_zero, w_sparse, True)
        scale, zero = _range(b, xs, ws, g, b_scale, positive, sparse)
    unit = _fill_input(x, xs, x_scale, x_zero, sparse, False)
    _fill_weights(w, ws, scales, parts, w_scale, w_zero, w_sparse, False)
    low = zero if positive >= 2 else 0
    for n in range(g[IMAGES]):
        for m in range(g[ROWS]):
            start, mine = _start(g, n, m), np.float32(unit * np.float32(scales[m * parts // g[ROWS]]))
            whole = 0
            if b.size > 0 and not as_float:
                whole = np.int64(b.flat[m]) if b_scale > 0.0 else quantised_twice(b.flat[m], mine, 0)
            for i in range(_of(g, 0, OUT)):
                for j in range(_of(g, 1, OUT)):
                    for k in range(_of(g, 2, OUT)):
                        total = _total(xs, ws, start, m * g[W_ROW], (i, j, k), g)
                        to = n * g[Y_IMAGE] + m * g[Y_CHANNEL]
                        to += i * _of(g, 0, Y_STEP) + j * _of(g, 1, Y_STEP) + k * _of(g, 2, Y_STEP)
                        if as_float:
                            value = np.float32(np.float32(total) * mine + np.float32(_bias(b, m, b_scale)))
                            y.flat[to] = max(value, np.float32(0.0)) if positive >= 2 else value
                        else:
                            y.flat[to] = requantised(int(total) + whole, mine / np.float32(scale), zero, low, HIGH)
