"""How the operands of a pointwise call broadcast to its result: shapes and strides."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.opdef import Call, aligned_shape
from graphc.ir.schedule import View


def inputs(call: Call) -> list[int]:
    """Indices of the operands that are present."""
    return [i for i in range(call.n_inputs) if call.has(i)]


def views(call: Call, ins: Sequence[View | None]) -> list[View]:
    """Where the operands that are present lie."""
    return [v for i in inputs(call) if (v := ins[i]) is not None]


def full_shape(call: Call, i: int) -> tuple[int, ...] | None:
    """The shape of operand ``i`` with as many dimensions as the result; None where it does not broadcast to it."""
    out = call.node.results[0].type.static_shape
    aligned = aligned_shape(call, i)
    if aligned is None or len(aligned) > len(out):
        return None
    full = (1,) * (len(out) - len(aligned)) + tuple(d for d in aligned if isinstance(d, int))
    return full if len(full) == len(out) and all(a in (1, b) for a, b in zip(full, out)) else None


def full_shapes(call: Call) -> list[tuple[int, ...]] | None:
    """``full_shape`` of the operands that are present; None where one does not broadcast to the result."""
    shapes = [full_shape(call, i) for i in inputs(call)]
    return None if None in shapes else [s for s in shapes if s is not None]


def nbytes(call: Call) -> int:
    """Bytes of operands and results."""
    return sum(call.type(i).nbytes for i in inputs(call)) + sum(r.type.nbytes for r in call.node.results)


def operand_strides(view: View, full: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a plain operand along the dimensions of the result, 0 where it is broadcast."""
    kept = [d for d in view.type.static_shape if d != 1]
    strides = [s for s, d in zip(view.strides, view.type.static_shape) if d != 1]
    if kept != [d for d in full if d != 1]:  # aligned to fewer dimensions: the operand is dense
        dense = [1] * len(full)
        for i in reversed(range(len(full) - 1)):
            dense[i] = dense[i + 1] * full[i + 1]
        return tuple(0 if d == 1 else s for d, s in zip(full, dense))
    return tuple(0 if d == 1 else strides.pop(0) for d in full)
