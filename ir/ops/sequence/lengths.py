"""Sums, means and maxima over runs of rows whose lengths are given, with and without a table look-up, and gradients.

Rules from Caffe2's segment_reduction_op.h and lengths_reducer_ops.h: a run without rows gives zeros. LENGTHS is int32.
Lengths that do not add up to the rows, which the look-ups of Caffe2 partly let pass, are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._half import float_of
from graphc.ir.ops._rules import FLOATS, agree, require
from graphc.ir.ops._segments import (
    BAD_INDEX,
    BAD_LENGTHS,
    FLOAT,
    INTS,
    add_row,
    dot_rows,
    first_dim,
    int_vector,
    length_of,
    put_row,
    row_size,
    rows_of,
    scale_row,
    total_length,
    with_rows,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

SUM, MEAN, WEIGHTED, MAX, POSITIONAL = range(5)
TOO_FEW_WEIGHTS = "SCALARS has fewer weights than a run has rows"
ERRORS = (BAD_LENGTHS, BAD_INDEX, TOO_FEW_WEIGHTS)
WEIGHTS_GRADIENT = Arg("grad_on_weights", "int", 0, "the gradient has one of SCALARS as well")

Array = np.ndarray


def _look_up_flops(call: Call) -> int:
    rows, count = call.type(0).static_shape[0], call.type(call.n_inputs - 2).size
    return 2 * count * (call.type(0).size // max(rows, 1))


def _none(call: Call) -> tuple[int, ...]:
    return ()


def reduce_lengths(
    data: Array, scalars: Array, indices: Array, lengths: Array, y: Array, how: int, by_index: int
) -> Any:
    """The loop of all of them: y from rows of data, chosen by ``indices`` with ``by_index``, in order without."""
    rows = indices.shape[0] if by_index else data.shape[0]
    if total_length(lengths) != rows:
        return 1
    size, k = row_size(data), 0
    for i in range(lengths.shape[0]):
        for position in range(lengths[i]):
            at = np.int64(indices[k]) if by_index else np.int64(k)
            if at < 0 or at >= data.shape[0]:
                return 2
            if how == MAX:
                for j in range(size):
                    value = float_of(data, at * size + j)
                    y.flat[i * size + j] = value if position == 0 else max(value, y.flat[i * size + j])
            elif how == WEIGHTED:
                add_row(y, i, data, at, size, np.float32(scalars[k]))
            elif how == POSITIONAL:
                if position >= scalars.shape[0]:
                    return 3
                add_row(y, i, data, at, size, np.float32(scalars[position]))
            else:
                add_row(y, i, data, at, size, np.float32(1))
            k += 1
        if how == MEAN and lengths[i] > 0:
            scale_row(y, i, size, np.float32(1.0 / lengths[i]))
    return 0


def _run(data: Array, lengths: Array, y: Array, how: int) -> Any:
    return reduce_lengths(data, lengths, lengths, lengths, y, how, 0)


def _run_weighted(data: Array, scalars: Array, lengths: Array, y: Array) -> Any:
    return reduce_lengths(data, scalars, lengths, lengths, y, WEIGHTED, 0)


def _look_up(data: Array, indices: Array, lengths: Array, y: Array, how: int) -> Any:
    return reduce_lengths(data, lengths, indices, lengths, y, how, 1)


def _look_up_weighted(data: Array, scalars: Array, indices: Array, lengths: Array, y: Array) -> Any:
    return reduce_lengths(data, scalars, indices, lengths, y, WEIGHTED, 1)


def _look_up_positional(data: Array, scalars: Array, indices: Array, lengths: Array, y: Array) -> Any:
    return reduce_lengths(data, scalars, indices, lengths, y, POSITIONAL, 1)


def _run_infer(call: Call) -> list[TensorType]:
    """OUTPUT: a row of DATA's kind for every length. DATA and SCALARS are float, one of SCALARS for every row."""
    data = require(call, 0, FLOAT)
    rows = rows_of(call, 0)
    if call.n_inputs == 3:
        require(call, 1, FLOAT)
        agree(call, length_of(call, 1), UNKNOWN if rows is None else rows[0], "number of SCALARS")
    return [with_rows(data.shape, int_vector(call, call.n_inputs - 1))]


