"""Putting tensors together and taking them apart: Concat, Split, Tile, Expand, Append.

Those that kernels of ``movement.py`` serve have their meaning in NumPy. Loops serve what these leave: a read
``split_info``, and parts repeated in any number of dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import (
    NUMERIC,
    Shape,
    agree,
    axis_of,
    bounded,
    broadcast_shapes,
    constant_ints,
    merge_shapes,
    require,
    require_rank,
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


def _concat(xs: Any, y: np.ndarray, info: np.ndarray, outer: int, axis: int, stacked: int) -> None:
    """outer: elements of the dimensions before the axis."""
    start, whole = 0, y.size // max(outer, 1)
    for k in range(len(xs)):
        x = xs[k]
        run = x.size // max(outer, 1)
        for o in range(outer):
            for j in range(run):
                y.flat[o * whole + start + j] = x.flat[o * run + j]
        start += run
        if info.size:
            info[k] = 1 if stacked else x.shape[axis]


def _concat_constants(call: Call) -> list[int]:
    stacked, rank = int(call.arg("add_axis")), call.type(0).rank or 0
    axis = join_axis(call, rank + stacked)
    return [math.prod(call.type(0).static_shape[:axis]), axis, stacked]


def strings_on_host(call: Call) -> Trait:
    """A tensor of strings is handled in Python, where no loop does it."""
    return Trait.HOST if call.type(0).dtype is DType.STRING else Trait.NONE


def _concat_traits(call: Call) -> Trait:
    alone = call.n_inputs == 1 and not call.arg("add_axis")
    return Trait.IDENTITY if alone else Trait.NONE


for _name in ("Concat", "DepthConcat"):
    op(
        _name,
        _concat_infer,
        inputs="X*",
        outputs="concat_result split_info?",
        args=(*AXIS_ARGS, Arg("add_axis", "int", 0, "stack along a new dimension")),
        loop=_concat,
        constants=_concat_constants,
        reference=_concat_reference,
        traits=Trait.BLOCKED if _name == "Concat" else Trait.NONE,
        call_traits=_concat_traits,
        doc="The inputs one after the other along a dimension; split_info has their sizes.",
    )


def split_sizes(call: Call, size: Dim) -> tuple[Dim, ...]:
    """Sizes of a Split call's outputs along its dimension of ``size``; fails unless they add up."""
    n, given = call.n_outputs, tuple(call.arg("split"))
    if n == 0:
        call.fail("it has no outputs", "name an output for each part")
    if call.has(1):
        if given:
            call.fail("the sizes are given twice", "give the argument split or the second input")
        shape = require_rank(call, 1, 1)
        agree(call, n if shape is None else shape[0], n, "number of sizes", "give each output its size")
        given = constant_ints(call, 1) or ()
    if call.arg("add_axis"):
        agree(call, size, n, "outputs of a Split with add_axis", "name an output for each part")
        return (1,) * n
    if call.has(1) and call.constant(1) is None:
        return (UNKNOWN,) * n
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


def _split_reference(call: Call, x: np.ndarray, *given: np.ndarray) -> Sequence[np.ndarray]:
    axis = join_axis(call, x.ndim)
    found = _parts(x, [int(str(d)) for d in split_sizes(call, x.shape[axis])], axis)
    return [p.squeeze(axis) for p in found] if call.arg("add_axis") else found


def _split_traits(call: Call) -> Trait:
    whole = call.n_outputs == 1 and not call.arg("add_axis")
    return strings_on_host(call) or (Trait.IDENTITY if whole else Trait.NONE)


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
        call_traits=_split_traits,
        shape_inputs=(1,),
        doc="Consecutive parts of the input along a dimension.",
    )


def _lengths_sizes(call: Call, size: Dim) -> list[Dim]:
    """Sizes of a SplitByLengths call's outputs along its dimension of ``size``; fails unless they add up."""
    n, shape, lengths = call.n_outputs, require_rank(call, 1, 1), constant_ints(call, 1)
    if n == 0:
        call.fail("it has no outputs", "name an output for each part")
    if shape is not None and isinstance(shape[0], int) and shape[0] % n:
        call.fail(f"{shape[0]} lengths cannot be divided among {n} outputs", "give a multiple of the outputs")
    if lengths is None:
        return [UNKNOWN] * n
    if min(lengths, default=0) < 0:
        call.fail(f"lengths {list(lengths)} has a negative one")
    share = len(lengths) // n
    sizes = [sum(lengths[i * share : (i + 1) * share]) for i in range(n)]
    if call.arg("use_scaling_lengths") and isinstance(size, int):
        sizes = [part * (size // max(sum(sizes), 1)) for part in sizes]
    agree(call, sum(sizes), size, "sum of the lengths", "the parts must cover the input")
    return list(sizes)


def _lengths_infer(call: Call) -> list[TensorType]:
    """Outputs: parts of the input along ``axis`` whose sizes are known only when the lengths are."""
    x = call.type(0)
    require(call, 1, (DType.INT32,))
    if x.shape is None:
        return [x] * call.n_outputs
    axis = join_axis(call, len(x.shape))
    sizes = _lengths_sizes(call, x.shape[axis])
    return [x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])) for size in sizes]


def _lengths_reference(call: Call, x: np.ndarray, lengths: np.ndarray) -> Sequence[np.ndarray]:
    axis = join_axis(call, x.ndim)
    return _parts(x, [int(str(size)) for size in _lengths_sizes(call, x.shape[axis])], axis)


