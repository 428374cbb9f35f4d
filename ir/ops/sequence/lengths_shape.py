"""Lengths, offsets, ranges and segment ids turned into each other, and rows moved by them.

Rules from Caffe2's utility_ops.h, lengths_*_op.h, length_split_op.h and partition_ops.h. Lengths are int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, constant_ints, require, require_rank
from graphc.ir.ops._segments import (
    BAD_LENGTHS,
    INTS,
    copy_row,
    first_dim,
    int_vector,
    length_of,
    row_size,
    rows_of,
    total_length,
    with_rows,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

NEGATIVE = "LENGTHS: a length is negative, or their sum is above what the output can hold"
LARGEST = 2**31 - 1

Array = np.ndarray


def _ints(*shape: Dim) -> list[TensorType]:
    return [TensorType(DType.INT32, shape)]


def _to_ranges(lengths: Array, y: Array) -> Any:
    total, offset = total_length(lengths), np.int64(0)
    if total < 0 or total > LARGEST:
        return 1
    for i in range(lengths.shape[0]):
        y[i, 0] = offset
        y[i, 1] = lengths[i]
        offset += np.int64(lengths[i])
    return 0


def _to_ranges_infer(call: Call) -> list[TensorType]:
    """ranges: int32, start and length for every length."""
    return _ints(int_vector(call, 0), 2)


def _total_size(lengths: Array, dims: Array) -> Any:
    dims[0] = total_length(lengths)
    return 1 if dims[0] < 0 else 0


def _to_ids(lengths: Array, y: Array) -> Any:
    k = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            y[k] = i
            k += 1
    return 0


def _to_ids_infer(call: Call) -> list[TensorType]:
    """segment_ids: int32, as many as the lengths add up to."""
    int_vector(call, 0)
    return _ints(UNKNOWN)


def _to_shape(lengths: Array, y: Array) -> Any:
    for i in range(lengths.shape[0]):
        if lengths[i] != lengths[0]:
            return 1
    y[0] = lengths.shape[0]
    y[1] = lengths[0]
    return 0


def _to_shape_infer(call: Call) -> list[TensorType]:
    """Y: two numbers of int32: how many lengths, and the length that they all are."""
    if int_vector(call, 0) == 0:
        call.fail("there are no lengths")
    return _ints(2)


def _to_weights_sizes(lengths: Array, dims: Array, power: float) -> Any:
    dims[0] = total_length(lengths)
    return 1 if dims[0] < 0 else 0


def _to_weights(lengths: Array, y: Array, power: float) -> Any:
    k = 0
    for i in range(lengths.shape[0]):
        weight = 1.0 / float(max(lengths[i], 1)) ** power
        for _ in range(lengths[i]):
            y[k] = np.float32(weight)
            k += 1
    return 0


def _to_weights_infer(call: Call) -> list[TensorType]:
    """Weights: float, as many as the lengths (int32 or int64) add up to."""
    int_vector(call, 0, INTS)
    return [TensorType(DType.FLOAT, (UNKNOWN,))]


def _to_offsets(lengths: Array, y: Array, include_last_offset: int) -> Any:
    total, offset = total_length(lengths), np.int64(0)
    if total < 0 or total > LARGEST:
        return 1
    for i in range(lengths.shape[0]):
        y[i] = offset
        offset += np.int64(lengths[i])
    if include_last_offset:
        y[lengths.shape[0]] = offset
    return 0


def _to_offsets_infer(call: Call) -> list[TensorType]:
    """offsets: int32, one for every length, and with ``include_last_offset`` the sum of all at the end."""
    return _ints(int_vector(call, 0) + (1 if call.arg("include_last_offset") else 0))


op(
    "LengthsToRanges",
    _to_ranges_infer,
    inputs="lengths",
    outputs="ranges",
    loop=_to_ranges,
    errors=(NEGATIVE,),
    doc="Start and length of every run.",
)
op(
    "LengthsToSegmentIds",
    _to_ids_infer,
    inputs="lengths",
    outputs="segment_ids",
    loop=_to_ids,
    sizes=_total_size,
    errors=(NEGATIVE,),
    doc="Every run's number, as often as it is long.",
)
op(
    "LengthsToShape",
    _to_shape_infer,
    inputs="X",
    outputs="Y",
    loop=_to_shape,
    errors=("LENGTHS: they are not all equal",),
    doc="Number of runs, and their length, which is the same for all.",
)
op(
    "LengthsToWeights",
    _to_weights_infer,
    inputs="lengths",
    outputs="weights",
    args=(Arg("power", "float", 0.5, "exponent of the length"),),
    loop=_to_weights,
    sizes=_to_weights_sizes,
    errors=(NEGATIVE,),
    doc="1 / length ** power for every element of a run.",
)
op(
    "LengthsToOffsets",
    _to_offsets_infer,
    inputs="lengths",
    outputs="offsets",
    args=(Arg("include_last_offset", "int", 0, "the sum of all lengths comes last"),),
    loop=_to_offsets,
    errors=(NEGATIVE,),
    doc="Where every run starts.",
)


def _split_sizes(lengths: Array, n_split: Array, dims: Array, given: int) -> Any:
    for k in range(dims.shape[0]):
        if n_split[0] < 1:
            return 2
        dims[k] = lengths.shape[0] * np.int64(n_split[0])
    return 0


def _split(lengths: Array, n_split: Array, y: Array, given: int) -> Any:
    parts = np.int64(n_split[0]) if n_split.shape[0] else np.int64(given)
    if parts < 1:
        return 2
    if total_length(lengths) < 0:
        return 1
    for i in range(lengths.shape[0]):
        for j in range(parts):
            y[i * parts + j] = lengths[i] // parts + (1 if j < lengths[i] % parts else 0)
    return 0


def _split_infer(call: Call) -> list[TensorType]:
    """Y: int32, n_split parts of every length; the second input, one element, has precedence over the argument."""
    count = int_vector(call, 0)
    if call.has(1):
        agree(call, int_vector(call, 1), 1, "number of elements of n_split")
        given = constant_ints(call, 1)
        return _ints(UNKNOWN if given is None or given[0] < 1 else count * given[0])
    return _ints(count * bounded(call, call.arg("n_split"), 1, "n_split"))


op(
    "LengthsSplit",
    _split_infer,
    inputs="LENGTHS n_split?",
    outputs="Y",
    args=(Arg("n_split", "int", 0, "number of parts, where there is no second input"),),
    loop=_split,
    sizes=_split_sizes,
    errors=(NEGATIVE, "n_split is less than 1"),
    doc="Every length as a sum of n_split parts that differ by at most 1, the larger ones first.",
)


def _tile_sizes(data: Array, lengths: Array, dims: Array) -> Any:
    dims[0] = total_length(lengths)
    return 1 if dims[0] < 0 else 0


def _tile(data: Array, lengths: Array, y: Array) -> Any:
    k = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            copy_row(y, k, data, i, row_size(data))
            k += 1
    return 0


def _tile_infer(call: Call) -> list[TensorType]:
    """OUTPUT: DATA's rows, as many as the lengths add up to; one length for every row."""
    data = call.type(0)
    first_dim(call, 0, int_vector(call, 1), "number of rows")
    return [data.with_shape(None if data.shape is None else (UNKNOWN, *data.shape[1:]))]


