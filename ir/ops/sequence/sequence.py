"""Sequences of unequal length: rows one after another, packed into a block, or padded at their ends.

Rules from Caffe2's pack_segments, pack_rnn_sequence_op, reverse_packed_segs_op and sequence_ops. Lengths that do not
fit the rows are refused; of those Caffe2 reads beyond the end, or leaves rows of its answer unwritten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, bounded, merge_shapes, require, require_rank
from graphc.ir.ops._segments import BAD_LENGTHS, INTS, copy_row, int_vector, row_size, rows_of, total_length
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

MOVED = (DType.FLOAT, DType.DOUBLE, DType.INT32, DType.INT64, DType.BOOL)
"""What Caffe2 dispatches the padding of sequences on."""

TOO_LONG = "LENGTHS: a length is more than the packed rows that it has"
SHORTER = "LENGTHS: a length is less than the padding that it includes"
MINUS_INFINITY_BITS = 0xFC00
"""Of a half number."""


def longest(lengths: Array) -> Any:
    """The largest of the lengths, 0 without any."""
    most = np.int64(0)
    for i in range(lengths.shape[0]):
        most = max(most, np.int64(lengths[i]))
    return most


def _pack_sizes(lengths: Array, x: Array, dims: Array, max_length: int, padding: float) -> Any:
    if total_length(lengths) != x.shape[0]:
        return 1
    for k in range(dims.shape[0]):
        dims[k] = longest(lengths)
    return 0


def _pack(lengths: Array, x: Array, y: Array, mask: Array, max_length: int, padding: float) -> Any:
    size, start = row_size(x), np.int64(0)
    if padding != 0:
        for k in range(y.size):
            y.flat[k] = padding
    for i in range(lengths.shape[0]):
        count = min(np.int64(lengths[i]), np.int64(y.shape[1]))
        for j in range(count):
            copy_row(y, i * y.shape[1] + j, x, start + j, size)
            if mask.size:
                mask.flat[i * y.shape[1] + j] = True
        start += np.int64(lengths[i])
    return 0


def _pack_infer(call: Call) -> list[TensorType]:
    """packed_tensor: (lengths, longest or max_length, row); presence_mask: bool, its first two dimensions."""
    count, shape = int_vector(call, 0, INTS), rows_of(call, 1)
    longest = call.arg("max_length")
    if longest < -1:
        call.fail(f"argument max_length is {longest}", "give it a value from 0 on, or -1 for the longest length")
    most: Dim = UNKNOWN if longest == -1 else longest
    packed = TensorType(call.type(1).dtype, None if shape is None else (count, most, *shape[1:]))
    return [packed, TensorType(DType.BOOL, (count, most))]


def _pack_constants(call: Call) -> Sequence[int | float]:
    """max_length, and what fills the gaps: minus infinity only in floats."""
    dtype = call.type(1).dtype
    if not call.arg("pad_minf") or dtype not in (DType.FLOAT, DType.DOUBLE, DType.FLOAT16):
        return (call.arg("max_length"), 0)
    return (call.arg("max_length"), MINUS_INFINITY_BITS if dtype is DType.FLOAT16 else -math.inf)


_PACK_ARGS = (
    Arg("max_length", "int", -1, "rows of each packed sequence, longer ones are cut; -1: as many as the longest has"),
    Arg("pad_minf", "int", 0, "gaps of floats are minus infinity instead of 0"),
    Arg("return_presence_mask", "int", 0, "the second output says where rows are"),
)
op(
    "PackSegments",
    _pack_infer,
    inputs="lengths tensor",
    outputs="packed_tensor presence_mask?",
    args=_PACK_ARGS,
    loop=_pack,
    sizes=_pack_sizes,
    constants=_pack_constants,
    errors=(BAD_LENGTHS,),
    doc="Runs of rows, one after another, as a block with a gap after each.",
)


def _unpack_sizes(lengths: Array, x: Array, dims: Array, max_length: int) -> Any:
    total = np.int64(0)
    for i in range(lengths.shape[0]):
        count = np.int64(lengths[i])
        if max_length != -1:
            count = min(count, np.int64(max_length))
        if count < 0 or count > x.shape[1]:
            return 1
        total += count
    dims[0] = total
    return 0


def _unpack(lengths: Array, x: Array, y: Array, max_length: int) -> Any:
    size, at = 1, np.int64(0)
    for k in range(2, len(x.shape)):
        size *= x.shape[k]
    for i in range(lengths.shape[0]):
        count = np.int64(lengths[i])
        if max_length != -1:
            count = min(count, np.int64(max_length))
        for j in range(count):
            copy_row(y, at, x, i * x.shape[1] + j, size)
            at += 1
    return 0


def _unpack_infer(call: Call) -> list[TensorType]:
    """packed_tensor: (sum of the lengths, row) of the block's type. With max_length the block has as many rows."""
    count, shape = int_vector(call, 0, INTS), call.type(1).shape
    if shape is None:
        return [TensorType(call.type(1).dtype)]
    if len(shape) < 2:
        call.fail(f"input 1 (tensor) has {len(shape)} dimensions, at least 2 are needed")
    agree(call, shape[0], count, "sequences of input 1 (tensor), one for each length")
    if call.arg("max_length") != -1:
        agree(call, shape[1], call.arg("max_length"), "rows of each sequence of input 1 (tensor), max_length")
    return [TensorType(call.type(1).dtype, (UNKNOWN, *shape[2:]))]


