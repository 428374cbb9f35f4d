"""Half-precision numbers in loops, which see them as their bits (uint16), and numbers of several bytes in byte rows.

Everything here is in the part of Python that a loop may say, and computes the same when it is run uncompiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

HALF_EXPONENT = 31744
"""Bits of the exponent of a half number: 0x7C00. All of them set: an infinity or not a number."""

LARGEST_HALF = 65504.0


def half_to_float(bits: Any) -> Any:
    """The float32 number of a half number's bits; exact."""
    b = np.int32(bits)
    magnitude = np.int32((b & 32767) << 13)
    value = magnitude.view(np.float32) * np.float32(5.192296858534828e33)  # 2**112: the difference of the biases
    if (b & HALF_EXPONENT) == HALF_EXPONENT:
        value = np.int32(magnitude | 2139095040).view(np.float32)  # 0x7F800000
    return -value if b & 32768 else value


def float_to_half(x: Any) -> Any:
    """The bits (uint16) of the half number nearest to a float32 number, of two the even one; large ones: infinite."""
    bits = np.int64(np.float32(x).view(np.uint32))
    sign, magnitude = (bits >> 16) & 32768, bits & 2147483647
    if magnitude > 2139095040:
        half = (magnitude >> 13) & 1023 | HALF_EXPONENT | 512
    elif magnitude >= 1199566848:  # from 65520 on
        half = np.int64(HALF_EXPONENT)
    elif magnitude >= 947912704:  # from 2**-14 on: normal; half of the last bit, less one where it is even
        half = ((magnitude - 939524096) + 4095 + ((magnitude >> 13) & 1)) >> 13
    else:  # subnormal: adding 0.5 leaves the rounded multiple of 2**-24 in the last bits
        shifted = np.uint32(magnitude).view(np.float32) + np.float32(0.5)
        half = np.int64(np.float32(shifted).view(np.uint32)) - 1056964608
    return np.uint16(half | sign)


def float_of(x: Any, i: Any) -> Any:
    """Element ``i`` in row-major order of an array of float32 numbers or of half numbers' bits, as float32."""
    if x.itemsize == 2:
        return half_to_float(x.flat[i])
    return np.float32(x.flat[i])


def row_float(row: np.ndarray, at: Any) -> Any:
    """The float32 number in the bytes ``at`` to ``at + 4`` of a row of uint8."""
    return row[at : at + 4].view(np.float32)[0]


def row_half(row: np.ndarray, at: Any) -> Any:
    """The half number in the bytes ``at`` to ``at + 2`` of a row of uint8, as float32."""
    return half_to_float(row[at : at + 2].view(np.uint16)[0])


def flat_bits(x: np.ndarray, at: Any, count: Any) -> Any:
    """The integer in ``count`` bytes of an array of uint8, in row-major order from ``at`` on."""
    bits = np.int64(0)
    for b in range(count):
        bits |= np.int64(x.flat[at + b]) << (8 * b)
    return bits


def flat_float(x: np.ndarray, at: Any) -> Any:
    """The float32 number in four bytes of an array of uint8."""
    return np.uint32(flat_bits(x, at, 4)).view(np.float32)


def flat_half(x: np.ndarray, at: Any) -> Any:
    """The half number in two bytes of an array of uint8, as float32."""
    return half_to_float(np.uint16(flat_bits(x, at, 2)))


def put_flat_bits(y: np.ndarray, at: Any, bits: Any, count: Any) -> None:
    """Write an integer into ``count`` bytes of an array of uint8, in row-major order from ``at`` on."""
    for b in range(count):
        y.flat[at + b] = (np.int64(bits) >> (8 * b)) & 255


def put_flat_float(y: np.ndarray, at: Any, x: Any) -> None:
    """Write a number as float32 into four bytes of an array of uint8."""
    put_flat_bits(y, at, np.float32(x).view(np.uint32), 4)


def put_flat_half(y: np.ndarray, at: Any, x: Any) -> None:
    """Write a number as a half number into two bytes of an array of uint8."""
    put_flat_bits(y, at, float_to_half(x), 2)
