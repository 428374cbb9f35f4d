"""graphc's own int8 products: uint8 values, int8 weights with a scale for each map, a result scaled in float32.

Caffe2's operators have one scale for all weights and round twice, in fixed point. These have one for each map of the
result and round once, which is more accurate and half the work. With s = X_scale * scale of the map / Y_scale, each
operation rounded to float32:

    t = float32(sum of (x - X_zero_point) * w, plus bias) * s [+ float32(r - R_zero_point) * (R_scale / Y_scale)]
    Y = clamp(nearest integer of t, of two the even one, + Y_zero_point, low, high)

The sum is exact. low is Y_zero_point with ``relu``, else 0. With ``to_float`` Y is t itself for Y_scale 1, its negative
values 0 with ``relu``. The bias is int32, in units of X_scale * scale of the map.
"""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import Shape, agree, product, require, require_rank, vector
from graphc.ir.ops._window import output_image
from graphc.ir.ops.quantized.int8 import (
    INT8_WINDOW,
    ORDER_NHWC,
    Y_QUANT,
    accumulated,
    check_bias,
    check_filter,
    conv_flops,
    fc_flops,
    int8_input,
    int8_type,
    multiplied,
    quant_of,
    result_quant,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType, dims_agree, merge_dims

LONGEST = 1 << 16
"""Most products of a sum: with more of them it could leave 32 bits whatever the weights are."""
FARTHEST = 2.0**30
"""A result this far from zero is clamped, whatever the zero point."""
RESIDUAL = 4
"""Operand slot of R."""
ENDING = (
    *Y_QUANT,
    Arg("relu", "int", 0, "the result is not below the real value 0"),
    Arg("high", "int", 255, "its greatest value"),
    Arg("to_float", "int", 0, "the result is float32 and has no scale"),
)


def is_float_result(call: Call) -> bool:
    """The result is float32."""
    return bool(call.arg("to_float"))


def unit(call: Call) -> np.float32:
    """Scale of the result, 1 where it is float32."""
    scale: np.float32 = np.float32(1 if is_float_result(call) else result_quant(call).scale)
    return scale


def multipliers(call: Call, scales: np.ndarray) -> np.ndarray:
    """Units of the result per unit of the sum, float32 for each map."""
    with np.errstate(over="ignore"):
        return np.asarray(np.float32(quant_of(call, 0).scale) * scales.astype(np.float32) / unit(call), np.float32)


def residual_ratio(call: Call) -> np.float32:
    """Units of the result per unit of R."""
    ratio: np.float32 = np.float32(quant_of(call, RESIDUAL).scale) / unit(call)
    return ratio


def _result_type(call: Call, shape: Shape | None) -> list[TensorType]:
    """float or uint8 of a shape; R has to have it too."""
    if call.has(RESIDUAL):
        other = int8_input(call, RESIDUAL).shape
        if shape is not None and other is not None:
            if len(shape) != len(other) or not all(map(dims_agree, shape, other)):
                call.fail(f"the result has the shape {shape}, R {other}", "add a tensor of the result's shape")
            shape = tuple(map(merge_dims, shape, other))
    if not result_quant(call).zero_point <= call.arg("high") <= 255:
        call.fail(f"argument 'high' is {call.arg('high')}, a value from Y_zero_point to 255 is needed")
    return [TensorType(DType.FLOAT, shape) if is_float_result(call) else int8_type(call, shape)]


def _check_scales(call: Call, maps: Dim) -> None:
    """Input 3 is a float for each map, positive and finite where it is known."""
    require(call, 3, (DType.FLOAT,))
    vector(call, 3, maps, "scales and maps differ in number")
    scales = call.constant(3)
    if scales is not None and not (np.isfinite(scales).all() and (scales > 0).all()):
        call.fail("a scale of the weights is not positive, or not finite", "give weights of nothing but 0 the scale 1")


def _check_weights(call: Call, depth: Dim) -> None:
    require(call, 1, (DType.INT8,))
    if isinstance(depth, int) and depth > LONGEST:
        call.fail(f"a sum has {depth} products, at most {LONGEST} are supported", "use Caffe2's int8 operators")


def _conv_type(call: Call) -> list[TensorType]:
    """X (N, H, W, C), filter (M, kH, kW, C / group)."""
    int8_input(call, 0)
    x, w = require_rank(call, 0, 4), require_rank(call, 1, 4)
    maps = UNKNOWN if w is None else w[0]
    _check_weights(call, UNKNOWN if w is None else product(w[1:]))
    check_bias(call, maps)
    _check_scales(call, maps)
    image = output_image(call)
    if w is not None:
        check_filter(call, x, w)
    return _result_type(call, None if x is None or image is None else (x[0], *image, maps))


def _ended(call: Call, total: np.ndarray, scales: np.ndarray, rest: np.ndarray | None) -> list[np.ndarray]:
    """The result from exact sums."""
    with np.errstate(over="ignore", invalid="ignore"):
        t = total.astype(np.float32) * multipliers(call, scales)
        if rest is not None:
            t += (rest.astype(np.float32) - np.float32(quant_of(call, RESIDUAL).zero_point)) * residual_ratio(call)
    if is_float_result(call):
        return [np.maximum(t, np.float32(0)) if call.arg("relu") else t]
    zero = result_quant(call).zero_point
    nearest = np.rint(np.clip(t, -FARTHEST, FARTHEST)).astype(np.int64)
    return [np.clip(nearest + zero, zero if call.arg("relu") else 0, call.arg("high")).astype(np.uint8)]


def _conv(
    call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray, scales: np.ndarray, rest: np.ndarray | None = None
) -> list[np.ndarray]:
    return _ended(call, accumulated(call, x, w, 0) + b, scales, rest)


def _fc_type(call: Call) -> list[TensorType]:
    """The dimensions of X from ``axis`` on are a row; W (N, K)."""
    x, w = int8_input(call, 0).shape, require_rank(call, 1, 2)
    maps = UNKNOWN if w is None else w[0]
    _check_weights(call, UNKNOWN if w is None else w[1])
    check_bias(call, maps)
    _check_scales(call, maps)
    if x is None:
        return _result_type(call, None)
    axis = call.arg("axis")
    if not -len(x) <= axis < len(x):
        call.fail(f"axis {axis} is outside an input of {len(x)} dimensions")
    axis %= len(x)
    if w is not None:
        agree(call, w[1], product(x[axis:]), "elements of a row of W and of X differ")
    return _result_type(call, (*x[:axis], maps))


def _fc(
    call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray, scales: np.ndarray, rest: np.ndarray | None = None
) -> list[np.ndarray]:
    return _ended(call, multiplied(call, x, w, 0) + b, scales, rest)


op(
    "g.int8_conv",
    _conv_type,
    inputs="X filter bias scales R?",
    outputs="Y",
    args=(Arg("group", "int", 1, "groups of channels"), *(a for a in INT8_WINDOW if a not in Y_QUANT), *ENDING),
    reference=_conv,
    flops=conv_flops,
    traits=Trait.INTERNAL,
    doc="convolution of uint8 NHWC with an int8 filter (M, kH, kW, C / group) of a scale a map, plus R, then Relu",
)
op(
    "g.int8_fc",
    _fc_type,
    inputs="X W bias scales R?",
    outputs="Y",
    args=(Arg("axis", "int", 1, "first dimension of a row of X"), ORDER_NHWC, *ENDING),
    reference=_fc,
    flops=fc_flops,
    traits=Trait.INTERNAL,
    doc="X W^T + bias of uint8 values and int8 weights of a scale a row, plus R, then Relu",
)
