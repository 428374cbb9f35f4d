"""Rows with indices as a dense tensor and back. Rules from Caffe2's sparse_to_dense*_op.h and others."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import LARGEST, agree, bounded, require, require_rank
from graphc.ir.ops._segments import (
    BAD_LENGTHS,
    FLOAT,
    INTS,
    copy_row,
    first_dim,
    int_vector,
    outside,
    row_size,
    rows_of,
    total_length,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

BAD_ROW = "indices: an index is negative, or not below the first dimension of the output"

Array = np.ndarray


def _dense_sizes(indices: Array, values: Array, like: Array, dims: Array) -> Any:
    for k in range(dims.shape[0]):
        for i in range(indices.shape[0]):
            if indices[i] < 0:
                return 1
            dims[k] = max(dims[k], np.int64(indices[i]) + 1)
    return 0


def _dense(indices: Array, values: Array, like: Array, y: Array) -> Any:
    if outside(indices, y.shape[0]):
        return 1
    size = row_size(values)
    for i in range(indices.shape[0]):
        for j in range(size):
            y.flat[np.int64(indices[i]) * size + j] += values.flat[i * size + j]
    return 0


def _dense_infer(call: Call) -> list[TensorType]:
    """output: rows of values' kind, as many as the argument or third input says, or the largest index needs."""
    values = require(call, 1, (DType.FLOAT, DType.INT32, DType.INT64))
    first_dim(call, 1, int_vector(call, 0, INTS), "number of rows")
    rows: Dim = UNKNOWN
    if call.arg("output_first_dim") > 0:
        rows = bounded(call, call.arg("output_first_dim"), 1, "output_first_dim")
        if call.has(2):
            call.fail("both output_first_dim and data_to_infer_dim are given", "give one of them")
    elif call.has(2):
        shape = rows_of(call, 2)
        rows = UNKNOWN if shape is None else shape[0]
    return [values.with_shape(values.shape and (rows, *values.shape[1:]))]


op(
    "SparseToDense",
    _dense_infer,
    inputs="indices values data_to_infer_dim?",
    outputs="output",
    args=(
        Arg("output_first_dim", "int", 0, "number of rows; 0: of the third input, or one more than the largest index"),
    ),
    loop=_dense,
    sizes=_dense_sizes,
    constants=lambda call: (),
    errors=(BAD_ROW,),
    doc="Sums of the rows with equal indices, at their indices.",
)


def place_of(mask: tuple[int, ...], wanted: Any) -> Any:
    """Where ``wanted`` is in the mask, -1 if it is not."""
    for k in range(len(mask)):
        if mask[k] == wanted:
            return k
    return -1


def _masked(
    indices: Array,
    values: Array,
    default: Array,
    lengths: Array,
    y: Array,
    presence: Array,
    mask: tuple[int, ...],
    by_length: int,
    skippable: int,
    unusable: int,
) -> Any:
    if by_length and total_length(lengths) != indices.shape[0]:
        return 1
    size, k, skipped = row_size(values), 0, 0
    for r in range(lengths.shape[0] if by_length else 1):
        for c in range(len(mask)):
            for j in range(size):
                y.flat[(r * len(mask) + c) * size + j] = default.flat[j]
        for _ in range(np.int64(lengths[r]) if by_length else indices.shape[0]):
            if indices[k] < 0 or indices[k] == unusable:
                skipped += 1
                if skipped >= skippable:
                    return 2
            else:
                c = place_of(mask, indices[k])
                if c >= 0:
                    copy_row(y, r * len(mask) + c, values, k, size)
                    if presence.size:
                        presence.flat[r * len(mask) + c] = True
            k += 1
    return 0


def _mask(call: Call) -> tuple[int, ...]:
    """The mask; fails where it is empty, negative or names an index twice."""
    mask: tuple[int, ...] = call.arg("mask")
    if not mask or min(mask) < 0 or len(set(mask)) < len(mask):
        call.fail("argument mask is empty, or has negative or equal elements", "list different indices from 0 on")
    return mask


