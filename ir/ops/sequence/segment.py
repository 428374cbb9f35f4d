"""Sums and means of rows with equal segment ids, sorted or not, with and without a table look-up, and gradients.

Rules from Caffe2's segment_reduction_op.h. SEGMENT_IDS is int32. Sorted ids start at 0 and leave none out; unsorted
ones may, and the segments without rows are zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, require
from graphc.ir.ops._segments import (
    BAD_INDEX,
    BAD_SEGMENT,
    FLOAT,
    INTS,
    NOT_SORTED,
    add_row,
    count_sorted,
    int_vector,
    length_of,
    outside,
    put_row,
    row_size,
    rows_of,
    scale_row,
    with_rows,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

SUM, MEAN, WEIGHTED = range(3)
SORTED_ERRORS = (NOT_SORTED, BAD_INDEX)
UNSORTED_ERRORS = (BAD_SEGMENT, BAD_INDEX)
WEIGHTS_GRADIENT = Arg("grad_on_weights", "int", 0, "has no effect: the gradient is that of the rows")
N_SEGMENTS = Arg("num_segments", "int", -1, "number of segments; -1: one more than the largest id")

Array = np.ndarray


def sum_rows(data: Array, scalars: Array, indices: Array, ids: Array, y: Array, how: int, by_index: int) -> Any:
    """Add every row, or every row that an index chooses, to the row of y that its id names; 2 for a bad index."""
    size = row_size(data)
    for i in range(ids.shape[0]):
        at = np.int64(indices[i]) if by_index else np.int64(i)
        if at < 0 or at >= data.shape[0]:
            return 2
        add_row(y, np.int64(ids[i]), data, at, size, np.float32(scalars[i]) if how == WEIGHTED else np.float32(1))
    return 0


def reduce_sorted(data: Array, scalars: Array, indices: Array, ids: Array, y: Array, how: int, by_index: int) -> Any:
    """The loop of all operators with sorted ids."""
    if sum_rows(data, scalars, indices, ids, y, how, by_index):
        return 2
    first = 0
    for i in range(ids.shape[0] if how == MEAN else 0):
        if i + 1 == ids.shape[0] or ids[i + 1] != ids[i]:
            scale_row(y, np.int64(ids[i]), row_size(data), np.float32(1.0 / (i + 1 - first)))
            first = i + 1
    return 0


def _sorted(data: Array, ids: Array, y: Array, how: int) -> Any:
    return reduce_sorted(data, ids, ids, ids, y, how, 0)


def _sorted_weighted(data: Array, scalars: Array, ids: Array, y: Array, how: int) -> Any:
    return reduce_sorted(data, scalars, ids, ids, y, how, 0)


def _sorted_sparse(data: Array, indices: Array, ids: Array, y: Array, how: int) -> Any:
    return reduce_sorted(data, ids, indices, ids, y, how, 1)


def _sorted_sparse_weighted(data: Array, scalars: Array, indices: Array, ids: Array, y: Array, how: int) -> Any:
    return reduce_sorted(data, scalars, indices, ids, y, how, 1)


def sorted_dims(ids: Array, dims: Array) -> Any:
    """The number of segments of sorted ids; 1 where they are not such."""
    dims[0] = count_sorted(ids)
    return 1 if dims[0] < 0 else 0


def _sorted_sizes(data: Array, ids: Array, dims: Array, how: int) -> Any:
    return sorted_dims(ids, dims)


def _sorted_weighted_sizes(data: Array, scalars: Array, ids: Array, dims: Array, how: int) -> Any:
    return sorted_dims(ids, dims)


def _sorted_sparse_sizes(data: Array, indices: Array, ids: Array, dims: Array, how: int) -> Any:
    return sorted_dims(ids, dims)


def _sorted_sparse_weighted_sizes(
    data: Array, scalars: Array, indices: Array, ids: Array, dims: Array, how: int
) -> Any:
    return sorted_dims(ids, dims)


def reduce_unsorted(
    data: Array, scalars: Array, indices: Array, ids: Array, y: Array, counts: Array, how: int, by_index: int
) -> Any:
    """The loop of all operators with unsorted ids.

    counts: for every row the number of rows of its segment where it is the last of it, else 0 (means only).
    """
    if outside(ids, y.shape[0]):
        return 1
    if how == MEAN and y.size:
        count_last(ids, y.view(np.int32), row_size(y), counts)
    if sum_rows(data, scalars, indices, ids, y, how, by_index):
        return 2
    for i in range(ids.shape[0] if how == MEAN else 0):
        if counts[i] > 0:
            scale_row(y, np.int64(ids[i]), row_size(y), np.float32(1.0 / counts[i]))
    return 0


def count_last(ids: Array, work: Array, size: Any, counts: Array) -> None:
    """Counts rows by segment, in the first element of every row of ``work``, which is all zeros before and after."""
    for i in range(ids.shape[0]):
        work.flat[np.int64(ids[i]) * size] += 1
    for k in range(ids.shape[0]):
        i = ids.shape[0] - 1 - k
        count = work.flat[np.int64(ids[i]) * size]
        counts[i] = max(count, 0)
        work.flat[np.int64(ids[i]) * size] = -1
    for i in range(ids.shape[0]):
        work.flat[np.int64(ids[i]) * size] = 0


def _unsorted(data: Array, ids: Array, y: Array, counts: Array, how: int, num_segments: int) -> Any:
    return reduce_unsorted(data, ids, ids, ids, y, counts, how, 0)


def _unsorted_weighted(
    data: Array, scalars: Array, ids: Array, y: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return reduce_unsorted(data, scalars, ids, ids, y, counts, how, 0)


def _unsorted_sparse(
    data: Array, indices: Array, ids: Array, y: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return reduce_unsorted(data, ids, indices, ids, y, counts, how, 1)


def _unsorted_sparse_weighted(
    data: Array, scalars: Array, indices: Array, ids: Array, y: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return reduce_unsorted(data, scalars, indices, ids, y, counts, how, 1)


def unsorted_dims(ids: Array, dims: Array) -> Any:
    """One more than the largest id; 1 where one is negative."""
    for i in range(ids.shape[0]):
        if ids[i] < 0:
            return 1
        dims[0] = max(dims[0], np.int64(ids[i]) + 1)
    return 0


def _unsorted_sizes(data: Array, ids: Array, dims: Array, counts: Array, how: int, num_segments: int) -> Any:
    return unsorted_dims(ids, dims) if num_segments == -1 else 0


def _unsorted_weighted_sizes(
    data: Array, scalars: Array, ids: Array, dims: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return unsorted_dims(ids, dims) if num_segments == -1 else 0


def _unsorted_sparse_sizes(
    data: Array, indices: Array, ids: Array, dims: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return unsorted_dims(ids, dims) if num_segments == -1 else 0


def _unsorted_sparse_weighted_sizes(
    data: Array, scalars: Array, indices: Array, ids: Array, dims: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return unsorted_dims(ids, dims) if num_segments == -1 else 0


def _infer(call: Call) -> list[TensorType]:
    """OUTPUT: a row of DATA's kind for every segment. As many ids as rows, weights and indices."""
    data, rows, name = require(call, 0, FLOAT), rows_of(call, 0), call.node.op
    count = int_vector(call, call.n_inputs - 1)
    if "Sparse" in name:
        count = agree(call, int_vector(call, call.n_inputs - 2, INTS), count, "number of INDICES")
    elif rows is not None:
        count = agree(call, rows[0], count, "number of rows of DATA")
    if "Weighted" in name:
        require(call, 1, FLOAT)
        agree(call, length_of(call, 1), count, "number of SCALARS")
    segments: Dim = UNKNOWN
    if "Unsorted" in name and call.arg("num_segments") != -1:
        segments = bounded(call, call.arg("num_segments"), 0, "num_segments")
    return [with_rows(data.shape, segments)]


