"""Arrays of quantised numbers that know the scale and zero point which a run chose (engine DNNLOWP)."""

from __future__ import annotations

import numpy as np

from graphc.ir.types import Quant


class QuantArray(np.ndarray):
    """An array with a ``quant``; whatever is computed from it has none."""

    quant: Quant | None = None


def with_quant(array: np.ndarray, quant: Quant | None) -> np.ndarray:
    """The same elements as a ``QuantArray``; the array itself where there is nothing to know."""
    if quant is None:
        return array
    found = array.view(QuantArray)
    found.quant = quant
    return found


def array_quant(array: np.ndarray | None) -> Quant | None:
    """Scale and zero point that came with an array, None for others."""
    return array.quant if isinstance(array, QuantArray) else None