op(
    "SplitByLengths",
    _lengths_infer,
    inputs="input lengths",
    outputs="output*",
    args=(*AXIS_ARGS, Arg("use_scaling_lengths", "int", 0, "lengths are multiplied to cover the input")),
    reference=_lengths_reference,
    call_traits=strings_on_host,
    shape_inputs=(1,),
    doc="Consecutive parts of the input along a dimension; each output takes an equal share of the lengths.",
)


def _tile_args(call: Call) -> tuple[int, int] | None:
    """tiles and axis of a Tile call; None where one is an input that is not known yet."""
    values = []
    for i, name in ((1, "tiles"), (2, "axis")):
        if call.has(i):
            require(call, i, INTS)
            data = constant_ints(call, i)
            if data is None:
                return None
            if len(data) != 1:
                call.fail(f"{name} has {len(data)} elements, 1 is needed")
            values.append(data[0])
        else:
            values.append(call.arg(name))
    return bounded(call, values[0], 0, "tiles"), values[1]


def _tile_infer(call: Call) -> list[TensorType]:
    """Y: X repeated ``tiles`` times along ``axis``."""
    x, args = require(call, 0, (*NUMERIC, DType.STRING)), _tile_args(call)
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
    call_traits=strings_on_host,
    shape_inputs=(1, 2),
    doc="X repeated along a dimension.",
)


def _numpy_tile_infer(call: Call) -> list[TensorType]:
    """Y: X repeated along every dimension as the second input says."""
    x, repeats = call.type(0), constant_ints(call, 1)
    require(call, 1, INTS)
    if x.shape is None:
        return [x]
    if not x.shape:
        call.fail("X is a scalar, it needs a dimension")
    if repeats is None:
        return [x.with_shape((UNKNOWN,) * len(x.shape))]
    if len(repeats) != len(x.shape):
        call.fail(f"{len(repeats)} repeats do not fit {len(x.shape)} dimensions")
    return [x.with_shape(tuple(d * bounded(call, r, 0, "repeats") for d, r in zip(x.shape, repeats)))]


def _numpy_tile(x: np.ndarray, repeats: np.ndarray, y: np.ndarray) -> None:
    last = len(x.shape) - 1
    run, n = y.shape[last], x.shape[last]
    for row in range(y.size // max(run, 1)):
        at, rest, stride = 0, row, n
        for d in range(last - 1, -1, -1):
            at += rest % y.shape[d] % x.shape[d] * stride
            rest //= y.shape[d]
            stride *= x.shape[d]
        for start in range(row * run, row * run + run, n):
            for j in range(n):
                y.flat[start + j] = x.flat[at + j]


op(
    "NumpyTile",
    _numpy_tile_infer,
    inputs="X repeats",
    outputs="Y",
    loop=_numpy_tile,
    shape_inputs=(1,),
    doc="X repeated along every dimension, as numpy.tile does.",
)


def _expand_target(call: Call) -> Shape | None:
    """What X is broadcast with, 1 for what is below; None while its rank is unknown."""
    given = call.arg("shape")
    if call.has(1):
        require(call, 1, INTS)
        given = constant_ints(call, 1)
        if given is None:
            return (UNKNOWN,) * call.type(1).size if call.type(1).is_static else None
    return tuple(bounded(call, max(d, 1), 1, "shape") for d in given)


def _expand_infer(call: Call) -> list[TensorType]:
    """Y: X broadcast with a shape by NumPy's rules; X keeps its size where the shape has a number below 1."""
    return [call.type(0).with_shape(broadcast_shapes(call, call.type(0).shape, _expand_target(call)))]


def _expand_reference(call: Call, x: np.ndarray, *args: np.ndarray) -> Sequence[np.ndarray]:
    given = args[0].ravel().tolist() if args else call.arg("shape")
    target = tuple(bounded(call, max(d, 1), 1, "shape") for d in given)
    y = call.type(0).with_shape(broadcast_shapes(call, x.shape, target))
    return [np.broadcast_to(x, y.static_shape).copy()]


op(
    "Expand",
    _expand_infer,
    inputs="X shape?",
    outputs="Y",
    args=(Arg("shape", "ints", (), "the shape, where there is no second input"),),
    reference=_expand_reference,
    call_traits=strings_on_host,
    shape_inputs=(1,),
    doc="X broadcast to a shape.",
)


def _append_infer(call: Call) -> list[TensorType]:
    """A: the rows of A and those of B; of a vector without elements those of B alone."""
    a, b = call.type(0), call.type(1)
    if a.dtype is not b.dtype:
        call.fail("A and B have different types of elements", "insert a Cast")
    if a.shape is None or b.shape is None:
        return [a.with_shape(None)]
    if not b.shape:
        call.fail("B is a scalar, it needs rows")
    if a.shape and a.shape[0] == 0:
        return [b]
    if len(a.shape) != len(b.shape):
        call.fail(f"A has {len(a.shape)} dimensions and B {len(b.shape)}, as many are needed")
    tail = merge_shapes(call, a.shape[1:], b.shape[1:], "shapes of the rows of A and B") or ()
    return [a.with_shape((a.shape[0] + b.shape[0], *tail))]


def _append(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    for i in range(a.size):
        y.flat[i] = a.flat[i]
    for i in range(b.size):
        y.flat[a.size + i] = b.flat[i]


def _append_reference(call: Call, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
    return [np.concatenate([a, b]) if len(a) else b]


op(
    "Append",
    _append_infer,
    inputs="A B",
    outputs="A",
    loop=_append,
    reference=_append_reference,
    enforced=((0, 0),),
    doc="The rows of A, then those of B.",
)
