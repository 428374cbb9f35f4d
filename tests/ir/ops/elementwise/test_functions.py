"""The formulas of inverse trigonometric, hyperbolic and related functions against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc
from graphc.ir import parse
from graphc.ir.ops.elementwise import _functions
from graphc.ir.scalar import NUMPY

EVERYWHERE = np.concatenate([np.linspace(-50, 50, 4001), np.geomspace(1e-30, 80, 500), [0.0, np.inf, -np.inf]])
CASES: dict[str, tuple[Callable[..., np.ndarray], np.ndarray]] = {
    "Asin": (np.arcsin, np.linspace(-1, 1, 2001)),
    "Acos": (np.arccos, np.linspace(-1, 1, 2001)),
    "Atan": (np.arctan, np.concatenate([EVERYWHERE, [1e30, -1e30]])),
    "Sinh": (np.sinh, np.concatenate([EVERYWHERE, [89.0, -89.0]])),
    "Cosh": (np.cosh, np.concatenate([EVERYWHERE, [89.0, -89.0]])),
    "Log1p": (np.log1p, np.concatenate([np.linspace(-0.999, 100, 3001), np.geomspace(1e-30, 1e38, 300), [np.inf]])),
    "Cbrt": (np.cbrt, np.concatenate([EVERYWHERE, [1e38, -1e38, 1e-37]])),
}


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Errors in units of the last place of the float32 result; equal infinities and NaNs count as none."""
    expected = want.astype(np.float32)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0, np.abs(got.astype(np.float64) - want) / np.spacing(np.abs(expected)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", ["reference formula", "native"])
def test_formula(name: str, target: str) -> None:
    function, points = CASES[name]
    x = points.astype(np.float32)
    with np.errstate(all="ignore"):
        want = function(x.astype(np.float64))
        if target == "native":
            text = f'graph "f" stage=imported {{\n  input %x : float[{x.size}]\n  %y = {name}(%x)\n  output %y\n}}'
            got = graphc.compile_graph(parse(text)).run({"x": x})["y"]
        else:
            got = np.asarray(getattr(_functions, name.lower())(NUMPY, x), np.float32)
        assert ulps(got, want).max() <= 8
