"""Reductions as kernels see them: what each operator computes over which dimensions, and how dimensions merge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphc.ir.opdef import Call
from graphc.ir.ops.reduce.reduce import reduced_axes, reduced_ends


def _all(call: Call, rank: int) -> tuple[int, ...]:
    return tuple(range(rank))


def _tail(call: Call, rank: int) -> tuple[int, ...]:
    return tuple(range(1, rank))


Axes = Callable[[Call, int], tuple[int, ...]]
OPERATORS: dict[str, tuple[str, Axes]] = {
    "LpNorm": ("norm", _all),
    **{f"Reduce{n}": (w, reduced_axes) for n, w in (("Sum", "sum"), ("Max", "max"), ("Min", "min"))},
    **{f"Reduce{n}": (w, reduced_axes) for n, w in (("Mean", "mean"), ("L1", "abs"), ("L2", "root"))},
    **{f"Reduce{end}{n}": (n.lower(), reduced_ends) for end in ("Front", "Back") for n in ("Sum", "Mean", "Max")},
    "SumElements": ("sum", _all),
    "SumSqrElements": ("square", _all),
    "RowwiseMax": ("max", lambda call, rank: (2,)),
    "ColwiseMax": ("max", lambda call, rank: (1,)),
    "ReduceTailSum": ("sum", _tail),
}
"""Operator -> what it computes, and the dimensions that it reduces."""


def merged(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[int, int, bool]]:
    """(size, stride, reduced) of the dimensions, innermost first, neighbours of one kind merged.

    The kind of the innermost is that of the last dimension whatever its size: no size changes the kernel.
    """
    found: list[tuple[int, int, bool]] = []
    stride = 1
    for i in reversed(range(len(shape))):
        if shape[i] != 1 or not found:
            if found and found[-1][2] == (i in axes):
                size, inner, kind = found.pop()
                found.append((size * shape[i], inner, kind))
            else:
                found.append((shape[i], stride, i in axes))
        stride *= shape[i]
    return found


def meaning(call: Call) -> tuple[str, Axes]:
    """What a call computes (sum, mean, max, min, sum of ``abs`` or ``square``, ``root`` of that sum), and over what."""
    what, axes = OPERATORS[call.node.op]
    return {"norm": "abs" if call.node.op == "LpNorm" and call.arg("p") == 1 else "square"}.get(what, what), axes


def divisor_of(call: Call) -> float:
    """By what the sum of a call is divided: the number of elements of an average, else 1."""
    what, axes = meaning(call)
    shape = call.type(0).static_shape
    average = what == "mean" or (call.opdef.has_arg("average") and call.arg("average"))
    return float(max(math.prod(shape[i] for i in axes(call, len(shape))), 1) if average else 1)
