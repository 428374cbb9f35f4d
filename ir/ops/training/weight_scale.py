"""WeightScale: weights multiplied by a factor every so many iterations."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.types import DType, TensorType

FOREVER = 2**63 - 1


def _infer(call: Call) -> list[TensorType]:
    """nw has the type of w; iter is one int64."""
    w, shape = require(call, 0, (DType.FLOAT,)), require(call, 1, (DType.INT64,)).shape
    if shape is not None:
        agree(call, product(shape), 1, "elements of iter")
    if call.arg("stepsize") < 1:
        call.fail(f"stepsize is {call.arg('stepsize')}", "use a stepsize of at least 1")
    return [w]


def _loop(w: np.ndarray, iteration: np.ndarray, y: np.ndarray, stepsize: int, bound: int, scale: float) -> None:
    due = (iteration.flat[0] + 1) % stepsize == 0 and iteration.flat[0] + 1 < bound
    factor = np.float32(scale if due else 1.0)
    for i in range(w.size):
        y.flat[i] = w.flat[i] * factor if due else w.flat[i]


op(
    "WeightScale",
    _infer,
    inputs="w iter",
    outputs="nw",
    args=(
        Arg("stepsize", "int", FOREVER, "iterations between two multiplications"),
        Arg("upper_bound_iter", "int", FOREVER, "from this iteration on nothing is multiplied"),
        Arg("scale", "float", 1.0, "the factor"),
    ),
    loop=_loop,
    inplace=((0, 0),),
    doc="w * scale where iter + 1 is a multiple of stepsize below upper_bound_iter, else w",
)
