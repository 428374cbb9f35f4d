"""Reductions: over given axes, leading or trailing dimensions, everything, rows, and towards another shape.

Those of large arrays have a NumPy reference besides their loop, which Python would run for hours where a whole net is
evaluated; a kernel rule serves float32, the loop the other types and arrays without elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.loops import run_loop
from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import (
    FLOATS,
    NUMERIC,
    Shape,
    agree,
    axis_of,
    bounded,
    count_of,
    merge_shapes,
    product,
    require,
    require_rank,
    vector,
)
from graphc.ir.ops._walk import advance, kept_flags, offset, set_steps, steps_type
from graphc.ir.ops.elementwise.arithmetic import LEGACY_ARGS, aligned_at_axis
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

AXES_ARGS = (
    Arg("axes", "ints", (), "the dimensions; default: all"),
    Arg("keepdims", "int", 1, "they stay, with 1 element"),
)


def reduced_axes(call: Call, rank: int) -> tuple[int, ...]:
    """The dimensions that a Reduce* call sums over, counted from the front and sorted; fails outside the input."""
    axes = sorted({axis_of(call, a, rank, "axes") for a in call.arg("axes")})
    return tuple(axes) or tuple(range(rank))


def reduced_shape(call: Call, shape: Shape | None) -> Shape | None:
    """The shape of an input without its reduced dimensions, or with ones in their place."""
    if shape is None:
        return None
    axes = reduced_axes(call, len(shape))
    keep = call.arg("keepdims")
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)


def _flops(call: Call) -> int:
    """One for each element of the input."""
    return call.type(0).size


SUM, MEAN, MAX, MIN, L1, L2, SQUARES = range(7)
"""What a reduction computes, as its loop knows it."""
WHOLE = (DType.INT32, DType.INT64)


def sums_type(x: TensorType, size: int) -> TensorType:
    """Scratch in which elements of a type are summed up: int64 or double."""
    return TensorType(DType.INT64 if x.dtype in WHOLE else DType.DOUBLE, (size,))


def _start(what: int, x: TensorType) -> int | float:
    """What a reduction begins with; maxima and minima of nothing are Caffe2's lowest and greatest value."""
    kind = x.dtype.numpy if x.dtype is not None else np.dtype(np.float32)
    if what not in (MAX, MIN):
        return 0 if x.dtype in WHOLE else 0.0
    if x.dtype in WHOLE:
        bits = 8 * kind.itemsize - 1
        return -(1 << bits) if what == MAX else (1 << bits) - 1
    end = math.inf if x.size else float(np.finfo(kind).max)
    return -end if what == MAX else end


