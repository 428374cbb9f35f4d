"""From ranges and weights to scales, zero points and integers."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir import GraphcError, Quant

SMALLEST = float(np.finfo(np.float32).tiny)
"""Least scale: Caffe2's operators want a normal float."""
WEIGHT_ZERO = 128
"""Zero point of weights: with values 1 to 255 their differences to it fit int8, which the fast kernels want."""
WEIGHT_LIMIT = 127
BIAS_LIMIT = 2.0**30
"""Largest integer of a bias: as much again is left for the products."""
FRACTIONS = np.linspace(1.0, 0.5, 51)
"""Parts of the largest magnitude that are tried as the range of weights."""


def affine(low: float, high: float) -> Quant:
    """Scale (a float32) and zero point by which 0 ... 255 cover low ... high, widened so that it holds 0.

    0 is exact. A range of no width, where everything is 0, gets scale 1 and zero point 0. Raises ``GraphcError`` for a
    range that is not finite.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if not math.isfinite(high - low):
        raise GraphcError(f"the range {low} ... {high} is not finite", "calibrate with finite data")
    if high == low:
        return Quant(1.0, 0)
    scale = max(float(np.float32((high - low) / 255)), SMALLEST)
    return Quant(scale, min(max(round(-low / scale), 0), 255))


def quantised(values: np.ndarray, quant: Quant) -> np.ndarray:
    """uint8 numbers of real ones: nearest, of two the even one, clamped (``Int8Quantize``)."""
    q = np.rint(np.asarray(values, np.float32) / np.float32(quant.scale)) + quant.zero_point
    return np.asarray(np.clip(q, 0, 255), np.uint8)


def dequantised(q: np.ndarray, quant: Quant) -> np.ndarray:
    """float32 numbers of uint8 ones (``Int8Dequantize``)."""
    return np.asarray((q.astype(np.float32) - np.float32(quant.zero_point)) * np.float32(quant.scale))


def weight_scales(rows: np.ndarray, least: np.ndarray) -> np.ndarray:
    """For each row (R, K) the scale of symmetric integers with the least squared error, float32 (R,).

    It clamps no more than half of the range. least: (R,) lower bounds. Rows that are all 0 get 1 / 127, as if their
    largest were 1. Raises ``GraphcError`` for weights that are not finite.
    """
    if not np.isfinite(rows).all():
        raise GraphcError("weights are NaN or infinite", "check the init net: graphc dump shows the weights")
    largest = np.max(np.abs(rows), axis=1, initial=0.0)
    largest[largest == 0.0] = 1.0
    tried = np.maximum(FRACTIONS[:, None] * largest / WEIGHT_LIMIT, np.maximum(least, SMALLEST)).astype(np.float32)
    errors = [np.square(rounded_weights(rows, s[:, None]) * s[:, None] - rows).sum(1) for s in tried.astype(np.float64)]
    best: np.ndarray = tried[np.argmin(errors, axis=0), np.arange(len(rows))]
    return best


def rounded_weights(weight: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Integers -127 ... 127, as float64, nearest to weights in units of a scale."""
    return np.asarray(np.clip(np.rint(weight / scale), -WEIGHT_LIMIT, WEIGHT_LIMIT))


def stored_weights(integers: np.ndarray) -> np.ndarray:
    """uint8 1 ... 255 with zero point 128, as the operators read them."""
    return (integers + WEIGHT_ZERO).astype(np.uint8)


def least_weight_scales(bias: np.ndarray, x_scale: float) -> np.ndarray:
    """Scales of weights below which elements of a bias, in units of x_scale * scale, would not fit their integers."""
    return np.asarray(np.abs(bias) / (x_scale * BIAS_LIMIT))


def bias_integers(bias: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """int32 numbers nearest to a bias in units of X_scale * W_scale."""
    return np.asarray(np.rint(bias / unit), np.int32)
