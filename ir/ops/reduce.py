"""Reductions: over given axes, leading or trailing dimensions, everything, rows, and towards another shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import (
    FLOATS,
    NUMERIC,
    ORDER,
    Shape,
    axis_of,
    bounded,
    channel_axis,
    merge_shapes,
    product,
    require,
    require_rank,
    vector,
)
from graphc.ir.ops.elementwise import LEGACY_ARGS, legacy_align
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

AXES_ARGS = (
    Arg("axes", "ints", (), "the dimensions; default: all"),
    Arg("keepdims", "int", 1, "they stay, with 1 element"),
)


def reduced_axes(call: Call, rank: int) -> tuple[int, ...]:
    """The dimensions that a Reduce* call sums over, counted from the front and sorted; fails outside the input."""
    axes = sorted({axis_of(call, a, rank, "axes") for a in call.arg("axes")})
    return tuple(axes) or tuple(range(rank))


def _reduced(call: Call, shape: Shape | None) -> Shape | None:
    if shape is None:
        return None
    axes = reduced_axes(call, len(shape))
    keep = call.arg("keepdims")
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)


def _flops(call: Call) -> int:
    """One for each element of the input."""
    return call.type(0).size


def _reduce(name: str, doc: str, function: Callable[..., Any], dtypes: Sequence[DType]) -> None:
    def infer(call: Call) -> list[TensorType]:
        """Y: the dimensions ``axes`` reduced to 1, or removed without ``keepdims``."""
        x = require(call, 0, dtypes)
        return [x.with_shape(_reduced(call, x.shape))]

    def reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
        found = function(x, axis=reduced_axes(call, x.ndim), keepdims=bool(call.arg("keepdims")))
        return [np.asarray(found, dtype=x.dtype)]

    op(name, infer, inputs="X", outputs="Y", args=AXES_ARGS, reference=reference, flops=_flops, doc=doc)


def _l1(x: np.ndarray, **how: Any) -> np.ndarray:
    return np.asarray(np.abs(x).sum(**how))


def _l2(x: np.ndarray, **how: Any) -> np.ndarray:
    return np.asarray(np.sqrt((x * x).sum(**how)))


_reduce("ReduceSum", "Sum over axes.", np.sum, NUMERIC)
_reduce("ReduceMax", "Maximum over axes.", np.max, NUMERIC)
_reduce("ReduceMin", "Minimum over axes.", np.min, NUMERIC)
_reduce("ReduceMean", "Mean over axes.", np.mean, FLOATS)
_reduce("ReduceL1", "Sum of the absolute values over axes.", _l1, FLOATS)
_reduce("ReduceL2", "Square root of the sum of the squares over axes.", _l2, FLOATS)


def _moments_infer(call: Call) -> list[TensorType]:
    """mean and variance: the dimensions ``axes`` reduced."""
    x = require(call, 0)
    return [x.with_shape(_reduced(call, x.shape))] * 2


def _moments_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    axes, keep = reduced_axes(call, x.ndim), bool(call.arg("keepdims"))
    return [np.asarray(f(x, axis=axes, keepdims=keep, dtype=x.dtype)) for f in (np.mean, np.var)]


op(
    "Moments",
    _moments_infer,
    inputs="data",
    outputs="mean variance",
    args=AXES_ARGS,
    reference=_moments_reference,
    flops=lambda call: 3 * call.type(0).size,
    doc="Mean and variance over axes.",
)

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
    return tuple(range(n)) if _is_front(call) else tuple(range(rank - n, rank))


def _is_front(call: Call) -> bool:
    return "Front" in call.opdef.name


def _ends_infer(call: Call) -> list[TensorType]:
    """Y: X without its first (Front) or last (Back) dimensions; lengths has an element for each element of Y."""
    x, n = require(call, 0, FLOATS if "Max" in call.opdef.name else (*NUMERIC, DType.FLOAT16)), _count(call)
    if x.shape is None:
        return [x]
    if n > len(x.shape):
        call.fail(f"num_reduce_dim {n} is above the input's {len(x.shape)} dimensions")
    rest = x.shape[n:] if _is_front(call) else x.shape[: len(x.shape) - n]
    if call.has(1):
        require(call, 1, (DType.INT32,))
        vector(call, 1, product(rest), "number of lengths")
    return [x.with_shape(rest)]


def _masked(call: Call, x: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The elements to reduce along axis 0 and which of them count; as in Caffe2 the first does even at length 0."""
    n = _count(call)
    k = n if _is_front(call) else x.ndim - n
    matrix = x.reshape(math.prod(x.shape[:k]), math.prod(x.shape[k:]))
    matrix = matrix if _is_front(call) else matrix.T
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= len(matrix):
        call.fail(f"lengths reach from {lengths.min()} to {lengths.max()}, at most {len(matrix)} elements are there")
    return matrix, np.arange(len(matrix))[:, None] < np.maximum(lengths, 1)[None, :]


