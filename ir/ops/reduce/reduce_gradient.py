"""Gradients of reductions: pointwise where no lengths are given, in the gradient spread out along what was reduced."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import (
    NUMERIC,
    Shape,
    agree,
    constant_ints,
    merge_shapes,
    product,
    require,
    require_rank,
    vector,
)
from graphc.ir.ops.reduce.reduce import (
    AVERAGE,
    AXES_ARGS,
    NORM_ARGS,
    NUM_DIMS,
    WRONG_LENGTH,
    check_lengths,
    check_norm,
    end_sizes,
    reduced_axes,
    reduced_ends,
    wrong_length,
)
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import UNKNOWN, DType, TensorType

FLOAT = (DType.FLOAT,)
SMALL = float(np.float32(1e-12))
"""Caffe2's kEps: what is nearer to zero has no sign, and no norm to divide by."""


def spread(call: Call, shape: Shape, axes: Sequence[int]) -> Shape:
    """``shape`` with one element along ``axes``."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape))


def _axes_infer(dtypes: Sequence[DType]) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        """dX has the type of X; dY and Y those of X reduced."""
        x = require(call, 1, dtypes)
        for i in (0, 2):
            other = require(call, i, dtypes)
            if x.dtype is not None and other.dtype is not None and x.dtype is not other.dtype:
                call.fail(f"{call.input_name(i)} is {other.dtype.text} and X is {x.dtype.text}", "insert a Cast")
            if x.shape is not None:
                axes = reduced_axes(call, len(x.shape))
                kept = spread(call, x.shape, axes)
                small = kept if call.arg("keepdims") else tuple(d for k, d in enumerate(x.shape) if k not in axes)
                merge_shapes(call, small, other.shape, f"{call.input_name(i)} has not the shape of X reduced")
        return [x]

    return infer


def _align_axes(call: Call, i: int) -> Shape:
    shape = call.type(1).shape or ()
    return shape if i == 1 else spread(call, shape, reduced_axes(call, len(shape)))


def _mean(o: ScalarOps, call: Call, dy: Expr, x: Expr, y: Expr) -> Expr:
    shape = call.type(1).static_shape
    count = math.prod(shape[i] for i in reduced_axes(call, len(shape)))
    return dy * o.const(1.0 / max(count, 1))


def _signed(o: ScalarOps, dy: Expr, x: Expr) -> Expr:
    return o.where(o.lt(o.const(SMALL), x), dy, o.where(o.lt(x, o.const(-SMALL)), -dy, o.const(0.0)))


def _l2(o: ScalarOps, call: Call, dy: Expr, x: Expr, y: Expr) -> Expr:
    return o.where(o.lt(y, o.const(SMALL)), dy, dy * x / y)


def _equal(o: ScalarOps, call: Call, dy: Expr, x: Expr, y: Expr) -> Expr:
    return o.where(o.eq(x, y), dy, o.const(0.0))


_AXES: tuple[tuple[str, Any, Sequence[DType], str], ...] = (
    ("Sum", lambda o, call, dy, x, y: dy, NUMERIC, "dY"),
    ("Mean", _mean, FLOAT, "dY divided by the number of elements"),
    ("Max", _equal, NUMERIC, "dY where X equals Y, else 0"),
    ("Min", _equal, NUMERIC, "dY where X equals Y, else 0"),
    ("L1", lambda o, call, dy, x, y: _signed(o, dy, x), FLOAT, "dY times the sign of X"),
    ("L2", _l2, FLOAT, "dY * X / Y; dY where Y is 0"),
)
for _name, _scalar, _dtypes, _doc in _AXES:
    op(
        f"Reduce{_name}Gradient",
        _axes_infer(_dtypes),
        inputs="dY X Y",
        outputs="dX",
        args=AXES_ARGS,
        scalar=_scalar,
        align=_align_axes,
        traits=Trait.POINTWISE | Trait.SIZED if _name == "Mean" else Trait.POINTWISE,
        family=__name__,
        doc=f"{_doc}, spread out along the reduced dimensions.",
    )


def _shape_given(call: Call) -> tuple[int, ...]:
    """The operand that is the shape of the reduced array, unless it is the array itself."""
    place = 2 if "Weighted" in call.node.op else 1
    integers = (None, DType.INT32, DType.INT64)
    return (place,) if call.has(place) and call.type(place).dtype in integers else ()


def _ends_shape(call: Call) -> tuple[Any, ...] | None:
    """The shape of dX: that of input 1, or its elements where it is a vector of int64; None while not known."""
    given = call.type(1)
    if given.dtype is not DType.INT64 or given.rank != 1:
        return given.shape
    known = constant_ints(call, 1)
    if known is not None and min(known, default=0) < 0:
        call.fail(f"the shape {list(known)} has a negative dimension")
    if known is None and given.is_static:
        return (UNKNOWN,) * given.static_shape[0]
    return known


def _ends_infer(call: Call) -> list[TensorType]:
    """dX has the dtype of dY and the shape of X (or the shape that input 1 is); lengths has one for each dY."""
    dy, shape = require(call, 0, NUMERIC), _ends_shape(call)
    if shape is None:
        return [dy.with_shape(None)]
    axes = reduced_ends(call, len(shape))
    if len(axes) > len(shape):
        call.fail(f"num_reduce_dim {len(axes)} is above the {len(shape)} dimensions of X")
    rest = tuple(d for i, d in enumerate(shape) if i not in axes)
    if dy.shape is not None:
        agree(call, product(dy.shape), product(rest), "number of elements of dY")
    if call.has(2):
        check_lengths(call, 2, product(rest))
    return [dy.with_shape(shape)]


def _result_sizes(call: Call) -> list[int]:
    """dX as a matrix whose first or second dimension was reduced."""
    shape = call.node.results[0].type.static_shape
    axes = reduced_ends(call, len(shape))
    cut = len(axes) if "Front" in call.node.op else len(shape) - len(axes)
    return [math.prod(shape[:cut]), math.prod(shape[cut:])]


def _ends_loop(dy: Any, x: Any, lengths: Any, dx: Any, rows: Any, cols: Any, front: Any, mean: Any, given: Any) -> int:
    count = rows if front else cols
    if given and wrong_length(lengths, count):
        return 1
    for r in range(rows):
        for c in range(cols):
            k, at = (c, r) if front else (r, c)
            if not given or at < lengths.flat[k]:
                dx.flat[r * cols + c] = dy.flat[k]
                if mean:
                    dx.flat[r * cols + c] = dy.flat[k] / np.float64(lengths.flat[k] if given else count)
    return 0


for _end in ("Front", "Back"):
    for _name in ("Sum", "Mean"):
        op(
            f"Reduce{_end}{_name}Gradient",
            _ends_infer,
            inputs="dY X lengths?",
            outputs="dX",
            args=NUM_DIMS,
            loop=_ends_loop,
            constants=lambda call: [
                *_result_sizes(call),
                int("Front" in call.node.op),
                int("Mean" in call.node.op),
                int(call.has(2)),
            ],
            shape_inputs=_shape_given,
            errors=(WRONG_LENGTH,),
            doc=f"dY spread out along the reduced dimensions{', divided by the number' * (_name == 'Mean')}.",
        )


def _ends_max_infer(call: Call) -> list[TensorType]:
    """dX has the type of X; dY and Y have one element for each row or column that was reduced."""
    x = require(call, 1, FLOAT)
    if x.shape is None:
        return [x]
    axes = reduced_ends(call, len(x.shape))
    if len(axes) > len(x.shape):
        call.fail(f"num_reduce_dim {len(axes)} is above the {len(x.shape)} dimensions of X")
    count = product(tuple(d for i, d in enumerate(x.shape) if i not in axes))
    for i in (0, 2):
        shape = require(call, i, FLOAT).shape
        if shape is not None:
            agree(call, product(shape), count, f"number of elements of {call.input_name(i)}")
    if call.has(3):
        check_lengths(call, 3, count)
    return [x]


def _ends_max_loop(dy: Any, x: Any, y: Any, lengths: Any, dx: Any, rows: Any, cols: Any, front: Any, given: Any) -> int:
    if given and wrong_length(lengths, rows if front else cols):
        return 1
    for r in range(rows):
        for c in range(cols):
            k, at = (c, r) if front else (r, c)
            if (not given or at < lengths.flat[k]) and x.flat[r * cols + c] == y.flat[k]:
                dx.flat[r * cols + c] = dy.flat[k]
    return 0


for _end in ("Front", "Back"):
    op(
        f"Reduce{_end}MaxGradient",
        _ends_max_infer,
        inputs="dY X Y lengths?",
        outputs="dX",
        args=NUM_DIMS,
        loop=_ends_max_loop,
        constants=lambda call: [*end_sizes(call, 1), int("Front" in call.node.op), int(call.has(3))],
        errors=(WRONG_LENGTH,),
        doc="dY where X equals Y, else 0.",
    )


def _matrix_infer(call: Call) -> list[TensorType]:
    """dX has the type of X (N, M, K); Y and dY are (N, M) for RowwiseMax, (N, K) for ColwiseMax."""
    x, shape = require(call, 0, FLOAT), require_rank(call, 0, 3)
    for i in (1, 2):
        other = require(call, i, FLOAT).shape
        if shape is not None:
            small = (shape[0], shape[1] if call.node.op == "RowwiseMaxGradient" else shape[2])
            merge_shapes(call, small, other, f"{call.input_name(i)} has not the shape of the maxima")
    return [x]


def _align_matrix(call: Call, i: int) -> Shape:
    shape = call.type(0).shape or ()
    return shape if i == 0 else spread(call, shape, (2 if call.node.op == "RowwiseMaxGradient" else 1,))


for _name in ("RowwiseMax", "ColwiseMax"):
    op(
        f"{_name}Gradient",
        _matrix_infer,
        inputs="X Y dY",
        outputs="dX",
        scalar=lambda o, call, x, y, dy: _equal(o, call, dy, x, y),
        align=_align_matrix,
        traits=Trait.POINTWISE,
        doc="dY where X equals Y, else 0.",
    )


def _everything_infer(call: Call) -> list[TensorType]:
    """dX has the type of X; the gradient is one element."""
    if call.opdef.has_arg("p"):
        check_norm(call)
    x, d = require(call, 0, FLOAT), require(call, 1, FLOAT)
    if d.shape is not None:
        agree(call, product(d.shape), 1, f"number of elements of {call.input_name(1)}")
    return [x]


def _align_one(call: Call, i: int) -> Shape:
    return (1,) * (call.type(0).rank or 0) if i else call.type(0).shape or ()


def _share(o: ScalarOps, call: Call, d: Expr) -> Expr:
    return d / o.const(float(max(call.type(0).size, 1))) if call.arg("average") else d


def _averages(call: Call) -> Trait:
    return Trait.SIZED if call.arg("average") else Trait.NONE


def _lp(o: ScalarOps, call: Call, x: Expr, d: Expr) -> Expr:
    d = _share(o, call, d)
    return _signed(o, d, x) if call.arg("p") == 1 else x * o.const(2.0) * d


op(
    "SumElementsGradient",
    _everything_infer,
    inputs="X dsum",
    outputs="dX",
    args=AVERAGE,
    scalar=lambda o, call, x, d: _share(o, call, d),
    align=_align_one,
    traits=Trait.POINTWISE,
    call_traits=_averages,
    doc="dsum for every element, divided by their number with average.",
)
op(
    "LpNormGradient",
    _everything_infer,
    inputs="X dout",
    outputs="dx",
    args=NORM_ARGS,
    scalar=_lp,
    align=_align_one,
    traits=Trait.POINTWISE,
    call_traits=_averages,
    doc="dout times the sign of X (p = 1) or times 2 X (p = 2).",
)


def _weighted_infer(call: Call) -> list[TensorType]:
    """dDATA has the shape that is the last input: a row for each scalar, and the elements of dOUTPUT in each."""
    scalars, d = require(call, 0, FLOAT), require(call, 1, FLOAT)
    require(call, 2, (DType.INT64,))
    require_rank(call, 2, 1)
    shape = constant_ints(call, 2)
    if shape is None:
        length = call.type(2).shape
        rank = length[0] if length is not None else UNKNOWN
        return [TensorType(DType.FLOAT, (UNKNOWN,) * rank if isinstance(rank, int) else None)]
    if not shape or min(shape) < 0:
        call.fail(f"the shape {list(shape)} has no first dimension, or a negative one")
    vector(call, 0, shape[0], "number of scalars")
    if d.shape is not None:
        agree(call, product(d.shape), product(shape[1:]), "number of elements of dOUTPUT")
    return [TensorType(scalars.dtype, shape)]


def _weighted_loop(scalars: Any, d: Any, shape: Any, dx: Any, grad_on_weights: Any) -> None:
    for r in range(scalars.size):
        for c in range(d.size):
            dx.flat[r * d.size + c] = scalars[r] * d.flat[c]


op(
    "ReduceFrontWeightedSumGradient",
    _weighted_infer,
    inputs="SCALARS dOUTPUT shape",
    outputs="dDATA",
    args=(Arg("grad_on_weights", "int", 0, "a gradient of the scalars is wanted: another operator gives it"),),
    loop=_weighted_loop,
    shape_inputs=_shape_given,
    doc="dOUTPUT times the scalar of each slice.",
)
