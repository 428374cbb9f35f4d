"""Fills: operators that make a tensor from arguments, or of the shape of an input. Weights are written as these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

FILL_ARGS = (
    Arg("shape", "ints", (), "shape of the output, where there is no input"),
    Arg("extra_shape", "ints", (), "dimensions appended to the shape taken from the input"),
    Arg("input_as_shape", "int", 0, "the input holds the shape (1-D int64) instead of having it"),
)
"""The arguments that Caffe2 gives every fill (``Filler`` in its sources)."""


def fill_shape(call: Call) -> tuple[Dim, ...] | None:
    """Shape of a fill's output; None while its rank is unknown. Fails where shape and input are both given."""
    shape = call.arg("shape")
    if not isinstance(shape, tuple):
        call.fail("argument 'shape' is a scalar, a list is needed")
    if not call.has(0):
        if call.arg("input_as_shape") or call.arg("extra_shape"):
            call.fail("arguments 'input_as_shape' and 'extra_shape' need an input")
        return shape
    if shape:
        call.fail("argument 'shape' and an input exclude each other")
    base = _shape_held(call) if call.arg("input_as_shape") else call.type(0).shape
    return None if base is None else base + tuple(call.arg("extra_shape"))


def _shape_held(call: Call) -> tuple[Dim, ...] | None:
    held = call.constant(0)
    if held is not None:
        return tuple(int(d) for d in held.reshape(-1))
    dims = call.type(0).shape
    if dims is None or not isinstance(dims[0], int):
        return None
    return (UNKNOWN,) * dims[0]


def run_shape(call: Call, inputs: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Shape of a fill's output at run time, when the inputs are at hand."""
    if not inputs:
        return tuple(call.arg("shape"))
    base = inputs[0].reshape(-1).tolist() if call.arg("input_as_shape") else inputs[0].shape
    return tuple(base) + tuple(call.arg("extra_shape"))


def dtype_argument(call: Call, default: DType) -> DType:
    """The DType that argument ``dtype`` names by number or by name; ``default`` where it is absent or 0."""
    given = call.arg("dtype")
    if not given:
        return default
    try:
        return DType.parse(given) if isinstance(given, str) else DType(given)
    except (KeyError, ValueError):
        call.fail(f"argument 'dtype' is {given!r}", "known: " + ", ".join(f"{d.value} ({d.text})" for d in DType))


def _given_type(default: DType) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        shape, n = fill_shape(call), len(call.arg("values"))
        result = TensorType(dtype_argument(call, default), shape)
        if result.is_static and result.size != n:
            call.fail(f"argument 'values' has {n} elements, the shape {shape} needs {result.size}")
        return [result]

    return infer


def _given_reference(default: DType) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
        values = call.arg("values")
        out = np.empty(len(values), dtype_argument(call, default).numpy)
        out[:] = values
        return [out.reshape(run_shape(call, inputs))]

    return reference


def _given(name: str, dtype: DType, values: str) -> None:
    args = (Arg("values", values, (), "the elements in row-major order"), Arg("dtype", "any", None), *FILL_ARGS)
    op(
        name,
        _given_type(dtype),
        inputs="X?",
        outputs="Y",
        args=args,
        reference=_given_reference(dtype),
        doc=f"the tensor of type {dtype.text} that the arguments spell out",
    )


_given("GivenTensorFill", DType.FLOAT, "floats")
_given("GivenTensorDoubleFill", DType.DOUBLE, "floats")
_given("GivenTensorFp16Fill", DType.FLOAT16, "floats")
_given("GivenTensorIntFill", DType.INT32, "ints")
_given("GivenTensorInt64Fill", DType.INT64, "ints")
_given("GivenTensorInt16Fill", DType.INT16, "ints")
_given("GivenTensorBoolFill", DType.BOOL, "ints")
_given("GivenTensorStringFill", DType.STRING, "strings")


def _bytes_type(call: Call) -> list[TensorType]:
    result = TensorType(DType.UINT8, fill_shape(call))
    n = sum(len(s) for s in call.arg("values"))
    if result.is_static and result.size != n:
        call.fail(f"argument 'values' holds {n} bytes, the shape {result.shape} needs {result.size}")
    return [result]


def _bytes_reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    data = np.frombuffer(b"".join(call.arg("values")), np.uint8)
    return [data.reshape(run_shape(call, inputs)).copy()]


op(
    "GivenTensorByteStringToUInt8Fill",
    _bytes_type,
    inputs="X?",
    outputs="Y",
    args=(Arg("values", "strings", (), "one string, the bytes"), Arg("dtype", "any", None), *FILL_ARGS),
    reference=_bytes_reference,
    doc="the bytes of a string as uint8",
)


def constant_dtype(call: Call) -> DType:
    """Element type of ConstantFill: ``dtype``, else that of ``value`` (float, or int64 for an int), else float."""
    if not call.given("dtype") and isinstance(call.arg("value"), int):
        return DType.INT64
    return dtype_argument(call, DType.FLOAT)


def _constant_type(call: Call) -> list[TensorType]:
    return [TensorType(constant_dtype(call), fill_shape(call))]


def _constant_reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    value, dtype = call.arg("value"), constant_dtype(call)
    if dtype is DType.STRING:
        value = call.node.attrs.get("value", b"")
    return [np.full(run_shape(call, inputs), value, dtype.numpy)]


op(
    "ConstantFill",
    _constant_type,
    inputs="X?",
    outputs="Y",
    args=(Arg("value", "any", 0.0, "the element"), Arg("dtype", "any", None, "default: type of value"), *FILL_ARGS),
    reference=_constant_reference,
    inplace=((0, 0),),
    doc="every element is value",
)


def _half_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT16, fill_shape(call))]


