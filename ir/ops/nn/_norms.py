"""Loops of normalisation and its gradients. Sums are kept in double precision.

An image batch is items x channels x places; in NHWC order the channels lie side by side, in NCHW the places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.ops._products import span
from graphc.ir.ops._sweep import channels


def places(shape: tuple[int, ...], last: int) -> int:
    """Pixels of an image with any number of spatial dimensions, none included."""
    return span(shape, 1, len(shape) - 1) if last else span(shape, 2, len(shape))


def group_norm(
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
    """GroupNorm; with a group for every channel InstanceNorm (``group`` 0). mean and inverse may be absent."""
    c, s = channels(x.shape, last), places(x.shape, last)
    groups = group if group > 0 else c
    depth = c // groups if groups > 0 else 0
    cs, ss = (1, c) if last else (s, 1)
    for i in range(x.shape[0] * groups):
        at = i // groups * c * s + i % groups * depth * cs
        center, scale = _moments(x, at, depth, s, cs, ss, epsilon)
        if mean.size > 0:
            mean.flat[i] = np.float32(center)
        if inverse.size > 0:
            inverse.flat[i] = np.float32(scale)
        for k in range(depth):
            factor = np.float32(gamma.flat[i % groups * depth + k] * scale)
            offset = np.float32(beta.flat[i % groups * depth + k] - center * factor)
            for j in range(s):
                y.flat[at + k * cs + j * ss] = x.flat[at + k * cs + j * ss] * factor + offset


def _moments(x: np.ndarray, at: int, depth: int, s: int, cs: int, ss: int, epsilon: float) -> tuple[float, float]:
    """Mean and inverse deviation of ``depth`` channels of ``s`` places."""
    total, count = 0.0, max(depth * s, 1)
    for k in range(depth):
        for j in range(s):
            total += x.flat[at + k * cs + j * ss]
    center, square = total / count, 0.0
    for k in range(depth):
        for j in range(s):
            away = x.flat[at + k * cs + j * ss] - center
            square += away * away
    return center, 1.0 / np.sqrt(square / count + epsilon)


def group_norm_gradient(
    x: np.ndarray,
    gamma: np.ndarray,
    dy: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    dx: np.ndarray,
    d_gamma: np.ndarray,
    d_beta: np.ndarray,
    last: int,
    group: int,
    epsilon: float,
) -> None:
    """Gradients of ``group_norm``; statistics that are absent are computed again."""
    c, s = channels(x.shape, last), places(x.shape, last)
    groups = group if group > 0 else c
    depth = c // groups if groups > 0 else 0
    cs, ss = (1, c) if last else (s, 1)
    for i in range(x.shape[0] * groups):
        at, first = i // groups * c * s + i % groups * depth * cs, i % groups * depth
        center, scale = _moments(x, at, depth, s, cs, ss, epsilon)
        if mean.size > 0 and inverse.size > 0:
            center, scale = float(mean.flat[i]), float(inverse.flat[i])
        along, level = 0.0, 0.0
        for k in range(depth):
            by_x, plain = 0.0, 0.0
            for j in range(s):
                p = at + k * cs + j * ss
                by_x += dy.flat[p] * (x.flat[p] - center)
                plain += dy.flat[p]
            d_gamma.flat[first + k] += np.float32(by_x * scale)
            d_beta.flat[first + k] += np.float32(plain)
            along += by_x * scale * gamma.flat[first + k]
            level += plain * gamma.flat[first + k]
        along, level = along / max(depth * s, 1), level / max(depth * s, 1)
        for k in range(depth):
            for j in range(s):
                p = at + k * cs + j * ss
                normal = (x.flat[p] - center) * scale
                dx.flat[p] = np.float32(scale * (dy.flat[p] * gamma.flat[first + k] - level - normal * along))


def _mean_of_row(x: np.ndarray, at: int, n: int) -> Any:
    """The mean in single precision, of eight sums of every eighth element as Caffe2's processors with AVX2 take it."""
    a = b = c = d = e = f = g = h = np.float32(0)
    for k in range(at, at + n // 8 * 8, 8):
        a, b, c, d = a + x.flat[k], b + x.flat[k + 1], c + x.flat[k + 2], d + x.flat[k + 3]
        e, f, g, h = e + x.flat[k + 4], f + x.flat[k + 5], g + x.flat[k + 6], h + x.flat[k + 7]
    total = ((a + e) + (c + g)) + ((b + f) + (d + h))
    for k in range(at + n // 8 * 8, at + n):
        total += x.flat[k]
    return total / np.float32(n)


def layer_norm(
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
    """Rows of everything from ``axis`` on, each normalised, then gamma and beta an element.

    Elements are scaled and shifted in single precision, as in Caffe2: rows of nearly equal elements keep its digits.
    """
    rows, n = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    for i in range(rows):
        _, scale = _moments(x, i * n, 1, n, 0, 1, epsilon)
        center = _mean_of_row(x, i * n, n)
        mean.flat[i] = center
        deviation.flat[i] = np.float32(1.0 / scale)
        factor = np.float32(scale)
        offset = -factor * center
        for j in range(n):
            normal = x.flat[i * n + j] * factor + offset
            y.flat[i * n + j] = normal * gamma.flat[j] + beta.flat[j] if affine else normal


def layer_norm_gradient(
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
    """Gradients of ``layer_norm`` from what it saved."""
    rows, n = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    for i in range(rows):
        center, scale = float(mean.flat[i]), 1.0 / np.float64(deviation.flat[i])
        along, level = 0.0, 0.0
        for j in range(n):
            p = i * n + j
            normal = (x.flat[p] - center) * scale
            slope = float(dy.flat[p])
            if affine:
                d_gamma.flat[j] += np.float32(slope * normal)
                d_beta.flat[j] += dy.flat[p]
                slope *= gamma.flat[j]
            along += slope * normal
            level += slope
        for j in range(n):
            p = i * n + j
            slope = float(dy.flat[p])
            if affine:
                slope *= gamma.flat[j]
            normal = (x.flat[p] - center) * scale
            dx.flat[p] = np.float32(scale * (slope - level / n - normal * along / n))


def rms_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, y: np.ndarray, inverse: np.ndarray, axis: int, epsilon: float
) -> None:
    """Rows of everything from ``axis`` on, each divided by its root mean square."""
    rows, n = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    for i in range(rows):
        total = 0.0
        for j in range(n):
            total += float(x.flat[i * n + j]) * float(x.flat[i * n + j])
        scale = 1.0 / np.sqrt(total / max(n, 1) + epsilon)
        inverse.flat[i] = scale
        for j in range(n):
            y.flat[i * n + j] = x.flat[i * n + j] * scale * gamma.flat[j] + beta.flat[j]


def rms_norm_gradient(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    inverse: np.ndarray,
    dx: np.ndarray,
    d_gamma: np.ndarray,
    d_beta: np.ndarray,
    axis: int,
) -> None:
    """Gradients of ``rms_norm`` from the factors that it saved."""
    rows, n = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    for i in range(rows):
        scale, along = float(inverse.flat[i]), 0.0
        for j in range(n):
            p = i * n + j
            along += float(dy.flat[p]) * gamma.flat[j] * x.flat[p]
            d_gamma.flat[j] += dy.flat[p] * x.flat[p] * inverse.flat[i]
            d_beta.flat[j] += dy.flat[p]
        for j in range(n):
            p = i * n + j
            dx.flat[p] = scale * (dy.flat[p] * gamma.flat[j] - x.flat[p] * scale * scale * along / n)


def normalize(x: np.ndarray, y: np.ndarray, axis: int, power: int, floor: float) -> None:
    """Divide by the norm along one dimension, by ``floor`` where that is larger; for L1 (power 1) leave zeros zero."""
    n, step = x.shape[axis], span(x.shape, axis + 1, len(x.shape))
    for i in range(x.size // n if n > 0 else 0):
        at, total = i // step * n * step + i % step, 0.0
        for j in range(n):
            v = float(x.flat[at + j * step])
            total += v * v if power == 2 else abs(v)
        norm = max(np.sqrt(total), floor) if power == 2 else total
        for j in range(n):
            y.flat[at + j * step] = np.float32(x.flat[at + j * step] / norm) if norm > 0 else np.float32(0)


def normalize_gradient(x: np.ndarray, dy: np.ndarray, dx: np.ndarray, axis: int, floor: float) -> None:
    """Gradient of ``normalize`` with power 2."""
    n, step = x.shape[axis], span(x.shape, axis + 1, len(x.shape))
    for i in range(x.size // n if n > 0 else 0):
        at, square, along = i // step * n * step + i % step, 0.0, 0.0
        for j in range(n):
            v = float(x.flat[at + j * step])
            square += v * v
            along += v * dy.flat[at + j * step]
        norm = max(np.sqrt(square), floor)
        for j in range(n):
            p = at + j * step
            dx.flat[p] = np.float32(dy.flat[p] / norm - x.flat[p] / norm * (along / norm / norm))


def batch_norm(
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
    """SpatialBN, a channel at a time; in training with ``sums`` the statistics are those of ``batches`` batches."""
    c, s = channels(x.shape, last), places(x.shape, last)
    n, cs, ss = x.shape[0], 1 if last else s, c if last else 1
    count = n * s * batches
    for k in range(c):
        if test:
            center, spread = float(mean.flat[k]), float(var.flat[k])
        else:
            center, spread = _batch_moments(x, sums, squares, k, k * cs, n, c, s, ss, count)
            unbiased = spread * count / max(count - 1, 1)
            old_mean = mean.flat[k] if mean.size > 0 else center
            old_var = var.flat[k] if var.size > 0 else unbiased
            share = momentum if n * s > 0 else 1.0
            new_mean.flat[k] = np.float32(share * old_mean + (1.0 - share) * center)
            new_var.flat[k] = np.float32(share * old_var + (1.0 - share) * unbiased)
        inverse = 1.0 / np.sqrt(spread + epsilon)
        if not test and n * s > 0:
            saved_mean.flat[k], saved_inverse.flat[k] = np.float32(center), np.float32(inverse)
        factor = np.float32(scale.flat[k] * inverse)
        offset = np.float32(bias.flat[k] - center * scale.flat[k] * inverse)
        for i in range(n):
            for j in range(s):
                p = i * c * s + k * cs + j * ss
                y.flat[p] = x.flat[p] * factor + offset


def _batch_moments(
    x: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    k: int,
    at: int,
    n: int,
    c: int,
    s: int,
    ss: int,
    count: int,
) -> tuple[float, float]:
    """Mean and variance of channel k, which begins at ``at``: of the batch, or from the sums of several."""
    if sums.size > 0 and squares.size > 0:
        center = float(sums.flat[k]) / max(count, 1)
        return center, float(squares.flat[k]) / max(count, 1) - center * center
    total, square = 0.0, 0.0
    for i in range(n):
        for j in range(s):
            total += x.flat[i * c * s + at + j * ss]
    center = total / max(n * s, 1)
    for i in range(n):
        for j in range(s):
            away = x.flat[i * c * s + at + j * ss] - center
            square += away * away
    return center, square / max(n * s, 1)


def batch_norm_gradient(
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
    """Gradients of ``batch_norm``; those of scale and bias are the means over several ``batches``, of their sums."""
    c, s = channels(x.shape, last), places(x.shape, last)
    n, cs, ss = x.shape[0], 1 if last else s, c if last else 1
    for k in range(c if n > 0 else 0):
        center, factor, along, level = float(mean.flat[k]), float(inverse.flat[k]), 0.0, 0.0
        for i in range(n):
            for j in range(s):
                p = i * c * s + k * cs + j * ss
                along += dy.flat[p] * (x.flat[p] - center)
                level += dy.flat[p]
        along *= factor
        if batches > 1:
            along, level = float(scale_sums.flat[k]) / batches, float(bias_sums.flat[k]) / batches
        d_scale.flat[k], d_bias.flat[k] = np.float32(along), np.float32(level)
        alpha, count = scale.flat[k] * factor, max(n * s, 1)
        for i in range(n):
            for j in range(s):
                p = i * c * s + k * cs + j * ss
                normal = (x.flat[p] - center) * factor
                dx.flat[p] = np.float32(alpha * (dy.flat[p] - (normal * along + level) / count))


def response_scales(x: np.ndarray, scales: np.ndarray, last: int, size: int, alpha: float, bias: float) -> None:
    """LRN: bias + alpha / size * the sum of the squares over a window of channels."""
    c, s = channels(x.shape, last), places(x.shape, last)
    before = (size - 1) // 2
    cs, ss = (1, c) if last else (s, 1)
    factor = np.float32(alpha / size)
    for i in range(x.shape[0] * c):
        at, k = i // c * c * s, i % c
        for j in range(s):
            scales.flat[at + k * cs + j * ss] = np.float32(bias)
        for m in range(max(k - before, 0), min(k - before + size, c)):
            for j in range(s):
                v = x.flat[at + m * cs + j * ss]
                scales.flat[at + k * cs + j * ss] += factor * (v * v)


def response_gradient(
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    scales: np.ndarray,
    last: int,
    size: int,
    alpha: float,
    beta: float,
) -> None:
    """Gradient of LRN; the window of a channel is the same as in the forward direction, also of even size."""
    c, s = channels(x.shape, last), places(x.shape, last)
    before = (size - 1) // 2
    cs, ss = (1, c) if last else (s, 1)
    factor = np.float32(2.0 * alpha * beta / size)
    for i in range(x.shape[0] * c):
        at, k = i // c * c * s, i % c
        for m in range(max(k - before, 0), min(k - before + size, c)):
            for j in range(s):
                p = at + m * cs + j * ss
                dx.flat[at + k * cs + j * ss] += dy.flat[p] * y.flat[p] / scales.flat[p]
        for j in range(s):
            p = at + k * cs + j * ss
            direct = dy.flat[p] * np.float32(scales.flat[p] ** np.float32(-beta))
            dx.flat[p] = direct - factor * x.flat[p] * dx.flat[p]
