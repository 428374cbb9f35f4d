"""Gradients of the operators of several operands: sums, products, quotients, maxima, means, clipping and dropping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Call, Trait, op
from graphc.ir.ops._rules import NUMERIC, Shape, broadcast_shapes, merge_shapes, require
from graphc.ir.ops._walk import Flags, advance, kept_flags, offset, set_steps, steps_type
from graphc.ir.ops.elementwise.activation import DROPOUT_ARGS
from graphc.ir.ops.elementwise.activation_gradient import one_type
from graphc.ir.ops.elementwise.arithmetic import LEGACY_ARGS, binary_shape, legacy_align, same_dtypes
from graphc.ir.types import DType, TensorType

G, MINUS_G, G_TIMES_X, G_OVER_X, MINUS_GC_OVER_X = range(5)
"""What is summed up for an operand: the gradient itself, or the gradient with the other operand x and the result c."""


def operand_roles(call: Call) -> tuple[int, int, int]:
    """The inputs that are A, B and dC; DivGradient without A gets C in place of it."""
    return (1, 0, 2) if call.node.op == "DivGradient" and call.n_inputs == 3 else (1, 2, 0)


def _binary_infer(call: Call) -> list[TensorType]:
    """dA and dB have the types of A and B; dC has their broadcast shape."""
    a, b, dc = operand_roles(call)
    dtype = same_dtypes(call, NUMERIC, a, b)
    same_dtypes(call, NUMERIC, a, dc)
    shape = binary_shape(call, a, b)
    for i in {*range(call.n_inputs)} - {a, b}:
        merge_shapes(call, shape, call.type(i).shape, f"{call.input_name(i)} has not the shape of the result")
    return [TensorType(dtype, call.type(a).shape), TensorType(dtype, call.type(b).shape)]


def aligned_operands(call: Call) -> tuple[Shape, Shape]:
    """The shapes under which A and B broadcast with dC."""
    a, b, _ = operand_roles(call)
    return call.type(a).shape or (), legacy_align(call, b, a, b)


def _flags(call: Call) -> list[Flags]:
    """Which dimensions of dC the operands have."""
    a, b, _ = operand_roles(call)
    rank = len(binary_shape(call, a, b) or ())
    return [kept_flags(shape, rank) for shape in aligned_operands(call)]


def _binary_scratch(call: Call) -> list[TensorType]:
    """Counters and strides; for an operand that is summed up over dimensions, its sums in a wider type."""
    a, b, dc = operand_roles(call)
    g = call.type(dc)
    wide = DType.DOUBLE if g.dtype in (DType.FLOAT, DType.DOUBLE) else DType.INT64
    sizes = [call.type(i).size for i in (a, b)]
    return [steps_type(g.rank or 0, 2), *(TensorType(wide, (n if n != g.size else 0,)) for n in sizes)]


def start_walk(steps: np.ndarray, shape: Any, kept_x: Any, kept_y: Any) -> None:
    """Begin a walk over ``shape`` that x and y follow."""
    for d in range(steps.shape[1]):
        steps[0, d] = 0
    set_steps(steps, 1, shape, kept_x)
    set_steps(steps, 2, shape, kept_y)


def sum_terms(g: Any, x: Any, y: Any, total: Any, steps: Any, kept_x: Any, kept_y: Any, what: Any) -> None:
    """y: the sums, over the dimensions that it lacks, of g, -g or g * x."""
    shape = (1,) + g.shape  # noqa: RUF005  # Numba has no unpacking
    start_walk(steps, shape, kept_x, kept_y)
    run = shape[len(shape) - 1]
    x_step, y_step = steps[1, len(shape) - 1], steps[2, len(shape) - 1]
    for r in range(g.size // max(run, 1)):
        p, q = offset(steps, 1), offset(steps, 2)
        for i in range(run):
            value = g.flat[r * run + i]
            if what == G_TIMES_X:
                value = value * x.flat[p + i * x_step]
            elif what == MINUS_G:
                value = -value
            if total.size == 0:
                y.flat[q + i * y_step] = value
            else:
                total.flat[q + i * y_step] += value
        advance(steps, shape)
    for i in range(total.size):
        y.flat[i] = total.flat[i]


def sum_quotients(g: Any, x: Any, c: Any, y: Any, total: Any, steps: Any, kept_x: Any, kept_y: Any, what: Any) -> None:
    """y: the sums, over the dimensions that it lacks, of g / x or -g * c / x; in double precision."""
    shape = (1,) + g.shape  # noqa: RUF005  # Numba has no unpacking
    start_walk(steps, shape, kept_x, kept_y)
    run = shape[len(shape) - 1]
    x_step, y_step = steps[1, len(shape) - 1], steps[2, len(shape) - 1]
    for r in range(g.size // max(run, 1)):
        p, q = offset(steps, 1), offset(steps, 2)
        for i in range(run):
            value = np.float64(g.flat[r * run + i])
            if what == MINUS_GC_OVER_X:
                value = -value * c.flat[r * run + i]
            value = value / x.flat[p + i * x_step]
            if total.size == 0:
                y.flat[q + i * y_step] = value
            else:
                total.flat[q + i * y_step] += value
        advance(steps, shape)
    for i in range(total.size):
        y.flat[i] = total.flat[i]


def _add_loop(dc: Any, a: Any, b: Any, da: Any, db: Any, steps: Any, sa: Any, sb: Any, ka: Any, kb: Any) -> None:
    sum_terms(dc, b, da, sa, steps, kb, ka, G)
    sum_terms(dc, a, db, sb, steps, ka, kb, G)


def _sub_loop(dc: Any, a: Any, b: Any, da: Any, db: Any, steps: Any, sa: Any, sb: Any, ka: Any, kb: Any) -> None:
    sum_terms(dc, b, da, sa, steps, kb, ka, G)
    sum_terms(dc, a, db, sb, steps, ka, kb, MINUS_G)


def _mul_loop(dc: Any, a: Any, b: Any, da: Any, db: Any, steps: Any, sa: Any, sb: Any, ka: Any, kb: Any) -> None:
    sum_terms(dc, b, da, sa, steps, kb, ka, G_TIMES_X)
    sum_terms(dc, a, db, sb, steps, ka, kb, G_TIMES_X)


for _name, _loop, _doc in (
    ("Add", _add_loop, "dC for both"),
    ("Sub", _sub_loop, "dC and -dC"),
    ("Mul", _mul_loop, "dC * B and dC * A"),
):
    op(
        f"{_name}Gradient",
        _binary_infer,
        inputs="dC A B",
        outputs="dA dB",
        args=LEGACY_ARGS,
        loop=_loop,
        scratch=_binary_scratch,
        constants=_flags,
        inplace=((0, 0), (0, 1)),
        doc=f"{_doc}, summed up over the dimensions along which the operand was broadcast.",
    )


def _quotients(
    g: Any, b: Any, c: Any, da: Any, db: Any, steps: Any, sa: Any, sb: Any, ka: Any, kb: Any, whole: Any
) -> int:
    if whole:
        for i in range(b.size):
            if b.flat[i] == 0:
                return 1
    sum_quotients(g, b, c, da, sa, steps, kb, ka, G_OVER_X)
    sum_quotients(g, b, c, db, sb, steps, kb, kb, MINUS_GC_OVER_X)
    return 0


def _div_loop(
    dc: Any,
    a: Any,
    b: Any,
    c: Any,
    da: Any,
    db: Any,
    steps: Any,
    sa: Any,
    sb: Any,
    ka: Any,
    kb: Any,
    whole: Any,
    n: Any,
) -> int:
    if n == 3:  # B, C and dC
        return _quotients(b, dc, a, da, db, steps, sa, sb, ka, kb, whole)
    return _quotients(dc, b, c, da, db, steps, sa, sb, ka, kb, whole)


def _div_constants(call: Call) -> Sequence[Any]:
    whole = call.type(0).dtype in (DType.INT32, DType.INT64)
    return [*_flags(call), int(whole), call.n_inputs]


op(
    "DivGradient",
    _binary_infer,
    inputs="dC A B C?",
    outputs="dA dB",
    args=LEGACY_ARGS,
    loop=_div_loop,
    scratch=_binary_scratch,
    constants=_div_constants,
    errors=("an integer divisor is zero",),
    inplace=((0, 0),),
    doc="dC / B and -dC * C / B, summed up like AddGradient; with three inputs they are B, C and dC.",
)


def _expand_infer(call: Call) -> list[TensorType]:
    """dX has the type of X, whose dimensions are those of dY or 1."""
    dy, x = require(call, 0, NUMERIC), call.type(1)
    broadcast = broadcast_shapes(call, dy.shape, x.shape)
    merge_shapes(call, dy.shape, broadcast, "X does not broadcast to dY")
    return [TensorType(dy.dtype, x.shape)]


def _expand_flags(call: Call) -> Sequence[Any]:
    return [kept_flags(call.type(1).shape or (), call.type(0).rank or 0)]


def _expand_scratch(call: Call) -> list[TensorType]:
    dy, size = call.type(0), call.type(1).size
    wide = DType.DOUBLE if dy.dtype in (DType.FLOAT, DType.DOUBLE) else DType.INT64
    return [steps_type(dy.rank or 0, 2), TensorType(wide, (size if size != dy.size else 0,))]


def _expand_loop(dy: Any, x: Any, dx: Any, steps: Any, total: Any, kept: Any) -> None:
    sum_terms(dy, dy, dx, total, steps, kept, kept, G)


op(
    "ExpandGradient",
    _expand_infer,
    inputs="dY X",
    outputs="dX",
    loop=_expand_loop,
    scratch=_expand_scratch,
    constants=_expand_flags,
    doc="dY summed up over the dimensions along which X was repeated.",
)


def _select_infer(call: Call) -> list[TensorType]:
    """A gradient for every X; all have the type of Y."""
    if call.n_outputs != call.n_inputs - 2:
        call.fail(f"{call.n_outputs} outputs for {call.n_inputs - 2} inputs after Y and dY")
    return [one_type(call, (DType.FLOAT,))] * call.n_outputs


def _select_loop(y: Any, dy: Any, xs: Any, dxs: Any) -> None:
    for k in range(len(xs)):
        x, dx = xs[k], dxs[k]
        for i in range(y.size):
            if x.flat[i] == y.flat[i]:
                dx.flat[i] = dy.flat[i]


for _name in ("MaxGradient", "MinGradient"):
    op(
        _name,
        _select_infer,
        inputs="Y dY X*",
        outputs="dX*",
        loop=_select_loop,
        doc="For every X: dY where X equals Y, else 0.",
    )


def _mean_infer(call: Call) -> list[TensorType]:
    """Every output has the type of dY."""
    return [require(call, 0)] * call.n_outputs


def _mean_loop(dy: Any, dxs: Any) -> None:
    share = np.float32(1) / np.float32(len(dxs))
    for k in range(len(dxs)):
        dx = dxs[k]
        for i in range(dy.size):
            dx.flat[i] = dy.flat[i] * share


op(
    "MeanGradient",
    _mean_infer,
    inputs="dY",
    outputs="dX*",
    loop=_mean_loop,
    inplace=((0, 0),),
    doc="dY divided by the number of outputs, for each of them.",
)


def _dropout_infer(call: Call) -> list[TensorType]:
    """dX has the type of dY; the mask, needed in training, is bool and of its shape."""
    dy = require(call, 0)
    if not call.arg("is_test"):
        mask = require(call, 1, (DType.BOOL,))
        return [dy.with_shape(merge_shapes(call, dy.shape, mask.shape, "the shapes of dY and the mask differ"))]
    return [dy]


def _dropout_loop(dy: Any, mask: Any, dx: Any, is_test: Any, ratio: Any) -> None:
    scale = np.float32(1) / (np.float32(1) - np.float32(ratio))
    for i in range(dy.size):
        if is_test:
            dx.flat[i] = dy.flat[i]
        elif mask.flat[i]:
            dx.flat[i] = dy.flat[i] * scale


op(
    "DropoutGrad",
    _dropout_infer,
    inputs="dY mask?",
    outputs="dX",
    args=DROPOUT_ARGS,
    loop=_dropout_loop,
    call_traits=lambda call: Trait.IDENTITY if call.arg("is_test") else Trait.NONE,
    inplace=((0, 0),),
    doc="dY where the mask is set, times 1 / (1 - ratio); dY itself at test time.",
)


def _negate_infer(call: Call) -> list[TensorType]:
    """Y has the type of X."""
    return [call.type(0)]


op(
    "NegateGradient",
    _negate_infer,
    inputs="X",
    outputs="Y",
    reference=lambda call, x: [x],
    traits=Trait.IDENTITY,
    inplace=((0, 0),),
    doc="X itself; what flows back through it changes its sign.",
)