def reduce_loop(x: Any, y: Any, steps: Any, total: Any, kept: Any, what: Any, start: Any, divisor: Any) -> None:
    """Reduce x over the dimensions that are not kept; NaN prevails in maxima and minima."""
    shape = (1,) + x.shape  # noqa: RUF005  # Numba has no unpacking
    set_steps(steps, 1, shape, kept)
    run, step = shape[len(shape) - 1], steps[1, len(shape) - 1]
    for i in range(total.size):
        total[i] = start
    for r in range(x.size // max(run, 1)):
        at = offset(steps, 1)
        for i in range(run):
            k = at + i * step
            value = x.flat[r * run + i]
            if what == MAX:
                if value > total[k] or value != value:
                    total[k] = value
            elif what == MIN:
                if value < total[k] or value != value:
                    total[k] = value
            elif what == L1:
                total[k] += abs(value)
            elif what in (L2, SQUARES):
                total[k] += value * value
            else:
                total[k] += value
        advance(steps, shape)
    for i in range(total.size):
        if what == L2:
            y.flat[i] = math.sqrt(total[i])
        elif divisor > 1:
            y.flat[i] = total[i] / divisor
        else:
            y.flat[i] = total[i]


Axes = Callable[[Call, int], tuple[int, ...]]


def looped(what: int | Callable[[Call], int], axes: Axes) -> dict[str, Any]:
    """The loop of a reduction over ``axes(call, rank)`` as fields of a record; the argument ``average`` counts."""

    def rest(call: Call) -> tuple[int, ...]:
        shape = call.type(0).static_shape
        return tuple(1 if i in axes(call, len(shape)) else d for i, d in enumerate(shape))

    def constants(call: Call) -> list[Any]:
        x, kind = call.type(0), what if isinstance(what, int) else what(call)
        over = axes(call, len(x.static_shape))
        kept = (0, *(int(i not in over) for i in range(len(x.static_shape))))
        average = kind == MEAN or (call.opdef.has_arg("average") and call.arg("average"))
        count = math.prod(d for i, d in enumerate(x.static_shape) if i in over)
        return [kept, kind, _start(kind, x), count if average else 1]

    def scratch(call: Call) -> list[TensorType]:
        x = call.type(0)
        return [steps_type(len(x.static_shape), 1), sums_type(x, math.prod(rest(call)))]

    return {"loop": reduce_loop, "scratch": scratch, "constants": constants}


def of_nothing(call: Call, what: int, x: np.ndarray) -> list[np.ndarray]:
    """The result of a reduction of an array without elements."""
    shape = call.opdef.infer(call)[0].static_shape
    return [np.full(shape, _start(what, call.type(0)), x.dtype)]


def _reduce(name: str, doc: str, what: int, function: Callable[..., Any], dtypes: Sequence[DType]) -> None:
    def infer(call: Call) -> list[TensorType]:
        """Y: the dimensions ``axes`` reduced to 1, or removed without ``keepdims``."""
        x = require(call, 0, dtypes)
        return [x.with_shape(reduced_shape(call, x.shape))]

    def reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
        if not x.size:
            return of_nothing(call, what, x)
        found = function(x, axis=reduced_axes(call, x.ndim), keepdims=bool(call.arg("keepdims")))
        return [np.asarray(found, dtype=x.dtype)]

    fields = looped(what, reduced_axes)
    op(name, infer, inputs="X", outputs="Y", args=AXES_ARGS, reference=reference, flops=_flops, doc=doc, **fields)


def _l1(x: np.ndarray, **how: Any) -> np.ndarray:
    return np.asarray(np.abs(x).sum(**how))


def _l2(x: np.ndarray, **how: Any) -> np.ndarray:
    return np.asarray(np.sqrt((x * x).sum(**how)))


_reduce("ReduceSum", "Sum over axes.", SUM, np.sum, NUMERIC)
_reduce("ReduceMax", "Maximum over axes.", MAX, np.max, NUMERIC)
_reduce("ReduceMin", "Minimum over axes.", MIN, np.min, NUMERIC)
_reduce("ReduceMean", "Mean over axes.", MEAN, np.mean, FLOATS)
_reduce("ReduceL1", "Sum of the absolute values over axes.", L1, _l1, FLOATS)
_reduce("ReduceL2", "Square root of the sum of the squares over axes.", L2, _l2, FLOATS)

NUM_DIMS = (
    Arg("num_reduce_dim", "int", 1, "how many dimensions"),
    Arg("num_reduce_dims", "int", None, "the same, by its later name"),
)


def _count(call: Call) -> int:
    later = call.arg("num_reduce_dims")
    return bounded(call, call.arg("num_reduce_dim") if later is None else later, 0, "num_reduce_dim")


def reduced_ends(call: Call, rank: int) -> tuple[int, ...]:
    """The dimensions that a ReduceFront* or ReduceBack* call reduces."""
    n = _count(call)
    if n > rank:
        call.fail(f"num_reduce_dim {n} is above the input's {rank} dimensions")
    return tuple(range(n)) if _is_front(call) else tuple(range(rank - n, rank))


def _is_front(call: Call) -> bool:
    return "Front" in call.opdef.name


def _ends_infer(call: Call) -> list[TensorType]:
    """Y: X without its first (Front) or last (Back) dimensions; lengths has an element for each element of Y."""
    x, n = require(call, 0, FLOATS if "Max" in call.opdef.name else NUMERIC), _count(call)
    if x.shape is None:
        return [x]
    if n > len(x.shape):
        call.fail(f"num_reduce_dim {n} is above the input's {len(x.shape)} dimensions")
    rest = x.shape[n:] if _is_front(call) else x.shape[: len(x.shape) - n]
    if call.has(1):
        check_lengths(call, 1, product(rest))
    return [x.with_shape(rest)]


def check_lengths(call: Call, i: int, count: Dim) -> None:
    """Input ``i`` has a length for each of ``count`` results; fails where more than one dimension is reduced."""
    require(call, i, (DType.INT32,))
    if _count(call) != 1:
        call.fail(f"lengths are given, but {_count(call)} dimensions are reduced", "reduce 1 dimension")
    agree(call, count_of(call.type(i).shape), count, "number of lengths")


def end_sizes(call: Call, i: int = 0) -> list[int]:
    """Input ``i`` as a matrix whose first (Front) or second (Back) dimension is reduced."""
    shape, n = call.type(i).static_shape, _count(call)
    k = n if _is_front(call) else len(shape) - n
    return [math.prod(shape[:k]), math.prod(shape[k:])]


def wrong_length(lengths: Any, limit: Any) -> bool:
    """A length is below 0 or above the number of elements; for loops."""
    for i in range(lengths.size):  # noqa: SIM110  # Numba has no generators
        if lengths.flat[i] < 0 or lengths.flat[i] > limit:
            return True
    return False


WRONG_LENGTH = "lengths has an element below 0 or above the number of elements that are reduced"


def _ends_loop(
    x: Any, lengths: Any, y: Any, total: Any, rows: Any, cols: Any, front: Any, what: Any, given: Any
) -> int:
    """The first element counts even at length 0, as in Caffe2; a mean is divided by the length itself."""
    count = rows if front else cols
    if rows == 0 or cols == 0:
        return 0
    if given and wrong_length(lengths, count):
        return 1
    for r in range(rows):
        for c in range(cols):
            k, at = (c, r) if front else (r, c)
            value = x.flat[r * cols + c]
            if at == 0:
                total[k] = value
            elif not given or at < lengths.flat[k]:
                if what != MAX:
                    total[k] += value
                elif value > total[k] or value != value:
                    total[k] = value
    for k in range(total.size):
        y.flat[k] = total[k]
        if what == MEAN:
            y.flat[k] = total[k] / np.float64(lengths.flat[k] if given else count)
    return 0


def _ends_reference(call: Call, x: np.ndarray, function: Callable[..., Any]) -> np.ndarray:
    if not x.size:
        return np.zeros(call.opdef.infer(call)[0].static_shape, x.dtype)
    return np.asarray(function(x, axis=reduced_ends(call, x.ndim)), dtype=x.dtype)


def _ends(name: str, doc: str, what: int, function: Callable[..., Any]) -> None:
    def reference(call: Call, *arrays: np.ndarray) -> Sequence[np.ndarray]:
        return run_loop(call, arrays) if len(arrays) > 1 else [_ends_reference(call, arrays[0], function)]

    op(
        name,
        _ends_infer,
        inputs="X lengths?",
        outputs="Y",
        args=NUM_DIMS,
        reference=reference,
        loop=_ends_loop,
        scratch=lambda call: [sums_type(call.type(0), end_sizes(call)[1 if _is_front(call) else 0])],
        constants=lambda call: [*end_sizes(call), int(_is_front(call)), what, int(call.has(1))],
        errors=(WRONG_LENGTH,),
        flops=_flops,
        doc=doc,
    )


for _end, _text in (("Front", "first"), ("Back", "last")):
    _ends(f"Reduce{_end}Sum", f"Sum over the {_text} dimensions.", SUM, np.sum)
    _ends(f"Reduce{_end}Mean", f"Mean over the {_text} dimensions.", MEAN, np.mean)
    _ends(f"Reduce{_end}Max", f"Maximum over the {_text} dimensions.", MAX, np.max)


def _weighted_infer(call: Call) -> list[TensorType]:
    """OUTPUT: DATA without its first dimension; SCALARS has an element for each slice."""
    x = require(call, 0)
    require(call, 1)
    if x.shape is None:
        return [x]
    if not x.shape:
        call.fail("the data has no dimensions, at least 1 is needed")
    vector(call, 1, x.shape[0], "number of scalars")
    return [x.with_shape(x.shape[1:])]


def _weighted_loop(x: Any, scalars: Any, y: Any, total: Any, grad_on_weights: Any) -> None:
    for r in range(scalars.shape[0]):
        for c in range(y.size):
            total[c] += x.flat[r * y.size + c] * scalars[r]
    for c in range(y.size):
        y.flat[c] = total[c]


op(
    "ReduceFrontWeightedSum",
    _weighted_infer,
    inputs="DATA SCALARS",
    outputs="OUTPUT",
    args=(Arg("grad_on_weights", "int", 0, "a gradient of the scalars is wanted"),),
    loop=_weighted_loop,
    scratch=lambda call: [TensorType(DType.DOUBLE, (call.node.results[0].type.size,))],
    flops=lambda call: 2 * call.type(0).size,
    doc="Sum of the slices of DATA, each times its scalar.",
)


def _all_axes(call: Call, rank: int) -> tuple[int, ...]:
    return tuple(range(rank))


def _everything(
    name: str, doc: str, dtypes: Sequence[DType], what: int, function: Callable[[np.ndarray], Any], **fields: Any
) -> None:
    def infer(call: Call) -> list[TensorType]:
        """A single element without dimensions."""
        return [TensorType(require(call, 0, dtypes).dtype, ())]

    def reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
        total = function(x)
        if call.opdef.has_arg("average") and call.arg("average"):
            total = total / max(x.size, 1)
        return [np.asarray(total, dtype=x.dtype)]

    fields |= looped(what, _all_axes)
    op(name, infer, inputs="X", outputs="sum", reference=reference, flops=_flops, doc=doc, **fields)


AVERAGE = (Arg("average", "int", 0, "divide by the number of elements"),)
_everything("SumElements", "Sum of all elements.", FLOATS, SUM, np.sum, args=AVERAGE)
_everything("SumElementsInt", "Sum of all elements.", (DType.INT32,), SUM, np.sum)
_everything(
    "SumSqrElements",
    "Sum of the squares of all elements.",
    FLOATS,
    SQUARES,
    lambda x: (x * x).sum(),
    args=AVERAGE,
)


def check_norm(call: Call) -> None:
    """p is 1 or 2, and an average is of at least one element."""
    if call.arg("p") not in (1, 2):
        call.fail(f"p {call.arg('p')} is not defined", "use 1 or 2")
    shape = call.type(0).shape
    if call.arg("average") and shape is not None and product(shape) == 0:
        call.fail("the average of no elements is not defined", "feed at least one element")


def _lp_infer(call: Call) -> list[TensorType]:
    """Z: one element."""
    check_norm(call)
    return [TensorType(require(call, 0).dtype, (1,))]


def _lp_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    total = np.abs(x).sum() if call.arg("p") == 1 else (x * x).sum()
    return [np.reshape(total / max(x.size, 1) if call.arg("average") else total, (1,)).astype(x.dtype)]


NORM_ARGS = (Arg("p", "int", 2, "1 or 2"), *AVERAGE)
op(
    "LpNorm",
    _lp_infer,
    inputs="X",
    outputs="Z",
    args=NORM_ARGS,
    reference=_lp_reference,
    flops=_flops,
    doc="Sum of |x| (p = 1) or of x * x (p = 2), without a root.",
    **looped(lambda call: L1 if call.arg("p") == 1 else SQUARES, _all_axes),
)


def _matrix_infer(call: Call) -> list[TensorType]:
    """Y: (N, M) for RowwiseMax, (N, K) for ColwiseMax, of X (N, M, K)."""
    x, shape = require(call, 0), require_rank(call, 0, 3)
    if shape is None:
        return [x]
    return [x.with_shape((shape[0], shape[1] if call.opdef.name == "RowwiseMax" else shape[2]))]


for _name, _axis, _text in (("RowwiseMax", 2, "row"), ("ColwiseMax", 1, "column")):
    op(
        _name,
        _matrix_infer,
        inputs="X",
        outputs="Y",
        flops=_flops,
        doc=f"Largest element of every {_text} of every matrix.",
        **looped(MAX, lambda call, rank: (2 if call.opdef.name == "RowwiseMax" else 1,)),
    )


def _tail_infer(call: Call) -> list[TensorType]:
    """output: one element for each row of mat."""
    x = require(call, 0)
    return [TensorType(x.dtype, (UNKNOWN if x.shape is None else (x.shape or (1,))[0],))]


op(
    "ReduceTailSum",
    _tail_infer,
    inputs="mat",
    outputs="output",
    flops=_flops,
    doc="Sum of every row.",
    **looped(SUM, lambda call, rank: tuple(range(1, rank))),
)


REAL = (DType.FLOAT, DType.DOUBLE)


def _like_infer(call: Call) -> list[TensorType]:
    """C has the shape of B."""
    a, b = require(call, 0, REAL), require(call, 1, REAL)
    if a.shape is not None and b.shape is not None and product(b.shape) != 1:
        merge_shapes(call, tuple(1 if y == 1 else x for x, y in zip(a.shape, _aligned(call))), _aligned(call))
    return [a.with_shape(b.shape)]


def _aligned(call: Call) -> Shape:
    """B's shape among A's dimensions, also where ``broadcast`` is 0, of which Caffe2 takes no notice."""
    return aligned_at_axis(call)


def _like_loop(a: Any, b: Any, c: Any, steps: Any, total: Any, kept: Any) -> None:
    reduce_loop(a, c, steps, total, kept, SUM, 0.0, 1)


op(
    "SumReduceLike",
    _like_infer,
    inputs="A B",
    outputs="C",
    args=(Arg("broadcast", "int", 1, "always on"), *(a for a in LEGACY_ARGS if a.name != "broadcast")),
    loop=_like_loop,
    scratch=lambda call: [steps_type(call.type(0).rank or 0, 1), sums_type(call.type(0), call.type(1).size)],
    constants=lambda call: [kept_flags(_aligned(call), call.type(0).rank or 0)],
    flops=_flops,
    doc="A summed over the dimensions that B lacks: the gradient of a legacy broadcast.",
)
