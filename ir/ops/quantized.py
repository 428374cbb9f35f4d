"""Int8 operators of Caffe2's default engine: asymmetric uint8 values, real = (q - zero point) * scale, layout NHWC.

Convolutions and products are exact in int32; the result is scaled once, rounded half to even and clamped. ``X``'s scale
and zero point are part of its type; ``Y_scale`` and ``Y_zero_point`` are those of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, product, require_rank
from graphc.ir.ops._window import WINDOW_ARGS, output_image, padded, taps, window
from graphc.ir.types import UNKNOWN, Dim, DType, Quant, TensorType, dims_agree, merge_dims

ORDER_NHWC = Arg("order", "string", b"NHWC", "NHWC, the only order of int8 operators")
Y_QUANT = (Arg("Y_scale", "float", 1.0, "scale of the result"), Arg("Y_zero_point", "int", 0, "its zero point"))
INT8_WINDOW = (*(a for a in WINDOW_ARGS if a.name != "order"), ORDER_NHWC, *Y_QUANT)
SCALE_TOLERANCE = 1e-5
"""Relative difference up to which two scales that have to be equal are."""


def result_quant(call: Call) -> Quant:
    """Scale and zero point that the arguments give the result; fails for a scale that is not positive."""
    scale, zero = call.arg("Y_scale"), call.arg("Y_zero_point")
    if not scale > 0:
        call.fail(f"argument 'Y_scale' is {scale}, a positive scale is needed")
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
    return quant


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


def requantise(real: np.ndarray, quant: Quant, low: int = 0) -> np.ndarray:
    """Real values in units of the result's scale -> uint8, half to even, clamped to ``low`` ... 255."""
    return np.asarray(np.clip(np.rint(real) + quant.zero_point, low, 255), np.uint8)


def real_values(call: Call, i: int, x: np.ndarray) -> np.ndarray:
    """The float32 numbers that a quantised input stands for."""
    quant = quant_of(call, i)
    return np.asarray((x.astype(np.int32) - quant.zero_point).astype(np.float32) * np.float32(quant.scale))


def _quantize_type(call: Call) -> list[TensorType]:
    if call.type(0).dtype not in (None, DType.FLOAT):
        call.fail(f"input 0 (X) is {call.type(0)}, float is needed")
    return [int8_type(call, call.type(0).shape)]


def _quantize(call: Call, x: np.ndarray) -> list[np.ndarray]:
    quant = result_quant(call)
    return [requantise(x / np.float32(quant.scale), quant)]


op(
    "Int8Quantize",
    _quantize_type,
    inputs="X",
    outputs="Y",
    args=Y_QUANT,
    reference=_quantize,
    doc="q = clamp(zero point + x / scale, 0, 255), half to even",
)


def _dequantize_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, call.type(0).shape)]


def _dequantize(call: Call, x: np.ndarray) -> list[np.ndarray]:
    return [real_values(call, 0, x)]


op(
    "Int8Dequantize",
    _dequantize_type,
    inputs="X",
    outputs="Y",
    reference=_dequantize,
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
    family="quantized",
    doc="the quantised tensor whose bytes the arguments spell out",
)
op(
    "Int8GivenIntTensorFill",
    _given_type(DType.INT32),
    outputs="Y",
    args=(Arg("values", "ints", (), "the elements in row-major order"), _SHAPE, *Y_QUANT),
    reference=_given_ints,
    family="quantized",
    doc="the int32 tensor (a bias) that the arguments spell out, with its scale",
)


def _conv_type(call: Call) -> list[TensorType]:
    if call.arg("order") != "NHWC":
        call.fail(f"order '{call.arg('order')}' is not supported by int8 operators", "export the net in order NHWC")
    x, w = require_rank(call, 0, 4), require_rank(call, 1, 4)
    image = output_image(call)
    if w is not None:
        _check_filter(call, x, w)
    if x is None or image is None:
        return [int8_type(call, None)]
    return [int8_type(call, (x[0], *image, UNKNOWN if w is None else w[0]))]