def _look_up_infer(call: Call) -> list[TensorType]:
    """OUTPUT: float, a row of DATA's kind for every length. DATA is float or half, SCALARS float.

    SparseLengthsWeightedSum has one of SCALARS for every index.
    """
    data = require(call, 0, FLOATS)
    rows_of(call, 0)
    count = int_vector(call, call.n_inputs - 2, INTS)
    if call.n_inputs == 4:
        require(call, 1, FLOAT)
        weights = length_of(call, 1)
        if "Positional" not in call.node.op:
            agree(call, weights, count, "number of SCALARS")
    return [with_rows(data.shape, int_vector(call, call.n_inputs - 1))]


for _name, _how, _text in (
    ("Sum", SUM, "Sums of runs of rows."),
    ("Mean", MEAN, "Means of runs of rows."),
    ("Max", MAX, "Element-wise maxima of runs of rows."),
):
    op(
        f"Lengths{_name}",
        _run_infer,
        inputs="DATA LENGTHS",
        outputs="OUTPUT",
        loop=_run,
        constants=lambda call, how=_how: (how,),
        errors=ERRORS,
        flops=lambda call: call.type(0).size,
        doc=_text,
    )
    op(
        f"SparseLengths{_name}",
        _look_up_infer,
        inputs="DATA INDICES LENGTHS",
        outputs="OUTPUT",
        loop=_look_up,
        constants=lambda call, how=_how: (how,),
        errors=ERRORS,
        flops=_look_up_flops,
        doc=f"{_text[:-1]}, which INDICES choose from DATA.",
    )

op(
    "LengthsWeightedSum",
    _run_infer,
    inputs="DATA SCALARS LENGTHS",
    outputs="OUTPUT",
    args=(WEIGHTS_GRADIENT,),
    constants=_none,
    loop=_run_weighted,
    errors=ERRORS,
    flops=lambda call: 2 * call.type(0).size,
    doc="Weighted sums of runs of rows.",
)
op(
    "SparseLengthsWeightedSum",
    _look_up_infer,
    inputs="DATA SCALARS INDICES LENGTHS",
    outputs="OUTPUT",
    args=(WEIGHTS_GRADIENT,),
    constants=_none,
    loop=_look_up_weighted,
    errors=ERRORS,
    flops=_look_up_flops,
    doc="Weighted sums of runs of rows, which INDICES choose from DATA.",
)
op(
    "SparseLengthsPositionalWeightedSum",
    _look_up_infer,
    inputs="DATA WEIGHT INDICES LENGTHS",
    outputs="OUTPUT",
    loop=_look_up_positional,
    errors=ERRORS,
    flops=_look_up_flops,
    doc="Weighted sums of runs of rows that INDICES choose; the weight belongs to the place in the run.",
)


def spread(scalars: Array, grads: Array, lengths: Array, y: Array, how: int) -> Any:
    """The loop of the gradients: every row of a run gets the run's gradient, times weight or over the length."""
    if total_length(lengths) != y.shape[0]:
        return 1
    size, k = row_size(y), 0
    for i in range(lengths.shape[0]):
        weight = np.float32(1.0 / max(lengths[i], 1)) if how == MEAN else np.float32(1)
        for _ in range(lengths[i]):
            put_row(y, k, grads, i, size, np.float32(scalars[k]) if how == WEIGHTED else weight)
            k += 1
    return 0


def _spread(grads: Array, lengths: Array, y: Array, how: int) -> Any:
    return spread(lengths, grads, lengths, y, how)


def _spread_sizes(grads: Array, lengths: Array, dims: Array, how: int) -> Any:
    dims[0] = total_length(lengths)
    return 1 if dims[0] < 0 else 0


