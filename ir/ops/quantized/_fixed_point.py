"""Fixed-point scaling of integers, as functions that loops call.

Sources: QNNPACK's requantisation by a 32-bit multiplier and its average, gemmlowp's multiplication, the rounding of
Caffe2's ``int8_utils.h``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LIMIT = 1e9
"""Numbers beyond it round to it: far from every 8-bit result, and safe to convert to an integer."""


def half_even(x: float) -> int:
    """The nearest integer, the even one of two; NaN and what is far below gives a very negative number."""
    x = float(x)
    if not -LIMIT < x < LIMIT:
        return 1000000000 if x > 0.0 else -1000000000
    low = math.floor(x)
    rest = x - low
    if rest > 0.5 or (rest == 0.5 and low % 2 == 1):
        return low + 1
    return low


def clamped(x: int, low: int, high: int) -> int:
    """``x`` in low ... high."""
    return min(max(x, low), high)


def q31(scale: float) -> tuple[int, int]:
    """(multiplier, shift) of a float32 scale: scale = multiplier * 2**-31 * 2**-shift, multiplier of 31 bits."""
    bits = int(np.float32(scale).view(np.uint32))
    return ((bits & 0x7FFFFF) | 0x800000) << 7, 126 - (bits >> 23)


def scaled_q31(n: int, multiplier: int, shift: int) -> int:
    """``n`` times a scale of ``q31``: rounded up at 31 bits, then half away from zero."""
    n = np.int64(n)
    product = (n * multiplier + 1073741824) >> 31
    if shift <= 0:
        return product << min(-shift, 30)
    shift = min(shift, 62)
    mask = (1 << shift) - 1
    rest = product & mask
    if product < 0:
        rest -= 1
    if rest > (mask >> 1):
        return (product >> shift) + 1
    return product >> shift


def requantised(total: np.ndarray, scale: float, zero: int, low: int) -> np.ndarray:
    """``scaled_q31`` of every element of an int64 array, with the zero point, clamped to low ... 255, as uint8."""
    multiplier, shift = q31(scale)
    product = (total.astype(np.int64) * multiplier + (1 << 30)) >> 31
    if shift <= 0:
        product = product << min(-shift, 30)
    else:
        mask = (1 << min(shift, 62)) - 1
        rest = (product & mask) - (product < 0)
        product = (product >> min(shift, 62)) + (rest > mask >> 1)
    return np.asarray(np.clip(product + zero, low, 255), np.uint8)


def shifted(n: int, shift: int) -> int:
    """``n / 2**shift``, half away from zero."""
    if n < 0:
        return (n - 1 + (1 << (shift - 1))) >> shift
    return (n + (1 << (shift - 1))) >> shift


def scaled_gemmlowp(n: int, multiplier: int, shift: int) -> Any:
    """gemmlowp's doubling high product, rounded, then a division by 2**shift, half away from zero."""
    product = np.int64(n) * multiplier
    nudge = 1073741824 if product >= 0 else 1 - 1073741824
    high = (abs(product + nudge) >> 31) * (1 if product + nudge >= 0 else -1)
    if shift <= 0:
        return high
    mask = (1 << shift) - 1
    half = (mask >> 1) + (1 if high < 0 else 0)
    if (high & mask) > half:
        return (high >> shift) + 1
    return high >> shift
