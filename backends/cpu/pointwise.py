"""Pointwise texts (``backends/pointwise.py``) as kernel source of the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.backends import pointwise

VECTOR = {
    "add": "vadd({}, {})",
    "sub": "vsub({}, {})",
    "mul": "vmul({}, {})",
    "div": "vdiv({}, {})",
    "neg": "vneg({})",
    "fma": "vfma({}, {}, {})",
    "max": "vmax({}, {})",
    "min": "vmin({}, {})",
    "abs": "vabs({})",
    "sqrt": "vsqrt({})",
    "exp": "vexp({})",
    "log": "vlog({})",
    "tanh": "vtanh({})",
    "sigmoid": "vsigmoid({})",
    "erf": "verf({})",
    "sin": "vsin({})",
    "cos": "vcos({})",
    "pow": "vpow({}, {})",
    "floor": "vfloor({})",
    "ceil": "vceil({})",
    "round": "vround({})",
    "lt": "vlt({}, {})",
    "le": "vle({}, {})",
    "eq": "veq({}, {})",
    "isnan": "visnan({})",
    "both": "mand({}, {})",
    "either": "mor({}, {})",
    "negate": "mnot({})",
    "where": "vwhere({}, {}, {})",
}
"""Operations of the text -> their spelling in the kernel vocabulary, on vectors of float32."""


def emit(
    text: str,
    names: Sequence[str],
    prefix: str = "",
    functions: Mapping[str, str] = VECTOR,
    number: str = "vsplat(f4({}))",
) -> tuple[list[str], str]:
    """``pointwise.emit`` in a vocabulary of the CPU, that of vectors by default."""
    return pointwise.emit(text, names, prefix, functions, number)