def _spread_indices(grads: Array, lengths: Array, indices: Array, y: Array, how: int) -> Any:
    return spread(lengths, grads, lengths, y, how)


def _spread_weighted(scalars: Array, grads: Array, lengths: Array, y: Array) -> Any:
    return spread(scalars, grads, lengths, y, WEIGHTED)


def _spread_weighted_indices(scalars: Array, grads: Array, lengths: Array, indices: Array, y: Array) -> Any:
    return spread(scalars, grads, lengths, y, WEIGHTED)


def _grads(call: Call, i: int) -> TensorType:
    """Type of the gradients at input ``i``; fails unless there is one row for every length, which come after it."""
    grads = require(call, i, FLOAT)
    first_dim(call, i, int_vector(call, i + 1), "number of rows")
    return grads


def _spread_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: as many rows as the lengths add up to."""
    return [with_rows(_grads(call, 0).shape, UNKNOWN)]


def _spread_indices_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: a row for every index, or for every row of the data that stands in their place."""
    grads, shape = _grads(call, 0), rows_of(call, 2)
    return [with_rows(grads.shape, UNKNOWN if shape is None else shape[0])]


def _spread_weighted_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: a row for every one of SCALARS."""
    require(call, 0, FLOAT)
    count = length_of(call, 0)
    if call.n_inputs == 4:
        count = first_dim(call, 3, count, "first dimension")
    return [with_rows(_grads(call, 1).shape, count)]


for _name, _how in (("Sum", SUM), ("Mean", MEAN)):
    for _prefix in ("Lengths", "SparseLengths"):
        op(
            f"{_prefix}{_name}Gradient",
            _spread_infer,
            inputs="SEGMENT_GRADS LENGTHS",
            outputs="DATA_GRAD",
            loop=_spread,
            sizes=_spread_sizes,
            constants=lambda call, how=_how: (how,),
            errors=ERRORS,
            doc=f"Gradient of {_prefix}{_name}: the rows that were summed, one after the other.",
        )
        op(
            f"{_prefix}IndicesInGradient{_name}Gradient",
            _spread_indices_infer,
            inputs=f"SEGMENT_GRADS LENGTHS {'DATA' if _prefix == 'Lengths' else 'INDICES'}",
            outputs="DATA_GRAD",
            loop=_spread_indices,
            constants=lambda call, how=_how: (how,),
            errors=ERRORS,
            doc=f"Gradient of {_prefix}{_name}, of which the number of rows is known.",
        )

for _prefix in ("Lengths", "SparseLengths"):
    op(
        f"{_prefix}WeightedSumGradient",
        _spread_weighted_infer,
        inputs="SCALARS SEGMENT_GRADS LENGTHS",
        outputs="DATA_GRAD",
        args=(WEIGHTS_GRADIENT,),
        constants=_none,
        loop=_spread_weighted,
        errors=ERRORS,
        doc=f"Gradient of {_prefix}WeightedSum with respect to the rows.",
    )
op(
    "SparseLengthsIndicesInGradientWeightedSumGradient",
    _spread_weighted_infer,
    inputs="SCALARS SEGMENT_GRADS LENGTHS INDICES",
    outputs="DATA_GRAD",
    args=(WEIGHTS_GRADIENT,),
    constants=_none,
    loop=_spread_weighted_indices,
    errors=ERRORS,
    doc="Gradient of SparseLengthsWeightedSum with respect to the rows, of which the number is known.",
)


def both_gradients(
    scalars: Array, grads: Array, lengths: Array, data: Array, indices: Array, y: Array, weights: Array, by_index: int
) -> Any:
    """The loop of the gradients with respect to rows and weights."""
    if spread(scalars, grads, lengths, y, WEIGHTED):
        return 1
    size, k = row_size(y), 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            at = np.int64(indices[k]) if by_index else np.int64(k)
            if at < 0 or at >= data.shape[0]:
                return 2
            if k < weights.shape[0]:
                weights[k] = dot_rows(grads, i, data, at, size)
            k += 1
    return 0


def _with_main(scalars: Array, grads: Array, lengths: Array, data: Array, y: Array, weights: Array) -> Any:
    return both_gradients(scalars, grads, lengths, data, lengths, y, weights, 0)


def _with_main_indices(
    scalars: Array, grads: Array, lengths: Array, data: Array, indices: Array, y: Array, weights: Array
) -> Any:
    return both_gradients(scalars, grads, lengths, data, indices, y, weights, 1)


def _with_main_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: a row for every index, or row of DATA; SCALARS_GRAD: like SCALARS, of which there are as many."""
    require(call, 0, FLOAT)
    data, grads = require(call, 3, FLOAT), _grads(call, 1)
    count: Dim = length_of(call, 0)
    count = (
        agree(call, int_vector(call, 4, INTS), count, "indices") if call.has(4) else first_dim(call, 3, count, "rows")
    )
    if data.shape is not None and grads.shape is not None:
        for i, (a, b) in enumerate(zip(data.shape[1:], grads.shape[1:])):
            agree(call, b, a, f"dimension {i + 1} of the gradients")
        if len(data.shape) != len(grads.shape):
            call.fail("the rows of DATA and of the gradients differ")
    return [with_rows(grads.shape, count), TensorType(DType.FLOAT, (count,))]