op(
    "LengthsTile",
    _tile_infer,
    inputs="DATA LENGTHS",
    outputs="OUTPUT",
    loop=_tile,
    sizes=_tile_sizes,
    errors=(NEGATIVE,),
    doc="Every row as often as its length says.",
)


def _pad(data: Array, lengths: Array, y: Array, value: float, target: int) -> Any:
    if total_length(lengths) != data.shape[0]:
        return 1
    size, k = row_size(data), 0
    for i in range(lengths.shape[0]):
        if lengths[i] > target:
            return 2
        for j in range(target):
            if j < lengths[i]:
                copy_row(y, i * target + j, data, k, size)
                k += 1
            else:
                for m in range(size):
                    y.flat[(i * target + j) * size + m] = value
    return 0


def _pad_infer(call: Call) -> list[TensorType]:
    """OUTPUT: target_length rows for every length."""
    data = require(call, 0, (DType.FLOAT, DType.DOUBLE, DType.INT32, DType.INT64))
    rows_of(call, 0)
    target = bounded(call, call.arg("target_length"), 1, "target_length")
    return [with_rows(data.shape, int_vector(call, 1) * target, data.dtype or DType.FLOAT)]


op(
    "LengthsPad",
    _pad_infer,
    inputs="DATA LENGTHS",
    outputs="OUTPUT",
    args=(
        Arg("padding_value", "float", -1.0, "what every element of the missing rows is"),
        Arg("target_length", "int", -1, "number of rows that every run gets"),
    ),
    loop=_pad,
    errors=(BAD_LENGTHS, "LENGTHS: a run is longer than target_length"),
    doc="Every run of rows padded to target_length rows.",
)


def _gather_sizes(items: Array, lengths: Array, indices: Array, dims: Array, offsets: Array) -> Any:
    if total_length(lengths) != items.shape[0]:
        return 1
    for i in range(1, lengths.shape[0]):
        offsets[i] = offsets[i - 1] + np.int64(lengths[i - 1])
    for i in range(indices.shape[0]):
        if indices[i] < 0 or indices[i] >= lengths.shape[0]:
            return 2
        dims[0] += np.int64(lengths[indices[i]])
    return 0