def _counts(call: Call) -> list[TensorType]:
    return [TensorType(DType.INT32, call.type(call.n_inputs - 1).shape if "Mean" in call.node.op else (0,))]


_HOWS = (("Sum", SUM, "Sums"), ("Mean", MEAN, "Means"))
for _name, _how, _text in _HOWS:
    for _prefix, _ports, _chosen in (("", "DATA", ""), ("Sparse", "DATA INDICES", ", which INDICES choose")):
        op(
            f"{_prefix}SortedSegment{_name}",
            _infer,
            inputs=f"{_ports} SEGMENT_IDS",
            outputs="OUTPUT",
            loop=_sorted_sparse if _prefix else _sorted,
            sizes=_sorted_sparse_sizes if _prefix else _sorted_sizes,
            constants=lambda call, how=_how: (how,),
            errors=SORTED_ERRORS,
            doc=f"{_text} of the rows with equal ids{_chosen}; the ids are sorted and leave none out.",
        )
        op(
            f"{_prefix}UnsortedSegment{_name}",
            _infer,
            inputs=f"{_ports} SEGMENT_IDS",
            outputs="OUTPUT",
            args=(N_SEGMENTS,),
            loop=_unsorted_sparse if _prefix else _unsorted,
            sizes=_unsorted_sparse_sizes if _prefix else _unsorted_sizes,
            scratch=_counts,
            constants=lambda call, how=_how: (how, call.arg("num_segments")),
            errors=UNSORTED_ERRORS,
            doc=f"{_text} of the rows with equal ids{_chosen}.",
        )

