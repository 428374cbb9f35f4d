"""Walking arrays that broadcast with one another: offsets into each while another is passed in row-major order.

For loops (``ir/loops.py``). A walk is over ``shape``, a tuple with a 1 in front that stands for arrays without
dimensions: ``(1,) + x.shape``. ``steps`` is a scratch array of int64 with as many columns: row 0 counts, the others
hold the strides of the arrays that follow the walk, of which ``kept`` has a 1 for each dimension that they have
themselves and a 0 for those along which they stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.types import Dim, DType, TensorType

Flags = tuple[int, ...]


def steps_type(rank: int, followers: int) -> TensorType:
    """The scratch array of a walk over ``rank`` dimensions."""
    return TensorType(DType.INT64, (1 + followers, 1 + rank))


def kept_flags(dims: Sequence[Dim], rank: int) -> Flags:
    """The flags of an array of these dimensions aligned at the end of ``rank`` ones; what has one element stays."""
    return (0,) * (1 + rank - len(dims)) + tuple(int(d != 1) for d in dims)


def set_steps(steps: np.ndarray, row: int, shape: Any, kept: Any) -> None:
    """Fill in a row of ``steps``."""
    stride = 1
    for k in range(len(shape)):
        d = len(shape) - 1 - k
        steps[row, d] = stride * kept[d]
        if kept[d]:
            stride *= shape[d]


def offset(steps: np.ndarray, row: int) -> Any:
    """Where the array of a row is at the current count."""
    at = 0
    for d in range(steps.shape[1]):
        at += steps[0, d] * steps[row, d]
    return at


def advance(steps: np.ndarray, shape: Any) -> None:
    """Count on by one run along the last dimension."""
    for k in range(1, len(shape)):
        d = len(shape) - 1 - k
        steps[0, d] += 1
        if steps[0, d] < shape[d]:
            break
        steps[0, d] = 0