op(
    "UnpackSegments",
    _unpack_infer,
    inputs="lengths tensor",
    outputs="packed_tensor",
    args=_PACK_ARGS,
    loop=_unpack,
    sizes=_unpack_sizes,
    constants=lambda call: (call.arg("max_length"),),
    errors=(TOO_LONG,),
    doc="The rows of a block of sequences one after another, without the gaps.",
)


def _pack_rnn_sizes(x: Array, lengths: Array, dims: Array) -> Any:
    total = total_length(lengths)
    if total < 0 or total > x.shape[0]:
        return 1
    dims[0] = longest(lengths)
    return 0


def _pack_rnn(x: Array, lengths: Array, y: Array) -> Any:
    size, at, columns = row_size(x), np.int64(0), lengths.shape[0]
    for c in range(columns):
        for r in range(lengths[c]):
            copy_row(y, r * columns + c, x, at, size)
            at += 1
    return 0


RNN_VALUES = (DType.INT32, DType.INT64, DType.FLOAT, DType.DOUBLE)


def _pack_rnn_infer(call: Call) -> list[TensorType]:
    """output: (longest length, lengths, row)."""
    values, count = require(call, 0, RNN_VALUES), int_vector(call, 1)
    if values.shape is not None and len(values.shape) < 2:
        call.fail(f"input 0 (values) has {len(values.shape)} dimensions, at least 2 are needed")
    shape = values.shape
    return [TensorType(values.dtype, None if shape is None else (UNKNOWN, count, *shape[1:]))]


op(
    "PackRNNSequence",
    _pack_rnn_infer,
    inputs="values lengths",
    outputs="output",
    loop=_pack_rnn,
    sizes=_pack_rnn_sizes,
    errors=(BAD_LENGTHS,),
    doc="Runs of rows as a block whose first dimension is time, with zeros after each.",
)


def _unpack_rnn_sizes(x: Array, lengths: Array, dims: Array) -> Any:
    dims[0] = total_length(lengths)
    return 1 if dims[0] < 0 or longest(lengths) > x.shape[0] else 0


def _unpack_rnn(x: Array, lengths: Array, y: Array) -> Any:
    size, at, columns = 1, np.int64(0), lengths.shape[0]
    for k in range(2, len(x.shape)):
        size *= x.shape[k]
    for c in range(columns):
        for r in range(lengths[c]):
            copy_row(y, at, x, r * columns + c, size)
            at += 1
    return 0


