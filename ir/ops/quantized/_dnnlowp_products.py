"""The loop of convolution and FC in the engine DNNLOWP: FC is a convolution of images of one pixel.

It computes with whole numbers in float64, which are exact, or, to find the range of the result, with what they stand
for. Three spatial dimensions; missing ones are 1.
"""

from __future__ import annotations

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

Ints = tuple[int, ...]


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


def _total(
    xs: np.ndarray,
    ws: np.ndarray,
    first: int,
    filter: int,
    place: Ints,
    lines: Ints,
    rows: Ints,
    columns: Ints,
    layers: Ints,
) -> float:
    """The sum of products of one element of the result.

    lines: channels and the steps from one to the next in X and the filter. rows, columns, layers: of a dimension the
    size, the step in X, the kernel, its stride, dilation and head, the step in the filter.
    """
    depth, x_channel, w_channel = lines
    height, x_row, row_kernel, row_stride, row_dilation, top, w_row = rows
    width, x_column, column_kernel, column_stride, column_dilation, left, w_column = columns
    deep, x_layer, layer_kernel, layer_stride, layer_dilation, front, w_layer = layers
    total = 0.0
    for a in range(row_kernel):
        i = place[0] * row_stride - top + a * row_dilation
        if i < 0 or i >= height:
            continue
        for b in range(column_kernel):
            j = place[1] * column_stride - left + b * column_dilation
            if j < 0 or j >= width:
                continue
            for e in range(layer_kernel):
                k = place[2] * layer_stride - front + e * layer_dilation
                if 0 <= k < deep:
                    at = first + i * x_row + j * x_column + k * x_layer
                    to = filter + a * w_row + b * w_column + e * w_layer
                    for c in range(depth):
                        total += xs[at + c * x_channel] * ws[to + c * w_channel]
    return total


def _bias(b: np.ndarray, m: int, scale: float) -> Any:
    """The real value of a bias; scale: of one that is quantised."""
    if b.size == 0:
        return 0.0
    return np.float64(b.flat[m]) * scale if scale > 0.0 else np.float64(b.flat[m])


def _range(
    b: np.ndarray,
    xs: np.ndarray,
    ws: np.ndarray,
    counts: Ints,
    lines: Ints,
    a0: Ints,
    a1: Ints,
    a2: Ints,
    b_scale: float,
    positive: int,
    sparse: int,
) -> tuple[float, int]:
    """Scale and zero point for the results of real values."""
    images, rows, per_group, x_image, w_row, o0, o1, o2 = counts
    low = high = np.float32(0.0)
    empty = True
    for n in range(images):
        for m in range(rows):
            start = n * x_image + m // per_group * lines[0] * lines[1]
            bias = _bias(b, m, b_scale)
            for i in range(o0):
                for j in range(o1):
                    for k in range(o2):
                        total = _total(xs, ws, start, m * w_row, (i, j, k), lines, a0, a1, a2)
                        value = np.float32(total + bias)
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
    images: int,
    rows: int,
    per_group: int,
    depth: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    l0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    l1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    l2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    w_row: int,
    w_channel: int,
    w0: int,
    w1: int,
    w2: int,
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
    counts, lines = (images, rows, per_group, x_image, w_row, o0, o1, o2), (depth, x_channel, w_channel)
    a0 = (d0, p0, k0, t0, l0, h0, w0)
    a1 = (d1, p1, k1, t1, l1, h1, w1)
    a2 = (d2, p2, k2, t2, l2, h2, w2)
    _fill_input(x, xs, x_scale, x_zero, sparse, True)
    _fill_weights(w, ws, scales, parts, w_scale, w_zero, w_sparse, True)
    found, found_zero = _range(b, xs, ws, counts, lines, a0, a1, a2, b_scale, positive, sparse)
    report(dims, found, found_zero)


def products(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    xs: np.ndarray,
    ws: np.ndarray,
    scales: np.ndarray,
    images: int,
    rows: int,
    per_group: int,
    depth: int,
    x_image: int,
    x_channel: int,
    d0: int,
    p0: int,
    o0: int,
    k0: int,
    t0: int,
    l0: int,
    h0: int,
    d1: int,
    p1: int,
    o1: int,
    k1: int,
    t1: int,
    l1: int,
    h1: int,
    d2: int,
    p2: int,
    o2: int,
    k2: int,
    t2: int,
    l2: int,
    h2: int,
    y_image: int,
    y_channel: int,
    q0: int,
    q1: int,
    q2: int,
    w_row: int,
    w_channel: int,
    w0: int,
    w1: int,
    w2: int,
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
    counts, lines = (images, rows, per_group, x_image, w_row, o0, o1, o2), (depth, x_channel, w_channel)
    a0 = (d0, p0, k0, t0, l0, h0, w0)
    a1 = (d1, p1, k1, t1, l1, h1, w1)
    a2 = (d2, p2, k2, t2, l2, h2, w2)
    if not scale > 0.0 and not as_float:
        _fill_input(x, xs, x_scale, x_zero, sparse, True)
        _fill_weights(w, ws, scales, parts, w_scale, w_zero, w_sparse, True)
        scale, zero = _range(b, xs, ws, counts, lines, a0, a1, a2, b_scale, positive, sparse)
    unit = _fill_input(x, xs, x_scale, x_zero, sparse, False)
    _fill_weights(w, ws, scales, parts, w_scale, w_zero, w_sparse, False)
    low = zero if positive >= 2 else 0
    for n in range(images):
        for m in range(rows):
            start = n * x_image + m // per_group * depth * x_channel
            mine = np.float32(unit * np.float32(scales[m * parts // rows]))
            whole = 0
            if b.size > 0 and not as_float:
                whole = np.int64(b.flat[m]) if b_scale > 0.0 else quantised_twice(b.flat[m], mine, 0)
            for i in range(o0):
                for j in range(o1):
                    for k in range(o2):
                        total = _total(xs, ws, start, m * w_row, (i, j, k), lines, a0, a1, a2)
                        to = n * y_image + m * y_channel + i * q0 + j * q1 + k * q2
                        if as_float:
                            value = np.float32(np.float32(total) * mine + np.float32(_bias(b, m, b_scale)))
                            y.flat[to] = max(value, np.float32(0.0)) if positive >= 2 else value
                        else:
                            y.flat[to] = requantised(int(total) + whole, mine / np.float32(scale), zero, low, HIGH)
