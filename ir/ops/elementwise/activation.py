"""Activations: pointwise, float in, float out; PRelu has a slope per channel, Dropout is here for its test time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Seed, Trait, op
from graphc.ir.ops._rules import FLOATS, HINTS, ORDER, agree, axis_of, channel_axis, per_channel, product, require
from graphc.ir.ops._rules import same_type as same_type
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import Dim, DType, TensorType

POINTWISE = Trait.POINTWISE | Trait.BLOCKED


def _float_infer(call: Call) -> list[TensorType]:
    """Y has the type of X, which is float."""
    return [require(call, 0)]


def _float_or_double_infer(call: Call) -> list[TensorType]:
    """Y has the type of X, which is float or double."""
    return [require(call, 0, (*FLOATS, DType.DOUBLE))]


def _activation(name: str, scalar: Any, doc: str, *args: Arg, inplace: bool = True, infer: Any = _float_infer) -> None:
    op(
        name,
        infer,
        inputs="X",
        outputs="Y",
        scalar=scalar,
        args=(*args, ORDER, *HINTS),
        traits=POINTWISE,
        inplace=((0, 0),) if inplace else (),
        doc=doc,
    )


def _leaky_relu(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.where(o.lt(x, o.const(0.0)), x * o.const(call.arg("alpha")), x)


def _elu(o: ScalarOps, call: Call, x: Expr) -> Expr:
    zero = o.const(0.0)
    below = (o.exp(o.minimum(x, zero)) - o.const(1.0)) * o.const(call.arg("alpha"))
    return o.where(o.lt(x, zero), below, x)


def _selu(o: ScalarOps, call: Call, x: Expr) -> Expr:
    alpha, scale, zero = o.const(call.arg("alpha")), o.const(call.arg("scale")), o.const(0.0)
    return o.where(o.lt(zero, x), x, o.exp(o.minimum(x, zero)) * alpha - alpha) * scale


def softplus(o: ScalarOps, call: Call, x: Expr) -> Expr:
    """log(1 + exp(x)) that does not overflow."""
    return o.maximum(x, o.const(0.0)) + o.log(o.exp(-o.abs(x)) + o.const(1.0))


def _hard_sigmoid(o: ScalarOps, call: Call, x: Expr) -> Expr:
    line = x * o.const(call.arg("alpha")) + o.const(call.arg("beta"))
    return o.maximum(o.minimum(line, o.const(1.0)), o.const(0.0))


def _gelu(o: ScalarOps, call: Call, x: Expr) -> Expr:
    half, one = o.const(0.5), o.const(1.0)
    if call.arg("fast_gelu"):
        inner = (x * x * x * o.const(0.044715) + x) * o.const(math.sqrt(2 / math.pi))
        return (o.tanh(inner) + one) * x * half
    return (o.erf(x * o.const(math.sqrt(0.5))) + one) * x * half


def _logit(o: ScalarOps, call: Call, x: Expr) -> Expr:
    low = o.const(call.arg("eps"))
    inside = o.minimum(o.maximum(x, low), o.const(1.0) - low)
    return o.log(inside / (o.const(1.0) - inside))


def _relu_n(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.minimum(o.maximum(x, o.const(0.0)), o.const(call.arg("n")))


def _thresholded_relu(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.where(o.lt(o.const(call.arg("alpha")), x), x, o.const(0.0))


def _clip(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.minimum(o.maximum(x, o.const(call.arg("min"))), o.const(call.arg("max")))


LARGEST_FLOAT = float(np.finfo(np.float32).max)
SLOPE = Arg("alpha", "float", 0.01, "slope below zero")
ALPHA = Arg("alpha", "float", 1.0, "scale below zero")
SELU_ARGS = (
    Arg("alpha", "float", float(np.float32(1.6732632423543772)), "scale below zero"),
    Arg("scale", "float", float(np.float32(1.0507009873554805)), "scale of everything"),
)
LINE_ARGS = (Arg("alpha", "float", float(np.float32(0.2)), "slope"), Arg("beta", "float", 0.5, "value at zero"))
CLIP_ARGS = (
    Arg("min", "float", -LARGEST_FLOAT, "lower bound"),
    Arg("max", "float", LARGEST_FLOAT, "upper bound"),
)
FAST_GELU = Arg("fast_gelu", "int", 0, "approximate by tanh")
EPS = Arg("eps", "float", float(np.float32(1e-6)), "distance from 0 and 1 that is kept")
BOUND = Arg("n", "float", 6.0, "upper bound")
THRESHOLD = Arg("alpha", "float", 1.0, "threshold")

_activation("Relu", lambda o, call, x: o.maximum(x, o.const(0.0)), "max(x, 0)")
_activation("Sigmoid", lambda o, call, x: o.sigmoid(x), "1 / (1 + exp(-x))")
_activation("Tanh", lambda o, call, x: o.tanh(x), "tanh(x)")
_activation("LeakyRelu", _leaky_relu, "x, or alpha * x where x < 0", SLOPE)
_activation("Elu", _elu, "x, or alpha * (exp(x) - 1) where x < 0", ALPHA)
_activation(
    "Selu",
    _selu,
    "scale * x, or scale * alpha * (exp(x) - 1) where x <= 0",
    *SELU_ARGS,
)
_activation("Softplus", softplus, "log(1 + exp(x)), without overflow")
_activation("Softsign", lambda o, call, x: x / (o.abs(x) + o.const(1.0)), "x / (1 + |x|)")
_activation("Swish", lambda o, call, x: x * o.sigmoid(x), "x * sigmoid(x)", inplace=False)
_activation(
    "Mish",
    lambda o, call, x: x * o.tanh(softplus(o, call, x)),
    "x * tanh(softplus(x))",
    inplace=False,
    infer=_float_or_double_infer,
)
_activation(
    "HardSigmoid",
    _hard_sigmoid,
    "alpha * x + beta, clipped to [0, 1]",
    *LINE_ARGS,
)
_activation(
    "Gelu",
    _gelu,
    "x times the normal distribution's probability of a value below x",
    FAST_GELU,
    inplace=False,
)
_activation("Logit", _logit, "log(x / (1 - x)), x clipped to [eps, 1 - eps]", EPS)
_activation("ReluN", _relu_n, "max(x, 0), at most n", BOUND)
_activation("ThresholdedRelu", _thresholded_relu, "x where x > alpha, else 0", THRESHOLD)
_activation(
    "Clip",
    _clip,
    "x, at least min and at most max",
    *CLIP_ARGS,
)


def _prelu_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; Slope is a vector: one element, or one a channel."""
    x = require(call, 0)
    slope = require(call, 1).shape
    if slope is not None and product(slope) != 1 and x.shape is not None:
        if len(x.shape) < 2:
            call.fail("a slope per channel needs an input with channels", "give a slope of one element")
        agree(call, product(slope), x.shape[channel_axis(call, len(x.shape))], "length of the slope")
    return [x]