op(
    "LengthsWeightedSumWithMainInputGradient",
    _with_main_infer,
    inputs="SCALARS SEGMENT_GRADS LENGTHS DATA",
    outputs="DATA_GRAD SCALARS_GRAD?",
    args=(WEIGHTS_GRADIENT,),
    constants=_none,
    loop=_with_main,
    errors=ERRORS,
    doc="Gradient of LengthsWeightedSum with respect to rows and weights.",
)
for _name in ("SparseLengthsWeightedSum", "SparseLengthsIndicesInGradientWeightedSum"):
    op(
        f"{_name}WithMainInputGradient",
        _with_main_infer,
        inputs="SCALARS SEGMENT_GRADS LENGTHS DATA INDICES",
        outputs="DATA_GRAD SCALARS_GRAD?",
        args=(WEIGHTS_GRADIENT,),
        constants=_none,
        loop=_with_main_indices,
        errors=ERRORS,
        doc="Gradient of SparseLengthsWeightedSum with respect to rows and weights.",
    )


def _max_gradient(maxima: Array, grads: Array, lengths: Array, data: Array, y: Array) -> Any:
    if total_length(lengths) != data.shape[0]:
        return 1
    size, k = row_size(data), 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            for j in range(size):
                if data.flat[k * size + j] == maxima.flat[i * size + j]:
                    y.flat[k * size + j] = grads.flat[i * size + j]
            k += 1
    return 0


def _max_gradient_infer(call: Call) -> list[TensorType]:
    """DATA_GRAD: like DATA; maxima and gradients have one row for every length, all rows are of one kind."""
    data = require(call, 3, FLOAT)
    rows = _grads(call, 1).shape
    maxima = require(call, 0, FLOAT).shape
    for shape in (maxima, rows):
        if shape is None or data.shape is None or rows is None:
            continue
        if len(shape) != len(data.shape):
            call.fail("the rows of DATA, of the maxima and of the gradients differ")
        for i, (a, b) in enumerate(zip((rows[0], *data.shape[1:]), shape)):
            agree(call, b, a, f"dimension {i} of maxima or gradients")
    return [data]


op(
    "LengthsMaxWithMainInputAndForwardOutputGradient",
    _max_gradient_infer,
    inputs="OUTPUT SEGMENT_GRADS LENGTHS DATA",
    outputs="DATA_GRAD",
    loop=_max_gradient,
    errors=ERRORS,
    doc="Gradient of LengthsMax: the run's gradient where a row has the maximum, else 0.",
)