for _prefix, _ports, _chosen in (
    ("", "DATA SCALARS", ""),
    ("Sparse", "DATA SCALARS INDICES", ", which INDICES choose"),
):
    op(
        f"{_prefix}SortedSegmentWeightedSum",
        _infer,
        inputs=f"{_ports} SEGMENT_IDS",
        outputs="OUTPUT",
        args=(WEIGHTS_GRADIENT,),
        loop=_sorted_sparse_weighted if _prefix else _sorted_weighted,
        sizes=_sorted_sparse_weighted_sizes if _prefix else _sorted_weighted_sizes,
        constants=lambda call: (WEIGHTED,),
        errors=SORTED_ERRORS,
        doc=f"Weighted sums of the rows with equal ids{_chosen}; the ids are sorted and leave none out.",
    )
    op(
        f"{_prefix}UnsortedSegmentWeightedSum",
        _infer,
        inputs=f"{_ports} SEGMENT_IDS",
        outputs="OUTPUT",
        args=(N_SEGMENTS, WEIGHTS_GRADIENT),
        loop=_unsorted_sparse_weighted if _prefix else _unsorted_weighted,
        sizes=_unsorted_sparse_weighted_sizes if _prefix else _unsorted_weighted_sizes,
        scratch=_counts,
        constants=lambda call: (WEIGHTED, call.arg("num_segments")),
        errors=UNSORTED_ERRORS,
        doc=f"Weighted sums of the rows with equal ids{_chosen}.",
    )


def spread_rows(scalars: Array, grads: Array, ids: Array, y: Array, counts: Array, how: int) -> Any:
    """The loop of the gradients: every row gets its segment's gradient, times weight or over the number of rows."""
    if outside(ids, grads.shape[0]):
        return 1
    for i in range(ids.shape[0] if how == MEAN else 0):
        counts.flat[ids[i]] += 1
    for i in range(ids.shape[0]):
        weight = np.float32(1)
        if how == MEAN:
            weight = np.float32(1.0 / counts.flat[ids[i]])
        elif how == WEIGHTED:
            weight = np.float32(scalars[i])
        put_row(y, i, grads, np.int64(ids[i]), row_size(y), weight)
    return 0


