"""Operators of the engine DNNLOWP, element by element: conversions, sums, products, activations; see ``_dnnlowp.py``.

A record is named as in Caffe2's registry: ``Add_ENGINE_DNNLOWP`` is what an ``Add`` of that engine runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, merge_shapes, product, require
from graphc.ir.ops.quantized._dnnlowp import (
    ELTWISE_HIGH,
    HIGH,
    ONE_127TH,
    QUANT_ARGS,
    TANH,
    check_quant_args,
    chosen_of,
    either_input,
    input_numbers,
    number,
    output_numbers,
    output_type,
    parameters,
    quantised,
    quantised_dtype,
    quantised_twice,
    range_parameters,
    real,
    report,
    requantised,
    static_quant,
)
from graphc.ir.ops.quantized._fixed_point import clamped, half_even
from graphc.ir.types import OPEN_QUANT, DType, Quant, TensorType

SUFFIX = "_ENGINE_DNNLOWP"


def dnnlowp(
    *names: str,
    infer: Callable[[Call], list[TensorType]],
    args: tuple[Arg, ...] = (),
    more: str = "",
    plain: str = "",
    **fields: Any,
) -> None:
    """Declare one operator under several names, with the arguments of quantisation after its own.

    more: names with a variant of the engine, as ``Conv_16`` for ``Conv_ENGINE_DNNLOWP_16``. plain: names that need no
    engine.
    """
    own = {a.name for a in args}
    rest = tuple(a for a in QUANT_ARGS if a.name not in own)
    variants = [name.replace("_", f"{SUFFIX}_", 1) for name in more.split()]
    for name in [*(n + SUFFIX for n in names), *variants, *plain.split()]:
        op(name, infer, args=(*args, *rest), **{"family": __name__, **fields})


# ---- conversions -----------------------------------------------------------------------------------------------------


def _quantize_type(call: Call) -> list[TensorType]:
    """Y has the shape of X; the scale is an argument, or two inputs that are weights, or open."""
    require(call, 0, (DType.FLOAT,))
    check_quant_args(call)
    if call.n_inputs not in (1, 3):
        call.fail(f"{call.n_inputs} inputs, 1 or 3 are needed: X, or X, scale, zero_point")
    quant = _given_quant(call) if call.n_inputs == 3 else static_quant(call) or OPEN_QUANT
    return [TensorType(quantised_dtype(call), call.type(0).shape, quant=quant)]


def _given_quant(call: Call) -> Quant:
    require(call, 1, (DType.FLOAT,))
    require(call, 2, (DType.INT32,))
    scale, zero = call.constant(1), call.constant(2)
    if scale is None or zero is None:
        return OPEN_QUANT
    return Quant(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]))


def _quantize_parameters(
    x: np.ndarray, given: np.ndarray, given_zero: np.ndarray, scale: float, zero: int, sparse: int
) -> tuple[float, int]:
    if given.size > 0:
        return np.float32(given.flat[0]), np.int64(given_zero.flat[0])
    return parameters(x, scale, zero, sparse)


def _quantize_sizes(
    x: np.ndarray, given: np.ndarray, given_zero: np.ndarray, dims: np.ndarray, scale: float, zero: int, sparse: int
) -> None:
    found, found_zero = _quantize_parameters(x, given, given_zero, scale, zero, sparse)
    report(dims, found, found_zero)


def _quantize(
    x: np.ndarray, given: np.ndarray, given_zero: np.ndarray, y: np.ndarray, scale: float, zero: int, sparse: int
) -> int:
    found, found_zero = _quantize_parameters(x, given, given_zero, scale, zero, sparse)
    if not found > 0.0:
        return 1
    for i in range(x.size):
        y.flat[i] = quantised(x.flat[i], found, found_zero)
    return 0


def _quantize_constants(call: Call) -> Sequence[float]:
    scale, zero, _, sparse, _ = output_numbers(call)
    return scale, zero, sparse


dnnlowp(
    "Quantize",
    "Int8Quantize",
    infer=_quantize_type,
    more="Quantize_16 Quantize_ROWWISE Quantize_ROWWISE_16 Int8Quantize_ROWWISE",
    inputs="X scale? zero_point?",
    outputs="Y",
    loop=_quantize,
    sizes=_quantize_sizes,
    constants=_quantize_constants,
    errors=("scale is not positive",),
    doc="q = clamp(zero point + x / scale, 0, 255); scale and zero point by the least and greatest element",
)


def _dequantize_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, either_input(call, 0, quantised=True).shape)]


def _dequantize(x: np.ndarray, y: np.ndarray, scale: float, zero: int) -> None:
    for i in range(x.size):
        y.flat[i] = np.float32(np.int64(x.flat[i]) - zero) * np.float32(scale)


dnnlowp(
    "Dequantize",
    "Int8Dequantize",
    "Int8DequantizeRowWise",
    infer=_dequantize_type,
    more="Dequantize_16 Dequantize_ROWWISE Dequantize_ROWWISE_16 Int8Dequantize_ROWWISE",
    inputs="X",
    outputs="Y",
    loop=_dequantize,
    constants=lambda call: input_numbers(call, 0),
    doc="(q - zero point) * scale",
)

# ---- two operands ----------------------------------------------------------------------------------------------------

_BROADCAST = (
    Arg("broadcast", "int", 0, "B is repeated along the dimensions of A that it lacks"),
    Arg("axis", "int", -1, "dimension of A at which B begins; default: the last that fit"),
    Arg("axis_str", "string", b"", "the dimension by its letter in order"),
    Arg("order", "string", b"NCHW", "NCHW or NHWC"),
)


def _binary_type(call: Call) -> list[TensorType]:
    """C has the shape of A; with ``broadcast`` B is a run of A's dimensions, or one element."""
    a, b = either_input(call, 0), either_input(call, 1)
    if not call.arg("broadcast"):
        shape = merge_shapes(call, a.shape, b.shape, "A and B differ (without broadcast=1)")
        return [output_type(call, shape)]
    if a.shape is not None and b.shape is not None and product(b.shape) != 1:
        first = _first_axis(call, len(a.shape), len(b.shape))
        for i, d in enumerate(b.shape):
            agree(call, d, a.shape[first + i], f"dimension {i} of B and {first + i} of A")
    return [output_type(call, a.shape)]