def _prelu(o: ScalarOps, call: Call, x: Expr, slope: Expr) -> Expr:
    return o.where(o.lt(o.const(0.0), x), x, x * slope)


def _first_or_channel(call: Call, i: int) -> tuple[Dim, ...]:
    return per_channel(call, i) if i else call.type(0).shape or ()


op(
    "PRelu",
    _prelu_infer,
    inputs="X Slope",
    outputs="Y",
    args=(ORDER,),
    scalar=_prelu,
    align=_first_or_channel,
    traits=POINTWISE,
    inplace=((0, 0),),
    doc="x, or slope * x where x <= 0; one slope for all channels or one each.",
)


DROPOUT_ARGS = (
    Arg("is_test", "int", 0, "pass everything"),
    Arg("ratio", "float", 0.5, "share that is dropped"),
)


def _dropout_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; the optional mask is bool of the same shape."""
    x = require(call, 0)
    if not 0.0 <= call.arg("ratio") < 1.0:
        call.fail(f"ratio {call.arg('ratio')} is outside [0, 1)", "use a ratio from 0 to below 1")
    return [x, TensorType(DType.BOOL, x.shape)][: call.n_outputs]


def _dropout_traits(call: Call) -> Trait:
    return Trait.IDENTITY if call.arg("is_test") else Trait.RANDOM


MASK = 4294967295
"""32 bits."""


def _dropout_loop(x: Any, y: Any, mask: Any, is_test: Any, ratio: Any, seed: Any) -> None:
    """Element i draws a hash of i and of a seed, into which the name and the elements go.

    So a run with other elements, as each step of training has them, drops others. The hash is the finaliser of
    MurmurHash3 (Appleby, public domain).
    """
    start = np.int64(seed)
    for i in range(0, x.size if not is_test else 0, 1 + x.size // 1024):
        start = (start * 48271 + (np.int64(np.float32(x.flat[i]).view(np.int32)) & 2147483647)) % 2147483647
    limit = np.int64(ratio * MASK)
    scale = np.float32(1) / (np.float32(1) - np.float32(ratio))
    if is_test:
        limit, scale = np.int64(-1), np.float32(1)
    for i in range(x.size):
        h = (np.int64(i) * 2654435761 + start) & MASK
        h = ((h ^ (h >> 16)) * 2246822507) & MASK
        h = ((h ^ (h >> 13)) * 3266489909) & MASK
        y.flat[i] = x.flat[i] * scale if (h ^ (h >> 16)) > limit else np.float32(0)
        if mask.size:
            mask.flat[i] = (h ^ (h >> 16)) > limit


def _dropout_constants(call: Call) -> Sequence[int | float]:
    seed = Seed(zlib.crc32(call.node.results[0].name.encode("utf-8", "surrogateescape")))
    return [int(bool(call.arg("is_test"))), float(call.arg("ratio")), seed]


op(
    "Dropout",
    _dropout_infer,
    inputs="X",
    outputs="Y mask?",
    args=(*DROPOUT_ARGS, ORDER, *HINTS),
    loop=_dropout_loop,
    constants=_dropout_constants,
    call_traits=_dropout_traits,
    inplace=((0, 0),),
    doc="In training zeroes a random share of the elements and scales the rest by 1 / (1 - ratio); else the identity.",
)


def _glu_infer(call: Call) -> list[TensorType]:
    """Y: X with the dimension ``dim`` halved."""
    x = require(call, 0)
    if x.shape is None:
        return [x]
    axis = axis_of(call, call.arg("dim"), len(x.shape), "dim")
    half = x.shape[axis]
    if isinstance(half, int) and half % 2:
        call.fail(f"dimension {axis} has {half} elements, an even number is needed")
    return [x.with_shape((*x.shape[:axis], half // 2, *x.shape[axis + 1 :]))]


def _glu_loop(x: Any, y: Any, blocks: Any, size: Any) -> None:
    """A block of ``size`` elements of the first half comes before one of the second."""
    for b in range(blocks):
        for i in range(size):
            gate = np.float32(1) / (np.float32(1) + np.float32(np.exp(-x.flat[(2 * b + 1) * size + i])))
            y.flat[b * size + i] = x.flat[2 * b * size + i] * gate


def _glu_constants(call: Call) -> Sequence[int]:
    shape = call.type(0).static_shape
    axis = axis_of(call, call.arg("dim"), len(shape), "dim")
    return [math.prod(shape[:axis]), math.prod(shape[axis:]) // 2]


op(
    "Glu",
    _glu_infer,
    inputs="X",
    outputs="Y",
    args=(Arg("dim", "int", -1, "the dimension whose second half gates the first"),),
    loop=_glu_loop,
    constants=_glu_constants,
    doc="First half times the sigmoid of the second half.",
)
