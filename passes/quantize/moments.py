"""Moments: mean and second moment of what the weights of a product meet, over windows drawn from calibration data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Call
from graphc.ir.ops._window import padded, window
from graphc.passes.quantize.layers import IMAGE_RANK, Layer

WINDOWS = 1024
"""Windows drawn from a batch."""
WIDEST = 2048
"""Longest windows, in elements, of which the second moment is kept: its size is the square of that."""
ENOUGH = 4
"""Windows for each of their elements that it takes to know a second moment: of fewer, rounding would learn by heart."""


@dataclass
class Moments:
    """Of ``count`` windows of K elements, in ``group`` groups. mean: (group, K). spread: (group, K, K), the sums of
    products of distances from the mean, or None.

    Elements are in the order of ``weights.float_weight``.
    """

    count: int
    mean: np.ndarray
    spread: np.ndarray | None

    @staticmethod
    def of(layer: Layer, with_products: bool) -> Moments:
        """An empty record for a product, with a mean of zeros."""
        group, length = layer.groups, _length(layer)
        wanted = with_products and length <= WIDEST
        return Moments(0, np.zeros((group, length)), np.zeros((group, length, length)) if wanted else None)

    @property
    def covariance(self) -> np.ndarray | None:
        """(group, K, K): the second moment around the mean; None where it is not kept, or of too few windows."""
        if self.spread is None or self.count < ENOUGH * self.spread.shape[1]:
            return None
        return self.spread / self.count

    def add(self, layer: Layer, x: np.ndarray) -> None:
        """Count windows of a batch of the layer's input (NCHW, or rows).

        Distances are taken from the batch's own mean, in parts of the largest one, and batches are joined by their
        means (Chan, Golub and LeVeque 1979): values far from zero do not cancel, no square overflows or vanishes, and
        the spread of a constant is exactly 0.
        """
        found = windows(layer, x)
        count = found.shape[1]
        mean = found.mean(1, dtype=np.float64).astype(np.float32).astype(np.float64)
        apart, share = mean - self.mean, count / (self.count + count)
        if self.spread is not None:
            distance = found - mean[:, None]
            unit = float(np.abs(distance).max(initial=0.0)) or 1.0
            parts = (distance / unit).astype(np.float32)
            self.spread += (np.swapaxes(parts, 1, 2) @ parts).astype(np.float64) * unit**2
            self.spread += self.count * share * apart[:, :, None] * apart[:, None, :]
        self.mean += share * apart
        self.count += count


def windows(layer: Layer, x: np.ndarray, most: int = WINDOWS) -> np.ndarray:
    """(group, windows, K) float32: what the weights meet at no more than ``most`` places, drawn without repetition."""
    rng = np.random.default_rng(0)
    if layer.op == "Int8FC":
        rows = x.transpose(0, 2, 3, 1) if x.ndim == IMAGE_RANK else x
        rows = rows.reshape(len(x), -1)
        return rows[None, rng.permutation(len(rows))[:most]]
    win = window(Call(layer.node))
    image = padded(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), win, 0.0, first=1)
    views = np.lib.stride_tricks.sliding_window_view(image, win.extent, axis=(1, 2))
    views = views[:, :: win.stride[0], :: win.stride[1], :, :: win.dilation[0], :: win.dilation[1]]
    places = rng.permutation(int(np.prod(views.shape[:3])))[:most]
    drawn = views[np.unravel_index(places, views.shape[:3])]  # (windows, channels, kH, kW)
    parts = drawn.reshape(len(places), win.group, -1, *win.kernel)
    return np.ascontiguousarray(parts.transpose(1, 0, 3, 4, 2)).reshape(win.group, len(places), -1)


def _length(layer: Layer) -> int:
    weight = layer.node.operands[1]
    assert weight is not None
    return weight.type.size // layer.node.results[0].type.static_shape[1]