def _first_axis(call: Call, rank: int, other: int) -> int:
    axis = call.arg("axis")
    if call.arg("axis_str"):
        axis = call.arg("order").find(call.arg("axis_str"))
    first = rank - other if axis < 0 else axis
    if not 0 <= first <= rank - other:
        call.fail(f"B with {other} dimensions does not lie at dimension {first} of A with {rank}")
    return first


def _binary_constants(call: Call) -> Sequence[float]:
    """How B repeats: it has n elements, each for ``after`` of A; then the inputs' and the result's numbers."""
    a, b = call.type(0).static_shape, call.type(1).static_shape
    n, after = math.prod(b), 1
    if call.arg("broadcast") and n != 1:
        after = math.prod(a[_first_axis(call, len(a), len(b)) + len(b) :])
    return (n, after, *input_numbers(call, 0), *input_numbers(call, 1), *output_numbers(call))


def _pair(a_scale: float, b_scale: float) -> tuple[bool, bool]:
    return a_scale > 0.0, b_scale > 0.0


def _binary_range(
    a: np.ndarray,
    b: np.ndarray,
    n: int,
    after: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    positive: int,
    sparse: int,
    multiplies: bool,
) -> tuple[float, int]:
    """Scale and zero point for what float32 inputs would give."""
    low = high = np.float32(0.0)
    for i in range(a.size):
        x, y = real(a, i, a_scale > 0.0, a_scale, a_zero), real(b, i // after % n, b_scale > 0.0, b_scale, b_zero)
        value = x * y if multiplies else x + y
        low, high = (value, value) if i == 0 else (min(low, value), max(high, value))
    return range_parameters(low, high, positive, sparse)


def _add_sizes(
    a: np.ndarray,
    b: np.ndarray,
    dims: np.ndarray,
    n: int,
    after: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _binary_range(a, b, n, after, a_scale, a_zero, b_scale, b_zero, positive, sparse, False)
    report(dims, found, found_zero)


def _mul_sizes(
    a: np.ndarray,
    b: np.ndarray,
    dims: np.ndarray,
    n: int,
    after: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _binary_range(a, b, n, after, a_scale, a_zero, b_scale, b_zero, positive, sparse, True)
    report(dims, found, found_zero)


def store(y: np.ndarray, i: int, q: int, scale: float, zero: int, as_float: int) -> int:
    """Write a result as a quantised number, or as what it stands for."""
    if as_float:
        y.flat[i] = np.float32(q - zero) * np.float32(scale)
    else:
        y.flat[i] = q
    return 0


def vector_sum(p: float, q: float, scale: float, zero: int, low: int) -> int:
    """The sum of two numbers in units of the result, as FBGEMM's vectors round it: once after the scaling."""
    total = np.float64(np.float32(p + q)) * np.float64(np.float32(1.0 / scale)) + zero
    return half_even(min(max(np.float32(total), np.float32(low)), np.float32(255.0)))


def scalar_sum(p: float, q: float, scale: float, zero: int, low: int) -> int:
    """The same for elements that fill no vector: a division, and every operation rounded."""
    return clamped(half_even(np.float32(zero) + np.float32(p + q) / np.float32(scale)), low, HIGH)


def shifted_real(q: int, scale: float, zero: int) -> Any:
    """What a number stands for, as a fused multiplication and addition has it."""
    offset = np.float32(-zero) * np.float32(scale)
    return np.float32(np.float64(q) * np.float64(np.float32(scale)) + np.float64(offset))


def add_quantised(
    a: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    low: int,
    as_float: int,
) -> int:
    """Sum of two tensors of 8 bits and one shape, in floating point."""
    whole = a.size // 8 * 8
    for i in range(a.size):
        p, q = np.int64(a.flat[i]), np.int64(b.flat[i])
        if i < whole:
            s = vector_sum(shifted_real(p, a_scale, a_zero), shifted_real(q, b_scale, b_zero), scale, zero, low)
        else:
            x, z = np.float32(p - a_zero) * np.float32(a_scale), np.float32(q - b_zero) * np.float32(b_scale)
            s = scalar_sum(x, z, scale, zero, low)
        store(y, i, s, scale, zero, as_float)
    return 0


def least(scale: float, zero: int) -> Any:
    """The value of the number 0."""
    return np.float32(scale) * np.float32(0 - zero)


def greatest(scale: float, zero: int) -> Any:
    """The value of the number 255."""
    return np.float32(scale) * np.float32(255 - zero)


def wide(x: Any, i: int, given: bool, scale: float, zero: int, mid_scale: float, mid_zero: int, most: int) -> int:
    """Element ``i`` in the units between inputs and result, clamped to 0 ... ``most``."""
    if given:
        return requantised(np.int64(x.flat[i]) - zero, np.float32(scale) / np.float32(mid_scale), mid_zero, 0, 65535)
    return clamped(quantised_twice(np.float32(x.flat[i]), mid_scale, mid_zero), 0, most)


def _add(
    a: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    n: int,
    after: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    """In floating point where both inputs are quantised and equal in size, else in 16-bit fixed point."""
    if not scale > 0.0:
        scale, zero = _binary_range(a, b, n, after, a_scale, a_zero, b_scale, b_zero, positive, sparse, False)
    a_given, b_given = _pair(a_scale, b_scale)
    p_scale, p_zero = parameters(a, a_scale, a_zero, sparse)
    q_scale, q_zero = parameters(b, b_scale, b_zero, sparse)
    if a_given and b_given and a.size == b.size:
        add_quantised(a, b, y, p_scale, p_zero, q_scale, q_zero, scale, zero, 0, as_float)
        return
    low, high = min(least(p_scale, p_zero), least(q_scale, q_zero)), greatest(p_scale, p_zero)
    mid, mid_zero = chosen_of(low, max(high, greatest(q_scale, q_zero)), sparse, ELTWISE_HIGH)
    unit = np.float32(mid) / np.float32(scale)
    for i in range(a.size):
        total = wide(a, i, a_given, p_scale, p_zero, mid, mid_zero, ELTWISE_HIGH) - 2 * mid_zero
        total += wide(b, i // after % n, b_given, q_scale, q_zero, mid, mid_zero, ELTWISE_HIGH)
        store(y, i, requantised(total, unit, zero, 0, HIGH), scale, zero, as_float)


def _mul(
    a: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    n: int,
    after: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    if not scale > 0.0:
        scale, zero = _binary_range(a, b, n, after, a_scale, a_zero, b_scale, b_zero, positive, sparse, True)
    a_given, b_given = _pair(a_scale, b_scale)
    p_scale, p_zero = parameters(a, a_scale, a_zero, sparse)
    q_scale, q_zero = parameters(b, b_scale, b_zero, sparse)
    unit = np.float32(p_scale) * np.float32(q_scale) / np.float32(scale)
    for i in range(a.size):
        p = number(a, i, a_given, p_scale, p_zero) - p_zero
        q = number(b, i // after % n, b_given, q_scale, q_zero) - q_zero
        store(y, i, requantised(p * q, unit, zero, 0, HIGH), scale, zero, as_float)


for _names, _loop, _sizes, _doc in (
    (("Add", "Int8Add"), _add, _add_sizes, "A + B"),
    (("Mul", "Int8Mul"), _mul, _mul_sizes, "A * B"),
):
    dnnlowp(
        *_names,
        infer=_binary_type,
        inputs="A B",
        outputs="C",
        args=_BROADCAST,
        loop=_loop,
        sizes=_sizes,
        constants=_binary_constants,
        inplace=((0, 0), (1, 0)),
        doc=_doc + " in fixed point",
    )

# ---- activations -----------------------------------------------------------------------------------------------------


def _relu_type(call: Call) -> list[TensorType]:
    """Y has the type of X: a result of a float tensor is float32, for the blobs may be one."""
    check_quant_args(call)
    return [either_input(call, 0)]


def _relu(x: np.ndarray, y: np.ndarray, scale: float, zero: int, sparse: int) -> None:
    given = scale > 0.0
    scale, zero = parameters(x, scale, zero, sparse)
    for i in range(x.size):
        q = max(number(x, i, given, scale, zero), zero)
        store(y, i, q, scale, zero, not given)


dnnlowp(
    "Relu",
    "Int8Relu",
    infer=_relu_type,
    more="Relu_16",
    inputs="X",
    outputs="Y",
    loop=_relu,
    constants=lambda call: (*input_numbers(call, 0), int(call.arg("preserve_activation_sparsity"))),
    inplace=((0, 0),),
    doc="max(q, zero point)",
)


def _unit_type(sigmoid: bool) -> Callable[[Call], list[TensorType]]:
    quant = Quant(float(np.float32(0.5 / 127)), 0) if sigmoid else Quant(ONE_127TH, 128)

    def infer(call: Call) -> list[TensorType]:
        check_quant_args(call)
        return [TensorType(DType.UINT8, either_input(call, 0, quantised=True).shape, quant=quant)]

    return infer


def tanh_of(q: int) -> int:
    """The quantised Tanh of a number with zero point 128: the mean of tanh at the ends of its unit."""
    size = abs(q - 128)
    if size >= 127:
        y = 127
    else:
        mean = (math.tanh((size - 0.5) * TANH) + math.tanh((size + 0.5) * TANH)) / 2.0
        y = half_even(mean / ONE_127TH)
    return 128 + (y if q > 128 else -y if q < 128 else 0)


def _tanh(x: np.ndarray, y: np.ndarray, table: np.ndarray, less: int) -> None:
    for q in range(256):
        table[q] = tanh_of(q) - less
    for i in range(x.size):
        y.flat[i] = table[x.flat[i]]


for _sigmoid in (False, True):
    _name = "Sigmoid" if _sigmoid else "Tanh"
    dnnlowp(
        _name,
        f"Int8{_name}",
        infer=_unit_type(_sigmoid),
        inputs="X",
        outputs="Y",
        loop=_tanh,
        scratch=lambda call: [TensorType(DType.UINT8, (256,))],
        constants=(lambda call: (1,)) if _sigmoid else (lambda call: (0,)),
        inplace=((0, 0),),
        doc=f"{_name} by a table" + ("; its input has twice the scale of Tanh's" if _sigmoid else ""),
    )