def _unpack_rnn_infer(call: Call) -> list[TensorType]:
    """output: (sum of the lengths, row)."""
    values, count = require(call, 0, RNN_VALUES), int_vector(call, 1)
    shape = values.shape
    if shape is None:
        return [values]
    if len(shape) < 3:
        call.fail(f"input 0 (values) has {len(shape)} dimensions, at least 3 are needed")
    agree(call, shape[1], count, "sequences of input 0 (values), one for each length")
    return [TensorType(values.dtype, (UNKNOWN, *shape[2:]))]


op(
    "UnpackRNNSequence",
    _unpack_rnn_infer,
    inputs="values lengths",
    outputs="output",
    loop=_unpack_rnn,
    sizes=_unpack_rnn_sizes,
    errors=(TOO_LONG,),
    doc="The rows of a block whose first dimension is time, sequence after sequence, without the gaps.",
)


def _reverse(x: Array, lengths: Array, y: Array) -> Any:
    columns = x.shape[1]
    for i in range(columns):
        count = np.int64(lengths[i])
        if count < 0 or count > x.shape[0]:
            return 1
        for j in range(x.shape[0]):
            to = count - 1 - j if j < count else j
            for k in range(x.shape[2]):
                y[to, i, k] = x[j, i, k]
    return 0


def _reverse_infer(call: Call) -> list[TensorType]:
    """The type of the data: (time, sequences, features)."""
    data, shape = require(call, 0, MOVED), require_rank(call, 0, 3)
    first = UNKNOWN if shape is None else shape[1]
    agree(call, int_vector(call, 1, INTS), first, "number of lengths")
    return [data]


op(
    "ReversePackedSegs",
    _reverse_infer,
    inputs="data lengths",
    outputs="reversed_data",
    loop=_reverse,
    errors=(TOO_LONG,),
    doc="Each sequence of a block turned round; what is after its end stays.",
)


def _zero_ends(x: Array, lengths: Array, y: Array) -> Any:
    for j in range(x.shape[1]):
        if lengths[j] < 0:
            return 1
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                y[i, j, k] = x[i, j, k] if i < lengths[j] else np.float32(0)
    return 0


def _zero_ends_infer(call: Call) -> list[TensorType]:
    """The type of the data: float (time, sequences, features)."""
    data, shape = require(call, 0, (DType.FLOAT,)), require_rank(call, 0, 3)
    agree(call, int_vector(call, 1), UNKNOWN if shape is None else shape[1], "number of lengths")
    return [data]


op(
    "VariableLengthSequencePadding",
    _zero_ends_infer,
    inputs="data lengths",
    outputs="padded",
    loop=_zero_ends,
    inplace=((0, 0),),
    errors=("LENGTHS: a length is negative",),
    doc="Zeros after the end of each sequence of a block whose first dimension is time.",
)

_PADDING = (
    Arg("padding_width", "int", 1, "rows of padding before each run"),
    Arg("end_padding_width", "int", -1, "rows of padding after it; less than 0: as before it"),
)


def widths(call: Call) -> tuple[int, int]:
    """Rows of padding at the start and at the end of a run."""
    start, end = call.arg("padding_width"), call.arg("end_padding_width")
    bounded(call, start, 0, "padding_width")
    return start, start if end < 0 else bounded(call, end, 0, "end_padding_width")


def _runs(call: Call) -> Dim:
    """How many runs the rows are divided into: all are one without lengths."""
    return int_vector(call, 1) if call.has(1) else 1


def _run(lengths: Array, i: int, rows: int, given: int) -> Any:
    """Length of run ``i``."""
    return np.int64(lengths[i]) if given else np.int64(rows)


def _padded_rows(call: Call, sign: int) -> Shape | None:
    """The shape of the data with ``sign`` times the padding of all runs added to its rows."""
    shape, runs = rows_of(call, 0), _runs(call)
    return None if shape is None else (shape[0] + sign * sum(widths(call)) * runs, *shape[1:])


