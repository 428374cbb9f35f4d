"""Loops of pooling and its gradients: rows of pixels side by side, for every element of the window."""

from __future__ import annotations

import numpy as np

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
    for i in range(planes * out[0] * out[1]):
        plane, row = i // (out[0] * out[1]), i % (out[0] * out[1])
        d, h = row // out[1] * stride[0] - start[0], row % out[1] * stride[1] - start[1]
        for kd in range(max(0, -d), min(size[0], inside[0] - d)):
            for kh in range(max(0, -h), min(size[1], inside[1] - h)):
                x_row = ((plane * inside[0] + d + kd) * inside[1] + h + kh) * inside[2] - start[2]
                for kw in range(size[2]):
                    low = first_inside(kw - start[2], stride[2])
                    high = end_inside(kw - start[2], stride[2], inside[2], out[2])
                    _meet_row(kind, x, y, dy, dx, power, x_row + kw, stride[2], i * out[2], low, high, depth)


def _meet_row(
    kind: int,
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    power: float,
    x_row: int,
    stride: int,
    y_row: int,
    low: int,
    high: int,
    depth: int,
) -> None:
    """Pixels low..high of a row of y and those of x under one element of their windows, with all their channels."""
    if depth == 1:
        _meet(kind, x, y, dy, dx, power, x_row + low * stride, stride, y_row + low, high - low)
    else:
        for j in range(low, high):
            _meet(kind, x, y, dy, dx, power, (x_row + j * stride) * depth, 1, (y_row + j) * depth, depth)


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
