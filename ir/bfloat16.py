"""bfloat16 in NumPy, which lacks it: arrays of uint16 that hold the upper halves of float32 numbers.

A value whose type is ``bfloat16`` has such arrays; nothing else tells them from integers, so bits never leave graphc:
inputs and outputs of nets are float32, and a blob that is fetched is widened.
"""

from __future__ import annotations

import numpy as np


def to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The bits (uint16) of the bfloat16 numbers nearest to float32 ones, of two the even one.

    Too large numbers become infinite; what is not a number stays so (quiet, its sign and upper bits kept).
    """
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    is_nan = bits & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000)
    found: np.ndarray = np.where(is_nan, quiet, rounded).astype(np.uint16)
    return found.reshape(np.shape(numbers))


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16 bits; exact."""
    wide: np.ndarray = np.ascontiguousarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)
    found: np.ndarray = wide.view(np.float32)
    return found.reshape(np.shape(bits))
