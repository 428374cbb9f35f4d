"""Putting tensors together and taking them apart: Concat, Split, Slice, Tile, Expand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import (
    Shape,
    agree,
    axis_of,
    bounded,
    broadcast_shapes,
    constant_ints,
    require,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

INTS = (DType.INT32, DType.INT64)
AXIS_ARGS = (
    Arg("axis", "int", None, "the dimension; default: that of the channels in ``order``"),
    Arg("order", "string", b"NCHW", "NCHW: dimension 1, NHWC: dimension 3"),
)


def join_axis(call: Call, rank: int) -> int:
    """The dimension along which a Concat or Split call works, of ``rank`` dimensions; fails outside them."""
    if call.given("axis"):
        if call.given("order"):
            call.fail("axis and order exclude each other", "remove one of them")
        return axis_of(call, call.arg("axis"), rank)
    order = call.arg("order")
    if order not in ("NCHW", "NHWC"):
        call.fail(f"order '{order}' is not known", "use NCHW or NHWC, or give axis")
    return axis_of(call, 1 if order == "NCHW" else 3, rank)


def _one_dtype(call: Call) -> DType | None:
    dtypes = [t for t in (call.type(i).dtype for i in range(call.n_inputs)) if t is not None]
    for t in dtypes:
        if t is not dtypes[0]:
            call.fail(f"the inputs are of the types {dtypes[0].text} and {t.text}", "insert a Cast")
    return dtypes[0] if dtypes else None


def _concat_infer(call: Call) -> list[TensorType]:
    """concat_result: the inputs along ``axis`` (``add_axis``: a new one); split_info: their sizes there, int32."""
    if call.n_inputs < 1:
        call.fail("there are no inputs", "give at least one")
    dtype = _one_dtype(call)
    info = TensorType(DType.INT32, (call.n_inputs,))
    shapes = [call.type(i).shape for i in range(call.n_inputs)]
    known = [s for s in shapes if s is not None]
    if not known:
        return [TensorType(dtype), info]
    rank, added = len(known[0]), bool(call.arg("add_axis"))
    axis = join_axis(call, rank + added)
    out = list(known[0])
    for s in known:
        if len(s) != rank:
            call.fail(f"the inputs have {rank} and {len(s)} dimensions", "all inputs need as many")
        for i, d in enumerate(s):
            if i != axis or added:
                out[i] = agree(call, d, out[i], f"dimension {i} of the inputs", "only the joined dimension may differ")
    if added:
        return [TensorType(dtype, (*out[:axis], call.n_inputs, *out[axis:])), info]
    total: Dim = UNKNOWN if len(known) < len(shapes) else 0
    for s in known:
        total = s[axis] + total
    return [TensorType(dtype, (*out[:axis], total, *out[axis + 1 :])), info]


def _concat_reference(call: Call, *xs: np.ndarray) -> Sequence[np.ndarray]:
    if call.arg("add_axis"):
        return [np.stack(xs, join_axis(call, xs[0].ndim + 1)), np.ones(len(xs), np.int32)]
    axis = join_axis(call, xs[0].ndim)
    return [np.concatenate(xs, axis), np.array([x.shape[axis] for x in xs], np.int32)]


for _name in ("Concat", "DepthConcat"):
    op(
        _name,
        _concat_infer,
        inputs="X*",
        outputs="concat_result split_info?",
        args=(*AXIS_ARGS, Arg("add_axis", "int", 0, "stack along a new dimension")),
        reference=_concat_reference,
        traits=Trait.BLOCKED if _name == "Concat" else Trait.NONE,
        call_traits=lambda call: Trait.NONE if call.n_inputs > 1 or call.arg("add_axis") else Trait.IDENTITY,
        doc="The inputs one after the other along a dimension; split_info has their sizes.",
    )


def split_sizes(call: Call, size: Dim) -> tuple[Dim, ...]:
    """Sizes of a Split call's outputs along its dimension of ``size``; fails unless they add up."""
    n, given = call.n_outputs, tuple(call.arg("split"))
    if call.has(1):
        if given:
            call.fail("the sizes are given twice", "give the argument split or the second input")
        sizes = constant_ints(call, 1)
        if sizes is None:
            return (UNKNOWN,) * n
        given = sizes
    if call.arg("add_axis"):
        agree(call, size, n, "outputs of a Split with add_axis", "name an output for each part")
        return (1,) * n
    if not given:
        if isinstance(size, int) and size % n:
            call.fail(f"{size} cannot be divided into {n} equal parts", "give split, the sizes of the parts")
        return (size // n,) * n
    if len(given) != n or min(given) < 0:
        call.fail(f"split {list(given)} does not give {n} outputs their sizes")
    agree(call, sum(given), size, "sum of split", "the parts must cover the input")
    return given


def _split_infer(call: Call) -> list[TensorType]:
    """Outputs: consecutive parts of the input along ``axis``; with ``add_axis`` without that dimension."""
    x = call.type(0)
    if x.shape is None:
        return [x] * call.n_outputs
    axis = join_axis(call, len(x.shape))
    middle = [() if call.arg("add_axis") else (d,) for d in split_sizes(call, x.shape[axis])]
    return [x.with_shape((*x.shape[:axis], *m, *x.shape[axis + 1 :])) for m in middle]


def _parts(x: np.ndarray, sizes: Sequence[int], axis: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(p) for p in np.split(x, np.cumsum(sizes)[:-1], axis)]


def _split_reference(call: Call, x: np.ndarray, *sizes: np.ndarray) -> Sequence[np.ndarray]:
    axis = join_axis(call, x.ndim)
    wanted = [int(s) for s in sizes[0]] if sizes else [int(str(d)) for d in split_sizes(call, x.shape[axis])]
    if sum(wanted) != x.shape[axis]:
        call.fail(f"the sizes {wanted} do not add up to {x.shape[axis]}")
    found = _parts(x, wanted, axis)
    return [p.squeeze(axis) for p in found] if call.arg("add_axis") else found


for _name in ("Split", "DepthSplit"):
    op(
        _name,
        _split_infer,
        inputs="input split?",
        outputs="output*",
        args=(
            *AXIS_ARGS,
            Arg("split", "ints", (), "sizes of the parts; default: equal parts"),
            Arg("add_axis", "int", 0, "every part is one element, and the dimension is removed"),
        ),
        reference=_split_reference,
        call_traits=lambda call: Trait.NONE if call.n_outputs > 1 or call.arg("add_axis") else Trait.IDENTITY,
        doc="Consecutive parts of the input along a dimension.",
    )


def _lengths_infer(call: Call) -> list[TensorType]:
    """Outputs: parts of the input along ``axis`` whose sizes are known only when the lengths are."""
    x = call.type(0)
    require(call, 1, (DType.INT32,))
    if x.shape is None:
        return [x] * call.n_outputs
    axis = join_axis(call, len(x.shape))
    return [x.with_shape((*x.shape[:axis], UNKNOWN, *x.shape[axis + 1 :]))] * call.n_outputs


def _lengths_reference(call: Call, x: np.ndarray, lengths: np.ndarray) -> Sequence[np.ndarray]:
    axis, n = join_axis(call, x.ndim), call.n_outputs
    if lengths.size % n:
        call.fail(f"{lengths.size} lengths cannot be divided among {n} outputs", "give a multiple of the outputs")
    sizes = lengths.reshape(n, lengths.size // n).sum(axis=1)
    if call.arg("use_scaling_lengths"):
        sizes = sizes * (x.shape[axis] // max(int(sizes.sum()), 1))
    if int(sizes.sum()) != x.shape[axis]:
        call.fail(f"the lengths add up to {int(sizes.sum())}, not to {x.shape[axis]}")
    return _parts(x, [int(s) for s in sizes], axis)


op(
    "SplitByLengths",
    _lengths_infer,
    inputs="input lengths",
    outputs="output*",
    args=(*AXIS_ARGS, Arg("use_scaling_lengths", "int", 0, "lengths are multiplied to cover the input")),
    reference=_lengths_reference,
    doc="Consecutive parts of the input along a dimension; each output takes an equal share of the lengths.",
)


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
    require(call, 1, INTS)
    require(call, 2, INTS)
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
    starts, ends = ([int(v) for v in b] for b in bounds) if bounds else (call.arg("starts"), call.arg("ends"))
    return [x[tuple(slice(*b) for b in slice_bounds(call, x.shape, starts, ends))].copy()]


op(
    "Slice",
    _slice_infer,
    inputs="X starts? ends?",
    outputs="Y",
    args=(
        Arg("starts", "ints", (), "first elements; the dimensions that are left out are whole"),
        Arg("ends", "ints", (), "one behind the last elements; -1 is the end of the dimension"),
    ),
    reference=_slice_reference,
    doc="A part of X.",
)


def _tile_args(call: Call) -> tuple[int, int] | None:
    values = []
    for i, name in ((1, "tiles"), (2, "axis")):
        if call.has(i):
            require(call, i, INTS)
            data = constant_ints(call, i)
            if data is None:
                return None
            values.append(data[0])
        else:
            values.append(call.arg(name))
    return bounded(call, values[0], 0, "tiles"), values[1]


def _tile_infer(call: Call) -> list[TensorType]:
    """Y: X repeated ``tiles`` times along ``axis``."""
    x, args = call.type(0), _tile_args(call)
    if x.shape is None:
        return [x]
    if args is None:
        return [x.with_shape((UNKNOWN,) * len(x.shape))]
    tiles, axis = args[0], axis_of(call, args[1], len(x.shape))
    return [x.with_shape((*x.shape[:axis], x.shape[axis] * tiles, *x.shape[axis + 1 :]))]


def _tile_reference(call: Call, x: np.ndarray, *args: np.ndarray) -> Sequence[np.ndarray]:
    tiles = int(args[0].ravel()[0]) if args else call.arg("tiles")
    axis = int(args[1].ravel()[0]) if len(args) > 1 else call.arg("axis")
    repeats = [1] * x.ndim
    repeats[axis_of(call, axis, x.ndim)] = bounded(call, tiles, 0, "tiles")
    return [np.tile(x, repeats)]


op(
    "Tile",
    _tile_infer,
    inputs="X tiles? axis?",
    outputs="Y",
    args=(Arg("tiles", "int", 1, "how often"), Arg("axis", "int", 0, "along which dimension")),
    reference=_tile_reference,
    doc="X repeated along a dimension.",
)


def _numpy_tile_infer(call: Call) -> list[TensorType]:
    """Y: X repeated along every dimension as the second input says."""
    x, repeats = call.type(0), constant_ints(call, 1)
    require(call, 1, INTS)
    if x.shape is None:
        return [x]
    if repeats is None:
        return [x.with_shape((UNKNOWN,) * len(x.shape))]
    if len(repeats) != len(x.shape):
        call.fail(f"{len(repeats)} repeats do not fit {len(x.shape)} dimensions")
    return [x.with_shape(tuple(d * bounded(call, r, 0, "repeats") for d, r in zip(x.shape, repeats)))]


op(
    "NumpyTile",
    _numpy_tile_infer,
    inputs="X repeats",
    outputs="Y",
    reference=lambda call, x, repeats: [np.tile(x, [int(r) for r in repeats])],
    doc="X repeated along every dimension, as numpy.tile does.",
)


def _expand_target(call: Call) -> tuple[int, ...] | None:
    if call.has(1):
        require(call, 1, INTS)
        return constant_ints(call, 1)
    return tuple(call.arg("shape"))


def _expand_infer(call: Call) -> list[TensorType]:
    """Y: X broadcast with a shape by NumPy's rules."""
    x, target = call.type(0), _expand_target(call)
    if target is None or x.shape is None:
        return [x.with_shape(None)]
    shape: Shape = tuple(bounded(call, d, 0, "shape") for d in target)
    return [x.with_shape(broadcast_shapes(call, x.shape, shape))]


def _expand_reference(call: Call, x: np.ndarray, *shape: np.ndarray) -> Sequence[np.ndarray]:
    target = tuple(int(d) for d in shape[0]) if shape else tuple(call.arg("shape"))
    return [np.broadcast_to(x, np.broadcast_shapes(x.shape, target)).copy()]


op(
    "Expand",
    _expand_infer,
    inputs="X shape?",
    outputs="Y",
    args=(Arg("shape", "ints", (), "the shape, where there is no second input"),),
    reference=_expand_reference,
    doc="X broadcast to a shape.",
)