def _padding_types(call: Call, sign: int) -> list[TensorType]:
    if not sum(widths(call)) and call.n_outputs > 1 and not call.has(1):
        call.fail("there are no lengths to copy into the second output", "give the lengths, or leave the output out")
    return [TensorType(call.type(0).dtype, _padded_rows(call, sign)), TensorType(DType.INT32, (_runs(call),))]


def _fill_rows(y: Array, at: int, count: int, row: Array, size: int) -> Any:
    """Write ``count`` copies of a row from row ``at`` of y on, if it has elements."""
    if row.size:
        for j in range(count):
            copy_row(y, at + j, row, 0, size)
    return at + count


def _add_padding(
    x: Array,
    lengths: Array,
    before: Array,
    after: Array,
    y: Array,
    lengths_out: Array,
    start: int,
    end: int,
    given: int,
) -> Any:
    runs = lengths.shape[0] if given % 2 else 1
    if given % 2 and total_length(lengths) != x.shape[0]:
        return 1
    size, source, at = row_size(x), np.int64(0), np.int64(0)
    for i in range(runs):
        count = _run(lengths, i, x.shape[0], given % 2)
        if given >= 2:
            at = _fill_rows(y, at, start, before, size)
        else:
            at += start
        for _ in range(count):
            copy_row(y, at, x, source, size)
            at += 1
            source += 1
        if given >= 4:
            at = _fill_rows(y, at, end, after, size)
        elif given >= 2:
            at = _fill_rows(y, at, end, before, size)
        else:
            at += end
        if lengths_out.size:
            lengths_out[i] = count + start + end
    return 0


def _add_padding_infer(call: Call) -> list[TensorType]:
    """data_out: the data with padding around every run; lengths_out: int32."""
    if sum(widths(call)):
        require(call, 0, MOVED)
    shape, dtype = rows_of(call, 0), call.type(0).dtype
    for i in (2, 3):
        if call.has(i):
            require(call, i, MOVED if dtype is None else (dtype,))
            merge_shapes(call, call.type(i).shape, shape and shape[1:], f"padding of input {i}, a row of the data")
    return _padding_types(call, 1)


op(
    "AddPadding",
    _add_padding_infer,
    inputs="data_in lengths? start_padding? end_padding?",
    outputs="data_out lengths_out?",
    args=_PADDING,
    loop=_add_padding,
    constants=lambda call: (*widths(call), call.has(1) + 2 * call.has(2) + 4 * call.has(3)),
    errors=(BAD_LENGTHS,),
    doc="Rows of padding before and after every run of rows: zeros, or the rows given.",
)


def _padded_runs(x: Array, lengths: Array, width: int, given: int) -> Any:
    """0 if every run has its padding and all are the rows of x; else the number of the error."""
    if not given:
        return 2 if x.shape[0] < width else 0
    if total_length(lengths) != x.shape[0]:
        return 1
    for i in range(lengths.shape[0]):
        if lengths[i] < width:
            return 2
    return 0


def _remove_padding(x: Array, lengths: Array, y: Array, lengths_out: Array, start: int, end: int, given: int) -> Any:
    code = _padded_runs(x, lengths, start + end, given)
    if code:
        return code
    size, source, at = row_size(x), np.int64(0), np.int64(0)
    for i in range(lengths.shape[0] if given else 1):
        count = _run(lengths, i, x.shape[0], given)
        for j in range(start, count - end):
            copy_row(y, at, x, source + j, size)
            at += 1
        source += count
        if lengths_out.size:
            lengths_out[i] = count - start - end
    return 0


def _remove_padding_infer(call: Call) -> list[TensorType]:
    """data_out: the data without the padding around every run; lengths_out: int32."""
    if sum(widths(call)):
        require(call, 0, MOVED)
    types = _padding_types(call, -1)
    rows = types[0].shape[0] if types[0].shape else UNKNOWN
    if isinstance(rows, int) and rows < 0:
        call.fail(f"the data has fewer rows than the padding that is to be removed: {rows} would be left")
    return types


