"""Gradients of activations and of the functions of one operand: pointwise in X or Y and dY, as Caffe2 names its inputs.

Each has the arguments of the forward operator, which Caffe2's gradient makers copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import FLOATS, NUMERIC, Shape, agree, merge_shapes, product, require
from graphc.ir.ops.elementwise._functions import cosh, sinh
from graphc.ir.ops.elementwise.activation import (
    ALPHA,
    BOUND,
    CLIP_ARGS,
    EPS,
    FAST_GELU,
    LINE_ARGS,
    SELU_ARGS,
    SLOPE,
    THRESHOLD,
    softplus,
)
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import DType, TensorType

WITH_DOUBLE = (*FLOATS, DType.DOUBLE)


def one_type(call: Call, dtypes: Sequence[DType], first: int = 0) -> TensorType:
    """The type of input ``first``, with which all later inputs agree in dtype and number of elements."""
    kind = require(call, first, dtypes)
    for i in range(first + 1, call.n_inputs):
        other = require(call, i, dtypes)
        if kind.dtype is not None and other.dtype is not None and kind.dtype is not other.dtype:
            call.fail(f"input {i} is {other.dtype.text}, input {first} is {kind.dtype.text}", "insert a Cast")
        if kind.shape is None or other.shape is None or len(kind.shape) == len(other.shape):
            shape = merge_shapes(call, kind.shape, other.shape, f"the shapes of inputs {first} and {i} differ")
        else:
            agree(call, product(other.shape), product(kind.shape), f"number of elements of input {i}")
            shape = kind.shape
        kind = TensorType(kind.dtype or other.dtype, shape)
    return kind


def _as_first(call: Call, i: int) -> Shape:
    """All operands have the shape of input 0, as Caffe2 reads them."""
    return call.type(0).shape or ()


def _gradient(
    name: str,
    inputs: str,
    scalar: Any,
    doc: str,
    *args: Arg,
    dtypes: Sequence[DType] = FLOATS,
    inplace: tuple[tuple[int, int], ...] = (),
) -> None:
    def infer(call: Call) -> list[TensorType]:
        """dX has the one type of all inputs."""
        return [one_type(call, dtypes)]

    op(
        f"{name}Gradient",
        infer,
        inputs=inputs,
        outputs="dX",
        scalar=scalar,
        align=_as_first,
        args=args,
        traits=Trait.POINTWISE | Trait.BLOCKED,
        inplace=inplace,
        doc=doc,
    )


def _where_inside(o: ScalarOps, x: Expr, low: Expr, high: Expr, inside: Expr) -> Expr:
    """``inside`` where low < x < high, else 0."""
    return o.where(o.both(o.lt(low, x), o.lt(x, high)), inside, o.const(0.0))


def _sign_times(o: ScalarOps, call: Call, x: Expr, dy: Expr) -> Expr:
    zero = o.const(0.0)
    return o.where(o.lt(zero, x), dy, o.where(o.lt(x, zero), -dy, zero))


def _relu(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return o.where(o.lt(o.const(0.0), y), dy, o.const(0.0))


def _leaky_relu(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return o.where(o.lt(y, o.const(0.0)), dy * o.const(call.arg("alpha")), dy)


def _elu(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return o.where(o.lt(y, o.const(0.0)), (y + o.const(call.arg("alpha"))) * dy, dy)


def _selu(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    alpha, scale = call.arg("alpha"), call.arg("scale")
    below = (y + o.const(alpha * scale)) * dy
    return o.where(o.lt(o.const(0.0), y), dy * o.const(scale), below)


def _clip(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return _where_inside(o, y, o.const(call.arg("min")), o.const(call.arg("max")), dy)


def _hard_sigmoid(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return _where_inside(o, y, o.const(0.0), o.const(1.0), dy * o.const(call.arg("alpha")))


def _relu_n(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return _where_inside(o, y, o.const(0.0), o.const(call.arg("n")), dy)


def _softplus(o: ScalarOps, call: Call, y: Expr, dy: Expr) -> Expr:
    return dy * (o.const(1.0) - o.exp(-y))


def _softsign(o: ScalarOps, call: Call, x: Expr, dy: Expr) -> Expr:
    width = o.abs(x) + o.const(1.0)
    return dy / (width * width)


def _swish(o: ScalarOps, call: Call, x: Expr, y: Expr, dy: Expr) -> Expr:
    return dy * (y + o.sigmoid(x) * (o.const(1.0) - y))


def _mish(o: ScalarOps, call: Call, x: Expr, y: Expr, dy: Expr) -> Expr:
    t = o.tanh(softplus(o, call, x))
    return dy * (t + x * o.sigmoid(x) * (o.const(1.0) - t * t))


def _gelu(o: ScalarOps, call: Call, dy: Expr, x: Expr) -> Expr:
    half, one, square = o.const(0.5), o.const(1.0), x * x
    if call.arg("fast_gelu"):
        slope, bend = math.sqrt(2 / math.pi), 0.044715
        y = o.tanh((square * x * o.const(bend) + x) * o.const(slope))
        inner = square * o.const(3 * bend * slope) + o.const(slope)
        return (y + one + (x - x * y * y) * inner) * dy * half
    below = (o.erf(x * o.const(math.sqrt(0.5))) + one) * half
    return dy * (below + x * o.exp(-(square * half)) * o.const(1 / math.sqrt(2 * math.pi)))


def _logit(o: ScalarOps, call: Call, x: Expr, dy: Expr) -> Expr:
    low, one = o.const(call.arg("eps")), o.const(1.0)
    outside = o.either(o.lt(x, low), o.lt(one - low, x))
    return o.where(outside, o.const(0.0), dy / (x * (one - x)))


def _erf(o: ScalarOps, call: Call, x: Expr, dy: Expr) -> Expr:
    return o.exp(-(x * x)) * o.const(2 / math.sqrt(math.pi)) * dy


def _tan(o: ScalarOps, call: Call, x: Expr, dy: Expr) -> Expr:
    c = o.cos(x)
    return dy / (c * c)


def _arc(o: ScalarOps, x: Expr) -> Expr:
    """The square root of 1 - x * x."""
    return o.sqrt(o.const(1.0) - x * x)


_DY_LAST = ((1, 0),)
_gradient("Relu", "Y dY", _relu, "dY where Y > 0, else 0", inplace=_DY_LAST)
_gradient("LeakyRelu", "Y dY", _leaky_relu, "dY, times alpha where Y < 0", SLOPE, inplace=_DY_LAST)
_gradient("Elu", "Y dY", _elu, "dY, times Y + alpha where Y < 0", ALPHA, inplace=_DY_LAST)
_gradient("Selu", "Y dY", _selu, "scale * dY; (Y + alpha * scale) * dY where Y <= 0", *SELU_ARGS, inplace=_DY_LAST)
_gradient("Clip", "Y dY", _clip, "dY where min < Y < max, else 0", *CLIP_ARGS, inplace=_DY_LAST)
_gradient("HardSigmoid", "Y dY", _hard_sigmoid, "alpha * dY where 0 < Y < 1", *LINE_ARGS, inplace=_DY_LAST)
_gradient("ReluN", "Y dY", _relu_n, "dY where 0 < Y < n, else 0", BOUND, inplace=_DY_LAST)
_gradient(
    "ThresholdedRelu",
    "Y dY",
    _relu,
    "dY where Y > 0, else 0",
    THRESHOLD,
    inplace=_DY_LAST,
)
_gradient("Sigmoid", "Y dY", lambda o, call, y, dy: dy * y * (o.const(1.0) - y), "dY * Y * (1 - Y)", inplace=_DY_LAST)
_gradient("Tanh", "Y dY", lambda o, call, y, dy: dy * (o.const(1.0) - y * y), "dY * (1 - Y * Y)", inplace=_DY_LAST)
_gradient("Softplus", "Y dY", _softplus, "dY * (1 - exp(-Y))", inplace=_DY_LAST)
_gradient("Softsign", "X dY", _softsign, "dY / (1 + |X|)^2", inplace=_DY_LAST)
_gradient("Swish", "X Y dY", _swish, "dY * (Y + sigmoid(X) * (1 - Y))", dtypes=WITH_DOUBLE, inplace=((2, 0),))
_gradient("Mish", "X Y dY", _mish, "dY times the slope of Mish at X", dtypes=WITH_DOUBLE)
_gradient(
    "Gelu",
    "dY X",
    _gelu,
    "dY times the slope of Gelu at X",
    FAST_GELU,
)
_gradient(
    "Logit",
    "X dY",
    _logit,
    "dY / (X * (1 - X)), 0 outside [eps, 1 - eps]",
    EPS,
)

_gradient("Abs", "X dY", _sign_times, "dY times the sign of X")
_gradient("Acos", "X dY", lambda o, call, x, dy: -(dy / _arc(o, x)), "-dY / sqrt(1 - X * X)")
_gradient("Asin", "X dY", lambda o, call, x, dy: dy / _arc(o, x), "dY / sqrt(1 - X * X)")
_gradient("Atan", "X dY", lambda o, call, x, dy: dy / (x * x + o.const(1.0)), "dY / (1 + X * X)")
_gradient("Sin", "X dY", lambda o, call, x, dy: dy * o.cos(x), "dY * cos(X)")
_gradient("Cos", "X dY", lambda o, call, x, dy: -(dy * o.sin(x)), "-dY * sin(X)")
_gradient("Tan", "X dY", _tan, "dY / cos(X)^2")
_gradient("Sinh", "dY X", lambda o, call, dy, x: dy * cosh(o, x), "dY * cosh(X)")
_gradient("Cosh", "dY X", lambda o, call, dy, x: dy * sinh(o, x), "dY * sinh(X)")
_gradient("Erf", "X dY", _erf, "dY * 2 / sqrt(pi) * exp(-X * X)")
_gradient("Log1p", "X dY", lambda o, call, x, dy: dy / (x + o.const(1.0)), "dY / (1 + X)")
_gradient("Cube", "dY X", lambda o, call, dy, x: dy * x * x * o.const(3.0), "3 * X * X * dY", dtypes=NUMERIC)
_gradient("Cbrt", "dY Y", lambda o, call, dy, y: dy / (y * y * o.const(3.0)), "dY / (3 * Y * Y)", inplace=((0, 0),))
_gradient("Reciprocal", "Y dY", lambda o, call, y, dy: -(dy * y * y), "-dY * Y * Y", inplace=_DY_LAST)
_gradient("Rsqrt", "dY Y", lambda o, call, dy, y: dy * o.const(-0.5) * (y * y * y), "-dY * Y^3 / 2", inplace=((0, 0),))
