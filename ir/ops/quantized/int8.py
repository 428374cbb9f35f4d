"""Int8 operators of Caffe2's default engine: asymmetric uint8 values, real = (q - zero point) * scale, layout NHWC.

Convolutions and products are exact in int32; the result is scaled once, by QNNPACK's fixed-point multiplier, and
clamped. ``X``'s scale and zero point are part of its type; ``Y_scale`` and ``Y_zero_point`` are those of the result.
Convolution and FC have their meaning in NumPy beside the loop, because whole nets are evaluated with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, axis_of, product, require, require_rank, vector
from graphc.ir.ops._window import (
    ADJ_ARGS,
    WINDOW_ARGS,
    output_image,
    padded,
    taps,
    transposed_image,
    transposed_window,
    window,
)
from graphc.ir.ops.quantized._fixed_point import clamped, half_even, q31, requantised, scaled_q31
from graphc.ir.types import OPEN_QUANT, UNKNOWN, Dim, DType, Quant, TensorType, dims_agree

ORDER_NHWC = Arg("order", "string", b"NHWC", "NHWC, the only order of int8 operators")
Y_QUANT = (Arg("Y_scale", "float", 1.0, "scale of the result"), Arg("Y_zero_point", "int", 0, "its zero point"))
INT8_WINDOW = (*(a for a in WINDOW_ARGS if a.name != "order"), ORDER_NHWC, *Y_QUANT)
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
SCALE_TOLERANCE = 1e-5
"""Relative difference up to which two scales that have to be equal are."""


def result_quant(call: Call) -> Quant:
    """Scale and zero point that the arguments give the result; fails for a scale that is no positive normal float."""
    scale, zero = call.arg("Y_scale"), call.arg("Y_zero_point")
    if not SMALLEST_SCALE <= scale < math.inf:
        call.fail(f"argument 'Y_scale' is {scale}, a finite scale of at least {SMALLEST_SCALE:.3g} is needed")
    if not 0 <= zero <= 255:
        call.fail(f"argument 'Y_zero_point' is {zero}, a value in 0 ... 255 is needed")
    return Quant(scale, zero)


def quant_of(call: Call, i: int) -> Quant:
    """Scale and zero point of input ``i``; fails where its type has none."""
    quant = call.type(i).quant
    if quant is None:
        call.fail(
            f"input {i} ({call.input_name(i)}) is not quantised",
            "feed it through Int8Quantize, or give its type a scale and a zero point",
        )
    if quant != OPEN_QUANT and not 0 < quant.scale < math.inf:
        call.fail(f"input {i} ({call.input_name(i)}) has the scale {quant.scale}, a positive finite one is needed")
    if not 0 <= quant.zero_point <= 255:
        call.fail(f"input {i} ({call.input_name(i)}) has the zero point {quant.zero_point}, 0 ... 255 is possible")
    return quant


def int8_input(call: Call, i: int) -> TensorType:
    """Type of input ``i``; fails unless it is uint8 or unknown."""
    type = call.type(i)
    if type.dtype not in (None, DType.UINT8):
        call.fail(
            f"input {i} ({call.input_name(i)}) is {type}, a quantised uint8 tensor is needed",
            "feed it through Int8Quantize",
        )
    return type


def product_scale(call: Call) -> float:
    """Units of the result per unit of the accumulator: X_scale * W_scale / Y_scale in float32."""
    scale = np.float32(quant_of(call, 0).scale) * np.float32(quant_of(call, 1).scale)
    return float(scale / np.float32(call.arg("Y_scale")))


def _product_constants(call: Call, relu: bool) -> tuple[int, ...]:
    """What a product needs: zero points of X and W, multiplier, shift, zero point and lower end of the result."""
    zero = result_quant(call).zero_point
    zeros = (quant_of(call, 0).zero_point, quant_of(call, 1).zero_point)
    return (*zeros, *q31(product_scale(call)), zero, zero if relu else 0)


def kept_quant(call: Call) -> Quant | None:
    """The quantisation where values move unchanged: that of X, with which the arguments have to agree."""
    own = call.type(0).quant
    if not call.given("Y_scale"):
        return own
    asked = result_quant(call)
    if own and (abs(own.scale - asked.scale) > SCALE_TOLERANCE * own.scale or own.zero_point != asked.zero_point):
        call.fail(
            f"X has scale {own.scale} and zero point {own.zero_point}, the result {asked.scale} and {asked.zero_point}",
            "give the operator the scale and zero point of its input",
        )
    return own or asked


def int8_type(call: Call, shape: Shape | None, quant: Quant | None = None) -> TensorType:
    """uint8 of a shape, with the quantisation of the arguments unless another is given."""
    return TensorType(DType.UINT8, shape, quant=quant or result_quant(call))


def _quantize_type(call: Call) -> list[TensorType]:
    if call.type(0).dtype not in (None, DType.FLOAT):
        call.fail(f"input 0 (X) is {call.type(0)}, float is needed")
    return [int8_type(call, call.type(0).shape)]


def _quantize(x: np.ndarray, y: np.ndarray, scale: float, zero: int) -> None:
    unit = np.float32(scale)
    for i in range(x.size):
        y.flat[i] = clamped(half_even(x.flat[i] / unit) + zero, 0, 255)


op(
    "Int8Quantize",
    _quantize_type,
    inputs="X",
    outputs="Y",
    args=Y_QUANT,
    loop=_quantize,
    doc="q = clamp(zero point + x / scale, 0, 255), half to even",
)


def _dequantize_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, int8_input(call, 0).shape)]


def _dequantize(x: np.ndarray, y: np.ndarray, scale: float, zero: int) -> None:
    unit = np.float32(scale)
    for i in range(x.size):
        y.flat[i] = np.float32(np.int32(x.flat[i]) - zero) * unit


def scale_and_zero(call: Call) -> tuple[float, int]:
    """Scale and zero point of input 0."""
    quant = quant_of(call, 0)
    return quant.scale, quant.zero_point


op(
    "Int8Dequantize",
    _dequantize_type,
    inputs="X",
    outputs="Y",
    loop=_dequantize,
    constants=scale_and_zero,
    doc="(q - zero point) * scale",
)


def _given_type(dtype: DType) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        shape = call.arg("shape")
        result = TensorType(dtype, shape, quant=Quant(call.arg("Y_scale"), call.arg("Y_zero_point")))
        n = len(call.node.attrs.get("values", b""))  # type: ignore[arg-type]
        if result.size != n:
            call.fail(f"argument 'values' has {n} elements, the shape {shape} needs {result.size}")
        return [result]

    return infer


def _given_bytes(call: Call) -> list[np.ndarray]:
    return [np.frombuffer(call.node.attrs["values"], np.uint8).reshape(call.arg("shape")).copy()]  # type: ignore


def _given_ints(call: Call) -> list[np.ndarray]:
    return [np.array(call.arg("values"), np.int64).astype(np.int32).reshape(call.arg("shape"))]


_SHAPE = Arg("shape", "ints", (), "shape of the output")

op(
    "Int8GivenTensorFill",
    _given_type(DType.UINT8),
    outputs="Y",
    args=(Arg("values", "string", b"", "the bytes in row-major order"), _SHAPE, *Y_QUANT),
    reference=_given_bytes,
    family=__name__,
    doc="the quantised tensor whose bytes the arguments spell out",
)
op(
    "Int8GivenIntTensorFill",
    _given_type(DType.INT32),
    outputs="Y",
    args=(Arg("values", "ints", (), "the elements in row-major order"), _SHAPE, *Y_QUANT),
    reference=_given_ints,
    family=__name__,
    doc="the int32 tensor (a bias) that the arguments spell out, with its scale",
)


def _conv_type(call: Call) -> list[TensorType]:
    if call.arg("order") != "NHWC":
        call.fail(f"order '{call.arg('order')}' is not supported by int8 operators", "export the net in order NHWC")
    int8_input(call, 0)
    int8_input(call, 1)
    x, w = require_rank(call, 0, 4), require_rank(call, 1, 4)
    check_bias(call, UNKNOWN if w is None else w[0])
    image = output_image(call)
    if w is not None:
        check_filter(call, x, w)
    if x is None or image is None:
        return [int8_type(call, None)]
    return [int8_type(call, (x[0], *image, UNKNOWN if w is None else w[0]))]


def check_bias(call: Call, m: Dim) -> None:
    """Input 2 is a vector of int32 with an element for each output channel."""
    require(call, 2, (DType.INT32,))
    vector(call, 2, m, "elements of the bias and output channels differ")


def check_filter(call: Call, x: Shape | None, w: Shape) -> None:
    """Input 1 is (M, kH, kW, C / group) for the channels of ``x``, the groups and the kernel's size."""
    group = call.arg("group")
    if x is not None:
        agree(call, w[3] * group, x[3], "channels of X and filter (times group) differ")
    if group < 1 or (isinstance(w[0], int) and w[0] % group):
        call.fail(f"{w[0]} output channels do not divide into {group} groups")
    for size, got in zip(window(call).kernel, w[1:3]):
        agree(call, got, size, "the kernel's size and the filter's differ")