def _sorted_gradient(grads: Array, ids: Array, y: Array, counts: Array, how: int) -> Any:
    return 1 if count_sorted(ids) != grads.shape[0] else spread_rows(ids, grads, ids, y, counts, how)


def _sorted_weighted_gradient(scalars: Array, grads: Array, ids: Array, y: Array, counts: Array, how: int) -> Any:
    return 1 if count_sorted(ids) != grads.shape[0] else spread_rows(scalars, grads, ids, y, counts, how)


def _unsorted_gradient(grads: Array, ids: Array, y: Array, counts: Array, how: int, num_segments: int) -> Any:
    return spread_rows(ids, grads, ids, y, counts, how)


def _unsorted_weighted_gradient(
    scalars: Array, grads: Array, ids: Array, y: Array, counts: Array, how: int, num_segments: int
) -> Any:
    return spread_rows(scalars, grads, ids, y, counts, how)


def _gradient_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: a row for every id; SEGMENT_GRADS has a row for every segment."""
    i = call.n_inputs - 2
    grads, count = require(call, i, FLOAT), int_vector(call, i + 1)
    rows_of(call, i)
    if i:
        require(call, 0, FLOAT)
        count = agree(call, length_of(call, 0), count, "number of SCALARS")
    return [with_rows(grads.shape, count)]


def _segment_counts(call: Call) -> list[TensorType]:
    shape = call.type(call.n_inputs - 2).shape
    return [TensorType(DType.INT32, shape and (shape[0] if "Mean" in call.node.op else 0,))]


_SORTED_GRADIENT_ERRORS = (f"{NOT_SORTED}, and name all rows of SEGMENT_GRADS",)
for _prefix in ("", "Sparse"):
    for _name, _how, _ in _HOWS:
        op(
            f"{_prefix}SortedSegment{_name}Gradient",
            _gradient_infer,
            inputs="SEGMENT_GRADS SEGMENT_IDS",
            outputs="DATA_GRAD",
            loop=_sorted_gradient,
            scratch=_segment_counts,
            constants=lambda call, how=_how: (how,),
            errors=_SORTED_GRADIENT_ERRORS,
            doc=f"Gradient of {_prefix}SortedSegment{_name} with respect to the rows that were summed.",
        )
        op(
            f"{_prefix}UnsortedSegment{_name}Gradient",
            _gradient_infer,
            inputs="SEGMENT_GRADS SEGMENT_IDS",
            outputs="DATA_GRAD",
            args=(N_SEGMENTS,),
            loop=_unsorted_gradient,
            scratch=_segment_counts,
            constants=lambda call, how=_how: (how, call.arg("num_segments")),
            errors=(BAD_SEGMENT,),
            doc=f"Gradient of {_prefix}UnsortedSegment{_name} with respect to the rows that were summed.",
        )
    op(
        f"{_prefix}SortedSegmentWeightedSumGradient",
        _gradient_infer,
        inputs="SCALARS SEGMENT_GRADS SEGMENT_IDS",
        outputs="DATA_GRAD",
        args=(WEIGHTS_GRADIENT,),
        loop=_sorted_weighted_gradient,
        scratch=_segment_counts,
        constants=lambda call: (WEIGHTED,),
        errors=_SORTED_GRADIENT_ERRORS,
        doc=f"Gradient of {_prefix}SortedSegmentWeightedSum with respect to the rows that were summed.",
    )
    op(
        f"{_prefix}UnsortedSegmentWeightedSumGradient",
        _gradient_infer,
        inputs="SCALARS SEGMENT_GRADS SEGMENT_IDS",
        outputs="DATA_GRAD",
        args=(N_SEGMENTS, WEIGHTS_GRADIENT),
        loop=_unsorted_weighted_gradient,
        scratch=_segment_counts,
        constants=lambda call: (WEIGHTED, call.arg("num_segments")),
        errors=(BAD_SEGMENT,),
        doc=f"Gradient of {_prefix}UnsortedSegmentWeightedSum with respect to the rows that were summed.",
    )
