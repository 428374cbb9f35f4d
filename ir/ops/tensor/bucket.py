"""Numbers in buckets, and one-hot rows: Bucketize, BatchBucketize, BatchBucketOneHot, BatchOneHot."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, product, require, require_rank, vector
from graphc.ir.ops._updates import count
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

_LENGTHS = "a length is not positive, or the lengths do not add up to the number of "


def _boundaries(call: Call) -> tuple[float, ...]:
    return tuple(float(b) for b in call.arg("boundaries"))


def _bucketize_infer(call: Call) -> list[TensorType]:
    """output: int32, as the data."""
    x = require(call, 0, (DType.FLOAT,))
    if x.shape is not None and not x.shape:
        call.fail("the data is a scalar, it needs a dimension")
    b = _boundaries(call)
    if not b or b[0] != b[0] or any(not low <= high for low, high in itertools.pairwise(b)):
        call.fail("argument 'boundaries' is empty or does not ascend", "give the bounds of the buckets in order")
    return [TensorType(DType.INT32, x.shape)]


def _bucketize(x: np.ndarray, y: np.ndarray, boundaries: Any) -> None:
    for i in range(x.size):
        low, high = 0, len(boundaries)
        while low < high:
            middle = (low + high) // 2
            if boundaries[middle] < x.flat[i]:
                low = middle + 1
            else:
                high = middle
        y.flat[i] = low


op(
    "Bucketize",
    _bucketize_infer,
    inputs="data",
    outputs="output",
    args=(Arg("boundaries", "floats", (), "bounds of the buckets, ascending; each belongs to the bucket below"),),
    loop=_bucketize,
    constants=lambda call: [_boundaries(call)],
    doc="How many bounds are below each element.",
)


def _batch_bucketize_infer(call: Call) -> list[TensorType]:
    """output: int32, a row for every row of the features, a column for every index."""
    require(call, 0, (DType.FLOAT,))
    require(call, 1, (DType.INT32,))
    require(call, 2, (DType.FLOAT,))
    require(call, 3, (DType.INT32,))
    features, indices = require_rank(call, 0, 2), require_rank(call, 1, 1)
    require_rank(call, 2, 1)
    columns: Dim = UNKNOWN if indices is None else indices[0]
    columns = vector(call, 3, columns, "number of lengths, one for every index")
    return [TensorType(DType.INT32, (UNKNOWN if features is None else features[0], columns))]


def _positive_sum(lengths: np.ndarray, least: int) -> int:
    """The sum of the lengths, -1 where one is below ``least``."""
    total = 0
    for i in range(lengths.size):
        if lengths.flat[i] < least:
            return -1
        total += int(lengths.flat[i])
    return total


def _batch_bucketize(
    features: np.ndarray, indices: np.ndarray, boundaries: np.ndarray, lengths: np.ndarray, output: np.ndarray
) -> int:
    if _positive_sum(lengths, 0) != boundaries.size:
        return 1
    start = 0
    for j in range(indices.size):
        at, length = int(indices[j]), int(lengths[j])
        if at < 0 or at >= features.shape[1]:
            return 2
        for i in range(features.shape[0]):
            bucket = 0
            while bucket < length and not features[i, at] <= boundaries[start + bucket]:
                bucket += 1
            output[i, j] = bucket
        start += length
    return 0


op(
    "BatchBucketize",
    _batch_bucketize_infer,
    inputs="float_features indices boundaries lengths",
    outputs="bucketized_feat",
    loop=_batch_bucketize,
    errors=(
        _LENGTHS.replace("is not positive", "is negative") + "boundaries",
        "an index is no column of the features",
    ),
    doc="Chosen columns in buckets, each with bounds of its own: lengths says how many of the boundaries.",
)


def _columns(call: Call) -> tuple[Dim, Dim, Shape | None]:
    """Rows and columns of input 0 seen as a matrix, and the shape of input 2, a vector; one length for a column."""
    shape = call.type(0).shape
    require(call, 1, (DType.INT32,))
    values = require_rank(call, 2, 1)
    if shape is None:
        return UNKNOWN, UNKNOWN, values
    if not shape:
        call.fail("the data is a scalar, it needs rows")
    columns = product(shape[1:])
    agree(call, count(call, 1), columns, "number of lengths, one for every column")
    return shape[0], columns, values


def _batch_one_hot_infer(call: Call) -> list[TensorType]:
    """output: a row for every row of the data, a column for every value; of their type."""
    x = require(call, 0, (DType.BOOL, DType.INT32, DType.INT64))
    if call.type(2).dtype is not x.dtype:
        call.fail("the data and the values have different types of elements", "insert a Cast")
    rows, _, values = _columns(call)
    return [TensorType(x.dtype, (rows, UNKNOWN if values is None else values[0]))]


def _batch_one_hot(data: np.ndarray, lengths: np.ndarray, values: np.ndarray, output: np.ndarray) -> int:
    if _positive_sum(lengths, 0) != values.size:
        return 1
    columns, start = lengths.size, 0
    for j in range(columns):
        for k in range(start, start + int(lengths.flat[j])):
            for i in range(output.shape[0]):
                output[i, k] = data.flat[i * columns + j] == values[k]
        start += int(lengths.flat[j])
    return 0


op(
    "BatchOneHot",
    _batch_one_hot_infer,
    inputs="data lengths values",
    outputs="output",
    loop=_batch_one_hot,
    errors=(_LENGTHS.replace("is not positive", "is negative") + "values",),
    doc="Whether an element equals each of the values of its column: lengths says how many of the values.",
)


def _bucket_one_hot_infer(call: Call) -> list[TensorType]:
    """output: float, a row for every row of the data, a column for every bucket: one more than its bounds."""
    require(call, 0, (DType.FLOAT,))
    require(call, 2, (DType.FLOAT,))
    rows, columns, boundaries = _columns(call)
    return [TensorType(DType.FLOAT, (rows, UNKNOWN if boundaries is None else boundaries[0] + columns))]


def _bucket_one_hot(data: np.ndarray, lengths: np.ndarray, boundaries: np.ndarray, output: np.ndarray) -> int:
    """Of a bound that occurs several times the middle bucket is taken."""
    if _positive_sum(lengths, 1) != boundaries.size:
        return 1
    columns, start = lengths.size, 0
    for j in range(columns):
        length = int(lengths.flat[j])
        for i in range(output.shape[0]):
            x = data.flat[i * columns + j]
            below, upto = 0, 0
            for k in range(start, start + length):
                below += 1 if boundaries[k] < x else 0
                upto += 1 if boundaries[k] <= x else 0
            output[i, start + j + (below + upto) // 2] = 1
        start += length
    return 0


op(
    "BatchBucketOneHot",
    _bucket_one_hot_infer,
    inputs="data lengths boundaries",
    outputs="output",
    loop=_bucket_one_hot,
    errors=(_LENGTHS + "boundaries",),
    doc="A one-hot row of the bucket of each column: lengths says how many of the boundaries, which ascend.",
)
