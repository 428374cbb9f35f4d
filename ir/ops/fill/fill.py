"""Fills: operators that make a tensor from arguments, or of the shape of an input. Weights are written as these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import agree, product, require, require_rank
from graphc.ir.ops._updates import INTS, count
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
        return _sizes(call, shape)
    if shape:
        call.fail("argument 'shape' and an input exclude each other")
    base = _shape_held(call) if call.arg("input_as_shape") else call.type(0).shape
    return None if base is None else base + _sizes(call, tuple(call.arg("extra_shape")))


def shape_operand(call: Call) -> tuple[int, ...]:
    """The input, where its elements are the shape; otherwise it only has it."""
    return (0,) if call.arg("input_as_shape") else ()


def _sizes(call: Call, dims: tuple[int, ...]) -> tuple[int, ...]:
    if min(dims, default=0) < 0:
        call.fail(f"shape {list(dims)} has a negative size", "give sizes from 0 on")
    return dims


def _shape_held(call: Call) -> tuple[Dim, ...] | None:
    require(call, 0, INTS)
    dims = require_rank(call, 0, 1)
    held = call.constant(0)
    if held is not None:
        return _sizes(call, tuple(int(d) for d in held.reshape(-1)))
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


def _given_traits(call: Call) -> Trait:
    """A constant, but for strings, and where an input has the shape."""
    strings = call.opdef.name == "GivenTensorStringFill"
    return Trait.HOST if strings or call.has(0) else Trait.NONE


def _given(name: str, dtype: DType, values: str) -> None:
    args = (Arg("values", values, (), "the elements in row-major order"), Arg("dtype", "any", None), *FILL_ARGS)
    op(
        name,
        _given_type(dtype),
        inputs="X?",
        outputs="Y",
        args=args,
        reference=_given_reference(dtype),
        call_traits=_given_traits,
        shape_inputs=shape_operand,
        inplace=((0, 0),),
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
    call_traits=_given_traits,
    shape_inputs=shape_operand,
    inplace=((0, 0),),
    doc="the bytes of a string as uint8",
)


def constant_dtype(call: Call) -> DType:
    """Element type of ConstantFill: ``dtype``, else that of ``value`` (float, or int64 for an int), else float."""
    if not call.given("dtype") and isinstance(call.arg("value"), int):
        return DType.INT64
    return dtype_argument(call, DType.FLOAT)


def _constant_type(call: Call) -> list[TensorType]:
    """Y: of the shape of X, or with ``input_as_shape`` of the one that X holds, or of ``shape``; V is of its type."""
    value, dtype = call.arg("value"), constant_dtype(call)
    if call.has(1):
        agree(call, product(require(call, 1, (dtype,)).shape or (1,)), 1, "elements of V")
        if dtype in (DType.FLOAT16, DType.STRING):
            call.fail(f"V is {dtype.text}", "give such an element as argument value")
        return [TensorType(dtype, fill_shape(call))]
    if (dtype is DType.STRING) != isinstance(value, (bytes, str)):
        call.fail(f"value {value!r} is no element of type {dtype.text}", "give value and dtype that fit each other")
    return [TensorType(dtype, fill_shape(call))]


def fill_value(call: Call, dtype: DType) -> int | float:
    """``value`` as a loop writes it: in the range of the element type; the bits of a half-precision number."""
    given = np.asarray(call.arg("value"))
    with np.errstate(all="ignore"):
        if dtype is DType.BOOL:
            return int(bool(given))
        if dtype is DType.FLOAT16:
            return int(given.astype(np.float16).view(np.uint16))
        value: int | float = given.astype(dtype.numpy).item()
    return value


def _fill_constants(call: Call) -> list[Any]:
    return [fill_value(call, constant_dtype(call))]


def _fill(x: np.ndarray, y: np.ndarray, value: Any) -> None:
    for i in range(y.size):
        y.flat[i] = value


def _constant_fill(x: np.ndarray, v: np.ndarray, y: np.ndarray, value: Any) -> None:
    for i in range(y.size):
        y.flat[i] = v.flat[0] if v.size else value


def _constant_reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    """In NumPy: the interpreter evaluates init nets with it, and strings are not numbers."""
    value, dtype = call.arg("value"), constant_dtype(call)
    if call.has(1):
        return [np.full(run_shape(call, inputs), inputs[1].reshape(-1)[0])]
    if dtype is DType.STRING:
        return [np.full(run_shape(call, inputs), call.node.attrs.get("value", b""), dtype.numpy)]
    return [np.full(run_shape(call, inputs), np.asarray(value).astype(dtype.numpy))]


def _strings_on_host(call: Call) -> Trait:
    return Trait.HOST if constant_dtype(call) is DType.STRING else Trait.NONE


op(
    "ConstantFill",
    _constant_type,
    inputs="X? V?",
    outputs="Y",
    args=(Arg("value", "any", 0.0, "the element"), Arg("dtype", "any", None, "default: type of value"), *FILL_ARGS),
    loop=_constant_fill,
    constants=_fill_constants,
    reference=_constant_reference,
    call_traits=_strings_on_host,
    inplace=((0, 0),),
    shape_inputs=shape_operand,
    doc="every element is value, or the one that V holds",
)


def _half_type(call: Call) -> list[TensorType]:
    """Y: half precision."""
    return [TensorType(DType.FLOAT16, fill_shape(call))]


op(
    "Float16ConstantFill",
    _half_type,
    inputs="X?",
    outputs="Y",
    args=(Arg("value", "float", 0.0), *FILL_ARGS),
    loop=_fill,
    constants=lambda call: [fill_value(call, DType.FLOAT16)],
    shape_inputs=shape_operand,
    doc="every element is value, in half precision",
)


def _diagonal_type(call: Call) -> list[TensorType]:
    """output: two dimensions, or more that are equal."""
    shape = fill_shape(call)
    if shape is not None and len(shape) < 2:
        call.fail(f"a diagonal needs at least two dimensions, the shape is {shape}")
    if shape is not None and len(shape) > 2:
        for d in shape:
            agree(call, d, shape[0], "dimensions of more than two", "all must be equal")
    if constant_dtype(call) is DType.STRING:
        call.fail("there is no diagonal of strings", "give a numeric dtype")
    return [TensorType(constant_dtype(call), shape)]


def _diagonal(x: np.ndarray, y: np.ndarray, value: Any, step: int) -> None:
    """As Caffe2 steps through the elements: in a matrix of more rows than columns the diagonal begins again."""
    for i in range(0, y.size, step):
        y.flat[i] = value


def _diagonal_constants(call: Call) -> list[Any]:
    """The value, and how far apart elements of the diagonal lie."""
    step, stride = 1, 1
    for d in reversed(call.node.results[0].type.static_shape[1:]):
        stride *= d
        step += stride
    return [*_fill_constants(call), step]


op(
    "DiagonalFill",
    _diagonal_type,
    inputs="X?",
    outputs="Y",
    args=(Arg("value", "any", 0.0), Arg("dtype", "any", None), *FILL_ARGS),
    loop=_diagonal,
    constants=_diagonal_constants,
    inplace=((0, 0),),
    shape_inputs=shape_operand,
    doc="value on the diagonal, 0 elsewhere",
)


def _range_fill_type(call: Call) -> list[TensorType]:
    """Y: float."""
    return [TensorType(DType.FLOAT, fill_shape(call))]


def _range_fill(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(y.size):
        y.flat[i] = i


op(
    "RangeFill",
    _range_fill_type,
    inputs="X?",
    outputs="Y",
    args=FILL_ARGS,
    loop=_range_fill,
    constants=lambda call: [],
    inplace=((0, 0),),
    shape_inputs=shape_operand,
    doc="0, 1, 2 ... in row-major order",
)


def _range_type(call: Call) -> list[TensorType]:
    """Y: a vector of the type of the inputs, each of one element."""
    for i in range(call.n_inputs):
        require(call, i, (DType.INT32, DType.INT64, DType.FLOAT, DType.DOUBLE))
        agree(call, count(call, i), 1, f"elements of input {i} ({call.input_name(i)})")
        if call.type(i).dtype is not call.type(0).dtype:
            call.fail("the inputs have different types of elements", "insert a Cast")
    return [TensorType(call.type(0).dtype, (UNKNOWN,))]


def _range_sizes(start: np.ndarray, stop: np.ndarray, step: np.ndarray, dims: np.ndarray, whole: int, n: int) -> int:
    """Caffe2 rounds up by comparing the reached with the wanted distance, whatever the sign of the step."""
    if n == 3 and step.flat[0] == 0:
        return 1
    if whole:
        s = np.int64(step.flat[0]) if n == 3 else np.int64(1)
        d = np.int64(start.flat[0]) if n == 1 else np.int64(stop.flat[0]) - np.int64(start.flat[0])
        length = abs(d) // abs(s)
        if (d < 0) != (s < 0):
            length = -length
        if length * s < d:
            length += 1
    else:
        distance = start.flat[0] if n == 1 else stop.flat[0] - start.flat[0]
        steps = np.ceil(distance / step.flat[0] if n == 3 else distance)
        length = np.int64(min(steps, 4e9)) if steps > 0 else np.int64(0)
    dims[0] = max(length, 0)
    return 2 if length > 2147483647 else 0


def _range(start: np.ndarray, stop: np.ndarray, step: np.ndarray, y: np.ndarray, whole: int, n: int) -> int:
    """Whole numbers are computed as such: an absent input counts as one of float32."""
    if whole:
        origin, s = (
            np.int64(0) if n == 1 else np.int64(start.flat[0]),
            np.int64(step.flat[0]) if n == 3 else np.int64(1),
        )
        for i in range(y.size):
            y[i] = origin + i * s
    else:
        by = step.flat[0] if n == 3 else start.flat[0] * 0 + 1
        first = start.flat[0] * 0 if n == 1 else start.flat[0]
        for i in range(y.size):
            y[i] = first + i * by
    return 0


op(
    "Range",
    _range_type,
    inputs="start stop? step?",
    outputs="Y",
    sizes=_range_sizes,
    loop=_range,
    constants=lambda call: [int(call.type(0).dtype in INTS), call.n_inputs],
    errors=("Step size cannot be 0", "there are more than 2**31 numbers: the step is too small, or stop too far away"),
    doc="start, start + step ... below stop; one input is stop alone",
)


def _lengths_range_type(call: Call) -> list[TensorType]:
    """Y: int32, as long as the sum of the lengths."""
    require(call, 0, (DType.INT32,))
    require_rank(call, 0, 1)
    return [TensorType(DType.INT32, (UNKNOWN,))]


def _lengths_range_sizes(lengths: np.ndarray, dims: np.ndarray) -> int:
    for i in range(lengths.size):
        if lengths[i] < 0:
            return 1
        dims[0] += lengths[i]
    return 0


def _lengths_range(lengths: np.ndarray, y: np.ndarray) -> int:
    at = 0
    for i in range(lengths.size):
        for j in range(lengths[i]):
            y[at + j] = j
        at += lengths[i]
    return 0


op(
    "LengthsRangeFill",
    _lengths_range_type,
    inputs="lengths",
    outputs="Y",
    sizes=_lengths_range_sizes,
    loop=_lengths_range,
    errors=("a length is negative",),
    doc="for each length n: 0, 1 ... n-1",
)
