"""Weights in bfloat16: rounded so that the errors of a map's weights cancel."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16

CHUNK = 1 << 16
"""So many weights at a time: what is computed of them fits a second-level cache."""


def bfloat16_weights(weights: np.ndarray, maps_last: bool = False) -> np.ndarray:
    """The bits (uint16) of float32 weights (maps, ...) in bfloat16, of the same shape.

    Each is rounded to the nearest; then those of a map that were nearest to the middle between two numbers take the
    other one, until the errors of the map add up to almost nothing. To inputs that have a mean, as all have behind a
    Relu, a map answers wrong by this sum times the mean, the same everywhere, which no later sum takes away. What is
    exact stays. maps_last: the weights are a matrix (..., maps).
    """
    if maps_last:
        return np.ascontiguousarray(bfloat16_weights(weights.T).T)
    if not weights.size:
        return to_bfloat16(weights)
    rows = np.ascontiguousarray(weights, np.float32).reshape(weights.shape[0], -1)
    bits = to_bfloat16(rows)
    step = max(1, CHUNK // rows.shape[1])
    for first in range(0, len(rows), step):
        _cancel(rows[first : first + step], bits[first : first + step])
    return bits.reshape(weights.shape)


def _cancel(rows: np.ndarray, bits: np.ndarray) -> None:
    """Move some of the rounded numbers of each row to their other neighbour. Infinite ones stay."""
    values, one = from_bfloat16(bits), np.uint16(1)
    with np.errstate(invalid="ignore"):
        error = np.where(np.isfinite(values), values - rows, np.float32(0))
    total = error.sum(1, dtype=np.float64)
    others = np.where(np.abs(values) < np.abs(rows), bits + one, bits - one)  # towards the weight, and beyond it
    with np.errstate(invalid="ignore", divide="ignore"):
        moves = from_bfloat16(others) - values
        share = np.where(error * total[:, None] > 0, error / moves, np.float32(0))  # from -1/2, the middle, to 0
    count = min(rows.shape[1], 2 * math.isqrt(rows.shape[1]) + 8)  # errors add up to about sqrt(n / 12) moves
    at = np.argpartition(share, count - 1, axis=1)[:, :count]
    at = np.take_along_axis(at, np.take_along_axis(share, at, 1).argsort(1), 1)
    useful = np.take_along_axis(share, at, 1) < 0
    steps = np.where(useful, np.take_along_axis(moves, at, 1), 0).astype(np.float64)
    left = np.abs(total[:, None] + np.cumsum(steps, 1))
    wanted = np.where(left.min(1) < np.abs(total), left.argmin(1) + 1, 0)
    row, place = np.nonzero(useful & (np.arange(count) < wanted[:, None]))
    bits[row, at[row, place]] = others[row, at[row, place]]
