"""Operators that report on values: their effect is outside the graph, so that nothing may remove them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import require
from graphc.ir.types import DType, TensorType

_TO_FILE = Arg("to_file", "int", 0, "write to a file beside the net instead of to the log")


def _nothing(call: Call) -> list[TensorType]:
    return []


def _ignored(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    return []


op(
    "Print",
    _nothing,
    inputs="X",
    args=(
        _TO_FILE,
        Arg("limit", "int", 0, "elements shown at most, 0: all"),
        Arg("every_n", "int", 1, "prints in every n-th run only"),
    ),
    reference=_ignored,
    traits=Trait.EFFECT | Trait.HOST,
    doc="shows a value; graphc keeps the operator and prints nothing",
)


def _summary_type(call: Call) -> list[TensorType]:
    """statistics: float, four numbers. The input is float and has elements."""
    shape = require(call, 0, (DType.FLOAT,)).shape
    if shape is not None and 0 in shape:
        call.fail("the input has no elements, whose minimum it would be")
    return [TensorType(DType.FLOAT, (4,))]


def _summary(x: np.ndarray, statistics: np.ndarray, to_file: int) -> Any:
    """The deviation has n - 1 in the divisor."""
    least, most, mean, squares = float(x.flat[0]), float(x.flat[0]), 0.0, 0.0
    for k in range(x.size):
        least, most = min(least, float(x.flat[k])), max(most, float(x.flat[k]))
        mean += float(x.flat[k])
    mean /= x.size
    for k in range(x.size):
        squares += (float(x.flat[k]) - mean) * (float(x.flat[k]) - mean)
    if statistics.size:
        statistics[0] = least
        statistics[1] = most
        statistics[2] = mean
        statistics[3] = math.sqrt(squares / max(x.size - 1, 1))
    return 0


op(
    "Summarize",
    _summary_type,
    inputs="X",
    outputs="statistics?",
    args=(_TO_FILE,),
    loop=_summary,
    traits=Trait.EFFECT,
    call_traits=lambda call: Trait.NONE if call.n_outputs else Trait.HOST,
    doc="Minimum, maximum, mean, standard deviation.",
)