def accumulated(call: Call, x: np.ndarray, w: np.ndarray, w_zero: int) -> np.ndarray:
    """Exact sums of products of a convolution: float64 holds every int32."""
    win = window(call)
    out = tuple(d for d in output_image(call) or () if isinstance(d, int))
    shifted = padded(x.astype(np.float64) - quant_of(call, 0).zero_point, win, 0.0, first=1)
    filters = w.astype(np.float64) - w_zero
    group, (m, _, _, depth) = win.group, w.shape
    total = np.zeros((x.shape[0], *out, group, m // group))
    for tap, view in taps(shifted, win, out, first=1):
        parts = view.reshape(*view.shape[:3], group, depth)
        at: tuple[slice | int, ...] = (slice(None), *tap)
        grouped = np.asarray(filters[at]).reshape(group, m // group, depth)
        total += (parts[..., None, :] @ np.swapaxes(grouped, 1, 2))[..., 0, :]
    return total.reshape(*total.shape[:3], m)


def _convolution(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    stride_h: int,
    stride_w: int,
    dilation_h: int,
    dilation_w: int,
    top: int,
    left: int,
    group: int,
    x_zero: int,
    w_zero: int,
    multiplier: int,
    shift: int,
    zero: int,
    low: int,
) -> None:
    depth, per_group = w.shape[3], w.shape[0] // group
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for m in range(y.shape[3]):
                    total = np.int64(b[m])
                    first = m // per_group * depth
                    for k in range(w.shape[1]):
                        row = i * stride_h - top + k * dilation_h
                        if row < 0 or row >= x.shape[1]:
                            continue
                        for q in range(w.shape[2]):
                            column = j * stride_w - left + q * dilation_w
                            if 0 <= column < x.shape[2]:
                                xs, ws = x[n, row, column], w[m, k, q]
                                part = np.int32(0)
                                for c in range(depth):
                                    part += (np.int32(xs[first + c]) - x_zero) * (np.int32(ws[c]) - w_zero)
                                total += part
                    y[n, i, j, m] = clamped(scaled_q31(total, multiplier, shift) + zero, low, 255)


def conv_flops(call: Call) -> int:
    """Two for each multiply-add of a convolution."""
    return 2 * call.node.results[0].type.size * math.prod(call.type(1).static_shape[1:])


def _conv_constants(relu: bool) -> Callable[[Call], Sequence[int]]:
    def constants(call: Call) -> Sequence[int]:
        win = window(call)
        return (*win.stride, *win.dilation, *win.heads, win.group, *_product_constants(call, relu))

    return constants


def _conv_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        zero, total = result_quant(call).zero_point, accumulated(call, x, w, quant_of(call, 1).zero_point) + b
        return [requantised(total, product_scale(call), zero, zero if relu else 0)]

    return reference


for _name, _relu in (("Int8Conv", False), ("Int8ConvRelu", True)):
    op(
        _name,
        _conv_type,
        inputs="X filter bias",
        outputs="Y",
        args=(Arg("group", "int", 1, "groups of channels"), *INT8_WINDOW),
        loop=_convolution,
        constants=_conv_constants(_relu),
        flops=conv_flops,
        reference=_conv_reference(_relu),
        doc="convolution of uint8 NHWC with a filter (M, kH, kW, C / group)" + (", then Relu" if _relu else ""),
    )


def _fc_type(call: Call) -> list[TensorType]:
    x, w = int8_input(call, 0).shape, int8_input(call, 1).shape
    n: Dim = UNKNOWN if w is None else product(w[: axis_of(call, call.arg("axis_w"), len(w), "axis_w")])
    require(call, 2, (DType.INT32,))
    bias = call.type(2).shape
    if bias is not None:
        agree(call, product(bias), n, "elements of the bias and rows of W differ")
    if x is None:
        return [int8_type(call, None)]
    axis = axis_of(call, call.arg("axis"), len(x))
    if w is not None:
        k, k_w = product(x[axis:]), product(w[axis_of(call, call.arg("axis_w"), len(w), "axis_w") :])
        if not dims_agree(k, k_w):
            call.fail(f"a row of X has {k} elements, one of W {k_w}")
    return [int8_type(call, (*x[:axis], n))]


def _dense(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    depth: int,
    x_zero: int,
    w_zero: int,
    multiplier: int,
    shift: int,
    zero: int,
    low: int,
) -> None:
    columns = b.size
    for i in range(y.size // max(columns, 1)):
        for j in range(columns):
            total = np.int64(b.flat[j])
            for k in range(depth):
                total += (np.int32(x.flat[i * depth + k]) - x_zero) * (np.int32(w.flat[j * depth + k]) - w_zero)
            y.flat[i * columns + j] = clamped(scaled_q31(total, multiplier, shift) + zero, low, 255)


def fc_flops(call: Call) -> int:
    """Two for each multiply-add of a matrix product: an element of W meets every row of the result."""
    rows = call.node.results[0].type.size // max(call.type(2).size, 1)
    return 2 * rows * call.type(1).size


def _fc_constants(relu: bool) -> Callable[[Call], Sequence[int]]:
    def constants(call: Call) -> Sequence[int]:
        shape = call.type(0).static_shape
        return (math.prod(shape[call.arg("axis") % len(shape) :]), *_product_constants(call, relu))

    return constants


def multiplied(call: Call, x: np.ndarray, w: np.ndarray, w_zero: int) -> np.ndarray:
    """Exact sums of products of a matrix product, in float64."""
    axis = call.arg("axis") % x.ndim
    depth = math.prod(x.shape[axis:])
    left = x.reshape(math.prod(x.shape[:axis]), depth).astype(np.float64) - quant_of(call, 0).zero_point
    right = w.reshape(-1, depth).astype(np.float64) - w_zero
    return np.asarray((left @ right.T).reshape(*x.shape[:axis], len(right)))


def _fc_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        zero, total = (
            result_quant(call).zero_point,
            multiplied(call, x, w, quant_of(call, 1).zero_point) + b.reshape(-1),
        )
        return [requantised(total, product_scale(call), zero, zero if relu else 0)]

    return reference


for _name, _relu in (("Int8FC", False), ("Int8FCRelu", True)):
    op(
        _name,
        _fc_type,
        inputs="X W b",
        outputs="Y",
        args=(
            Arg("axis", "int", 1, "first dimension of a row of X"),
            Arg("axis_w", "int", 1, "first dimension of a row of W"),
            ORDER_NHWC,
            *Y_QUANT,
        ),
        loop=_dense,
        constants=_fc_constants(_relu),
        flops=fc_flops,
        reference=_fc_reference(_relu),
        doc="X W^T + b of uint8 values" + (", then Relu" if _relu else ""),
    )


def _transposed_type(call: Call) -> list[TensorType]:
    """Y is (N, output image, M); the filter (C, kH, kW, M)."""
    if call.arg("order") != "NHWC":
        call.fail(f"order '{call.arg('order')}' is not supported by int8 operators", "export the net in order NHWC")
    int8_input(call, 0)
    int8_input(call, 1)
    x, w, win = require_rank(call, 0, 4), require_rank(call, 1, 4), transposed_window(call)
    if win.group != 1:
        call.fail(f"argument 'group' is {win.group}, the operator knows no groups")
    check_bias(call, UNKNOWN if w is None else w[3])
    image = transposed_image(call)
    if w is not None:
        for size, got in zip(win.kernel, w[1:3]):
            agree(call, got, size, "the kernel's size and the filter's differ")
        if x is not None:
            agree(call, w[0], x[3], "channels of X and filter differ")
    if x is None or image is None:
        return [int8_type(call, None)]
    return [int8_type(call, (x[0], *image, UNKNOWN if w is None else w[3]))]


def _transposed_convolution(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    stride_h: int,
    stride_w: int,
    top: int,
    left: int,
    x_zero: int,
    w_zero: int,
    multiplier: int,
    shift: int,
    zero: int,
    low: int,
) -> None:
    depth, rows, columns = w.shape[0], w.shape[1], w.shape[2]
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for m in range(y.shape[3]):
                    total = np.int64(b[m])
                    for k in range(rows):
                        row = (i + top - k) // stride_h
                        if row < 0 or row >= x.shape[1] or row * stride_h != i + top - k:
                            continue
                        for q in range(columns):
                            column = (j + left - q) // stride_w
                            if 0 <= column < x.shape[2] and column * stride_w == j + left - q:
                                for c in range(depth):
                                    unit = np.int32(w[c, k, q, m]) - w_zero
                                    total += (np.int32(x[n, row, column, c]) - x_zero) * unit
                    y[n, i, j, m] = clamped(scaled_q31(total, multiplier, shift) + zero, low, 255)


def _transposed_constants(call: Call) -> Sequence[int]:
    win = transposed_window(call)
    return (*win.stride, *win.heads, *_product_constants(call, relu=False))


op(
    "Int8ConvTranspose",
    _transposed_type,
    inputs="X filter bias",
    outputs="Y",
    args=(Arg("group", "int", 1, "groups of channels: 1"), *ADJ_ARGS, *INT8_WINDOW),
    loop=_transposed_convolution,
    constants=_transposed_constants,
    doc="transposed convolution of uint8 NHWC",
)
