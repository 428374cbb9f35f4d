"""Encodings of positions by sines and cosines."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import bounded, require, require_rank
from graphc.ir.types import UNKNOWN, DType, TensorType


def _infer(call: Call) -> list[TensorType]:
    """output: float, the shape of the positions (M, K) and a dimension of ``embedding_size``."""
    require(call, 0, (DType.INT32, DType.INT64))
    shape, size = require_rank(call, 0, 2), bounded(call, call.arg("embedding_size"), 1, "embedding_size")
    if not call.arg("alpha") > 0:
        call.fail(f"alpha is {call.arg('alpha')}", "use an alpha above 0")
    return [TensorType(DType.FLOAT, (*(shape or (UNKNOWN, UNKNOWN)), size))]


def _loop(positions: np.ndarray, y: np.ndarray, size: int, alpha: float, amplitude: float) -> None:
    """The position of a row is that of its first column; Caffe2 takes logarithms, so position 0 gives no numbers."""
    for i in range(positions.shape[0]):
        for j in range(positions.shape[1]):
            position = float(positions[i, 0])
            for k in range(size):
                angle = math.nan
                if position > 0:
                    angle = np.exp(math.log(position) - math.log(alpha) * k / size)
                elif position == 0 and k == size - 1:
                    angle = 0.0
                y[i, j, k] = np.float32(amplitude * np.sin(angle + (math.pi / 2 if k % 2 == 1 else 0.0)))


op(
    "SinusoidPositionEncoding",
    _infer,
    inputs="positions",
    outputs="output",
    args=(
        Arg("embedding_size", "int", 100, "numbers for each position"),
        Arg("alpha", "float", 10000.0, "the longest wave is 2 pi times as long"),
        Arg("amplitude", "float", 1.0, "height of the waves"),
    ),
    loop=_loop,
    doc="sines of position / alpha**(k / embedding_size) at even k, cosines at odd k",
)
