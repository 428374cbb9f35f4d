"""Weights: the fill operators that spell a tensor out, as arrays that share the reader's memory where they can."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphc.frontends.netdef.net import ArgValue, Net, Operator
from graphc.ir import DType, NetError, Quant, TensorType

MAX_BYTES = 1 << 31
"""Largest weight. A NetDef cannot hold more than 2 GiB, so a larger ConstantFill is damage."""

_GIVEN = {
    "GivenTensorFill": DType.FLOAT,
    "GivenTensorDoubleFill": DType.DOUBLE,
    "GivenTensorFp16Fill": DType.FLOAT16,
    "GivenTensorIntFill": DType.INT32,
    "GivenTensorInt64Fill": DType.INT64,
    "GivenTensorInt16Fill": DType.INT16,
    "GivenTensorBoolFill": DType.BOOL,
    "GivenTensorStringFill": DType.STRING,
}
RANDOM_FILLS = frozenset(
    (
        "XavierFill",
        "MSRAFill",
        "GaussianFill",
        "UniformFill",
        "UniformIntFill",
        "UniqueUniformFill",
        "Float16UniformFill",
    )
)
"""Operators with which training scripts start their weights."""


def is_weight(op: Operator) -> bool:
    """The operator spells out a tensor in its arguments."""
    return op.type in _MAKERS and not op.inputs and len(op.outputs) == 1


def weight(op: Operator) -> tuple[np.ndarray, TensorType]:
    """Elements and type of the tensor that a fill spells out.

    GivenTensor*Fill, GivenTensorByteStringToUInt8Fill, Int8GivenTensorFill, Int8GivenIntTensorFill and ConstantFill
    without an input. The array is read-only in spirit: it may share memory with the net, and a constant one has strides
    of zero. Raises ``NetError`` where shape and number of elements differ, or a value does not fit its type.
    """
    array, quant = _MAKERS[op.type](op)
    return array, TensorType(DType.of(array.dtype), tuple(int(d) for d in array.shape), quant=quant)


def weights(net: Net) -> dict[str, np.ndarray]:
    """The arrays that an init net spells out, by blob; other operators of it are left out."""
    return {op.outputs[0]: weight(op)[0] for op in net.ops if is_weight(op)}


def is_dummy(op: Operator) -> bool:
    """The fill is the placeholder that exporters write for an input: one element, zero."""
    if not is_weight(op) or op.type not in ("GivenTensorFill", "ConstantFill"):
        return False
    shape = op.args.get("shape", ())
    if not isinstance(shape, (tuple, np.ndarray)) or any(d != 1 for d in shape):
        return False
    array, _ = weight(op)
    return array.size == 1 and array.dtype == np.float32 and not array.any()


def _fail(op: Operator, message: str, help: str = "") -> NetError:
    return NetError(f"{op.type} of '{op.outputs[0]}': {message}", help or "the init net is damaged: export it again")


def _shape(op: Operator) -> tuple[int, ...]:
    value = op.args.get("shape", ())
    if not isinstance(value, (tuple, np.ndarray)) or any(not isinstance(d, (int, np.integer)) for d in value):
        raise _fail(op, "argument 'shape' is no list of ints")
    if any(d < 0 for d in value):
        raise _fail(op, f"argument 'shape' has the negative dimension {min(value)}")
    if len(value) > 32:
        raise _fail(op, f"argument 'shape' has {len(value)} dimensions, at most 32 are possible")
    if any(_given_anything(op.args.get(name)) for name in ("input_as_shape", "extra_shape")):
        raise _fail(op, "arguments 'input_as_shape' and 'extra_shape' need an input")
    return tuple(int(d) for d in value)


def _given_anything(value: ArgValue) -> bool:
    return bool(len(value)) if isinstance(value, (tuple, np.ndarray)) else bool(value)


def _dtype(op: Operator, default: DType) -> DType:
    value = op.args.get("dtype", 0)
    if not isinstance(value, (int, bytes)):
        raise _fail(op, "argument 'dtype' is no number of a type")
    if not value:
        return default
    try:
        return DType.parse(value.decode("latin-1")) if isinstance(value, bytes) else DType(value)
    except (KeyError, ValueError):
        known = ", ".join(f"{d.value} ({d.text})" for d in DType)
        raise _fail(op, f"argument 'dtype' is {value!r}", f"known: {known}") from None


def _reshape(op: Operator, array: np.ndarray) -> np.ndarray:
    shape = _shape(op)
    if math.prod(shape) != array.size:
        raise _fail(
            op, f"argument 'values' has {array.size} elements, the shape {list(shape)} needs {math.prod(shape)}"
        )
    return array.reshape(shape)


def _given(op: Operator) -> tuple[np.ndarray, None]:
    dtype = _dtype(op, _GIVEN[op.type])
    return _reshape(op, _elements(op, op.args.get("values", ()), dtype)), None


def _elements(op: Operator, values: ArgValue, dtype: DType) -> np.ndarray:
    if dtype is DType.STRING:
        return _strings(op, values)
    if not isinstance(values, np.ndarray) and not _are_numbers(values):
        raise _fail(op, "argument 'values' is no list of numbers")
    wants_float = dtype in (DType.FLOAT, DType.DOUBLE, DType.FLOAT16)
    array = np.asarray(values, np.float32 if wants_float else None) if len(values) else np.zeros(0, dtype.numpy)
    if not wants_float and array.dtype.kind == "f" and array.size:
        raise _fail(op, f"argument 'values' holds floats, {dtype.text} needs ints")
    return _narrow(op, array, dtype)


def _are_numbers(values: ArgValue) -> bool:
    return isinstance(values, tuple) and all(isinstance(v, (int, float)) for v in values)


def _narrow(op: Operator, array: np.ndarray, dtype: DType) -> np.ndarray:
    """Convert to the element type; integers that do not fit are refused, as Caffe2 does."""
    if dtype.numpy.kind in "iu" and array.size and array.dtype != dtype.numpy:
        limits = np.iinfo(dtype.numpy)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise _fail(op, f"argument 'values' holds {low if low < limits.min else high}, beyond {dtype.text}")
    with np.errstate(over="ignore"):  # a float too large for float16 is infinite, as in Caffe2
        return array.astype(dtype.numpy, copy=False)


def _strings(op: Operator, values: ArgValue) -> np.ndarray:
    if not isinstance(values, tuple) or any(not isinstance(v, bytes) for v in values):
        raise _fail(op, "argument 'values' is no list of strings")
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _bytes(op: Operator) -> bytes:
    value = op.args.get("values", b"")
    if isinstance(value, tuple) and all(isinstance(v, bytes) for v in value):
        return value[0] if len(value) == 1 else b"".join(value)
    if not isinstance(value, bytes):
        raise _fail(op, "argument 'values' is no string")
    return value


def _byte_string(op: Operator) -> tuple[np.ndarray, None]:
    return _reshape(op, np.frombuffer(_bytes(op), np.uint8)), None


def _quant(op: Operator) -> Quant:
    scale, zero = op.args.get("Y_scale", 1.0), op.args.get("Y_zero_point", 0)
    if not isinstance(scale, (int, float)) or not isinstance(zero, int):
        raise _fail(op, "arguments 'Y_scale' and 'Y_zero_point' are not a float and an int")
    return Quant(float(scale), zero)


def _int8(op: Operator) -> tuple[np.ndarray, Quant]:
    return _reshape(op, np.frombuffer(_bytes(op), np.uint8)), _quant(op)


def _int8_bias(op: Operator) -> tuple[np.ndarray, Quant]:
    return _reshape(op, _elements(op, op.args.get("values", ()), DType.INT32)), _quant(op)


def _constant(op: Operator) -> tuple[np.ndarray, None]:
    value, shape = op.args.get("value", 0.0), _shape(op)
    if not isinstance(value, (int, float, bytes)):
        raise _fail(op, "argument 'value' is no number")
    dtype = _dtype(op, DType.INT64 if isinstance(value, int) else DType.FLOAT)
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise _fail(op, f"the shape {list(shape)} needs more than 2 GiB")
    if (dtype is DType.STRING) != isinstance(value, bytes) and "value" in op.args:
        raise _fail(op, f"argument 'value' is {value!r}, which is no {dtype.text}")
    one = np.empty(1, dtype.numpy)
    try:
        one[0] = value if "value" in op.args or dtype is not DType.STRING else b""
    except (OverflowError, ValueError):
        raise _fail(op, f"argument 'value' is {value!r}, beyond {dtype.text}") from None
    return np.broadcast_to(one.reshape(()), shape), None


_MAKERS: dict[str, Callable[[Operator], tuple[np.ndarray, Quant | None]]] = {
    **dict.fromkeys(_GIVEN, _given),
    "GivenTensorByteStringToUInt8Fill": _byte_string,
    "Int8GivenTensorFill": _int8,
    "Int8GivenIntTensorFill": _int8_bias,
    "ConstantFill": _constant,
}
