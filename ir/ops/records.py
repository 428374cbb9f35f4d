"""Operators that report on values: their effect is outside the graph, so that nothing may remove them."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
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
    traits=Trait.EFFECT,
    doc="shows a value; graphc keeps the operator and prints nothing",
)


def _summary_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, (4,))][: call.n_outputs]


def _summary(call: Call, x: np.ndarray) -> list[np.ndarray]:
    """Minimum, maximum, mean and the deviation with n - 1 in the divisor."""
    if not x.size:
        call.fail("the input has no elements, whose minimum it would be")
    values = x.astype(np.float64)
    mean = values.mean()
    deviation = np.sqrt(((values - mean) ** 2).sum() / max(x.size - 1, 1))
    return [np.array([values.min(), values.max(), mean, deviation], np.float32)]


op(
    "Summarize",
    _summary_type,
    inputs="X",
    outputs="statistics?",
    args=(_TO_FILE,),
    reference=_summary,
    traits=Trait.EFFECT,
    doc="minimum, maximum, mean, standard deviation",
)
