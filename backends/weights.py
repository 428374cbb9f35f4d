"""Weights as kernels of any target take them in to pack them."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.precision import to_float


def elements(call: Call, i: int) -> np.ndarray | None:
    """The elements of a weight, float32 or halves, as float32; None where they are not at hand."""
    data = call.constant(i)
    return None if data is None else to_float(data, call.type(i).dtype)
