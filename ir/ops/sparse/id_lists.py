"""Lists of ids and rows that are collected: merged, removed, kept in a window; digits of categories; chosen products.

Rules from Caffe2's ngram_ops, merge_id_lists_op, remove_data_blocks_op, last_n_window_collector, cc_bmm_bg_op.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import EACH, Arg, Call, Trait, op
from graphc.ir.ops._rules import agree, bounded, merge_shapes, product, require, require_rank
from graphc.ir.ops._segments import INTS, copy_row, int_vector, length_of, row_size, rows_of
from graphc.ir.ops._sorting import argsort
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

FLOAT = (DType.FLOAT,)
BAD_LENGTH = "LENGTHS: a length is negative, or more than there is"


def _ngram(x: Array, y: Array, width: int, columns: Any, limits: Any, values: Any) -> Any:
    """The place of a value among those of its column, the last of equal ones, is a digit; 0 where it is missing."""
    for i in range(y.shape[0]):
        base, first, total = 1, 0, np.int64(0)
        for k in range(len(columns)):
            wanted = float(x.flat[i * width + columns[k]])
            wanted = math.floor(wanted + 0.5) if wanted >= 0 else -math.floor(0.5 - wanted)
            digit = 0
            for m in range(limits[k]):
                if values[first + m] == wanted:
                    digit = m
            total += digit * base
            base *= limits[k]
            first += limits[k]
        y[i] = total
    return 0


def _ngram_infer(call: Call) -> list[TensorType]:
    """An int64 for each row of a float matrix."""
    require(call, 0, FLOAT)
    shape = rows_of(call, 0)
    columns, limits, values = (tuple(call.arg(n)) for n in ("col_ids", "categorical_limits", "vals"))
    if not columns or len(limits) != len(columns):
        call.fail(f"{len(columns)} col_ids and {len(limits)} categorical_limits", "give one limit for each column")
    if min(limits) < 1 or sum(limits) != len(values):
        call.fail(f"{len(values)} vals for the categorical_limits {limits}", "give as many as the limits add up to")
    width = UNKNOWN if shape is None else product(shape[1:])
    if min(columns) < 0 or (isinstance(width, int) and max(columns) >= width):
        call.fail(f"the col_ids {columns} are not all columns of an input of {width}")
    return [TensorType(DType.INT64, (UNKNOWN if shape is None else shape[0],))]


def _ngram_constants(call: Call) -> Sequence[Any]:
    shape = call.type(0).shape
    width = product(shape[1:]) if shape else 1
    return (width, *(tuple(call.arg(n)) for n in ("col_ids", "categorical_limits", "vals")))


op(
    "NGramFromCategorical",
    _ngram_infer,
    inputs="floats",
    outputs="output",
    args=(
        Arg("col_ids", "ints", (), "the columns that are read"),
        Arg("categorical_limits", "ints", (), "how many values each of them may have"),
        Arg("vals", "ints", (), "these values, column after column"),
    ),
    loop=_ngram,
    constants=_ngram_constants,
    doc="One number for the values of several columns of categories.",
)


def _merge_sizes(inputs: Any, dims: Array, merged: Array, counts: Array, order: Array, spare: Array) -> Any:
    """The distinct ids of each sample in ascending order, one after another in ``merged``; ends of reading in spare."""
    lengths, values, n = inputs[0::2], inputs[1::2], 0
    pool, read = merged[1], order[1]
    for j in range(len(lengths)):
        total = np.int64(0)
        for i in range(counts.shape[0]):
            if lengths[j][i] < 0:
                return 1
            total += lengths[j][i]
        if total > values[j].shape[0]:
            return 1
        read[j] = 0
    for i in range(counts.shape[0]):
        size = 0
        for j in range(len(lengths)):
            for k in range(lengths[j][i]):
                pool[size] = values[j][read[j] + k]
                size += 1
            read[j] += lengths[j][i]
        argsort(pool[:size], order[0], spare)
        for k in range(size):
            if k == 0 or pool[order[0, k]] != pool[order[0, k - 1]]:
                merged[0, n] = pool[order[0, k]]
                n += 1
                counts[i] += 1
    dims[0] = n
    return 0


def _merge(
    inputs: Any, lengths_out: Array, values_out: Array, merged: Array, counts: Array, order: Array, spare: Array
) -> Any:
    for i in range(lengths_out.shape[0]):
        lengths_out[i] = counts[i]
    for k in range(values_out.shape[0]):
        values_out[k] = merged[0, k]
    return 0


def _merge_infer(call: Call) -> list[TensorType]:
    """merged_lengths: int32; merged_values: the type of the values, int32 or int64."""
    if call.n_inputs < 2 or call.n_inputs % 2:
        call.fail(f"{call.n_inputs} inputs, but lengths and values of each list are needed")
    batch: Dim = UNKNOWN
    dtype = require(call, 1, INTS).dtype
    for i in range(0, call.n_inputs, 2):
        batch = agree(call, int_vector(call, i), batch, f"samples of input {i}")
        require(call, i + 1, INTS if dtype is None else (dtype,))
        length_of(call, i + 1)
    return [TensorType(DType.INT32, (batch,)), TensorType(dtype, (UNKNOWN,))]


def _merge_scratch(call: Call) -> Sequence[TensorType]:
    total = sum(call.type(i).size for i in range(1, call.n_inputs, 2))
    room = max(total, call.n_inputs)
    return [
        TensorType(call.type(1).dtype, (2, total)),
        TensorType(DType.INT32, call.type(0).static_shape),
        TensorType(DType.INT64, (2, room)),
        TensorType(DType.INT64, (room,)),
    ]


op(
    "MergeIdLists",
    _merge_infer,
    inputs="lengths_and_values*",
    outputs="merged_lengths merged_values",
    loop=_merge,
    sizes=_merge_sizes,
    scratch=_merge_scratch,
    errors=(BAD_LENGTH,),
    doc="The distinct ids of each sample over several lists, in ascending order.",
)


def _remove_sizes(x: Array, indices: Array, dims: Array, removed: Array) -> Any:
    left = x.shape[0]
    for i in range(indices.shape[0]):
        at = np.int64(indices[i])
        if at < 0 or at >= x.shape[0]:
            return 1
        left -= 0 if removed[at] else 1
        removed[at] = 1
    dims[0] = left
    return 0


def _remove(x: Array, indices: Array, y: Array, removed: Array) -> Any:
    size, at = row_size(x), 0
    for i in range(x.shape[0]):
        if not removed[i]:
            copy_row(y, at, x, i, size)
            at += 1
    return 0


def _remove_infer(call: Call) -> list[TensorType]:
    """The data with fewer rows. Indices are int32 or int64, of any type where there are none."""
    data, shape, indices = call.type(0), rows_of(call, 0), length_of(call, 1)
    if indices != 0:
        require(call, 1, INTS)
    return [data.with_shape(shape and (UNKNOWN, *shape[1:]))]


op(
    "RemoveDataBlocks",
    _remove_infer,
    inputs="data indices",
    outputs="shrunk_data",
    loop=_remove,
    sizes=_remove_sizes,
    scratch=lambda call: [TensorType(DType.INT32, call.type(0).static_shape[:1])],
    errors=("INDICES: an index is outside of the rows",),
    doc="The rows of the data but those that the indices name.",
)


def _collect(
    window: Array,
    cursor: Array,
    x: Array,
    mutex: Array,
    visited: Array,
    y: Array,
    after: Array,
    visited_after: Array,
    most: int,
    rows: int,
) -> Any:
    """The last ``most`` rows seen, in a ring whose oldest row is at the cursor."""
    size, n = row_size(x), x.shape[0]
    if visited_after.size:
        seen = visited.flat[0] if rows else 0
        if seen < 0:
            return 2
        visited_after.flat[0] = seen + n
    for k in range(min(window.size, y.size)):
        y.flat[k] = window.flat[k]
    start = np.int64(cursor.flat[0]) if rows else np.int64(0)
    if n == 0:
        after.flat[0] = cursor.flat[0]
        return 0
    if start < 0 or start >= y.shape[0]:
        return 1
    first = max(n - most, 0)
    if first:
        start = np.int64(0)
    for k in range(first, n):
        copy_row(y, (start + k - first) % most, x, k, size)
    after.flat[0] = 0 if first else (start + n) % most
    return 0


def _collect_infer(call: Call) -> list[TensorType]:
    """The buffer: at most num_to_collect rows; next cursor: an int32 scalar; NUM_VISITED: an int64 scalar."""
    most = bounded(call, call.arg("num_to_collect"), 1, "num_to_collect")
    window, shape, dtype = rows_of(call, 0), rows_of(call, 2), call.type(2).dtype
    require(call, 1, (DType.INT32,))
    cursor, counted = TensorType(DType.INT32, ()), TensorType(DType.INT64, ())
    if call.has(4):
        counted = require(call, 4, (DType.INT64,))
    if window is None or shape is None:
        return [TensorType(call.type(2).dtype), cursor, counted]
    require_rank(call, 1, 0)
    filled = 0 not in window
    if filled:
        require(call, 0, tuple(DType) if dtype is None else (dtype,))
        merge_shapes(call, window[1:], shape[1:], "rows of DATA and of the buffer")
        if isinstance(window[0], int) and window[0] > most:
            call.fail(f"the buffer has {window[0]} rows, more than num_to_collect, {most}")
    rows = (window[0] if filled else 0) + shape[0]
    return [
        call.type(2).with_shape((min(rows, most) if isinstance(rows, int) else UNKNOWN, *shape[1:])),
        cursor,
        counted,
    ]


def _window_rows(call: Call) -> Sequence[int]:
    shape = call.type(0).shape
    return (
        call.arg("num_to_collect"),
        0 if shape is None or 0 in shape else int(shape[0] if isinstance(shape[0], int) else 1),
    )


op(
    "LastNWindowCollector",
    _collect_infer,
    inputs="last_n next_cursor DATA MUTEX? NUM_VISITED?",
    outputs="last_n next_cursor NUM_VISITED?",
    args=(Arg("num_to_collect", "int", -1, "rows of a full buffer"),),
    loop=_collect,
    constants=_window_rows,
    enforced=((0, 0), (1, 1), (4, 2)),
    errors=("NEXT: the cursor is outside of the buffer", "NUM_VISITED is negative"),
    doc="A buffer of the last rows of all batches so far.",
)


def _products(indices: Array, embeddings: Any, y: Array) -> Any:
    count = len(embeddings)
    for b in range(y.shape[0]):
        for k in range(indices.shape[0]):
            i, j = np.int64(indices[k]) // count, np.int64(indices[k]) % count
            if indices[k] < 0 or i >= count:
                return 1
            size, total = row_size(embeddings[i]), np.float32(0)
            for e in range(size):
                total += embeddings[i].flat[b * size + e] * embeddings[j].flat[b * size + e]
            y[b, k] = total
    return 0


def _products_infer(call: Call) -> list[TensorType]:
    """Float (rows, indices). All embeddings are float and have one shape."""
    count = int_vector(call, 0)
    if call.n_inputs < 2:
        call.fail("there are no embeddings")
    shape = rows_of(call, 1)
    for i in range(1, call.n_inputs):
        shape = merge_shapes(call, require(call, i, FLOAT).shape, shape, f"shape of input {i}, as of input 1")
    return [TensorType(DType.FLOAT, (UNKNOWN if shape is None else shape[0], count))]


op(
    "ConcatBatchMatMulBatchGatherOp",
    _products_infer,
    inputs="indices embeddings*",
    outputs="output",
    loop=_products,
    errors=("INDICES: an index is not one of a pair of embeddings",),
    doc="Products of chosen pairs of the embeddings of each row: index i n + j is that of embeddings i and j of n.",
)


def _same_types(call: Call) -> list[TensorType]:
    """Each output has the type of its input."""
    return [call.type(i) for i in range(call.n_inputs)]


op(
    "DataCouple",
    _same_types,
    inputs="inputs*",
    outputs="outputs*",
    reference=lambda call, *arrays: list(arrays),
    traits=Trait.HOST,
    enforced=EACH,
    doc="The inputs: all of them are there before any of the outputs is.",
)
op(
    "AsyncNetBarrier",
    _same_types,
    inputs="inputs*",
    outputs="outputs*",
    reference=lambda call, *arrays: list(arrays),
    traits=Trait.HOST,
    inplace=EACH,
    doc="The inputs; Caffe2 begins there to schedule what comes behind it.",
)