def _gather(items: Array, lengths: Array, indices: Array, y: Array, offsets: Array) -> Any:
    k = 0
    for i in range(indices.shape[0]):
        for j in range(lengths[indices[i]]):
            copy_row(y, k, items, offsets[indices[i]] + j, row_size(items))
            k += 1
    return 0


def _gather_infer(call: Call) -> list[TensorType]:
    """OUTPUT: rows of ITEMS; INDICES are int32 or int64."""
    items, shape = call.type(0), rows_of(call, 0)
    int_vector(call, 1)
    int_vector(call, 2, INTS)
    return [items.with_shape(shape and (UNKNOWN, *shape[1:]))]


op(
    "LengthsGather",
    _gather_infer,
    inputs="ITEMS LENGTHS INDICES",
    outputs="OUTPUT",
    loop=_gather,
    sizes=_gather_sizes,
    scratch=lambda call: [TensorType(DType.INT64, call.type(1).shape)],
    errors=(BAD_LENGTHS, "INDICES: an index is negative, or not below the number of LENGTHS"),
    doc="The runs of rows that INDICES choose.",
)


def top_of_run(x: Array, start: Any, length: Any, values: Array, indices: Array) -> Any:
    """The largest elements of a run in descending order, of equal ones the first; then zeros at index -1."""
    count = 0
    for j in range(length):
        value, place = x[start + j], min(count, values.shape[0] - 1)
        if count == values.shape[0] and value <= values[place]:
            continue
        count = min(count + 1, values.shape[0])
        while place > 0 and values[place - 1] < value:
            values[place] = values[place - 1]
            indices[place] = indices[place - 1]
            place -= 1
        values[place] = value
        indices[place] = j
    for place in range(count, values.shape[0]):
        indices[place] = -1
    return 0


def _top_k(data: Array, lengths: Array, values: Array, indices: Array, k: int) -> Any:
    if total_length(lengths) != data.shape[0]:
        return 1
    start = np.int64(0)
    for i in range(lengths.shape[0]):
        top_of_run(data, start, lengths[i], values[i], indices[i])
        start += np.int64(lengths[i])
    return 0


def _top_k_infer(call: Call) -> list[TensorType]:
    """TopKValue float and TopKIndices int32: k for every length, the indices within the run."""
    require(call, 0, (DType.FLOAT,))
    require_rank(call, 0, 1)
    shape = (int_vector(call, 1), bounded(call, call.arg("k"), 1, "k"))
    return [TensorType(DType.FLOAT, shape), TensorType(DType.INT32, shape)]


def _top_k_gradient_sizes(lengths: Array, indices: Array, grads: Array, dims: Array, k: int) -> Any:
    dims[0] = total_length(lengths)
    return 1 if dims[0] < 0 else 0


def _top_k_gradient(lengths: Array, indices: Array, grads: Array, y: Array, k: int) -> Any:
    start = np.int64(0)
    for i in range(lengths.shape[0]):
        for j in range(min(np.int64(lengths[i]), np.int64(k))):
            at = indices.flat[i * k + j]
            if at < 0 or at >= lengths[i]:
                return 2
            y[start + at] = grads.flat[i * k + j]
        start += np.int64(lengths[i])
    return 0


