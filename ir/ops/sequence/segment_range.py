"""Reductions of consecutive rows with equal sorted segment ids, and gradients: from Caffe2's reducer_functors.h."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.ops._segments import (
    FLOAT,
    NOT_SORTED,
    count_sorted,
    int_vector,
    row_size,
    rows_of,
    with_rows,
)
from graphc.ir.types import UNKNOWN, TensorType

SUM, MEAN, MAX, LOG_SUM_EXP, LOG_MEAN_EXP = range(5)

Array = np.ndarray


def end_of_run(ids: Array, start: Any) -> Any:
    """The place after the last id of the run that begins at ``start``."""
    end = start + 1
    while end < ids.shape[0] and ids[end] == ids[start]:
        end += 1
    return end


def reduce_column(x: Array, start: Any, end: Any, size: Any, j: Any, how: int) -> Any:
    """Column ``j`` of the rows ``start`` to ``end`` of x, reduced to a number."""
    largest, total = x.flat[start * size + j], np.float32(0)
    for i in range(start, end):
        largest = max(largest, x.flat[i * size + j])
        total += x.flat[i * size + j]
    if how == MAX:
        return largest
    if how == SUM:
        return total
    if how == MEAN:
        return np.float32(total / (end - start))
    total = np.float32(0)
    for i in range(start, end):
        total += np.float32(math.exp(x.flat[i * size + j] - largest))
    if how == LOG_MEAN_EXP:
        total = np.float32(total / (end - start))
    return np.float32(math.log(total)) + largest


def _reduce(data: Array, ids: Array, y: Array, how: int) -> Any:
    size, start = row_size(data), 0
    while start < ids.shape[0]:
        end = end_of_run(ids, start)
        for j in range(size):
            y.flat[np.int64(ids[start]) * size + j] = reduce_column(data, start, end, size, j, how)
        start = end
    return 0


def _sizes(data: Array, ids: Array, dims: Array, how: int) -> Any:
    dims[0] = count_sorted(ids)
    return 1 if dims[0] < 0 else 0


def _infer(call: Call) -> list[TensorType]:
    """OUTPUT: a row of DATA's kind for every segment; as many ids as rows."""
    data, rows = require(call, 0, FLOAT), rows_of(call, 0)
    count = int_vector(call, 1)
    if rows is not None:
        agree(call, rows[0], count, "number of rows of DATA")
    return [with_rows(data.shape, UNKNOWN)]


def slope(x: Any, out: Any, grad: Any, rows: Any, how: int) -> Any:
    """The gradient of one element of a run of ``rows`` rows."""
    if how == MAX:
        return grad if x == out else np.float32(0)
    if how == SUM:
        return grad
    if how == MEAN:
        return np.float32(grad * (1.0 / rows))
    value = grad * np.float32(np.exp(x - out))
    return value / np.float32(rows) if how == LOG_MEAN_EXP else value


def _gradient(data: Array, out: Array, grads: Array, ids: Array, y: Array, how: int) -> Any:
    if count_sorted(ids) != grads.shape[0]:
        return 1
    size, start = row_size(y), 0
    while start < ids.shape[0]:
        end, s = end_of_run(ids, start), np.int64(ids[start])
        for i in range(start, end):
            for j in range(size):
                k = s * size + j
                y.flat[i * size + j] = slope(data.flat[i * size + j], out.flat[k], grads.flat[k], end - start, how)
        start = end
    return 0


def _gradient_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: a row like those of SEGMENT_GRADS for each of DATA_IN.

    Rows of all three have as many elements, whatever their shapes, and SEGMENT_GRADS as many rows as DATA_OUT.
    """
    data, _, grads = (require(call, i, FLOAT) for i in range(3))
    count = int_vector(call, 3)
    shapes = [rows_of(call, i) for i in range(3)]
    if data.shape is not None:
        count = agree(call, data.shape[0], count, "number of rows of DATA_IN")
    for i, shape in enumerate(shapes):
        if shape is None or grads.shape is None:
            continue
        agree(call, product(shape[1:]), product(grads.shape[1:]), f"elements of a row of {call.input_name(i)}")
        if i:
            agree(call, shape[0], grads.shape[0], f"number of rows of {call.input_name(i)}")
    return [with_rows(grads.shape, count)]


for _name, _how, _text in (
    ("Sum", SUM, "Sums"),
    ("Mean", MEAN, "Means"),
    ("Max", MAX, "Element-wise maxima"),
    ("LogSumExp", LOG_SUM_EXP, "Logarithms of sums of exponentials"),
    ("LogMeanExp", LOG_MEAN_EXP, "Logarithms of means of exponentials"),
):
    op(
        f"SortedSegmentRange{_name}",
        _infer,
        inputs="DATA SEGMENT_IDS",
        outputs="OUTPUT",
        loop=_reduce,
        sizes=_sizes,
        constants=lambda call, how=_how: (how,),
        errors=(NOT_SORTED,),
        doc=f"{_text} of the rows with equal ids, which are sorted and leave none out.",
    )
    op(
        f"SortedSegmentRange{_name}Gradient",
        _gradient_infer,
        inputs="DATA_IN DATA_OUT SEGMENT_GRADS SEGMENT_IDS",
        outputs="DATA_GRAD",
        loop=_gradient,
        constants=lambda call, how=_how: (how,),
        errors=(f"{NOT_SORTED}, and name all rows of SEGMENT_GRADS",),
        doc=f"Gradient of SortedSegmentRange{_name}.",
    )