op(
    "RemovePadding",
    _remove_padding_infer,
    inputs="data_in lengths?",
    outputs="data_out lengths_out?",
    args=_PADDING,
    loop=_remove_padding,
    constants=lambda call: (*widths(call), int(call.has(1))),
    errors=(BAD_LENGTHS, SHORTER),
    doc="Every run of rows without its first and last rows.",
)


def _gather_padding(x: Array, lengths: Array, before: Array, after: Array, start: int, end: int, both: int) -> Any:
    if start + end == 0:
        return 0
    code = _padded_runs(x, lengths, start + end, 1)
    if code:
        return code
    size, at = row_size(x), np.int64(0)
    for i in range(lengths.shape[0]):
        for j in range(start):
            for k in range(size):
                before.flat[k] += x.flat[(at + j) * size + k]
        at += np.int64(lengths[i])
        for j in range(end):
            for k in range(size):
                if both:
                    after.flat[k] += x.flat[(at - end + j) * size + k]
                else:
                    before.flat[k] += x.flat[(at - end + j) * size + k]
    return 0


def _gather_padding_infer(call: Call) -> list[TensorType]:
    """The sums: a row of the data each; without any padding an int64 zero, as Caffe2 leaves them."""
    if not sum(widths(call)):
        return [TensorType(DType.INT64, ())] * 2
    data, shape = require(call, 0, MOVED[:4]), rows_of(call, 0)
    int_vector(call, 1)
    return [data.with_shape(shape and shape[1:])] * 2


op(
    "GatherPadding",
    _gather_padding_infer,
    inputs="data_in lengths",
    outputs="padding_sum end_padding_sum?",
    args=_PADDING,
    loop=_gather_padding,
    constants=lambda call: (*widths(call), int(call.n_outputs > 1)),
    errors=(BAD_LENGTHS, SHORTER),
    doc="The sums of the rows of padding before the runs and after them, or of both in one.",
)


def _empty_sizes(lengths: Array, features: Any, dims: Array, rows: int) -> Any:
    total, empty = total_length(lengths), 0
    for i in range(lengths.shape[0]):
        empty += lengths[i] == 0
    for k in range(dims.shape[0]):
        dims[k] = total + empty
    return 1 if total < 0 or (len(features) > 0 and total != rows) else 0


def _pad_empty(lengths: Array, features: Any, out_lengths: Array, outputs: Any, rows: int) -> Any:
    """The features and outputs are rows of bytes."""
    for i in range(lengths.shape[0]):
        out_lengths[i] = max(lengths[i], 1)
    for f in range(len(features)):
        width, source, at = features[f].size // max(rows, 1), 0, 0
        for i in range(lengths.shape[0]):
            for k in range(lengths[i] * width):
                outputs[f][at + k] = features[f][source + k]
            source += lengths[i] * width
            at += max(lengths[i], 1) * width
    return 0


def _feature_rows(call: Call) -> Dim:
    """Number of rows that all features have."""
    rows: Dim = UNKNOWN
    for i in range(1, call.n_inputs):
        shape = rows_of(call, i)
        rows = rows if shape is None else agree(call, shape[0], rows, f"rows of input {i}, as of the other features")
    return rows


def _pad_empty_infer(call: Call) -> list[TensorType]:
    """out_lengths: int32; each feature with a row of zeros for every length that is 0."""
    types = [TensorType(DType.INT32, (int_vector(call, 0),))]
    _feature_rows(call)
    for i in range(1, call.n_inputs):
        shape = call.type(i).shape
        types.append(call.type(i).with_shape(shape and (UNKNOWN, *shape[1:])))
    return types


def _pad_empty_constants(call: Call) -> Sequence[int]:
    rows = _feature_rows(call)
    return (rows if isinstance(rows, int) else 0,)


op(
    "PadEmptySamples",
    _pad_empty_infer,
    inputs="lengths features*#",
    outputs="out_lengths out_features*#",
    loop=_pad_empty,
    constants=_pad_empty_constants,
    sizes=_empty_sizes,
    errors=(BAD_LENGTHS,),
    doc="A row of zeros for every sample without rows, in each of the features.",
)