def _check_filter(call: Call, x: Shape | None, w: Shape) -> None:
    group = call.arg("group")
    if x is not None:
        agree(call, w[3] * group, x[3], "channels of X and filter (times group) differ")
    if isinstance(w[0], int) and w[0] % group:
        call.fail(f"{w[0]} output channels do not divide into {group} groups")
    for size, got in zip(window(call).kernel, w[1:3]):
        agree(call, got, size, "the kernel's size and the filter's differ")


def _accumulated(call: Call, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Exact sums of products: float64 holds every int32."""
    win = window(call)
    out = tuple(d for d in output_image(call) or () if isinstance(d, int))
    shifted = padded(x.astype(np.float64) - quant_of(call, 0).zero_point, win, 0.0, first=1)
    filters = w.astype(np.float64) - quant_of(call, 1).zero_point
    group, (m, _, _, depth) = win.group, w.shape
    total = np.zeros((x.shape[0], *out, group, m // group))
    for tap, view in taps(shifted, win, out, first=1):
        parts = view.reshape(*view.shape[:3], group, depth)
        at: tuple[slice | int, ...] = (slice(None), *tap)
        grouped = np.asarray(filters[at]).reshape(group, m // group, depth)
        total += (parts[..., None, :] @ np.swapaxes(grouped, 1, 2))[..., 0, :]
    return total.reshape(*total.shape[:3], m)


def _product_scale(call: Call) -> float:
    """Units of the result per unit of the accumulator."""
    scale = np.float32(quant_of(call, 0).scale) * np.float32(quant_of(call, 1).scale)
    return float(scale / np.float32(call.arg("Y_scale")))


def _conv_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> list[np.ndarray]:
        total = _accumulated(call, x, w) + (0 if b is None else b)
        quant = result_quant(call)
        return [requantise(total * _product_scale(call), quant, quant.zero_point if relu else 0)]

    return reference


for _name, _relu in (("Int8Conv", False), ("Int8ConvRelu", True)):
    op(
        _name,
        _conv_type,
        inputs="X filter bias?",
        outputs="Y",
        args=(Arg("group", "int", 1, "groups of channels"), *INT8_WINDOW),
        reference=_conv_reference(_relu),
        doc="convolution of uint8 NHWC with a filter (M, kH, kW, C / group)" + (", then Relu" if _relu else ""),
    )


def _fc_type(call: Call) -> list[TensorType]:
    x, w = call.type(0).shape, call.type(1).shape
    n: Dim = UNKNOWN if w is None else w[0]
    if x is None:
        return [int8_type(call, (UNKNOWN, n))]
    if w is not None and not dims_agree(product(x[1:]), product(w[1:])):
        call.fail(f"a row of X has {product(x[1:])} elements, one of W {product(w[1:])}")
    return [int8_type(call, (x[0], n))]


def _fc_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> list[np.ndarray]:
        left = x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64) - quant_of(call, 0).zero_point
        right = w.reshape(len(w), math.prod(w.shape[1:])).astype(np.float64) - quant_of(call, 1).zero_point
        total = left @ right.T + (0 if b is None else b)
        quant = result_quant(call)
        return [requantise(total * _product_scale(call), quant, quant.zero_point if relu else 0)]

    return reference


for _name, _relu in (("Int8FC", False), ("Int8FCRelu", True)):
    op(
        _name,
        _fc_type,
        inputs="X W b?",
        outputs="Y",
        args=(Arg("axis", "int", 1), Arg("axis_w", "int", 1), ORDER_NHWC, *Y_QUANT),
        reference=_fc_reference(_relu),
        doc="X W^T + b of uint8 values" + (", then Relu" if _relu else ""),
    )


def _sum_type(call: Call) -> list[TensorType]:
    shape = call.type(0).shape
    for i in range(1, call.n_inputs):
        other = call.type(i).shape
        if shape is None or other is None:
            shape = shape or other
            continue
        if len(shape) != len(other) or not all(map(dims_agree, shape, other)):
            call.fail(f"inputs 0 and {i} have the shapes {shape} and {other}")
        shape = tuple(map(merge_dims, shape, other))
    return [int8_type(call, shape)]


_SUM_BITS = 21
"""Fraction bits of the greater scale in an int8 sum."""


def _shifted(total: np.ndarray, bits: int) -> np.ndarray:
    """Integers divided by 2**bits, rounded half away from zero."""
    return (total - (total < 0) + (1 << (bits - 1))) >> bits


def _exact_sum(call: Call, inputs: tuple[np.ndarray, ...], quant: Quant) -> np.ndarray:
    """The sum in units of the result's scale; the scales' ratios become integers of 22 bits, as in QNNPACK."""
    ratios = [np.float32(quant_of(call, i).scale) / np.float32(quant.scale) for i in range(len(inputs))]
    if not 2**-14 <= max(ratios) < 2**8:
        call.fail(f"the inputs' scales are {[float(r) for r in ratios]} times that of the result, out of range")
    bits = _SUM_BITS - int(np.floor(np.log2(max(ratios))))
    total = np.zeros(inputs[0].shape, np.int64)
    for i, (x, ratio) in enumerate(zip(inputs, ratios)):
        total += int(np.rint(float(ratio) * 2.0**bits)) * (x.astype(np.int64) - quant_of(call, i).zero_point)
    return _shifted(total, bits)


def _sum_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
        quant = result_quant(call)
        return [requantise(_exact_sum(call, inputs, quant), quant, quant.zero_point if relu else 0)]

    return reference


for _name in ("Int8Sum", "Int8SumRelu", "Int8Add", "Int8AddRelu"):
    op(
        _name,
        _sum_type,
        inputs="X*",
        outputs="Y",
        args=(ORDER_NHWC, *Y_QUANT),
        reference=_sum_reference(_name.endswith("Relu")),
        inplace=((0, 0), (1, 0)),
        doc="sum of uint8 values of different scales" + (", then Relu" if _name.endswith("Relu") else ""),
    )


def _average_type(call: Call) -> list[TensorType]:
    shape, image = require_rank(call, 0, 4), output_image(call)
    return [int8_type(call, None if shape is None or image is None else (shape[0], *image, shape[3]))]


def _average_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray) -> list[np.ndarray]:
        """The border counts as the real value 0, and in the divisor; halves are rounded away from zero."""
        win, quant, mine = window(call), result_quant(call), quant_of(call, 0)
        out = tuple(d for d in output_image(call) or () if isinstance(d, int))
        views = taps(padded(x.astype(np.float64) - mine.zero_point, win, 0.0, first=1), win, out, first=1)
        unit = np.float32(mine.scale) / (np.float32(quant.scale) * np.float32(len(views)))
        mean = np.asarray(sum(view for _, view in views)) * float(unit)
        return [requantise(np.copysign(np.floor(abs(mean) + 0.5), mean), quant, quant.zero_point if relu else 0)]

    return reference


def _max_type(call: Call) -> list[TensorType]:
    shape, image = require_rank(call, 0, 4), output_image(call)
    result = None if shape is None or image is None else (shape[0], *image, shape[3])
    return [TensorType(DType.UINT8, result, quant=kept_quant(call))]


def _max_reference(relu: bool) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray) -> list[np.ndarray]:
        win = window(call)
        out = tuple(d for d in output_image(call) or () if isinstance(d, int))
        views = taps(padded(x, win, 0, first=1), win, out, first=1)
        low = quant_of(call, 0).zero_point if relu else 0
        return [np.maximum(np.max([view for _, view in views], axis=0), low).astype(np.uint8)]

    return reference


for _relu in (False, True):
    _tail, _doc = ("Relu", ", then Relu") if _relu else ("", "")
    op(
        f"Int8AveragePool{_tail}",
        _average_type,
        inputs="X",
        outputs="Y",
        args=INT8_WINDOW,
        reference=_average_reference(_relu),
        doc="mean over windows of uint8 NHWC; the border counts" + _doc,
    )
    op(
        f"Int8MaxPool{_tail}",
        _max_type,
        inputs="X",
        outputs="Y",
        args=INT8_WINDOW,
        reference=_max_reference(_relu),
        doc="maximum over windows of uint8 NHWC; scale and zero point stay" + _doc,
    )


def _kept_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.UINT8, call.type(0).shape, quant=kept_quant(call))]


def _relu_reference(call: Call, x: np.ndarray) -> list[np.ndarray]:
    return [np.maximum(x, np.uint8(quant_of(call, 0).zero_point))]


op(
    "Int8Relu",
    _kept_type,
    inputs="X",
    outputs="Y",
    args=(ORDER_NHWC, *Y_QUANT),
    reference=_relu_reference,
    inplace=((0, 0),),
    doc="max(q, zero point)",
)


def _same_shape_type(call: Call) -> list[TensorType]:
    return [int8_type(call, call.type(0).shape)]


def _leaky_relu(call: Call, x: np.ndarray) -> list[np.ndarray]:
    quant, mine = result_quant(call), quant_of(call, 0)
    ratio = np.float32(mine.scale) / np.float32(quant.scale)
    real = ratio * (x.astype(np.int32) - mine.zero_point).astype(np.float32)
    return [requantise(np.where(real < 0, real * np.float32(call.arg("alpha")), real), quant)]


op(
    "Int8LeakyRelu",
    _same_shape_type,
    inputs="X",
    outputs="Y",
    args=(Arg("alpha", "float", 0.01, "slope below zero"), ORDER_NHWC, *Y_QUANT),
    reference=_leaky_relu,
    inplace=((0, 0),),
    doc="LeakyRelu of uint8 values",
)


def _probability_type(call: Call) -> list[TensorType]:
    quant = result_quant(call)
    if quant != Quant(1 / 256, 0):
        call.fail(
            f"the result has scale {quant.scale} and zero point {quant.zero_point}",
            "Caffe2 wants Y_scale = 1/256 and Y_zero_point = 0",
        )
    return [int8_type(call, call.type(0).shape)]


def _sigmoid(call: Call, x: np.ndarray) -> list[np.ndarray]:
    return [requantise(256 / (1 + np.exp(-real_values(call, 0, x).astype(np.float64))), result_quant(call))]


op(
    "Int8Sigmoid",
    _probability_type,
    inputs="X",
    outputs="Y",
    args=(ORDER_NHWC, *Y_QUANT),
    reference=_sigmoid,
    doc="sigmoid of uint8 values in units of 1/256",
)

_EXPONENT_UNITS = 8388607.0
"""Fixed-point units of exp(0) in the table of Int8Softmax: 2**23 - 1, fewer where the sum could pass 2**32."""


def _softmax(call: Call, x: np.ndarray) -> list[np.ndarray]:
    """In integers: a table of exponentials relative to the row's maximum, then a rounded division."""
    axis = call.arg("axis") % max(x.ndim, 1)
    rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])).astype(np.int64)
    units = min((2**32 - 1) / max(rows.shape[1], 1), _EXPONENT_UNITS)
    table = np.rint(units * np.exp(quant_of(call, 0).scale * (np.arange(256) - 255.0))).astype(np.int64)
    weights = table[rows + 255 - rows.max(axis=1, keepdims=True, initial=0)]
    total = weights.sum(axis=1, keepdims=True)
    return [np.minimum((weights * 256 + total // 2) // total, 255).astype(np.uint8).reshape(x.shape)]


op(
    "Int8Softmax",
    _probability_type,
    inputs="X",
    outputs="Y",
    args=(Arg("axis", "int", 1, "the dimensions from here on are the classes"), ORDER_NHWC, *Y_QUANT),
    reference=_softmax,
    doc="softmax of uint8 values in units of 1/256",
)
