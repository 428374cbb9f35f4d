"""Random fills. Every run draws the same numbers; with ``random_seed`` in the device option those of Caffe2's first.

Without a seed Caffe2's generator begins with the time, and an answer can equal it in shape, type, range and moments
only.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._caffe2_random import Caffe2Generator, seed_of
from graphc.ir.ops.fill import FILL_ARGS, fill_shape, run_shape
from graphc.ir.types import DType, TensorType

Generator = np.random.Generator | Caffe2Generator
Draw = Callable[[Call, Generator, tuple[int, ...]], np.ndarray]


def generator(call: Call) -> Generator:
    """The generator of a call: Caffe2's where the call has a seed, else one that the name of the first output seeds."""
    seed = seed_of(call)
    if seed is not None:
        return Caffe2Generator(seed)
    return np.random.default_rng(zlib.crc32(call.node.results[0].name.encode("utf-8", "surrogateescape")))


def _typed(dtype: DType) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        return [TensorType(dtype, fill_shape(call))]

    return infer


def _random(name: str, dtype: DType, draw: Draw, doc: str, *args: Arg, inputs: str = "X?") -> None:
    def reference(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
        bounds, shape_inputs = _split(call, inputs)
        call_draw = draw if bounds is None else _uniform_between(*bounds)
        return [call_draw(call, generator(call), run_shape(call, shape_inputs)).astype(dtype.numpy)]

    op(
        name,
        _typed(dtype),
        inputs=inputs,
        outputs="Y",
        args=(*args, *FILL_ARGS),
        reference=reference,
        traits=Trait.RANDOM,
        inplace=((0, 0),),
        doc=doc,
    )


def _split(
    call: Call, inputs: Sequence[np.ndarray]
) -> tuple[tuple[np.ndarray, np.ndarray] | None, Sequence[np.ndarray]]:
    """Bounds given as inputs 1 and 2 (UniformFill, UniformIntFill), and the input that gives the shape."""
    if len(inputs) == 3:
        return (inputs[1].reshape(-1)[0], inputs[2].reshape(-1)[0]), inputs[:1]
    return None, inputs[:1]


def _uniform_between(low: np.ndarray, high: np.ndarray) -> Draw:
    def draw(call: Call, rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
        if np.issubdtype(np.asarray(low).dtype, np.integer):
            return rng.integers(int(low), int(high), shape, endpoint=True)
        return rng.uniform(float(low), float(high), shape)

    return draw


def _fan_in(shape: tuple[int, ...]) -> int:
    return max(1, math.prod(shape[1:]))


def _xavier(call: Call, rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    scale = float(np.sqrt(np.float32(3) / np.float32(_fan_in(shape))))
    return rng.uniform(-scale, scale, shape)


def _msra(call: Call, rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    fan_out = max(1, math.prod(shape) // max(1, shape[1] if len(shape) > 1 else 1))
    return rng.normal(0.0, float(np.sqrt(np.float32(2) / np.float32(fan_out))), shape)


def _gaussian(call: Call, rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(call.arg("mean"), call.arg("std"), shape)


def _uniform(call: Call, rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(call.arg("min"), call.arg("max"), shape)


def _uniform_int(call: Call, rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(int(call.arg("min")), int(call.arg("max")), shape, endpoint=True)


_BOUNDS = (Arg("min", "float", 0.0, "least value"), Arg("max", "float", 1.0, "greatest value"))
_INT_BOUNDS = (Arg("min", "int", 0, "least value"), Arg("max", "int", 1, "greatest value, included"))
_MOMENTS = (Arg("mean", "float", 0.0), Arg("std", "float", 1.0))

_random("XavierFill", DType.FLOAT, _xavier, "uniform in +-sqrt(3 / fan in), fan in = elements per row")
_random("MSRAFill", DType.FLOAT, _msra, "normal of variance 2 / fan out, fan out = elements per column")
_random("GaussianFill", DType.FLOAT, _gaussian, "normal", *_MOMENTS)
_random("UniformFill", DType.FLOAT, _uniform, "uniform in [min, max)", *_BOUNDS, inputs="X? min? max?")
_random("Float16UniformFill", DType.FLOAT16, _uniform, "uniform in [min, max), half precision", *_BOUNDS)
_random("UniformIntFill", DType.INT32, _uniform_int, "uniform in min ... max", *_INT_BOUNDS, inputs="X? min? max?")
