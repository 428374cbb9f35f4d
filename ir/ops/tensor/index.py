"""Choosing elements by index: Gather, OneHot, ArgMax, Scatter. Every index that comes from data is checked.

Gather, ArgMax and their like keep a NumPy form: the interpreter evaluates whole nets with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import NUMERIC, agree, axis_of, bounded, constant_ints, merge_shapes, require, require_rank
from graphc.ir.ops._updates import INTS, count
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType


def checked_indices(call: Call, indices: np.ndarray, size: int, wrap: bool = False) -> np.ndarray:
    """``indices`` as int64, negative ones counted from the end with ``wrap``; raises ``RunError`` outside ``size``."""
    at = indices.astype(np.int64)
    at = np.where(at < 0, at + size, at) if wrap else at
    if at.size and not 0 <= at.min() <= at.max() < size:
        raise RunError(
            f"{call.node.location}: {call.opdef.name}: indices reach from {indices.min()} to {indices.max()}, "
            f"there are {size} elements",
            "give indices from 0 on, below the size of the dimension",
        )
    return at


def _gather_axis(call: Call) -> int:
    return 1 if call.opdef.name == "BatchGather" else int(call.arg("axis"))


def _gather_infer(call: Call) -> list[TensorType]:
    """OUTPUT: DATA with the dimension ``axis`` replaced by those of INDICES (``match_outer``: by its inner ones)."""
    data, indices = call.type(0), require(call, 1, INTS).shape
    if data.shape is None or indices is None:
        return [data.with_shape(None)]
    axis = axis_of(call, _gather_axis(call), len(data.shape))
    if not call.arg("match_outer"):
        return [data.with_shape((*data.shape[:axis], *indices, *data.shape[axis + 1 :]))]
    if len(indices) < axis:
        call.fail(f"the indices have {len(indices)} dimensions, match_outer wants at least {axis}")
    outer = [agree(call, i, d, "outer dimensions of the indices") for i, d in zip(indices, data.shape[:axis])]
    return [data.with_shape((*outer, *indices[axis:], *data.shape[axis + 1 :]))]


def _gather_reference(call: Call, data: np.ndarray, indices: np.ndarray) -> Sequence[np.ndarray]:
    axis = axis_of(call, _gather_axis(call), data.ndim)
    wrap = call.opdef.has_arg("wrap_indices") and bool(call.arg("wrap_indices"))
    at = checked_indices(call, indices, data.shape[axis], wrap)
    if not call.arg("match_outer"):
        return [data.take(at, axis=axis)]
    outer = np.ix_(*(np.arange(d) for d in at.shape[:axis]))
    places = tuple(o.reshape(o.shape + (1,) * (at.ndim - axis)) for o in outer)
    chosen = (*places, at)
    return [data[chosen]]


def _gather(
    data: np.ndarray,
    indices: np.ndarray,
    output: np.ndarray,
    outer: int,
    rows: int,
    inner: int,
    picks: int,
    match: int,
    wrap: int,
) -> int:
    for b in range(outer if match else max(outer, 1)):  # indices are checked where there is nothing to choose from, too
        for i in range(picks):
            at = int(indices.flat[b * picks + i if match else i])
            if wrap and at < 0:
                at += rows
            if at < 0 or at >= rows:
                return 1
            source, target = (b * rows + at) * inner, (b * picks + i) * inner
            for j in range(inner if outer > 0 else 0):
                output.flat[target + j] = data.flat[source + j]
    return 0


def _gather_constants(call: Call) -> list[Any]:
    """Elements before the axis, on it and after it; picks of each outer element; flags."""
    data, indices = call.type(0).static_shape, call.type(1).static_shape
    axis, match = axis_of(call, _gather_axis(call), len(data)), bool(call.arg("match_outer"))
    wrap = call.opdef.has_arg("wrap_indices") and bool(call.arg("wrap_indices"))
    picks = math.prod(indices[axis:] if match else indices)
    return [math.prod(data[:axis]), data[axis], math.prod(data[axis + 1 :]), picks, match, wrap]


BAD_INDEX = "INDICES has an index outside of the dimension of DATA that it indexes"
_MATCH = Arg("match_outer", "int", 0, "the indices have DATA's dimensions before axis, and choose within them")
_DENSE = Arg("dense_gradient", "int", 0, "the gradient along axis 0 is dense; read where it is made")
_AXIS = Arg("axis", "int", 0, "the dimension that is indexed")
_WRAP = Arg("wrap_indices", "int", 0, "negative indices count from the end")
_HINT = Arg("dequantize_output", "int", 0, "of an engine for int8")
for _name, _args, _text in (
    ("Gather", (_AXIS, _MATCH, _WRAP, _DENSE, _HINT), "Slices of DATA, chosen by index."),
    ("BatchGather", (_MATCH,), "Slices of every element of a batch, chosen by index along dimension 1."),
):
    op(
        _name,
        _gather_infer,
        inputs="DATA INDICES",
        outputs="OUTPUT",
        args=_args,
        loop=_gather,
        constants=_gather_constants,
        errors=(BAD_INDEX,),
        reference=_gather_reference,
        doc=_text,
    )


def _gather_gradient_infer(call: Call) -> list[TensorType]:
    """dDATA: as DATA."""
    data, indices, grad = require(call, 0, (DType.FLOAT,)), require(call, 1, INTS), require(call, 2, (DType.FLOAT,))
    if data.shape is None or indices.shape is None:
        return [data]
    if len(data.shape) < 2:
        call.fail(f"DATA has {len(data.shape)} dimensions, at least 2 are needed")
    axis = axis_of(call, call.arg("axis"), len(data.shape))
    chosen = indices.shape[axis:] if call.arg("match_outer") else indices.shape
    merge_shapes(call, grad.shape, (*data.shape[:axis], *chosen, *data.shape[axis + 1 :]), "shape of the gradient")
    return [data]


def _gather_gradient(
    data: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    output: np.ndarray,
    outer: int,
    rows: int,
    inner: int,
    picks: int,
    match: int,
) -> int:
    for b in range(outer):
        for i in range(picks):
            at = int(indices.flat[b * picks + i if match else i])
            if at < -rows or at >= rows:
                return 1
            if at < 0:
                at += rows
            source, target = (b * picks + i) * inner, (b * rows + at) * inner
            for j in range(inner):
                output.flat[target + j] += grad.flat[source + j]
    return 0


def _gather_gradient_constants(call: Call) -> list[Any]:
    data, indices = call.type(0).static_shape, call.type(1).static_shape
    axis, match = axis_of(call, call.arg("axis"), len(data)), bool(call.arg("match_outer"))
    picks = math.prod(indices[axis:] if match else indices)
    return [math.prod(data[:axis]), data[axis], math.prod(data[axis + 1 :]), picks, match]


op(
    "BatchGatherGradient",
    _gather_gradient_infer,
    inputs="DATA INDICES dOUTPUT",
    outputs="dDATA",
    args=(Arg("axis", "int", 1, "the dimension that is indexed"), _MATCH, _WRAP),
    loop=_gather_gradient,
    constants=_gather_gradient_constants,
    errors=(BAD_INDEX,),
    doc="Gradient of BatchGather, and of Gather along a dimension but the first: rows chosen twice get both.",
)


def _one_hot_infer(call: Call) -> list[TensorType]:
    """one_hots: float (number of indices, size)."""
    require(call, 0, (DType.INT64,))
    require(call, 1, (DType.INT64,))
    shape = require_rank(call, 0, 1)
    agree(call, count(call, 1), 1, "elements of index_size_tensor")
    size = constant_ints(call, 1)
    depth: Dim = UNKNOWN if size is None else bounded(call, size[0], 0, "index_size_tensor")
    return [TensorType(DType.FLOAT, (UNKNOWN if shape is None else shape[0], depth))]


def _one_hot(indices: np.ndarray, size: np.ndarray, output: np.ndarray) -> int:
    for i in range(indices.size):
        at = indices.flat[i]
        if at < 0 or at >= output.shape[1]:
            return 1
        output[i, at] = 1
    return 0


op(
    "OneHot",
    _one_hot_infer,
    inputs="indices index_size_tensor",
    outputs="one_hots",
    loop=_one_hot,
    errors=("indices has an index that is negative, or not below index_size_tensor",),
    shape_inputs=(1,),
    doc="A row for every index: 1 at the index, else 0.",
)


def _arg_infer(call: Call) -> list[TensorType]:
    """Indices: int64, the dimension ``axis`` reduced to 1, or removed without ``keepdims``."""
    x = require(call, 0, NUMERIC)
    if x.shape is None:
        return [TensorType(DType.INT64)]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    if x.shape[axis] == 0:
        call.fail(f"dimension {axis} has no elements")
    kept = (1,) if call.arg("keepdims") else ()
    return [TensorType(DType.INT64, (*x.shape[:axis], *kept, *x.shape[axis + 1 :]))]


def _arg_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    function = np.argmax if call.opdef.name == "ArgMax" else np.argmin
    return [np.asarray(function(x, axis=call.arg("axis"), keepdims=bool(call.arg("keepdims"))), dtype=np.int64)]


for _name, _text in (("ArgMax", "largest"), ("ArgMin", "smallest")):
    op(
        _name,
        _arg_infer,
        inputs="X",
        outputs="Indices",
        args=(Arg("axis", "int", -1, "along which dimension"), Arg("keepdims", "int", 1, "it stays, with 1 element")),
        reference=_arg_reference,
        flops=lambda call: call.type(0).size,
        doc=f"Index of the {_text} element, of equal ones the first.",
    )


def _scatter_infer(call: Call) -> list[TensorType]:
    """OUTPUT has the type of DATA; INDICES and UPDATES have one shape within DATA's."""
    data, indices, updates = call.type(0), require(call, 1, INTS).shape, call.type(2).shape
    if data.shape is None or indices is None or updates is None:
        return [data]
    axis = axis_of(call, call.arg("axis"), len(data.shape))
    if call.type(2).dtype is not data.dtype:
        call.fail("DATA and UPDATES have different types of elements", "insert a Cast")
    if not len(data.shape) == len(indices) == len(updates):
        call.fail("DATA, INDICES and UPDATES have different numbers of dimensions")
    merge_shapes(call, updates, indices, "dimensions of UPDATES and INDICES")
    for d, (i, whole) in enumerate(zip(indices, data.shape)):
        if d != axis and isinstance(i, int) and isinstance(whole, int) and i > whole:
            call.fail(f"dimension {d} of INDICES is {i}, that of DATA {whole}", "only axis may be longer")
    return [data]


def _scatter(data: np.ndarray, indices: np.ndarray, updates: np.ndarray, output: np.ndarray, axis: int) -> int:
    for i in range(data.size):
        output.flat[i] = data.flat[i]
    for i in range(indices.size):
        at, rest, stride = 0, i, 1
        for d in range(len(indices.shape) - 1, -1, -1):
            place = rest % indices.shape[d]
            rest //= indices.shape[d]
            if d == axis:
                place = int(indices.flat[i])
                if place < 0 or place >= data.shape[d]:
                    return 1
            at += place * stride
            stride *= data.shape[d]
        output.flat[at] = updates.flat[i]
    return 0


op(
    "Scatter",
    _scatter_infer,
    inputs="DATA INDICES UPDATES",
    outputs="OUTPUT",
    args=(Arg("axis", "int", 1, "the dimension that is indexed"),),
    loop=_scatter,
    constants=lambda call: [axis_of(call, call.arg("axis"), len(call.type(0).static_shape))],
    errors=(BAD_INDEX,),
    inplace=((0, 0),),
    doc="DATA with the elements at INDICES along axis replaced by UPDATES.",
)
