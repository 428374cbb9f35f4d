"""PiecewiseLinearTransform: functions of linear pieces, one for each column."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, require, require_rank
from graphc.ir.ops.reduce.statistics import lower_bound
from graphc.ir.types import DType, TensorType

FLOAT = (DType.FLOAT,)
_PIECES = ("bounds", "slopes", "intercepts")


def _piece_counts(call: Call) -> tuple[int, int] | None:
    """Groups, and pieces of each: there is one bound more than pieces in a group. None while not known."""
    from_args = [len(call.arg(name)) for name in _PIECES]
    if any(from_args):
        counts = from_args
        if call.n_inputs != 1:
            call.fail("bounds, slopes and intercepts are given twice", "give them as arguments or as inputs")
    else:
        if call.n_inputs != 4:
            call.fail("bounds, slopes and intercepts are missing", "give all three, as arguments or as inputs")
        types = [require(call, i, FLOAT) for i in (1, 2, 3)]
        if not all(t.is_static for t in types):
            return None
        counts = [t.size for t in types]
    groups = counts[0] - counts[1]
    if counts[1] != counts[2] or groups < 1 or counts[1] < groups or counts[1] % groups:
        call.fail(
            f"{counts[0]} bounds, {counts[1]} slopes and {counts[2]} intercepts do not fit one another",
            "give each column as many slopes as intercepts, and one bound more",
        )
    return groups, counts[1] // groups


def _piecewise_infer(call: Call) -> list[TensorType]:
    """transforms has the type of predictions: (N, groups), or with ``binary`` one column or two and one group."""
    x, binary = require(call, 0, FLOAT), bool(call.arg("binary"))
    shape = require_rank(call, 0, *((1, 2) if binary else (2,)))
    counts = _piece_counts(call)
    if counts is None:
        return [x]
    groups, pieces = counts
    bounds = call.arg("bounds")
    for g in range(groups if bounds else 0):
        part = bounds[g * (pieces + 1) : (g + 1) * (pieces + 1)]
        if any(a > b for a, b in pairwise(part)):
            call.fail("the bounds of a group are not sorted")
    if binary:
        if groups != 1:
            call.fail(f"{groups} groups of bounds, binary wants 1")
        if shape is not None and len(shape) == 2 and isinstance(shape[1], int) and shape[1] not in (1, 2):
            call.fail(f"predictions have {shape[1]} columns, binary wants 1 or 2")
    elif shape is not None:
        agree(call, shape[1], groups, "number of columns of predictions")
    return [x]


def _piecewise_at(x: Any, bounds: Any, slopes: Any, intercepts: Any, first: Any, n: Any) -> Any:
    """The line that x lies on, held at its ends; bounds begin at ``first * (n + 1)``, lines at ``first * n``."""
    b = first * (n + 1)
    k = min(max(lower_bound(bounds, b, n + 1, x) - b - 1, 0), n - 1)
    inside = x
    if x <= bounds[b]:
        k, inside = 0, bounds[b]
    elif x >= bounds[b + n]:
        k, inside = n - 1, bounds[b + n]
    return slopes[first * n + k] * inside + intercepts[first * n + k]


def _piecewise_loop(
    x: Any,
    in_bounds: Any,
    in_slopes: Any,
    in_intercepts: Any,
    y: Any,
    bounds: Any,
    slopes: Any,
    intercepts: Any,
    binary: Any,
    columns: Any,
    pieces: Any,
    given: Any,
    arg_bounds: Any,
    arg_slopes: Any,
    arg_intercepts: Any,
) -> None:
    for k in range(bounds.shape[0]):
        bounds[k] = in_bounds.flat[k] if given else np.float32(arg_bounds[k])
    for k in range(slopes.shape[0]):
        slopes[k] = in_slopes.flat[k] if given else np.float32(arg_slopes[k])
        intercepts[k] = in_intercepts.flat[k] if given else np.float32(arg_intercepts[k])
    for i in range(x.size):
        if not binary:
            y.flat[i] = _piecewise_at(x.flat[i], bounds, slopes, intercepts, i % columns, pieces)
        elif columns == 1 or i % 2 == 1:
            y.flat[i] = _piecewise_at(x.flat[i], bounds, slopes, intercepts, 0, pieces)
            if columns == 2:
                y.flat[i - 1] = 1 - y.flat[i]


def _piecewise_constants(call: Call) -> list[Any]:
    counts = _piece_counts(call)
    assert counts is not None
    shape = call.type(0).static_shape
    lists = [(*call.arg(name), 0.0) for name in _PIECES]  # never empty, for which Numba has no type
    return [int(bool(call.arg("binary"))), shape[1] if len(shape) == 2 else 1, counts[1], int(call.has(1)), *lists]


def _piecewise_scratch(call: Call) -> list[TensorType]:
    counts = _piece_counts(call)
    assert counts is not None
    lines = counts[0] * counts[1]
    return [TensorType(DType.FLOAT, (n,)) for n in (lines + counts[0], lines, lines)]


op(
    "PiecewiseLinearTransform",
    _piecewise_infer,
    inputs="predictions bounds? slopes? intercepts?",
    outputs="transforms",
    args=(
        Arg("bounds", "floats", (), "where the pieces of each group begin, and the last ends"),
        Arg("slopes", "floats", (), "their slopes"),
        Arg("intercepts", "floats", (), "their intercepts"),
        Arg("binary", "int", 0, "predictions of two classes: the second is transformed, the first is the rest to 1"),
    ),
    loop=_piecewise_loop,
    scratch=_piecewise_scratch,
    constants=_piecewise_constants,
    doc="Each column of predictions through a function of linear pieces.",
)