def _masked_infer(call: Call) -> list[TensorType]:
    """output: (lengths,) mask, then a row of values; presence_mask: bool without the row. default_value is a row."""
    values, cols = call.type(1), len(_mask(call))
    default, count = call.type(2), int_vector(call, 0, INTS)
    first_dim(call, 1, count, "number of rows")
    if None not in (values.dtype, default.dtype) and values.dtype is not default.dtype:
        call.fail("values and default_value have different element types")
    if values.shape is not None and default.shape is not None:
        if len(default.shape) + 1 != len(values.shape):
            call.fail("default_value is no row of values")
        for a, b in zip(values.shape[1:], default.shape):
            agree(call, b, a, "dimension of default_value")
    head: tuple[Dim, ...] = (int_vector(call, 3), cols) if call.has(3) else (cols,)
    if call.n_outputs > 1 and not call.arg("return_presence_mask"):
        head_presence: tuple[Dim, ...] = (0,) * len(head)
    else:
        head_presence = head
    output = values.with_shape(values.shape and (*head, *values.shape[1:]))
    return [output, TensorType(DType.BOOL, head_presence)]


def _masked_constants(call: Call) -> tuple[Any, ...]:
    largest = 2**31 - 1 if call.type(0).dtype is DType.INT32 else 2**63 - 1
    return _mask(call), int(call.has(3)), call.arg("max_skipped_indices"), largest


_MASK_ARGS = (
    Arg("mask", "ints", (), "the indices that there are"),
    Arg("return_presence_mask", "int", 0, "give the second output"),
    Arg("max_skipped_indices", "int", 5, "so many negative or largest possible indices are an error"),
)
op(
    "SparseToDenseMask",
    _masked_infer,
    inputs="indices values default_value lengths?",
    outputs="output presence_mask?",
    args=_MASK_ARGS,
    loop=_masked,
    constants=_masked_constants,
    errors=(BAD_LENGTHS, "indices: too many cannot be used (max_skipped_indices)"),
    doc="For every run of rows one row for every index of the mask: the last with that index, or the default.",
)


def _masked_gradient(
    indices: Array, grads: Array, lengths: Array, y: Array, used: Array, mask: tuple[int, ...], by_length: int
) -> Any:
    if by_length and total_length(lengths) != indices.shape[0]:
        return 1
    size, start, cols = row_size(y), np.int64(0), len(mask)
    for r in range(lengths.shape[0] if by_length else 1):
        count = np.int64(lengths[r]) if by_length else np.int64(indices.shape[0])
        for back in range(count):
            k = start + count - 1 - back
            c = place_of(mask, indices[k])
            if c >= 0 and used[c] != r + 1:
                used[c] = r + 1
                copy_row(y, k, grads, r * cols + c, size)
        start += count
    return 0


def _masked_gradient_infer(call: Call) -> list[TensorType]:
    """values_grad: a row for every index; the gradients are those of SparseToDenseMask's output."""
    cols, grads = len(_mask(call)), call.type(1)
    count = int_vector(call, 0, INTS)
    head: tuple[Dim, ...] = (int_vector(call, 2), cols) if call.has(2) else (cols,)
    shape = grads.shape
    if shape is None:
        return [grads]
    if len(shape) < len(head):
        call.fail(f"the gradients have {len(shape)} dimensions, at least {len(head)} are needed")
    for a, b in zip(shape, head):
        agree(call, a, b, "dimension of the gradients")
    return [grads.with_shape((count, *shape[len(head) :]))]


op(
    "SparseToDenseMaskGradient",
    _masked_gradient_infer,
    inputs="indices output_grad lengths?",
    outputs="values_grad",
    args=_MASK_ARGS,
    loop=_masked_gradient,
    scratch=lambda call: [TensorType(DType.INT64, (len(_mask(call)),))],
    constants=lambda call: (_mask(call), int(call.has(2))),
    errors=(BAD_LENGTHS,),
    doc="Gradient of SparseToDenseMask: 0 for rows that are not in its output.",
)


