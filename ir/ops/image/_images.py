"""Loops of resizing, borders, and blocks of pixels, and of their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.ops._products import span
from graphc.ir.ops._sweep import channels, image


def _source(i: int, scale: float, size: int) -> int:
    """The pixel that nearest-neighbour resizing takes for pixel i: i / scale in single precision, cut off."""
    at = np.float32(i) / np.float32(scale)
    return int(at) if at < np.float32(size - 1) else size - 1


def resize_nearest(
    x: np.ndarray, y: np.ndarray, n: int, last: int, depth: float, height: float, width: float, back: int
) -> None:
    """Every pixel of y is one of x; backwards every pixel of y is added to the one of x that it came from."""
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    inner = channels(x.shape, last) if last else 1
    planes = x.shape[0] if last else x.shape[0] * x.shape[1]
    for row in range(planes * out[0] * out[1]):
        plane, d, h = row // (out[0] * out[1]), row // out[1] % out[0], row % out[1]
        source = plane * inside[0] + _source(d, depth, inside[0])
        source = (source * inside[1] + _source(h, height, inside[1])) * inside[2]
        for w in range(out[2]):
            p, q = (source + _source(w, width, inside[2])) * inner, (row * out[2] + w) * inner
            for c in range(inner):
                if back:
                    x.flat[p + c] += y.flat[q + c]
                else:
                    y.flat[q + c] = x.flat[p + c]


def _ratio(size: int, out: int) -> Any:
    """Step of bilinear resizing: corners lie on corners."""
    return np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.float32(0)


def resize_bilinear(x: np.ndarray, y: np.ndarray, last: int, back: int) -> None:
    """Pixels of y are means of four of x; backwards each is shared out to the four."""
    inside, out = image(x.shape, 2, last), image(y.shape, 2, last)
    inner = channels(x.shape, last) if last else 1
    planes = x.shape[0] if last else x.shape[0] * x.shape[1]
    down, right = _ratio(inside[1], out[1]), _ratio(inside[2], out[2])
    for row in range(planes * out[1]):
        at = np.float32(down * np.float32(row % out[1]))
        top = min(int(at), inside[1] - 1)
        low = np.float32(at - np.float32(top))
        first = (row // out[1] * inside[1] + top) * inside[2]
        second = first + (inside[2] if top < inside[1] - 1 else 0)
        for w in range(out[2]):
            at = np.float32(right * np.float32(w))
            left = min(int(at), inside[2] - 1)
            share = np.float32(at - np.float32(left))
            step = 1 if left < inside[2] - 1 else 0
            one = np.float32(1)
            a, b = (one - low) * (one - share), (one - low) * share
            c, d = low * (one - share), low * share
            p, q, r, s = first + left, first + left + step, second + left, second + left + step
            for k in range(inner):
                v = (row * out[2] + w) * inner + k
                if back:
                    x.flat[p * inner + k] += a * y.flat[v]
                    x.flat[q * inner + k] += b * y.flat[v]
                    x.flat[r * inner + k] += c * y.flat[v]
                    x.flat[s * inner + k] += d * y.flat[v]
                else:
                    upper = a * x.flat[p * inner + k] + b * x.flat[q * inner + k]
                    y.flat[v] = upper + (c * x.flat[r * inner + k] + d * x.flat[s * inner + k])


CONSTANT, REFLECT = 0, 1
"""Kinds of borders; the third, edge, repeats the outermost pixel."""


def _mirrored(i: int, size: int, kind: int) -> int:
    """The pixel that pixel i of a border shows."""
    if kind == REFLECT:
        return -i if i < 0 else (2 * size - 2 - i if i >= size else i)
    return min(max(i, 0), size - 1)


def pad_image(x: np.ndarray, y: np.ndarray, last: int, kind: int, top: int, left: int, value: float, back: int) -> None:
    """y is x with a border; backwards every pixel of y is added to the one of x that it shows."""
    inside, out = image(x.shape, 2, last), image(y.shape, 2, last)
    inner = channels(x.shape, last) if last else 1
    for i in range(y.size // max(inner, 1)):
        h, w = i // out[2] % out[1] - top, i % out[2] - left
        outside = h < 0 or h >= inside[1] or w < 0 or w >= inside[2]
        if kind == CONSTANT and outside:
            for c in range(0 if back else inner):
                y.flat[i * inner + c] = np.float32(value)
            continue
        plane = i // (out[1] * out[2])
        p = (plane * inside[1] + _mirrored(h, inside[1], kind)) * inside[2] + _mirrored(w, inside[2], kind)
        for c in range(inner):
            if back:
                x.flat[p * inner + c] += y.flat[i * inner + c]
            else:
                y.flat[i * inner + c] = x.flat[p * inner + c]


def exchange_blocks(space: np.ndarray, batch: np.ndarray, block: int, top: int, left: int, back: int) -> None:
    """batch[(i * block + j) * N + n] holds the pixels (i, j) of every block of image n; backwards space is filled.

    ``space`` has no border: pixels that would lie in it are zero in ``batch``, and dropped on the way back.
    """
    n, c, height, width = space.shape[0], space.shape[1], space.shape[2], space.shape[3]
    for m in range(batch.shape[0]):
        i, j, item = m // max(n, 1) // block, m // max(n, 1) % block, m % max(n, 1)
        for k in range(c):
            for row in range(batch.shape[2]):
                h = row * block + i - top
                if h < 0 or h >= height:
                    continue
                for column in range(batch.shape[3]):
                    w = column * block + j - left
                    if w < 0 or w >= width:
                        continue
                    if back:
                        space[item, k, h, w] = batch[m, k, row, column]
                    else:
                        batch[m, k, row, column] = space[item, k, h, w]


def shuffle_channels(x: np.ndarray, y: np.ndarray, last: int, group: int) -> None:
    """Output channel c * group + g is channel c of group g."""
    c = channels(x.shape, last)
    s = span(x.shape, 1, len(x.shape) - 1) if last else span(x.shape, 2, len(x.shape))
    per_group = c // group
    cs, ss = (1, c) if last else (s, 1)
    for i in range(x.shape[0] * c):
        item, k = i // c, i % c
        source, target = item * c * s + (k % group * per_group + k // group) * cs, item * c * s + k * cs
        for j in range(s):
            y.flat[target + j * ss] = x.flat[source + j * ss]
