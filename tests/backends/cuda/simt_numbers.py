"""Floats become integers in the emulator as in kernels for cards (``conversions.py``), whatever machine it runs on."""

from __future__ import annotations

from typing import Any

import numpy as np


def converted(value: Any, dtype: Any) -> np.ndarray:
    """Numbers in another type. Of floats, int32 or int64 is made first, its smallest for what does not fit; shorter
    types take the lowest bits of that."""
    made, kind = np.asarray(value), np.dtype(dtype)
    if made.dtype.kind == "f" and kind.kind in "iu" and kind != np.uint64:
        wide = np.dtype(np.int64 if kind.itemsize > 4 or kind == np.uint32 else np.int32)
        limit = 2.0 ** (8 * wide.itemsize - 1)
        fits = (made >= -limit) & (made < limit)
        made = np.where(fits, np.where(fits, made, 0).astype(wide), np.iinfo(wide).min)
    return made.astype(kind)