def _batch_dense(lengths: Array, indices: Array, values: Array, like: Array, y: Array, default: float) -> Any:
    if total_length(lengths) != indices.shape[0]:
        return 1
    if outside(indices, y.shape[1]):
        return 2
    k = 0
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = np.float32(default)
        for _ in range(lengths[i]):
            y[i, indices[k]] = values.flat[k]
            k += 1
    return 0


def _long_vectors(call: Call) -> tuple[Dim, Dim]:
    """Number of lengths and of indices. int64; lengths may be int32 as well."""
    return int_vector(call, 0, INTS), int_vector(call, 1, (DType.INT64,))


def _batch_dense_infer(call: Call) -> list[TensorType]:
    """dense: float (lengths, dense_last_dim), or as wide as the fourth input; one value for every index."""
    count, n = _long_vectors(call)
    require(call, 2, FLOAT)
    first_dim(call, 2, n, "number of elements")
    given: int = call.arg("dense_last_dim")
    width: Dim = given
    if call.has(3):
        shape = require_rank(call, 3, 2)
        like = UNKNOWN if shape is None else shape[1]
        width = like if given == -1 else agree(call, like, given, "width of output_shape_inference")
    elif not 1 <= given <= LARGEST:
        call.fail("dense_last_dim is missing or less than 1", "give it, or a fourth input")
    return [TensorType(DType.FLOAT, (count, width))]


def _batch_sparse(lengths: Array, indices: Array, dense: Array, y: Array) -> Any:
    if total_length(lengths) != indices.shape[0]:
        return 1
    if outside(indices, dense.shape[1]):
        return 2
    k = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            y[k] = dense[i, indices[k]]
            k += 1
    return 0


def _batch_sparse_infer(call: Call) -> list[TensorType]:
    """values: float, one for every index; dense has one row for every length."""
    count, n = _long_vectors(call)
    require(call, 2, FLOAT)
    require_rank(call, 2, 2)
    first_dim(call, 2, count, "number of rows")
    return [TensorType(DType.FLOAT, (n,))]


_BATCH_ERRORS = (BAD_LENGTHS, "indices: an index is negative, or not below the last dimension of the dense tensor")
_BATCH_ARGS = (
    Arg("dense_last_dim", "int", -1, "width of the dense tensor"),
    Arg("default_value", "float", 0.0, "what all other elements are"),
)
op(
    "BatchSparseToDense",
    _batch_dense_infer,
    inputs="lengths indices values output_shape_inference?",
    outputs="dense",
    args=_BATCH_ARGS,
    loop=_batch_dense,
    constants=lambda call: (call.arg("default_value"),),
    errors=_BATCH_ERRORS,
    doc="A row for every run of indices, with the run's values at its indices.",
)
op(
    "BatchDenseToSparse",
    _batch_sparse_infer,
    inputs="lengths indices dense",
    outputs="values",
    args=_BATCH_ARGS,
    loop=_batch_sparse,
    constants=lambda call: (),
    errors=_BATCH_ERRORS,
    doc="The elements of every row that the row's run of indices names.",
)


def _id_list_sizes(values: Array, dims: Array) -> Any:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            dims[0] += 1 if _rounds_to_more(values[i, j]) else 0
    return 0


def _rounds_to_more(x: float) -> Any:
    """x + 0.5 without its fraction is not 0; so it is for what is not finite."""
    return not abs(x + 0.5) < 1


def _id_list(values: Array, lengths: Array, ids: Array) -> Any:
    k = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if _rounds_to_more(values[i, j]):
                ids[k] = j
                lengths[i] += 1
                k += 1
    return 0


def _id_list_infer(call: Call) -> list[TensorType]:
    """out_lengths: int32, one for every row; out_values: int32."""
    require(call, 0, FLOAT)
    shape = require_rank(call, 0, 2)
    rows: Dim = UNKNOWN if shape is None else shape[0]
    return [TensorType(DType.INT32, (rows,)), TensorType(DType.INT32, (UNKNOWN,))]


op(
    "DenseVectorToIdList",
    _id_list_infer,
    inputs="values",
    outputs="out_lengths out_values",
    loop=_id_list,
    sizes=_id_list_sizes,
    doc="The columns of every row's elements that do not round to 0.",
)
