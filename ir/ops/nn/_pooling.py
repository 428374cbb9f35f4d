"""Loops of pooling and its gradients: rows of pixels side by side, for every element of the window."""

from __future__ import annotations

import numpy as np

from graphc.ir.ops._products import span
from graphc.ir.ops._sweep import channels, end_inside, first_inside, heads_of, image, window_of

MAX, SUM, POWER, MAX_BACK, SUM_BACK, POWER_BACK = 0, 1, 2, 3, 4, 5
"""What a window does: its maximum, its sum, the sum of the powers of its elements; the gradients of these."""
LOWEST = -3.4028234663852886e38
"""The smallest float."""


def sweep(
    kind: int,
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    power: float,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    """Let every pixel x meet every y whose window it is in: y is changed, or for a gradient dx."""
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    size = window_of(mode, kernel, inside)
    start = heads_of(mode, heads, inside, out, stride, size)
    depth = channels(x.shape, last) if last else 1
    planes = x.shape[0] if last else x.shape[0] * x.shape[1]
    rows, taps = out[0] * out[1], span(size, 0, 3)
    for i in range(planes * rows * taps):
        plane, row, a = i // taps // rows, i // taps % rows, i % taps
        d = row // out[1] * stride[0] + a // (size[1] * size[2]) - start[0]
        h = row % out[1] * stride[1] + a // size[2] % size[1] - start[1]
        shift = a % size[2] - start[2]
        low, high = first_inside(shift, stride[2]), end_inside(shift, stride[2], inside[2], out[2])
        if d < 0 or d >= inside[0] or h < 0 or h >= inside[1] or low >= high:
            continue
        x_at = ((plane * inside[0] + d) * inside[1] + h) * inside[2] + low * stride[2] + shift
        y_at = (plane * rows + row) * out[2] + low
        if depth == 1:
            _meet(kind, x, y, dy, dx, power, x_at, stride[2], y_at, high - low)
        else:
            for j in range(high - low):
                _meet(kind, x, y, dy, dx, power, (x_at + j * stride[2]) * depth, 1, (y_at + j) * depth, depth)


def _meet(
    kind: int,
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    power: float,
    x_at: int,
    step: int,
    y_at: int,
    n: int,
) -> None:
    """n elements of y side by side and n of x, ``step`` apart."""
    if kind == MAX:
        for i in range(n):
            v = x.flat[x_at + i * step]
            y.flat[y_at + i] = v if v > y.flat[y_at + i] else y.flat[y_at + i]
    elif kind == SUM:
        for i in range(n):
            y.flat[y_at + i] += x.flat[x_at + i * step]
    elif kind == POWER:
        for i in range(n):
            y.flat[y_at + i] += np.float32(abs(x.flat[x_at + i * step]) ** power)
    elif kind == MAX_BACK:
        for i in range(n):
            if x.flat[x_at + i * step] == y.flat[y_at + i]:
                dx.flat[x_at + i * step] += dy.flat[y_at + i]
    elif kind == SUM_BACK:
        for i in range(n):
            dx.flat[x_at + i * step] += dy.flat[y_at + i]
    else:
        for i in range(n):
            v, top = x.flat[x_at + i * step], y.flat[y_at + i]
            slope = v * abs(v) ** (power - 2.0) / top ** (power - 1.0)
            dx.flat[x_at + i * step] += np.float32(dy.flat[y_at + i] * slope)


def divide(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
    with_border: int,
) -> None:
    """Divide every element of y by the size of its window, or of the part of it that lies in the image."""
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    size = window_of(mode, kernel, inside)
    start = heads_of(mode, heads, inside, out, stride, size)
    depth = channels(y.shape, last) if last else 1
    for i in range(y.size):
        pixel = i // depth
        w, h, d = pixel % out[2], pixel // out[2] % out[1], pixel // (out[2] * out[1]) % out[0]
        count = _part(d, size[0], stride[0], start[0], inside[0], with_border)
        count *= _part(h, size[1], stride[1], start[1], inside[1], with_border)
        count *= _part(w, size[2], stride[2], start[2], inside[2], with_border)
        y.flat[i] = y.flat[i] / np.float32(count)


def _part(i: int, kernel: int, stride: int, head: int, size: int, with_border: int) -> int:
    """How many pixels of the window of output pixel ``i`` count in one direction."""
    low = i * stride - head
    return kernel if with_border else min(low + kernel, size) - max(low, 0)
