"""Choosing elements by index: Gather, OneHot, TopK, ArgMax, Scatter. Every index that comes from data is checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import NUMERIC, Shape, agree, axis_of, bounded, constant_ints, product, require, require_rank
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

INTS = (DType.INT32, DType.INT64)


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


_MATCH = Arg("match_outer", "int", 0, "the indices have DATA's dimensions before axis, and choose within them")
op(
    "Gather",
    _gather_infer,
    inputs="DATA INDICES",
    outputs="OUTPUT",
    args=(
        Arg("axis", "int", 0, "the dimension that is indexed"),
        _MATCH,
        Arg("wrap_indices", "int", 0, "negative indices count from the end"),
    ),
    reference=_gather_reference,
    doc="Slices of DATA, chosen by index.",
)
op(
    "BatchGather",
    _gather_infer,
    inputs="DATA INDICES",
    outputs="OUTPUT",
    args=(_MATCH,),
    reference=_gather_reference,
    doc="Slices of every element of a batch, chosen by index along dimension 1.",
)


def _one_hot_infer(call: Call) -> list[TensorType]:
    """one_hots: float (number of indices, size)."""
    require(call, 0, (DType.INT64,))
    require(call, 1, (DType.INT64,))
    shape = require_rank(call, 0, 1)
    size = constant_ints(call, 1)
    depth: Dim = UNKNOWN if size is None else bounded(call, size[0], 0, "index_size_tensor")
    return [TensorType(DType.FLOAT, (UNKNOWN if shape is None else shape[0], depth))]


def _one_hot_reference(call: Call, indices: np.ndarray, size: np.ndarray) -> Sequence[np.ndarray]:
    depth = bounded(call, int(size.ravel()[0]), 0, "index_size_tensor")
    y = np.zeros((indices.size, depth), np.float32)
    y[np.arange(indices.size), checked_indices(call, indices, depth)] = 1
    return [y]


op(
    "OneHot",
    _one_hot_infer,
    inputs="indices index_size_tensor",
    outputs="one_hots",
    reference=_one_hot_reference,
    doc="A row for every index: 1 at the index, else 0.",
)


def _top_count(call: Call) -> int | None:
    """How many elements a TopK call wants; None where that is an input that is not a weight."""
    if not call.has(1):
        return bounded(call, call.arg("k"), 1, "k")
    require(call, 1, INTS)
    k = constant_ints(call, 1)
    return None if k is None else bounded(call, k[0], 1, "k")


def _top_infer(call: Call) -> list[TensorType]:
    """Values and int64 indices: X with the dimension ``axis`` cut to k; flattened indices: as a vector."""
    x, k = require(call, 0), _top_count(call)
    if x.shape is None:
        return [x, TensorType(DType.INT64), TensorType(DType.INT64, (UNKNOWN,))]
    axis = axis_of(call, call.arg("axis"), len(x.shape))
    shape: Shape = (*x.shape[:axis], UNKNOWN if k is None else k, *x.shape[axis + 1 :])
    return [x.with_shape(shape), TensorType(DType.INT64, shape), TensorType(DType.INT64, (product(shape),))]


def _top_reference(call: Call, x: np.ndarray, *count: np.ndarray) -> Sequence[np.ndarray]:
    k = bounded(call, int(count[0].ravel()[0]) if count else call.arg("k"), 1, "k")
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


op(
    "TopK",
    _top_infer,
    inputs="X k?",
    outputs="Values Indices Flattened_indices?",
    args=(
        Arg("k", "int", -1, "how many, where there is no second input"),
        Arg("axis", "int", -1, "along which dimension"),
    ),
    reference=_top_reference,
    doc="The k largest elements in descending order, of equal ones the first; missing ones are 0 at index -1.",
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
    axis_of(call, call.arg("axis"), len(data.shape))
    if not len(data.shape) == len(indices) == len(updates):
        call.fail("DATA, INDICES and UPDATES have different numbers of dimensions")
    for i, u in zip(indices, updates):
        agree(call, u, i, "dimensions of UPDATES and INDICES")
    return [data]


def _scatter_reference(call: Call, data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> Sequence[np.ndarray]:
    axis = axis_of(call, call.arg("axis"), data.ndim)
    grid: list[np.ndarray] = list(np.indices(indices.shape))
    grid[axis] = checked_indices(call, indices, data.shape[axis])
    y = data.copy()
    y[tuple(grid)] = updates
    return [y]


op(
    "Scatter",
    _scatter_infer,
    inputs="DATA INDICES UPDATES",
    outputs="OUTPUT",
    args=(Arg("axis", "int", 1, "the dimension that is indexed"),),
    reference=_scatter_reference,
    inplace=((0, 0),),
    doc="DATA with the elements at INDICES along axis replaced by UPDATES.",
)