def _ends(name: str, doc: str, function: Callable[..., Any], neutral: float) -> None:
    def reference(call: Call, x: np.ndarray, *lengths: np.ndarray) -> Sequence[np.ndarray]:
        n = _count(call)
        rest = x.shape[n:] if _is_front(call) else x.shape[: x.ndim - n]
        if not lengths:
            return [np.asarray(function(x, axis=reduced_ends(call, x.ndim)), dtype=x.dtype)]
        matrix, mask = _masked(call, x, lengths[0])
        kept = np.where(mask, matrix, x.dtype.type(neutral))
        if function is np.mean:
            return [(kept.sum(axis=0) / lengths[0]).astype(x.dtype).reshape(rest)]
        return [np.asarray(function(kept, axis=0), dtype=x.dtype).reshape(rest)]

    op(
        name,
        _ends_infer,
        inputs="X lengths?",
        outputs="Y",
        args=NUM_DIMS,
        reference=reference,
        flops=_flops,
        doc=doc,
    )


_LOWEST = float(np.finfo(np.float32).min)
for _end, _text in (("Front", "first"), ("Back", "last")):
    _ends(f"Reduce{_end}Sum", f"Sum over the {_text} dimensions.", np.sum, 0.0)
    _ends(f"Reduce{_end}Mean", f"Mean over the {_text} dimensions.", np.mean, 0.0)
    _ends(f"Reduce{_end}Max", f"Maximum over the {_text} dimensions.", np.max, _LOWEST)


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


op(
    "ReduceFrontWeightedSum",
    _weighted_infer,
    inputs="DATA SCALARS",
    outputs="OUTPUT",
    args=(Arg("grad_on_weights", "int", 0, "a gradient of the scalars is wanted"),),
    reference=lambda call, x, w: [np.tensordot(w, x, 1)],
    flops=lambda call: 2 * call.type(0).size,
    doc="Sum of the slices of DATA, each times its scalar.",
)


def _everything(
    name: str, doc: str, dtypes: Sequence[DType], function: Callable[[np.ndarray], Any], **fields: Any
) -> None:
    def infer(call: Call) -> list[TensorType]:
        """A single element without dimensions."""
        return [TensorType(require(call, 0, dtypes).dtype, ())]

    def reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
        total = function(x)
        if call.opdef.has_arg("average") and call.arg("average"):
            total = total / max(x.size, 1)
        return [np.asarray(total, dtype=x.dtype)]

    op(name, infer, inputs="X", outputs="sum", reference=reference, flops=_flops, doc=doc, **fields)


AVERAGE = (Arg("average", "int", 0, "divide by the number of elements"),)
_everything("SumElements", "Sum of all elements.", FLOATS, np.sum, args=AVERAGE)
_everything("SumElementsInt", "Sum of all elements.", (DType.INT32,), np.sum)
_everything("SumSqrElements", "Sum of the squares of all elements.", FLOATS, lambda x: (x * x).sum(), args=AVERAGE)


def _lp_infer(call: Call) -> list[TensorType]:
    """Z: one element."""
    if call.arg("p") not in (1, 2):
        call.fail(f"p {call.arg('p')} is not defined", "use 1 or 2")
    return [TensorType(require(call, 0).dtype, (1,))]


def _lp_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    total = np.abs(x).sum() if call.arg("p") == 1 else (x * x).sum()
    return [np.reshape(total / max(x.size, 1) if call.arg("average") else total, (1,)).astype(x.dtype)]


op(
    "LpNorm",
    _lp_infer,
    inputs="X",
    outputs="Z",
    args=(Arg("p", "int", 2, "1 or 2"), *AVERAGE),
    reference=_lp_reference,
    flops=_flops,
    doc="Sum of |x| (p = 1) or of x * x (p = 2), without a root.",
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
        reference=lambda call, x: [x.max(axis=2 if call.opdef.name == "RowwiseMax" else 1)],
        flops=_flops,
        doc=f"Largest element of every {_text} of every matrix.",
    )


