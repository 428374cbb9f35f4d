"""Slices: parts of a tensor between bounds in each dimension, and the gradient of taking them.

Caffe2 slices along one dimension at a time; here as many may be cut as have bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import constant_ints, require, require_rank
from graphc.ir.ops._updates import INTS
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType


def slice_bounds(
    call: Call, shape: tuple[int, ...], starts: Sequence[int], ends: Sequence[int]
) -> list[tuple[int, int]]:
    """(start, end) of every dimension. Negative bounds count from one behind the end: -1 is the end itself."""
    if len(starts) != len(ends) or len(starts) > len(shape):
        call.fail(
            f"{len(starts)} starts and {len(ends)} ends do not fit {len(shape)} dimensions", "give as many of both"
        )
    out = []
    for i, size in enumerate(shape):
        start, end = (starts[i], ends[i]) if i < len(starts) else (0, size)
        low, high = (min(size + 1 + v if v < 0 else v, size) for v in (start, end))
        if size and not 0 <= low <= high:
            call.fail(f"the slice {start}:{end} of dimension {i} ({size} elements) is not one", "use start <= end")
        out.append((low, high) if size else (0, 0))
    return out


def _slice_args(call: Call) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """starts and ends; None where they are inputs that are not weights."""
    if call.has(1) != call.has(2):
        call.fail("starts is an input and ends is not", "give both as inputs or both as arguments")
    if not call.has(1):
        return tuple(call.arg("starts")), tuple(call.arg("ends"))
    for i in (1, 2):
        require(call, i, INTS)
        require_rank(call, i, 1)
    starts, ends = constant_ints(call, 1), constant_ints(call, 2)
    return None if starts is None or ends is None else (starts, ends)


def _slice_dim(call: Call, d: Dim, start: int, end: int) -> Dim:
    if isinstance(d, int):
        ((low, high),) = slice_bounds(call, (d,), (start,), (end,))
        return high - low
    if start == 0 and end < 0:
        return d + (1 + end)
    return UNKNOWN


def _slice_infer(call: Call) -> list[TensorType]:
    """Y: the part of X from starts to ends in each dimension."""
    x, bounds = call.type(0), _slice_args(call)
    if x.shape is None:
        return [x]
    if bounds is None:
        return [x.with_shape((UNKNOWN,) * len(x.shape))]
    starts, ends = bounds
    if len(starts) != len(ends) or len(starts) > len(x.shape):
        call.fail(f"{len(starts)} starts and {len(ends)} ends do not fit {len(x.shape)} dimensions")
    head = tuple(_slice_dim(call, d, s, e) for d, s, e in zip(x.shape, starts, ends))
    return [x.with_shape(head + x.shape[len(head) :])]


def _slice_reference(call: Call, x: np.ndarray, *bounds: np.ndarray) -> Sequence[np.ndarray]:
    starts, ends = ([int(v) for v in b.flat] for b in bounds) if bounds else (call.arg("starts"), call.arg("ends"))
    return [x[tuple(slice(*b) for b in slice_bounds(call, x.shape, starts, ends))].copy()]


def _bounds(bounds: np.ndarray, size: Any, part: Any, starts: Any, ends: Any, n: int) -> bool:
    """Write where the part begins in each dimension of ``size``; false if the bounds do not give it that shape."""
    rank = bounds.size
    if n > rank:
        return False
    for d in range(rank):
        low, high = 0, size[d]
        if d < n:
            low, high = int(starts[d]), int(ends[d])
            low = min(low + size[d] + 1 if low < 0 else low, size[d])
            high = min(high + size[d] + 1 if high < 0 else high, size[d])
        if size[d] > 0 and (low < 0 or high - low != part[d]):
            return False
        bounds[d] = low
    return True


def _slice(x: np.ndarray, starts: np.ndarray, ends: np.ndarray, y: np.ndarray, bounds: np.ndarray, rank: int) -> int:
    """Where the bounds are inputs; else a kernel moves the part."""
    if starts.size != ends.size or not _bounds(bounds, x.shape, y.shape, starts.flat, ends.flat, starts.size):
        return 1
    last = rank - 1
    run = y.shape[last]
    for row in range(y.size // max(run, 1)):
        at, rest, stride = bounds[last], row, x.shape[last]
        for d in range(last - 1, -1, -1):
            at += (bounds[d] + rest % y.shape[d]) * stride
            rest //= y.shape[d]
            stride *= x.shape[d]
        for j in range(run):
            y.flat[row * run + j] = x.flat[at + j]
    return 0


def _bounds_scratch(call: Call) -> list[TensorType]:
    return [TensorType(DType.INT64, (call.type(0).rank or 0,))]


op(
    "Slice",
    _slice_infer,
    inputs="X starts? ends?",
    outputs="Y",
    args=(
        Arg("starts", "ints", (), "first elements; the dimensions that are left out are whole"),
        Arg("ends", "ints", (), "one behind the last elements; -1 is the end of the dimension"),
    ),
    loop=_slice,
    constants=lambda call: [call.type(0).rank or 0],
    scratch=_bounds_scratch,
    errors=("starts and ends are no bounds of a part of X",),
    reference=_slice_reference,
    shape_inputs=(1, 2),
    doc="A part of X.",
)


def _slice_gradient_infer(call: Call) -> list[TensorType]:
    """dX: as X. Of four inputs the two in the middle are the bounds."""
    x, last = call.type(0), call.n_inputs - 1
    if last not in (1, 3):
        call.fail(f"{call.n_inputs} inputs, give X and dY, and between them starts and ends or neither")
    if last == 3:
        for i in (1, 2):
            require(call, i, INTS)
            require_rank(call, i, 1)
    elif len(call.arg("starts")) != len(call.arg("ends")):
        call.fail(f"{len(call.arg('starts'))} starts and {len(call.arg('ends'))} ends", "give as many of both")
    grad = call.type(last)
    if grad.dtype is not x.dtype:
        call.fail("X and dY have different types of elements", "insert a Cast")
    if x.rank == 0 or (grad.rank is not None and x.rank is not None and grad.rank != x.rank):
        call.fail(f"X has {x.rank} dimensions and dY {grad.rank}, as many are needed and at least one")
    return [x]


def _place(x: np.ndarray, dy: np.ndarray, dx: np.ndarray, bounds: np.ndarray, starts: Any, ends: Any, n: int) -> int:
    """dy becomes the part of dx between the bounds, of which ``n`` dimensions have one."""
    rank = len(x.shape)
    if len(dy.shape) != rank or not _bounds(bounds, x.shape, dy.shape, starts, ends, n):
        return 1
    for i in range(dy.size if x.size else 0):
        at, rest, stride = 0, i, 1
        for d in range(rank - 1, -1, -1):
            at += (bounds[d] + rest % dy.shape[d]) * stride
            rest //= dy.shape[d]
            stride *= x.shape[d]
        dx.flat[at] = dy.flat[i]
    return 0


def _slice_gradient(
    x: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    dx: np.ndarray,
    bounds: np.ndarray,
    starts: Any,
    ends: Any,
    n: int,
) -> int:
    """n: number of bounds among the arguments, -1 where they are inputs."""
    if n >= 0:
        return _place(x, first, dx, bounds, starts, ends, n)
    return _place(x, third, dx, bounds, first.flat, second.flat, first.size) if first.size == second.size else 1


def _slice_gradient_constants(call: Call) -> list[Any]:
    starts, ends = tuple(call.arg("starts")), tuple(call.arg("ends"))
    return [starts or (0,), ends or (0,), -1 if call.n_inputs == 4 else len(starts)]


op(
    "SliceGradient",
    _slice_gradient_infer,
    inputs="X dY_or_starts ends? dY?",
    outputs="dX",
    args=(Arg("starts", "ints", ()), Arg("ends", "ints", ())),
    loop=_slice_gradient,
    constants=_slice_gradient_constants,
    scratch=_bounds_scratch,
    errors=("the bounds are none of X, or their part of X has another shape than dY",),
    doc="Gradient of Slice: dY at its place, else 0.",
)
