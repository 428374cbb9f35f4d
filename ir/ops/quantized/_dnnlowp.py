"""What operators of the engine DNNLOWP share: arguments, types, and parameters of quantisation chosen from data.

Their inputs are float32 or quantised, their outputs quantised or, with ``dequantize_output``, float32. An input that is
float32 is quantised by its least and greatest element; the result by those that the float32 operator would give, unless
``Y_scale`` says how. Such a scale is known only when the data is: the type has ``OPEN_QUANT``, a size pass finds it.

Sources: Caffe2's ``quantization/server``, FBGEMM's ``QuantUtils``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops.quantized._fixed_point import clamped, half_even
from graphc.ir.types import OPEN_QUANT, DType, Quant, TensorType

HIGH = 255
"""The greatest quantised number: 8 bits, whatever the engine; DNNLOWP_16 keeps them in 16."""
ELTWISE_HIGH = 65535
"""The greatest number between the inputs and the result of a sum: 16 bits."""
SMALLEST_SCALE = 6.1e-5
"""A scale below it is raised to it."""
TANH_SCALE = 3.0 / 127.0
"""Input units of the quantised Tanh, which is 1 from 3 on; those of Sigmoid are twice that."""

QUANT_ARGS = (
    Arg("dequantize_output", "int", 0, "the result is float32"),
    Arg("Y_scale", "float", None, "scale of the result; default: by the least and greatest element"),
    Arg("Y_zero_point", "int", 0, "its zero point"),
    Arg("followed_by", "string", b"", "Relu, Sigmoid or Tanh: the only operator that reads the result"),
    Arg("preserve_activation_sparsity", "int", 0, "0 stays in the middle of the range: symmetric quantisation"),
    Arg("preserve_weight_sparsity", "int", 0, "the same for weights"),
    Arg("measure_quantization_error", "int", 0, "only reports"),
    Arg("activation_quantization_kind", "string", b"min_max", "only min_max"),
    Arg("weight_quantization_kind", "string", b"min_max", "only min_max"),
    Arg("activation_precision", "int", 8, "bits: 8"),
    Arg("weight_precision", "int", 8, "bits: 8"),
    Arg("requantization_multiplier_precision", "int", 32, "not read"),
    Arg("eltwise_quantization_precision", "int", 16, "bits between the inputs and the result of a sum: 16"),
    Arg("force_scale_power_of_two", "int", 0, "0"),
)
"""Arguments of every DNNLOWP operator."""
FIXED = {
    "activation_quantization_kind": "min_max",
    "weight_quantization_kind": "min_max",
    "activation_precision": 8,
    "weight_precision": 8,
    "eltwise_quantization_precision": 16,
    "force_scale_power_of_two": 0,
}
"""The only values that graphc has of some arguments."""


def check_quant_args(call: Call) -> None:
    """Fail for arguments of quantisation with another value than the one that graphc has."""
    for name, value in FIXED.items():
        given = call.arg(name)
        if (given.lower() if isinstance(given, str) else given) != value:
            call.fail(f"argument '{name}' is {given}", f"only {value} is supported")


def quantised_dtype(call: Call) -> DType:
    """uint8, or uint16 with the engine DNNLOWP_16."""
    return DType.UINT16 if call.node.op.endswith("_16") else DType.UINT8


def either_input(call: Call, i: int, *, quantised: bool = False) -> TensorType:
    """Type of input ``i``: quantised, or else float32 (not where ``quantised``); fails for others."""
    type = call.type(i)
    wanted = (quantised_dtype(call),) if quantised else (quantised_dtype(call), DType.FLOAT)
    if type.dtype is not None and type.dtype not in wanted:
        names = " or ".join(d.text for d in wanted)
        call.fail(f"input {i} ({call.input_name(i)}) is {type}, {names} is needed", "feed it through Quantize")
    return type


def input_numbers(call: Call, i: int) -> tuple[float, int]:
    """Scale and zero point of a quantised input, (0, 0) for a float one; fails where they are missing."""
    type = call.type(i)
    if type.dtype is DType.FLOAT:
        return 0.0, 0
    if type.quant is None:
        call.fail(f"input {i} ({call.input_name(i)}) is not quantised", "feed it through Quantize")
    return type.quant.scale, type.quant.zero_point


def static_quant(call: Call, relu: bool = False) -> Quant | None:
    """Scale and zero point that the arguments give the result, None where data decides.

    relu: the operator ends in Relu. What follows only reads a part of the range, so it is the range.
    """
    follower = "Relu" if relu else call.arg("followed_by")
    if follower in ("Sigmoid", "Tanh"):
        return Quant(float(np.float32(TANH_SCALE * (2 if follower == "Sigmoid" else 1))), 128)
    if call.arg("Y_scale") is None:
        return None
    scale, zero = np.float32(call.arg("Y_scale")), call.arg("Y_zero_point")
    least, most = np.finfo(np.float32).tiny, 65535 if quantised_dtype(call) is DType.UINT16 else HIGH
    if not least <= scale < np.inf:
        call.fail(f"argument 'Y_scale' is {scale}, a finite scale of at least {least:.3g} is needed")
    if not 0 <= zero <= most:
        call.fail(f"argument 'Y_zero_point' is {zero}, a value in 0 ... {most} is needed")
    if follower == "Relu":
        scale, zero = chosen(np.float32(0), scale * np.float32(HIGH - zero), int(call.arg(SPARSE)))
    return Quant(float(scale), int(zero))


SPARSE = "preserve_activation_sparsity"


def output_type(call: Call, shape: Any, relu: bool = False) -> TensorType:
    """The result: float32, or quantised by the arguments or by data."""
    check_quant_args(call)
    if call.arg("dequantize_output"):
        return TensorType(DType.FLOAT, shape)
    return TensorType(quantised_dtype(call), shape, quant=static_quant(call, relu) or OPEN_QUANT)


def output_numbers(call: Call, relu: bool = False) -> tuple[float, int, int, int, int]:
    """Scale and zero point of the result (0 and 0 where data decides), whether only positive values count, whether 0
    stays in the middle, whether the result is float32."""
    quant = static_quant(call, relu)
    scale, zero = (quant.scale, quant.zero_point) if quant else (0.0, 0)
    positive = relu or call.arg("followed_by") == "Relu"
    return scale, zero, int(positive), int(call.arg(SPARSE)), int(call.arg("dequantize_output"))


def chosen(low: float, high: float, sparse: int) -> tuple[float, int]:
    """Scale (a float32 number) and zero point of the numbers 0 ... 255 for values from ``low`` to ``high``."""
    return chosen_of(low, high, sparse, HIGH)


def chosen_of(low: float, high: float, sparse: int, most: int) -> tuple[float, int]:
    """Scale and zero point of the numbers 0 ... ``most`` for values from ``low`` to ``high``, which are float32."""
    low, high = np.float32(low), np.float32(high)
    symmetric = sparse != 0 and low < 0.0 and high > 0.0
    if symmetric:
        half = most // 2
        widest = max(abs(np.float64(low) / (half + 1)), abs(np.float64(high) / half))
        low, high = np.float32(-widest * (half + 1)), np.float32(widest * half)
    low, high = min(low, np.float32(0.0)), max(high, np.float32(0.0))
    least, greatest = np.float64(low), np.float64(high)
    scale = np.float64(np.float32((greatest - least) / most))
    if scale < 2.9387359e-39:  # its inverse is infinite
        scale = np.float64(np.float32(0.1))
    if scale < SMALLEST_SCALE:
        amplifier, scale = SMALLEST_SCALE / scale, SMALLEST_SCALE
        least, greatest = least * amplifier, greatest * amplifier
        if low == 0.0:
            greatest = SMALLEST_SCALE * most
        elif high == 0.0:
            least = -SMALLEST_SCALE * most
    zero = -least / scale if abs(least / scale) < most + abs(greatest / scale) else most - greatest / scale
    if symmetric:
        zero = most / 2
    return np.float32(scale), clamped(half_even(zero), 0, most)


def quantised(x: float, scale: float, zero: int) -> int:
    """The number of a float32 value, with one rounding before that to an integer, as vector code has it."""
    inverse = np.float32(1.0) / np.float32(scale)
    return clamped(half_even(np.float32(np.float64(x) * np.float64(inverse) + zero)), 0, HIGH)


def quantised_twice(x: float, scale: float, zero: int) -> int:
    """The integer of a float32 value, not clamped, with each operation rounded, as scalar code has it."""
    inverse = np.float32(1.0) / np.float32(scale)
    return half_even(np.float32(np.float32(x) * inverse) + np.float32(zero))


def requantised(raw: int, multiplier: float, zero: int, low: int, high: int) -> int:
    """An integer times a float32 multiplier, with the zero point, clamped."""
    return clamped(zero + half_even(np.float32(raw) * np.float32(multiplier)), low, high)


def number(x: Any, i: int, given: bool, scale: float, zero: int) -> int:
    """Element ``i`` as a quantised number; given: the array holds such numbers."""
    return np.int64(x.flat[i]) if given else quantised(np.float32(x.flat[i]), scale, zero)


def real(x: Any, i: int, given: bool, scale: float, zero: int) -> Any:
    """Element ``i`` as a float32 value; given: the array holds quantised numbers."""
    if given:
        return np.float32(np.int64(x.flat[i]) - zero) * np.float32(scale)
    return np.float32(x.flat[i])


def parameters(x: np.ndarray, scale: float, zero: int, sparse: int) -> tuple[float, int]:
    """Scale and zero point of an input: its own, or (scale 0) by its least and greatest element."""
    if scale > 0.0:
        return np.float32(scale), zero
    return span_parameters(x, 0, x.size, sparse)


def span_parameters(x: np.ndarray, start: int, end: int, sparse: int) -> tuple[float, int]:
    """Scale and zero point by the least and greatest of the elements from ``start`` to ``end``."""
    low = high = np.float32(0.0)
    for i in range(start, end):
        value = np.float32(x.flat[i])
        low, high = (value, value) if i == start else (min(low, value), max(high, value))
    return chosen(low, high, sparse)


def range_parameters(low: float, high: float, positive: int, sparse: int) -> tuple[float, int]:
    """Scale and zero point of a result that reaches from ``low`` to ``high``; positive: a Relu follows."""
    if positive:
        low, high = max(low, np.float32(0.0)), max(high, np.float32(0.0))
    return chosen(low, high, sparse)


def report(dims: np.ndarray, scale: float, zero: int) -> None:
    """Tell scale and zero point of the result to the size pass's caller."""
    if dims.shape[0] > 1:
        dims[0] = np.int64(np.float32(scale).view(np.int32))
        dims[1] = zero


TANH = float(np.float32(TANH_SCALE))
ONE_127TH = float(np.float32(1 / 127))
