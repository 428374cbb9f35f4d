"""SameArrays: weights that are packed anew for every length of an unrolled net are held, and uploaded, once."""

from __future__ import annotations

from weakref import WeakValueDictionary
from zlib import crc32

import numpy as np


class SameArrays:
    """One array of each type, shape and content that it was shown, for as long as somebody holds it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, tuple[int, ...], int], np.ndarray] = WeakValueDictionary()

    def same(self, array: np.ndarray) -> np.ndarray:
        """The array, or the one with the same bytes that was shown before."""
        data = _bytes(array)
        known = self._known.setdefault((array.dtype.str, array.shape, crc32(data.data)), array)
        return known if known is array or np.array_equal(_bytes(known), data) else array


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
