"""Rows of a tensor changed in place, chosen by index. Rules from Caffe2's utility_ops.h, sparse_*_op.cc and others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import EACH, Arg, Call, Trait, op
from graphc.ir.ops._half import float_of, float_to_half
from graphc.ir.ops._rules import NUMERIC, agree, product, require, require_rank
from graphc.ir.ops._segments import BAD_INDEX, FLOAT, INTS, copy_row, int_vector, outside, row_size, rows_of
from graphc.ir.types import DType, TensorType

Array = np.ndarray


def copy(y: Array, x: Array) -> None:
    """All elements of x to y, which has as many."""
    for i in range(x.size):
        y.flat[i] = x.flat[i]


def _normalize(x: Array, indices: Array, grad: Array, y: Array, use_max_norm: int, norm: float) -> Any:
    copy(y, x)
    if outside(indices, x.shape[0]):
        return 1
    size = row_size(x)
    for i in range(indices.size):
        start, squares = np.int64(indices.flat[i]) * size, np.float32(0)
        for j in range(start, start + size):
            squares += float_of(y, j) * float_of(y, j)
        length = np.float32(math.sqrt(squares)) + np.float32(1e-12)
        if use_max_norm and length < np.float32(norm):
            continue
        for j in range(start, start + size):
            value = float_of(y, j) * (np.float32(norm) / length)
            y.flat[j] = float_to_half(value) if y.itemsize == 2 else value
    return 0


def _row_choice(call: Call, dtypes: tuple[DType, ...]) -> TensorType:
    """Type of the tensor of which INDICES (a vector, int32 or int64) choose rows."""
    x = require(call, 0, dtypes)
    rows_of(call, 0)
    int_vector(call, 1, INTS)
    return x


def _normalize_infer(call: Call) -> list[TensorType]:
    """output_param: like param, float or (Float16SparseNormalize) half. The gradient is not read."""
    return [_row_choice(call, (DType.FLOAT16,) if "16" in call.node.op else FLOAT)]


for _name, _type in (("SparseNormalize", "float"), ("Float16SparseNormalize", "half")):
    op(
        _name,
        _normalize_infer,
        inputs="param indices grad?",
        outputs="output_param",
        args=(
            Arg("use_max_norm", "int", 1, "shorter rows stay as they are"),
            Arg("norm", "float", 1.0, "Euclidean length that the rows get"),
        ),
        loop=_normalize,
        errors=(BAD_INDEX,),
        enforced=((0, 0),),
        doc=f"{_type} rows scaled to a Euclidean length.",
    )


def _regularize(x: Array, indices: Array, grad: Array, y: Array, p: float, reg_lambda: float) -> Any:
    copy(y, x)
    if outside(indices, x.shape[0]):
        return 1
    size, step = row_size(x), np.float32(reg_lambda)
    for i in range(indices.size):
        start = np.int64(indices.flat[i]) * size
        for j in range(start, start + size):
            if p == 2.0:
                y.flat[j] *= np.float32(1) - step
            elif y.flat[j] < -step:
                y.flat[j] += step
            elif y.flat[j] > step:
                y.flat[j] -= step
            else:
                y.flat[j] = np.float32(0)
    return 0


def _regularize_infer(call: Call) -> list[TensorType]:
    """output_param: like param. p is 1 or 2; the gradient is not read."""
    if call.arg("p") not in (1.0, 2.0):
        call.fail(f"argument p is {call.arg('p')}", "use 1 or 2")
    return [_row_choice(call, FLOAT)]


op(
    "SparseLpRegularizer",
    _regularize_infer,
    inputs="param indices grad?",
    outputs="output_param",
    args=(
        Arg("p", "float", 2.0, "1: towards 0 by reg_lambda; 2: less by the factor 1 - reg_lambda"),
        Arg("reg_lambda", "float", 1e-5, "strength"),
    ),
    loop=_regularize,
    errors=(BAD_INDEX,),
    enforced=((0, 0),),
    doc="Rows made smaller by L1 or L2 regularisation.",
)


def _assign(x: Array, indices: Array, slices: Array, y: Array) -> Any:
    copy(y, x)
    if outside(indices, x.shape[0]):
        return 1
    for i in range(indices.size):
        copy_row(y, np.int64(indices.flat[i]), slices, i, row_size(x))
    return 0


def _slices(call: Call, i: int) -> None:
    """Input ``i`` has a row of input 0 for every element of input INDICES, in any shape."""
    data, indices, slices = (call.type(k).shape for k in (0, 2 if "Weighted" in call.node.op else 1, i))
    if data is not None and indices is not None and slices is not None:
        agree(call, product(slices), product((*indices, *data[1:])), f"number of elements of {call.input_name(i)}")


def _assign_infer(call: Call) -> list[TensorType]:
    """DATA as it was; SLICES has its element type and a row for every index."""
    types = (DType.FLOAT, DType.FLOAT16, DType.UINT8, DType.INT32, DType.INT64)
    data = require(call, 0, types)
    require(call, 1, INTS)
    rows_of(call, 0)
    if None not in (data.dtype, call.type(2).dtype) and data.dtype is not call.type(2).dtype:
        call.fail("DATA and SLICES have different element types")
    _slices(call, 2)
    return [data]


op(
    "ScatterAssign",
    _assign_infer,
    inputs="DATA INDICES SLICES",
    outputs="OUTPUT",
    loop=_assign,
    errors=(BAD_INDEX,),
    enforced=((0, 0),),
    doc="DATA with the rows at INDICES replaced, of equal indices by the last.",
)


def number_at(x: Array, i: Any, size: Any) -> Any:
    """Number ``i`` of the float (``size`` 4) or double numbers in a vector of bytes."""
    if size == 4:
        return np.float64(x[4 * i : 4 * i + 4].view(np.float32)[0])
    return x[8 * i : 8 * i + 8].view(np.float64)[0]


def _weighted_sum(x: Array, weight: Array, indices: Array, rest: tuple[Array, ...], y: Array) -> Any:
    copy(y, x)
    if outside(indices, x.shape[0]):
        return 1
    size = row_size(y)
    for i in range(indices.size if weight.flat[0] != 1 else 0):
        start = np.int64(indices.flat[i]) * size
        for j in range(start, start + size):
            y.flat[j] *= weight.flat[0]
    for k in range(0, len(rest), 2):
        numbers, scale = rest[k], number_at(rest[k + 1], 0, 4)
        for i in range(indices.size):
            start = np.int64(indices.flat[i]) * size
            for j in range(size):
                y.flat[start + j] += scale * number_at(numbers, i * size + j, y.itemsize)
    return 0


def _weighted_sum_infer(call: Call) -> list[TensorType]:
    """X_0 as it was: float or double, like all X; weights are float and have one element."""
    data = require(call, 0, (DType.FLOAT, DType.DOUBLE))
    rows_of(call, 0)
    require(call, 2, INTS)
    if call.n_inputs < 5 or call.n_inputs % 2 == 0:
        call.fail("the inputs are no pairs of X and weight after the first three")
    for i in range(3, call.n_inputs, 2):
        require(call, i, (data.dtype,) if data.dtype else (DType.FLOAT, DType.DOUBLE))
        _slices(call, i)
    for i in (1, *range(4, call.n_inputs, 2)):
        weight = require(call, i, FLOAT)
        if weight.is_static and weight.size != 1:
            call.fail(f"the weight at input {i} has {weight.size} elements, it must have 1")
    return [data]


op(
    "ScatterWeightedSum",
    _weighted_sum_infer,
    inputs="X_0 Weight_0 INDICES X_Weight*#",
    outputs="OUTPUT",
    loop=_weighted_sum,
    errors=(BAD_INDEX,),
    enforced=((0, 0),),
    doc="X_0, of which the rows at INDICES become weighted sums of them and the rows of all X.",
)


def _copy_rows(x: Array, indices: Array, row: Array, y: Array) -> Any:
    copy(y, x)
    if outside(indices, x.shape[0]):
        return 1
    for i in range(indices.shape[0]):
        copy_row(y, indices[i], row, 0, row.shape[0])
    return 0


def _copy_gradient(grad: Array, y: Array) -> Any:
    copy(y, grad)
    return 0


_COPIED = (DType.FLOAT16, *NUMERIC)


def _copy_rows_infer(call: Call) -> list[TensorType]:
    """output_tensor: like the input, a matrix; row is as long as its rows and has its type, indices are int64."""
    data, shape = require(call, 0, _COPIED), require_rank(call, 0, 2)
    int_vector(call, 1, (DType.INT64,))
    row = require(call, 2, (data.dtype,) if data.dtype else _COPIED)
    require_rank(call, 2, 1)
    if shape is not None and row.shape is not None:
        agree(call, row.shape[0], shape[1], "width of input tensor should match lengths of row")
    return [data]


op(
    "CopyRowsToTensor",
    _copy_rows_infer,
    inputs="input_tensor indices row",
    outputs="output_tensor",
    loop=_copy_rows,
    errors=(BAD_INDEX,),
    enforced=((0, 0),),
    doc="A matrix in which the rows at indices are all the same.",
)
op(
    "CopyRowsToTensorGradient",
    lambda call: [require(call, 0, _COPIED)],
    inputs="output_grad",
    outputs="input_grad",
    loop=_copy_gradient,
    traits=Trait.IDENTITY,
    inplace=((0, 0),),
    family=__name__,
    doc="Gradient of CopyRowsToTensor: the gradient itself.",
)


def _count(
    previous: Array, counter: Array, indices: Array, iteration: Array, y: Array, counts: Array, counter_halflife: int
) -> Any:
    copy(y, previous)
    copy(counts, counter)
    if outside(indices, counter.size):
        return 1
    now, rate = iteration.flat[0], math.log(2.0) / max(counter_halflife, 1)
    for i in range(indices.size if counter_halflife > 0 else 0):
        at = indices.flat[i]
        age = max(now - y.flat[at], 0)
        counts.flat[at] = 1.0 + math.exp(-age * rate) * counts.flat[at]
        y.flat[at] = max(now, y.flat[at])
    return 0


def _count_infer(call: Call) -> list[TensorType]:
    """Both outputs as the inputs: int64 iterations, double counts, as many."""
    previous, counter = require(call, 0, (DType.INT64,)), require(call, 1, (DType.DOUBLE,))
    require(call, 2, INTS)
    iteration = require(call, 3, (DType.INT64,))
    if previous.shape is not None and counter.shape is not None:
        agree(call, product(counter.shape), product(previous.shape), "number of counters")
    if iteration.is_static and iteration.size != 1:
        call.fail(f"iter has {iteration.size} elements, it must have 1")
    return [previous, counter]


op(
    "RowWiseCounter",
    _count_infer,
    inputs="prev_iter update_counter indices iter",
    outputs="output_prev_iter output_update_counter",
    args=(Arg("counter_halflife", "int", -1, "iterations after which a count is half; without effect below 1"),),
    loop=_count,
    errors=(BAD_INDEX,),
    enforced=((0, 0), (1, 1)),
    doc="How often rows were used, older uses counting less, and when they were used last.",
)


def _coalesce(xs: tuple[Array, ...], ys: tuple[Array, ...]) -> Any:
    everything, start = ys[len(xs)], 0
    for k in range(len(xs)):
        x, y = xs[k], ys[k]
        for i in range(x.shape[0]):
            y[i] = x[i]
            everything[start + i] = x[i]
        start += x.shape[0]
    return 0


def _coalesce_infer(call: Call) -> list[TensorType]:
    """The inputs, which are float, and a vector of all their elements."""
    if call.n_outputs != call.n_inputs + 1:
        call.fail(f"{call.n_inputs} inputs have {call.n_outputs} outputs, there must be one more than inputs")
    types = [require(call, i, FLOAT) for i in range(call.n_inputs)]
    total = None if any(t.shape is None for t in types) else sum(product(t.shape or ()) for t in types)
    return [*types, TensorType(DType.FLOAT, None if total is None else (total,))]


op(
    "UnsafeCoalesce",
    _coalesce_infer,
    inputs="X*#",
    outputs="Y*#",
    loop=_coalesce,
    inplace=EACH,
    doc="The inputs, and a vector of all their elements. The outputs share no memory.",
)
