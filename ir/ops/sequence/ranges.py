"""Parts of a vector that pairs (start, length) choose: from Caffe2's utility_ops.h, gather_ranges_to_dense_op.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, require, require_rank
from graphc.ir.ops._segments import INTS
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

BAD_RANGE = "RANGES: a start or length is negative, or a range ends after DATA"

Array = np.ndarray


def bad_range(ranges: Array, i: Any, j: Any, length: Any) -> Any:
    """Range ``j`` of example ``i`` is not within ``length`` elements; an empty one is everywhere."""
    start, count = np.int64(ranges[i, j, 0]), np.int64(ranges[i, j, 1])
    return count < 0 or (count > 0 and (start < 0 or start > length - count))


def _gather_sizes(data: Array, ranges: Array, dims: Array) -> Any:
    for i in range(ranges.shape[0]):
        for j in range(ranges.shape[1]):
            if bad_range(ranges, i, j, data.shape[0]):
                return 1
            dims[0] += np.int64(ranges[i, j, 1])
    return 0


def _gather(data: Array, ranges: Array, y: Array, lengths: Array) -> Any:
    k = 0
    for i in range(ranges.shape[0]):
        for j in range(ranges.shape[1]):
            for m in range(ranges[i, j, 1]):
                y[k] = data[np.int64(ranges[i, j, 0]) + m]
                k += 1
            lengths[i] += ranges[i, j, 1]
    return 0


def _examples(call: Call) -> tuple[Dim, Dim]:
    """Number of examples and of ranges of each; RANGES is (examples, ranges, 2), int32 or int64."""
    require_rank(call, 0, 1)
    require(call, 1, INTS)
    shape = require_rank(call, 1, 3)
    if shape is None:
        return UNKNOWN, UNKNOWN
    agree(call, shape[2], 2, "last dimension of RANGES")
    return shape[0], shape[1]


def _gather_infer(call: Call) -> list[TensorType]:
    """OUTPUT: a vector of DATA's type; LENGTHS: int32, one for every example."""
    examples, ranges = _examples(call)
    if ranges == 0:
        call.fail("RANGES has no ranges", "give every example at least one")
    return [TensorType(call.type(0).dtype, (UNKNOWN,)), TensorType(DType.INT32, (examples,))]


op(
    "GatherRanges",
    _gather_infer,
    inputs="DATA RANGES",
    outputs="OUTPUT LENGTHS",
    loop=_gather,
    sizes=_gather_sizes,
    errors=(BAD_RANGE,),
    doc="The elements of all ranges one after the other, and how many every example has.",
)


def put_range(data: Array, keys: Array, start: Any, y: Array, i: Any) -> None:
    """Row ``i`` of y: the elements from ``start`` on, in the order of their keys where there are keys."""
    count = y.shape[1]
    for a in range(count):
        place = a
        if keys.shape[0]:
            place = 0
            for b in range(count):
                first = keys[start + b] == keys[start + a] and b < a
                place += 1 if first or keys[start + b] < keys[start + a] else 0
        y[i, place] = data[start + a]


def _to_dense(
    data: Array,
    ranges: Array,
    keys: Array,
    ys: tuple[Array, ...],
    observed: int,
    mismatched_ratio: float,
    empty_ratio: float,
) -> Any:
    least = np.float32(max(ranges.shape[0], observed))
    for j in range(len(ys)):
        y, empty, mismatched = ys[j], 0, 0
        for i in range(ranges.shape[0]):
            if ranges[i, j, 1] == 0:
                empty += 1
            elif ranges[i, j, 1] != y.shape[1]:
                mismatched += 1
            elif bad_range(ranges, i, j, data.shape[0]):
                return 1
            else:
                put_range(data, keys, np.int64(ranges[i, j, 0]), y, i)
        if mismatched_ratio < 1.0 and least * np.float32(mismatched_ratio) < np.float32(mismatched):
            return 2
        if empty_ratio < 1.0 and least * np.float32(empty_ratio) < np.float32(empty):
            return 3
    return 0


def _to_dense_infer(call: Call) -> list[TensorType]:
    """Outputs: (examples, length) of DATA's type, one for every one of ``lengths``. KEY: int64, like DATA."""
    lengths = [bounded(call, d, 1, "lengths") for d in call.arg("lengths")]
    examples, ranges = _examples(call)
    if not lengths or len(lengths) != call.n_outputs:
        call.fail(f"there are {len(lengths)} lengths for {call.n_outputs} outputs")
    agree(call, ranges, len(lengths), "number of ranges of an example")
    if call.arg("min_observation") < 1:
        call.fail("min_observation is less than 1")
    if call.has(2):
        require(call, 2, (DType.INT64,))
        keys, data = require_rank(call, 2, 1), call.type(0).shape
        if keys is not None and data is not None:
            agree(call, keys[0], data[0], "number of KEYs")
    return [TensorType(call.type(0).dtype, (examples, d)) for d in lengths]


op(
    "GatherRangesToDense",
    _to_dense_infer,
    inputs="DATA RANGES KEY?",
    outputs="OUTPUT*",
    args=(
        Arg("lengths", "ints", (), "the length of the ranges of every output"),
        Arg("min_observation", "int", 10000, "for the ratios there are at least so many examples"),
        Arg("max_mismatched_ratio", "float", 0.01, "how many ranges of an output may have another length"),
        Arg("max_empty_ratio", "float", 1.0, "how many ranges of an output may be empty"),
    ),
    loop=_to_dense,
    constants=lambda call: tuple(call.arg(a) for a in ("min_observation", "max_mismatched_ratio", "max_empty_ratio")),
    errors=(
        BAD_RANGE,
        "RANGES: more than max_mismatched_ratio of an output's ranges have another length",
        "RANGES: more than max_empty_ratio of an output's ranges are empty",
    ),
    doc="For every output a matrix of its ranges, by key if given; zeros for ranges of another length.",
)
