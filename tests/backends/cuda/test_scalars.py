"""Pointwise operators on integers, booleans and float64 for a card in the emulator, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers
from one_net import operator

FLOATS = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)
INTS = np.arange(24, dtype=np.int32).reshape(4, 6) - 5
LONGS = INTS.astype(np.int64) * 10_000_000_000
DOUBLES = FLOATS.astype(np.float64) / 3
TRUTHS = INTS % 3 == 0


def template(type: str, *operands: np.ndarray, **args: int) -> set[str]:
    """The kernels of an operator, whose answer is the reference's."""
    names = "abc"[: len(operands)]
    plan, _ = answers([operator(type, " ".join(names), "y", **args)], dict(zip(names, operands)), "y", tolerance=0)
    return {k.template for k in plan.kernels}


# FLOAT, INT32, BOOL, UINT8, INT64, DOUBLE of TensorProto
@pytest.mark.parametrize("to", [1, 2, 5, 6, 10, 13])
@pytest.mark.parametrize("x", [FLOATS, INTS, LONGS, DOUBLES, TRUTHS], ids=lambda x: str(x.dtype))
def test_casts(x: np.ndarray, to: int) -> None:
    if to == 6:
        x = np.abs(x)  # bytes of negative floats are whatever the compiler of Caffe2 made of them
    assert template("Cast", x, to=to) <= {"scalars", "pointwise", "loop"}


@pytest.mark.parametrize("type", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("x", [INTS, LONGS, DOUBLES], ids=lambda x: str(x.dtype))
def test_arithmetic(type: str, x: np.ndarray) -> None:
    assert template(type, x, x[::-1].copy()) == {"scalars"}
    assert template(type, x, x[1].copy(), broadcast=1) == {"scalars"}


@pytest.mark.parametrize("type", ["EQ", "NE", "LT", "LE", "GT", "GE"])
@pytest.mark.parametrize("x", [FLOATS, LONGS], ids=lambda x: str(x.dtype))
def test_comparisons(type: str, x: np.ndarray) -> None:
    y = x[::-1].copy()
    y[2] = x[2]
    assert template(type, x, y) == {"scalars"}


def test_truth_values_and_bits() -> None:
    for type in ("And", "Or", "Xor"):
        assert template(type, TRUTHS, ~TRUTHS[::-1]) == {"scalars"}
    assert template("Not", TRUTHS) == {"scalars"}
    for type in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        assert template(type, INTS, INTS[::-1].copy()) == {"scalars"}
    strange = FLOATS.copy()
    strange[1] = np.nan
    assert template("IsNaN", strange) == {"scalars"}


def test_others_on_integers() -> None:
    assert template("Negative", INTS) == {"scalars"}
    template("Where", TRUTHS, LONGS, LONGS[::-1].copy())
