"""Pointwise texts (``backends/pointwise.py``) as kernel source of CUDA: float32, one element a thread."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends import pointwise

SCALAR = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "div": "div({}, {})",
    "neg": "(-{})",
    "fma": "fma({}, {}, {})",
    "max": "largest({}, {})",
    "min": "smallest({}, {})",
    "abs": "absolute({})",
    "sqrt": "sqrt({})",
    "exp": "exp({})",
    "log": "log({})",
    "tanh": "tanh({})",
    "sigmoid": "sigmoid({})",
    "erf": "erf({})",
    "sin": "sin({})",
    "cos": "cos({})",
    "pow": "pow({}, {})",
    "floor": "floor({})",
    "ceil": "ceil({})",
    "round": "nearest({})",
    "lt": "({} < {})",
    "le": "({} <= {})",
    "eq": "({} == {})",
    "isnan": "isnan({})",
    "both": "({} & {})",
    "either": "({} | {})",
    "negate": "no({})",
    "where": "where({}, {}, {})",
}
"""Operations of the text -> their spelling in the words of ``words.py``."""


def emit(text: str, names: Sequence[str], prefix: str = "") -> tuple[list[str], str]:
    """``pointwise.emit`` in the words of CUDA."""
    return pointwise.emit(text, names, prefix, SCALAR, "f4({})")
