"""What segment operators share: types of their inputs, and in loops: rows, lengths and segment ids from data, checked.

A row is what one index along the first dimension selects. Functions of loops are in the part of Python that a loop may
say. They are given flat positions: ``flat`` sees any number of dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.ops._half import float_of
from graphc.ir.ops._rules import Shape, agree, require, require_rank
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

INTS = (DType.INT32, DType.INT64)
FLOAT = (DType.FLOAT,)

BAD_LENGTHS = "LENGTHS: a length is negative, or their sum is not the number of rows that they divide"
BAD_INDEX = "INDICES: an index is negative, or not below the number of rows of DATA"
NOT_SORTED = "SEGMENT_IDS: they must start at 0, be sorted and have no gaps"
BAD_SEGMENT = "SEGMENT_IDS: an id is negative, or not below the number of segments"


def rows_of(call: Call, i: int) -> Shape | None:
    """Shape of input ``i``, None while unknown; fails unless it has a first dimension."""
    shape = call.type(i).shape
    if shape == ():
        call.fail(f"input {i} ({call.input_name(i)}) is a scalar, it has no rows")
    return shape


def length_of(call: Call, i: int) -> Dim:
    """Length of the vector that input ``i`` is; fails unless it has one dimension."""
    shape = require_rank(call, i, 1)
    return UNKNOWN if shape is None else shape[0]


def int_vector(call: Call, i: int, dtypes: tuple[DType, ...] = (DType.INT32,)) -> Dim:
    """Length of the vector of integers that input ``i`` is."""
    require(call, i, dtypes)
    return length_of(call, i)


def with_rows(shape: Shape | None, rows: Dim, dtype: DType = DType.FLOAT) -> TensorType:
    """A tensor of ``rows`` rows of the kind that ``shape`` has."""
    return TensorType(dtype, None if shape is None else (rows, *shape[1:]))


def first_dim(call: Call, i: int, length: Dim, what: str) -> Dim:
    """``length`` better known; fails where the first dimension of input ``i`` is another."""
    shape = rows_of(call, i)
    return length if shape is None else agree(call, shape[0], length, f"{what} of input {i} ({call.input_name(i)})")


def row_size(x: np.ndarray) -> Any:
    """Number of elements of a row."""
    size = 1
    for k in range(1, len(x.shape)):
        size *= x.shape[k]
    return size


def add_row(y: np.ndarray, to: Any, x: np.ndarray, source: Any, size: Any, weight: Any) -> None:
    """Row ``to`` of y plus ``weight`` times row ``source`` of x, which is float or half."""
    for j in range(size):
        y.flat[to * size + j] += weight * float_of(x, source * size + j)


def put_row(y: np.ndarray, to: Any, x: np.ndarray, source: Any, size: Any, weight: Any) -> None:
    """Row ``to`` of y is ``weight`` times row ``source`` of x."""
    for j in range(size):
        y.flat[to * size + j] = weight * x.flat[source * size + j]


def copy_row(y: np.ndarray, to: Any, x: np.ndarray, source: Any, size: Any) -> None:
    """Row ``to`` of y is row ``source`` of x, which has the same type."""
    for j in range(size):
        y.flat[to * size + j] = x.flat[source * size + j]


def scale_row(y: np.ndarray, to: Any, size: Any, weight: Any) -> None:
    """Row ``to`` of y times ``weight``."""
    for j in range(size):
        y.flat[to * size + j] *= weight


def dot_rows(x: np.ndarray, i: Any, y: np.ndarray, k: Any, size: Any) -> Any:
    """Sum of the products of row ``i`` of x and row ``k`` of y."""
    total = np.float32(0)
    for j in range(size):
        total += x.flat[i * size + j] * y.flat[k * size + j]
    return total


def total_length(lengths: np.ndarray) -> Any:
    """Sum of the lengths, -1 where one of them is negative or the sum is no int64."""
    total = np.int64(0)
    for i in range(lengths.shape[0]):
        if lengths[i] < 0:
            return np.int64(-1)
        total += np.int64(lengths[i])
        if total < 0:  # the sum is above the largest int64
            return np.int64(-1)
    return total


def outside(indices: np.ndarray, rows: Any) -> Any:
    """How many of the indices are not from 0 to ``rows - 1``."""
    count = 0
    for i in range(indices.size):
        if indices.flat[i] < 0 or indices.flat[i] >= rows:
            count += 1
    return count


def count_sorted(ids: np.ndarray) -> Any:
    """Number of segments that sorted ids without gaps name, -1 where they are not such."""
    last = np.int64(-1)
    for i in range(ids.shape[0]):
        if ids[i] < max(last, 0) or ids[i] > last + 1:
            return np.int64(-1)
        last = np.int64(ids[i])
    return last + 1
