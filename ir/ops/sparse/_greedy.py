"""The limits of a row that lose least when it is quantised: Caffe2's engine GREEDY (param_search_greedy), in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.ops._half import float_of, float_to_half, half_to_float

Array = np.ndarray

BINS = 200
"""Steps that the whole range has; at least 168 of them are kept."""
LEAST_BINS = 168


def rounding_loss(x: Array, start: Any, count: Any, low: Any, high: Any, largest: Any) -> Any:
    """Euclidean distance of a row from itself quantised to 0 ... ``largest`` between these limits."""
    low = half_to_float(float_to_half(low))
    span = np.float32(high - low)
    scale = half_to_float(float_to_half(np.float32(span / np.float32(largest)))) if span != 0 else np.float32(1)
    inverse, total = np.float32(np.float32(1) / scale), np.float32(0)
    for i in range(start, start + count):
        value = float_of(x, i)
        code = np.float32(max(min(np.round((value - low) * inverse), np.float32(largest)), np.float32(0)))
        error = value - (code * scale + low)
        total += error * error
    return np.float32(math.sqrt(total))


def search_limits(x: Array, start: Any, count: Any, low: Any, high: Any, largest: Any) -> Any:
    """Limits within ``low`` and ``high`` at a local minimum of the loss, found by moving in the better one stepwise."""
    step = np.float32((high - low) / np.float32(BINS))
    least = np.float32(LEAST_BINS) * step
    loss = rounding_loss(x, start, count, low, high, largest)
    best, best_low, best_high = loss, low, high
    for _ in range(BINS):
        if not low + least < high:
            break
        loss_low = rounding_loss(x, start, count, low + step, high, largest)
        loss_high = rounding_loss(x, start, count, low, high - step, largest)
        if loss < loss_low and loss < loss_high and loss < best:
            best, best_low, best_high = loss, low, high
        if loss_low < loss_high:
            low, loss = low + step, loss_low
        else:
            high, loss = high - step, loss_high
    return best_low, best_high
