"""Random fills. Every run draws the same numbers; with ``random_seed`` in the device option those of Caffe2's first.

Without a seed Caffe2's generator begins with the time, and an answer can equal it in shape, type, range and moments
only; here it begins with the name of the blob. The loops are what plans run; the same in NumPy serves the interpreter,
which evaluates init nets of many millions of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._caffe2_random import Caffe2Generator
from graphc.ir.ops._half import float_to_half
from graphc.ir.ops._rules import agree, require
from graphc.ir.ops._updates import count
from graphc.ir.ops.fill._twister import STATE, begin, call_seed, uniform, unit, whole
from graphc.ir.ops.fill.fill import FILL_ARGS, fill_shape, run_shape, shape_operand
from graphc.ir.types import DType, TensorType

Draw = Callable[[Call, Caffe2Generator, tuple[int, ...]], np.ndarray]


def _typed(dtype: DType) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        """Y: of the element type, the bounds among arguments or inputs in order."""
        for i in range(1, call.n_inputs):
            require(call, i, (dtype,))
            agree(call, count(call, i), 1, f"elements of input {i} ({call.input_name(i)})")
        if call.n_inputs == 2:
            call.fail("there are two inputs", "give min and max both as inputs, or both as arguments")
        if call.n_inputs < 3 and call.opdef.has_arg("min") and not call.arg("min") < call.arg("max"):
            call.fail(f"min {call.arg('min')} is not below max {call.arg('max')}")
        return [TensorType(dtype, fill_shape(call))]

    return infer


Loop = Callable[..., Any]
Constants = Callable[[Call], list[Any]]


def _random(
    name: str, dtype: DType, draw: Draw, loop: Loop, constants: Constants, doc: str, *args: Arg, inputs: str = "X?"
) -> None:
    def reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
        bounds, shape_inputs = _split(call, inputs)
        call_draw = draw if bounds is None else _uniform_between(call, *bounds)
        drawn = call_draw(call, Caffe2Generator(call_seed(call)), run_shape(call, shape_inputs))
        return [drawn.astype(dtype.numpy)]

    op(
        name,
        _typed(dtype),
        inputs=inputs,
        outputs="Y",
        args=(*args, *FILL_ARGS),
        reference=reference,
        loop=loop,
        constants=lambda call: [call_seed(call), *constants(call)],
        scratch=lambda call: [STATE],
        errors=(_BOUNDS_ERROR,),
        traits=Trait.RANDOM,
        inplace=((0, 0),),
        shape_inputs=shape_operand,
        doc=doc,
    )


def _split(
    call: Call, inputs: Sequence[np.ndarray]
) -> tuple[tuple[np.ndarray, np.ndarray] | None, Sequence[np.ndarray]]:
    """Bounds given as inputs 1 and 2 (UniformFill, UniformIntFill), and the input that gives the shape."""
    if len(inputs) == 3:
        return (inputs[1].reshape(-1)[0], inputs[2].reshape(-1)[0]), inputs[:1]
    return None, inputs[:1]


def _uniform_between(call: Call, low: np.ndarray, high: np.ndarray) -> Draw:
    if low > high:
        raise RunError(f"{call.node.location}: {call.opdef.name}: {_BOUNDS_ERROR}")

    def draw(call: Call, rng: Caffe2Generator, shape: tuple[int, ...]) -> np.ndarray:
        if np.issubdtype(np.asarray(low).dtype, np.integer):
            return rng.integers(int(low), int(high), shape, endpoint=True)
        return rng.uniform(float(low), float(high), shape)

    return draw


def _fan_in(shape: tuple[int, ...]) -> int:
    return max(1, math.prod(shape[1:]))


def _xavier_scale(shape: tuple[int, ...]) -> float:
    return float(np.sqrt(np.float32(3) / np.float32(_fan_in(shape))))


def _msra_std(shape: tuple[int, ...]) -> float:
    fan_out = max(1, math.prod(shape) // max(1, shape[1] if len(shape) > 1 else 1))
    return float(np.sqrt(np.float32(2) / np.float32(fan_out)))


def _xavier(call: Call, rng: Caffe2Generator, shape: tuple[int, ...]) -> np.ndarray:
    scale = _xavier_scale(shape)
    return rng.uniform(-scale, scale, shape)


def _msra(call: Call, rng: Caffe2Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0.0, _msra_std(shape), shape)


def _gaussian(call: Call, rng: Caffe2Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(call.arg("mean"), call.arg("std"), shape)


def _uniform(call: Call, rng: Caffe2Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(call.arg("min"), call.arg("max"), shape)


def _uniform_int(call: Call, rng: Caffe2Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(int(call.arg("min")), int(call.arg("max")), shape, endpoint=True)


def _uniform_loop(x: np.ndarray, y: np.ndarray, state: np.ndarray, seed: int, low: float, high: float) -> int:
    begin(state, seed)
    for i in range(y.size):
        y.flat[i] = uniform(state, low, high)
    return 0


def _half_loop(x: np.ndarray, y: np.ndarray, state: np.ndarray, seed: int, low: float, high: float) -> int:
    begin(state, seed)
    for i in range(y.size):
        y.flat[i] = float_to_half(uniform(state, low, high))
    return 0


def _normal_loop(x: np.ndarray, y: np.ndarray, state: np.ndarray, seed: int, mean: float, std: float) -> int:
    """Two numbers of two words, as ``Caffe2Generator.normal`` has it."""
    begin(state, seed)
    for i in range(0, y.size, 2):
        turn, tail = unit(state), unit(state)
        radius = np.float32(np.sqrt(-2.0 * np.log1p(-np.float64(tail))))
        angle = np.float64(np.float32(2) * np.float32(math.pi) * turn)
        y.flat[i] = np.float32(radius * np.cos(angle)) * np.float32(std) + np.float32(mean)
        if i + 1 < y.size:
            y.flat[i + 1] = np.float32(radius * np.sin(angle)) * np.float32(std) + np.float32(mean)
    return 0


def _between_loop(
    x: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
    y: np.ndarray,
    state: np.ndarray,
    seed: int,
    low: float,
    high: float,
) -> int:
    begin(state, seed)
    a = least.flat[0] if least.size else np.float32(low)
    b = most.flat[0] if most.size else np.float32(high)
    if a > b:
        return 1
    for i in range(y.size):
        y.flat[i] = uniform(state, a, b)
    return 0


def _between_ints_loop(
    x: np.ndarray, least: np.ndarray, most: np.ndarray, y: np.ndarray, state: np.ndarray, seed: int, low: int, high: int
) -> int:
    begin(state, seed)
    a = int(least.flat[0]) if least.size else low
    b = int(most.flat[0]) if most.size else high
    if a > b:
        return 1
    for i in range(y.size):
        y.flat[i] = whole(state, a, b)
    return 0


_BOUNDS_ERROR = "min is greater than max"
_BOUNDS = (Arg("min", "float", 0.0, "least value"), Arg("max", "float", 1.0, "greatest value"))
_INT_BOUNDS = (Arg("min", "int", 0, "least value"), Arg("max", "int", 1, "greatest value, included"))
_MOMENTS = (Arg("mean", "float", 0.0), Arg("std", "float", 1.0))


def _shape(call: Call) -> tuple[int, ...]:
    return call.node.results[0].type.static_shape


def _xavier_constants(call: Call) -> list[Any]:
    scale = _xavier_scale(_shape(call))
    return [-scale, scale]


def _msra_constants(call: Call) -> list[Any]:
    return [0.0, _msra_std(_shape(call))]


def _bounds(call: Call) -> list[Any]:
    return [call.arg("min"), call.arg("max")]


def _moments(call: Call) -> list[Any]:
    return [call.arg("mean"), call.arg("std")]


_SHAPE_AND_BOUNDS = "X? min? max?"
_FAN_IN = "uniform in +-sqrt(3 / fan in), fan in = elements per row"
_FAN_OUT = "normal of variance 2 / fan out, fan out = elements per column"
_random("XavierFill", DType.FLOAT, _xavier, _uniform_loop, _xavier_constants, _FAN_IN)
_random("MSRAFill", DType.FLOAT, _msra, _normal_loop, _msra_constants, _FAN_OUT)
_random("GaussianFill", DType.FLOAT, _gaussian, _normal_loop, _moments, "normal", *_MOMENTS)
_random(
    "UniformFill",
    DType.FLOAT,
    _uniform,
    _between_loop,
    _bounds,
    "uniform in [min, max)",
    *_BOUNDS,
    inputs=_SHAPE_AND_BOUNDS,
)
_random(
    "Float16UniformFill",
    DType.FLOAT16,
    _uniform,
    _half_loop,
    _bounds,
    "uniform in [min, max), half precision",
    *_BOUNDS,
)
_random(
    "UniformIntFill",
    DType.INT32,
    _uniform_int,
    _between_ints_loop,
    _bounds,
    "uniform in min ... max",
    *_INT_BOUNDS,
    inputs=_SHAPE_AND_BOUNDS,
)