def _top_k_gradient_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: float, as many as the lengths add up to; indices and gradients have k for every length."""
    count, k = int_vector(call, 0), bounded(call, call.arg("k"), 1, "k")
    require(call, 1, (DType.INT32,))
    require(call, 2, (DType.FLOAT,))
    for i in (1, 2):
        shape = require_rank(call, i, 2)
        if shape is not None:
            agree(call, shape[0], count, f"rows of {call.input_name(i)}")
            agree(call, shape[1], k, f"columns of {call.input_name(i)}")
    return [TensorType(DType.FLOAT, (UNKNOWN,))]


_K = Arg("k", "int", -1, "how many of every run")
op(
    "LengthsTopK",
    _top_k_infer,
    inputs="DATA LENGTHS",
    outputs="TopKValue TopKIndices",
    args=(_K,),
    loop=_top_k,
    errors=(BAD_LENGTHS,),
    doc="The k largest elements of every run in descending order; missing ones are 0 at index -1.",
)
op(
    "LengthsTopKGradient",
    _top_k_gradient_infer,
    inputs="LENGTHS TopKIndices TopKValue_grad",
    outputs="DATA_grad",
    args=(_K,),
    loop=_top_k_gradient,
    sizes=_top_k_gradient_sizes,
    errors=(NEGATIVE, "TopKIndices: an index is outside of its run"),
    doc="Gradient of LengthsTopK: 0 for elements that are not among the largest.",
)


UNSORTED = "segment_ids: they are negative, not sorted, or more than the rows of data"


def _ids_sizes(ids: Array, data: Array, dims: Array) -> Any:
    for k in range(dims.shape[0]):
        dims[k] = np.int64(ids.flat[ids.size - 1]) + 1 if ids.size else np.int64(0)
        if dims[k] < 0:
            return 1
    return 0


def bad_ids(ids: Array, segments: Any) -> Any:
    """1 where ids are negative, not below the number of segments, or not sorted."""
    last = np.int64(0)
    for i in range(ids.size):
        if ids.flat[i] < last or ids.flat[i] >= segments:
            return 1
        last = np.int64(ids.flat[i])
    return 0


def _ids_to_lengths(ids: Array, data: Array, y: Array) -> Any:
    if bad_ids(ids, y.shape[0]):
        return 1
    for i in range(ids.size):
        y.flat[ids.flat[i]] += 1
    return 0


def _ids_to_ranges(ids: Array, data: Array, y: Array) -> Any:
    if bad_ids(ids, y.shape[0]):
        return 1
    last = np.int64(ids[0]) if ids.shape[0] else np.int64(0)
    for i in range(ids.shape[0]):
        while last != ids[i]:
            last += 1
            y[last, 0] = i
        y[ids[i], 1] += 1
    return 0


def _segments(call: Call) -> Dim:
    """Number of segments: the rows of the second input, else unknown."""
    require(call, 0, INTS)
    shape = rows_of(call, 1) if call.has(1) else None
    return UNKNOWN if shape is None else shape[0]


def _ids_to_lengths_infer(call: Call) -> list[TensorType]:
    """lengths: int32, one for every segment; the ids are a vector, or a matrix with one row or column."""
    shape = require_rank(call, 0, 1, 2)
    if shape is not None and len(shape) == 2 and 1 not in shape and all(isinstance(d, int) for d in shape):
        call.fail(f"segment_ids have the shape {list(shape)}, they must be a vector")
    return _ints(_segments(call))


def _ids_to_ranges_infer(call: Call) -> list[TensorType]:
    """ranges: int32, start and length for every segment."""
    length_of(call, 0)
    return _ints(_segments(call), 2)


op(
    "SegmentIdsToLengths",
    _ids_to_lengths_infer,
    inputs="segment_ids data?",
    outputs="lengths",
    loop=_ids_to_lengths,
    sizes=_ids_sizes,
    errors=(UNSORTED,),
    doc="How often every id occurs; data has one row for every segment.",
)
op(
    "SegmentIdsToRanges",
    _ids_to_ranges_infer,
    inputs="segment_ids data?",
    outputs="ranges",
    loop=_ids_to_ranges,
    sizes=_ids_sizes,
    errors=(UNSORTED,),
    doc="Where every id occurs first, and how often; data has one row for every segment.",
)


def _one_hot_sizes(lengths: Array, indices: Array, size: Array, dims: Array) -> Any:
    for k in range(dims.shape[0]):
        if size.flat[0] < 1:
            return 2
        dims[k] = size.flat[0]
    return 0


def _one_hot(lengths: Array, indices: Array, size: Array, y: Array) -> Any:
    if total_length(lengths) != indices.shape[0]:
        return 1
    k = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            if indices[k] < 0 or indices[k] >= y.shape[1]:
                return 3
            y[i, indices[k]] = np.float32(1)
            k += 1
    return 0


def _one_hot_infer(call: Call) -> list[TensorType]:
    """one_hots: float (number of lengths, index_size); indices and size are int64."""
    int_vector(call, 1, (DType.INT64,))
    size = require(call, 2, (DType.INT64,))
    if size.is_static and size.size != 1:
        call.fail(f"index_size_tensor has {size.size} elements, it must have 1")
    given = constant_ints(call, 2)
    depth: Dim = UNKNOWN if given is None else bounded(call, given[0], 1, "index_size_tensor")
    return [TensorType(DType.FLOAT, (int_vector(call, 0), depth))]


op(
    "SegmentOneHot",
    _one_hot_infer,
    inputs="lengths indices index_size_tensor",
    outputs="one_hots",
    loop=_one_hot,
    sizes=_one_hot_sizes,
    errors=(BAD_LENGTHS, "index_size_tensor is less than 1", "indices: an index is outside of index_size_tensor"),
    doc="A row for every run: 1 at the run's indices, else 0.",
)