def _rows(call: Call, n_inputs: int) -> list[TensorType]:
    x = require(call, 0)
    shape = x.shape
    for i in range(1, n_inputs):
        shape = merge_shapes(call, shape, require(call, i).shape, "the shapes of X and Y differ")
    first: Dim = UNKNOWN if shape is None else (shape or (1,))[0]
    return [TensorType(x.dtype, (first,))]


def _pair_infer(call: Call) -> list[TensorType]:
    """Z: one element for each row of X and Y, which have one shape."""
    return _rows(call, 2)


def _tail_infer(call: Call) -> list[TensorType]:
    """output: one element for each row of mat."""
    return _rows(call, 1)


def _cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    floor = np.float32(1e-12)
    norms = np.maximum((x * x).sum(axis=1), floor) * np.maximum((y * y).sum(axis=1), floor)
    return np.asarray((x * y).sum(axis=1) / np.sqrt(norms))


def _pairs(name: str, doc: str, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    def reference(call: Call, x: np.ndarray, y: np.ndarray) -> Sequence[np.ndarray]:
        rows = ((x.shape or (1,))[0], math.prod(x.shape[1:]))
        return [function(x.reshape(rows), y.reshape(rows)).astype(x.dtype)]

    flops = lambda call: 2 * call.type(0).size
    op(name, _pair_infer, inputs="X Y", outputs="Z", reference=reference, flops=flops, doc=doc)


_pairs("DotProduct", "Sum of the products of two rows.", lambda x, y: (x * y).sum(axis=1))
_pairs("L1Distance", "Sum of the absolute differences of two rows.", lambda x, y: np.abs(x - y).sum(axis=1))
_pairs(
    "SquaredL2Distance",
    "Half the sum of the squared differences of two rows.",
    lambda x, y: ((x - y) ** 2).sum(axis=1) / 2,
)
_pairs("CosineSimilarity", "Cosine of the angle between two rows.", _cosine)

op(
    "ReduceTailSum",
    _tail_infer,
    inputs="mat",
    outputs="output",
    reference=lambda call, x: [x.reshape((x.shape or (1,))[0], math.prod(x.shape[1:])).sum(axis=1)],
    flops=_flops,
    doc="Sum of every row.",
)


def _like_infer(call: Call) -> list[TensorType]:
    """C has the shape of B."""
    a, b = require(call, 0), require(call, 1)
    if a.shape is not None and b.shape is not None and product(b.shape) != 1:
        merge_shapes(call, tuple(1 if y == 1 else x for x, y in zip(a.shape, _aligned(call))), _aligned(call))
    return [a.with_shape(b.shape)]


def _aligned(call: Call) -> Shape:
    """B's shape among A's dimensions."""
    return legacy_align(call, 1)


def _like_reference(call: Call, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
    if b.size == 1:
        return [np.asarray(a.sum(), dtype=a.dtype).reshape(b.shape)]
    axes = tuple(i for i, d in enumerate(_aligned(call)) if d == 1)
    return [np.asarray(a.sum(axis=axes), dtype=a.dtype).reshape(b.shape)]


op(
    "SumReduceLike",
    _like_infer,
    inputs="A B",
    outputs="C",
    args=(Arg("broadcast", "int", 1, "always on"), *(a for a in LEGACY_ARGS if a.name != "broadcast")),
    reference=_like_reference,
    flops=_flops,
    doc="A summed over the dimensions that B lacks: the gradient of a legacy broadcast.",
)


def _stats_infer(call: Call) -> list[TensorType]:
    """sum and sumsq: one element for each channel."""
    x = require(call, 0)
    if x.shape is not None and len(x.shape) < 2:
        call.fail(f"the input has {len(x.shape)} dimensions, at least 2 are needed")
    c: Dim = UNKNOWN if x.shape is None else x.shape[channel_axis(call, len(x.shape))]
    return [TensorType(x.dtype, (c,))] * 2


def _stats_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    axes = tuple(i for i in range(x.ndim) if i != channel_axis(call, x.ndim))
    return [x.sum(axis=axes), (x * x).sum(axis=axes)]


op(
    "ChannelStats",
    _stats_infer,
    inputs="X",
    outputs="sum sumsq",
    args=(ORDER,),
    reference=_stats_reference,
    flops=lambda call: 3 * call.type(0).size,
    doc="Sum and sum of squares of every channel.",
)
