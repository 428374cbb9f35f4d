"""Casts between float32 and half precision."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._half import LARGEST_HALF, float_to_half, half_to_float
from graphc.ir.ops._rules import require
from graphc.ir.types import DType, TensorType


def _to_half_infer(call: Call) -> list[TensorType]:
    """Output: the input's shape in float16."""
    return [TensorType(DType.FLOAT16, require(call, 0, (DType.FLOAT,)).shape)]


def _to_float_infer(call: Call) -> list[TensorType]:
    """Output: the input's shape in float32."""
    return [TensorType(DType.FLOAT, require(call, 0, (DType.FLOAT16,)).shape)]


def _float_to_half(x: np.ndarray, y: np.ndarray, clip: int) -> int:
    for i in range(x.size):
        value = x.flat[i]
        if clip:
            value = min(max(value, np.float32(-LARGEST_HALF)), np.float32(LARGEST_HALF))
        y.flat[i] = float_to_half(value)
    return 0


def _half_to_float(x: np.ndarray, y: np.ndarray) -> int:
    for i in range(x.size):
        y.flat[i] = half_to_float(x.flat[i])
    return 0


op(
    "FloatToHalf",
    _to_half_infer,
    inputs="X",
    outputs="Y",
    args=(Arg("clip", "int", 0, "too large numbers become the largest finite one"),),
    loop=_float_to_half,
    doc="The nearest half-precision numbers; too large ones become infinite.",
)
op("HalfToFloat", _to_float_infer, inputs="X", outputs="Y", loop=_half_to_float, doc="Half-precision numbers as float.")
