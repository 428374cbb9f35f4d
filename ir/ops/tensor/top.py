"""The largest elements along a dimension, as many as wanted: TopK, FlexibleTopK, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, axis_of, bounded, constant_ints, product, require
from graphc.ir.ops._updates import INTS, count
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType


def top_count(call: Call) -> int | None:
    """How many elements a TopK call wants; None where that is an input that is not known yet."""
    if not call.has(1):
        return bounded(call, call.arg("k"), 1, "k")
    if call.given("k"):
        call.fail("k is given twice", "give the argument k or the second input")
    require(call, 1, INTS)
    agree(call, count(call, 1), 1, "elements of k")
    k = constant_ints(call, 1)
    return None if k is None else bounded(call, k[0], 1, "k")


def _top_infer(call: Call) -> list[TensorType]:
    """Values and int64 indices: X with the dimension ``axis`` cut to k; flattened indices: as a vector."""
    x, k = require(call, 0, (DType.FLOAT,)), top_count(call)
    if x.shape is None:
        return [x, TensorType(DType.INT64), TensorType(DType.INT64, (UNKNOWN,))]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    shape: Shape = (*x.shape[:axis], UNKNOWN if k is None else k, *x.shape[axis + 1 :])
    return [x.with_shape(shape), TensorType(DType.INT64, shape), TensorType(DType.INT64, (product(shape),))]


def _top_reference(call: Call, x: np.ndarray, *counts: np.ndarray) -> Sequence[np.ndarray]:
    """NumPy beside the kernel ``search``, which serves all calls."""
    k = bounded(call, int(counts[0].ravel()[0]) if counts else call.arg("k"), 1, "k")
    axis = axis_of(call, call.arg("axis"), x.ndim)
    rows = np.moveaxis(x, axis, -1)
    order = np.argsort(-rows, axis=-1, kind="stable")[..., :k]
    flat = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1)
    missing = [(0, 0)] * (x.ndim - 1) + [(0, k - order.shape[-1])]
    values = np.pad(np.take_along_axis(rows, order, -1), missing)
    indices = np.pad(order.astype(np.int64), missing, constant_values=-1)
    flattened = np.pad(np.take_along_axis(flat, order, -1), missing, constant_values=-1)
    back = [np.ascontiguousarray(np.moveaxis(a, -1, axis)) for a in (values, indices, flattened)]
    return [back[0], back[1], back[2].reshape(-1).astype(np.int64)]


_TOP_ARGS = (
    Arg("k", "int", -1, "how many, where there is no second input"),
    Arg("axis", "int", -1, "along which dimension"),
)
op(
    "TopK",
    _top_infer,
    inputs="X k?",
    outputs="Values Indices Flattened_indices?",
    args=_TOP_ARGS,
    reference=_top_reference,
    shape_inputs=(1,),
    doc="The k largest elements in descending order, of equal ones the first; missing ones are 0 at index -1.",
)


def _top_gradient_infer(call: Call) -> list[TensorType]:
    """dX: as X."""
    values, indices, x = require(call, 0, (DType.FLOAT,)), require(call, 1, (DType.INT64,)), call.type(2)
    require(call, 2, (DType.FLOAT,))
    if values.shape is None or indices.shape is None or x.shape is None:
        return [x]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    if not len(values.shape) == len(indices.shape) == len(x.shape):
        call.fail("the gradient, the indices and X have different numbers of dimensions")
    for d, (v, i, whole) in enumerate(zip(values.shape, indices.shape, x.shape)):
        agree(call, i, v, f"dimension {d} of the indices and the gradient")
        if d != axis:
            agree(call, v, whole, f"dimension {d} of the gradient and X")
    return [x]


def _top_gradient(
    values: np.ndarray, indices: np.ndarray, x: np.ndarray, dx: np.ndarray, outer: int, k: int, n: int, inner: int
) -> int:
    """The first index below 0 ends a row: TopK puts those of missing elements at the end."""
    for o in range(outer):
        for j in range(inner):
            for i in range(k):
                source = (o * k + i) * inner + j
                at = indices.flat[source]
                if at < 0:
                    break
                if at >= n:
                    return 1
                dx.flat[(o * n + at) * inner + j] = values.flat[source]
    return 0


def _top_gradient_constants(call: Call) -> list[int]:
    x, values = call.type(2).static_shape, call.type(0).static_shape
    axis = axis_of(call, call.arg("axis"), len(x))
    return [math.prod(x[:axis]), values[axis], x[axis], math.prod(x[axis + 1 :])]


op(
    "TopKGradient",
    _top_gradient_infer,
    inputs="dValues Indices X",
    outputs="dX",
    args=_TOP_ARGS,
    loop=_top_gradient,
    constants=_top_gradient_constants,
    errors=("Indices has an index outside of X",),
    doc="Gradient of TopK: that of the values at their places, else 0.",
)


def _flexible_infer(call: Call) -> list[TensorType]:
    """Values and int64 indices: vectors as long as the sum of K, which has a number for every row of X."""
    x, k = require(call, 0, (DType.FLOAT,)), require(call, 1, (DType.INT64,))
    if x.shape is not None:
        if not x.shape:
            call.fail("X is a scalar, it needs rows")
        agree(call, count(call, 1), product(x.shape[:-1]), "elements of K, one for every row of X")
    held = call.constant(1)
    total: Dim = UNKNOWN if held is None else int(np.sum(held))
    if k.shape is not None and product(k.shape) == 0:
        total = 0
    return [TensorType(DType.FLOAT, (total,)), TensorType(DType.INT64, (total,))]


def _bad_counts(k: np.ndarray, n: int) -> int:
    for i in range(k.size):
        if k.flat[i] <= 0 or k.flat[i] > n:
            return 1
    return 0


def _flexible_sizes(x: np.ndarray, k: np.ndarray, dims: np.ndarray) -> int:
    if _bad_counts(k, x.shape[-1]):
        return 1
    total = 0
    for i in range(k.size):
        total += k.flat[i]
    for d in range(dims.size):
        dims[d] = total
    return 0


def _flexible(x: np.ndarray, k: np.ndarray, values: np.ndarray, indices: np.ndarray) -> int:
    """Elements are put in their places among the largest so far."""
    n, start = x.shape[-1], 0
    if _bad_counts(k, n):
        return 1
    for row in range(k.size):
        most, found = int(k.flat[row]), 0
        for i in range(n):
            v = x.flat[row * n + i]
            if found < most or v > values[start + most - 1]:
                j = min(found, most - 1)
                found = min(found + 1, most)
                while j > 0 and v > values[start + j - 1]:
                    values[start + j] = values[start + j - 1]
                    indices[start + j] = indices[start + j - 1]
                    j -= 1
                values[start + j] = v
                indices[start + j] = i
        start += most
    return 0


_COUNTS = "K has a number that is not positive, or greater than the last dimension of X"
op(
    "FlexibleTopK",
    _flexible_infer,
    inputs="X K",
    outputs="Values Indices",
    sizes=_flexible_sizes,
    loop=_flexible,
    errors=(_COUNTS,),
    doc="The K[i] largest elements of row i in descending order, row after row; of equal ones the first.",
)


def _flexible_gradient_infer(call: Call) -> list[TensorType]:
    """dX: as X."""
    x = require(call, 0, (DType.FLOAT,))
    require(call, 1, (DType.INT64,))
    require(call, 2, (DType.FLOAT,))
    require(call, 3, (DType.INT64,))
    if x.shape is not None:
        if not x.shape:
            call.fail("X is a scalar, it needs rows")
        agree(call, count(call, 1), product(x.shape[:-1]), "elements of K, one for every row of X")
    agree(call, count(call, 3), count(call, 2), "elements of the indices and the gradient")
    return [x]


def _flexible_gradient(x: np.ndarray, k: np.ndarray, values: np.ndarray, indices: np.ndarray, dx: np.ndarray) -> int:
    n, start = x.shape[-1], 0
    if _bad_counts(k, n):
        return 1
    for row in range(k.size):
        if start + k.flat[row] > values.size:
            return 2
        for i in range(start, start + k.flat[row]):
            at = indices.flat[i]
            if at < 0 or at >= n:
                return 3
            dx.flat[row * n + at] = values.flat[i]
        start += k.flat[row]
    return 0


op(
    "FlexibleTopKGradient",
    _flexible_gradient_infer,
    inputs="X K dValues Indices",
    outputs="dX",
    loop=_flexible_gradient,
    errors=(_COUNTS, "K adds up to more than the gradient has", "Indices has an index outside of the row of X"),
    doc="Gradient of FlexibleTopK: that of the values at their places, else 0.",
)