def _half_reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    return [np.full(run_shape(call, inputs), call.arg("value"), np.float16)]


op(
    "Float16ConstantFill",
    _half_type,
    inputs="X?",
    outputs="Y",
    args=(Arg("value", "float", 0.0), *FILL_ARGS),
    reference=_half_reference,
    doc="every element is value, in half precision",
)


def _diagonal_type(call: Call) -> list[TensorType]:
    shape = fill_shape(call)
    if shape is not None and len(shape) < 2:
        call.fail(f"a diagonal needs at least two dimensions, the shape is {shape}")
    return [TensorType(constant_dtype(call), shape)]


def _diagonal_reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    shape = run_shape(call, inputs)
    if len(shape) > 2 and len(set(shape)) > 1:
        call.fail(f"all dimensions must be equal beyond two of them, the shape is {shape}")
    y = np.zeros(shape, constant_dtype(call).numpy)
    i = np.arange(min(shape))
    y[(i,) * len(shape)] = call.arg("value")
    return [y]


op(
    "DiagonalFill",
    _diagonal_type,
    inputs="X?",
    outputs="Y",
    args=(Arg("value", "any", 0.0), Arg("dtype", "any", None), *FILL_ARGS),
    reference=_diagonal_reference,
    inplace=((0, 0),),
    doc="value on the diagonal, 0 elsewhere",
)


def _range_fill_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, fill_shape(call))]


def _range_fill_reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    shape = run_shape(call, inputs)
    return [np.arange(math.prod(shape), dtype=np.float32).reshape(shape)]


op(
    "RangeFill",
    _range_fill_type,
    inputs="X?",
    outputs="Y",
    args=FILL_ARGS,
    reference=_range_fill_reference,
    doc="0, 1, 2 ... in row-major order",
)


def _range_type(call: Call) -> list[TensorType]:
    bounds = [call.constant(i) for i in range(call.n_inputs)]
    n: Dim = UNKNOWN
    if all(b is not None for b in bounds):
        n = len(_range(call, *bounds))
    return [TensorType(call.type(0).dtype, (n,))]


def _range(call: Call, *bounds: Any) -> np.ndarray:
    numbers = [b.reshape(-1)[0] for b in bounds]
    start, stop, step = {1: [0, *numbers, 1], 2: [*numbers, 1], 3: numbers}[len(numbers)]
    if step == 0:
        call.fail("the step is 0")
    n = max(0, math.ceil((stop - start) / step))
    return np.asarray(start + np.arange(n) * step, bounds[0].dtype)


def _range_reference(call: Call, *bounds: np.ndarray) -> list[np.ndarray]:
    return [_range(call, *bounds)]


op(
    "Range",
    _range_type,
    inputs="start stop? step?",
    outputs="Y",
    reference=_range_reference,
    doc="start, start + step ... below stop; one input is stop alone",
)


def _lengths_range_type(call: Call) -> list[TensorType]:
    lengths = call.constant(0)
    return [TensorType(DType.INT32, (UNKNOWN if lengths is None else int(lengths.sum()),))]


def _lengths_range_reference(call: Call, lengths: np.ndarray) -> list[np.ndarray]:
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return [(np.arange(len(starts)) - starts).astype(np.int32)]


op(
    "LengthsRangeFill",
    _lengths_range_type,
    inputs="lengths",
    outputs="Y",
    reference=_lengths_range_reference,
    doc="for each length n: 0, 1 ... n-1",
)
