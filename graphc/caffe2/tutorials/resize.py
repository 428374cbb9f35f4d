"""Bilinear scaling of pictures by the rule of scikit-image's ``transform.resize``.

The rule is that of ``resize(image, shape, order=1, mode="reflect", anti_aliasing=False)``: the middle of an output
pixel lies at ``(i + 0.5) * n_in / n_out - 0.5`` of the input, two neighbours an axis are mixed, and beyond the edge
pixels the picture is mirrored at their middles. Until release 0.14, in the years of the tutorials, nothing was smoothed
by default; newer ones blur a picture before they make it smaller, which gives other numbers than the tutorials'.
"""

from __future__ import annotations

import numpy as np


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image (H, W) or (H, W, C) of floats scaled to ``shape`` rows and columns; the type stays."""
    for axis, n in enumerate(shape):
        image = _along(image, axis, n)
    return image


def _along(image: np.ndarray, axis: int, n_out: int) -> np.ndarray:
    n_in = image.shape[axis]
    if n_in == n_out:
        return image
    places = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    left = np.floor(places).astype(np.int64)
    share = (places - left).astype(image.dtype)
    share = share.reshape([-1 if k == axis else 1 for k in range(image.ndim)])
    first, second = (np.take(image, _mirrored(at, n_in), axis) for at in (left, left + 1))
    return np.asarray(first + (second - first) * share)


def _mirrored(at: np.ndarray, n: int) -> np.ndarray:
    """Indices -1 and n, which are beyond the edges, as those of the pixels next to the edge pixels."""
    at = np.abs(at)
    return np.clip(np.where(at >= n, 2 * (n - 1) - at, at), 0, n - 1)
