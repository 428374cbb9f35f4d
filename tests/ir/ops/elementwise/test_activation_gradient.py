"""Gradients of functions of one operand: against finite differences of the forward operator, and at their corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operator_calls import answer, f32, refusal, types

X = f32(-1.7, -0.6, -0.2, 0.15, 0.45, 0.8, 1.9)
INSIDE = f32(-0.9, -0.4, -0.1, 0.2, 0.5, 0.85)
POSITIVE = f32(0.2, 0.5, 0.9, 1.3, 2.5)
SHARES = f32(0.1, 0.3, 0.6, 0.9)

# What stands in the inputs of the gradient operator: the operand, the result, or the gradient of the result.
CASES: tuple[tuple[str, str, np.ndarray, dict[str, Any]], ...] = (
    *((name, "YG", X, {}) for name in ("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus")),
    ("LeakyRelu", "YG", X, {"alpha": 0.3}),
    ("Elu", "YG", X, {"alpha": 2.0}),
    ("Selu", "YG", X, {"alpha": 1.5, "scale": 2.0}),
    ("Clip", "YG", X, {"min": -1.0, "max": 1.0}),
    ("HardSigmoid", "YG", X, {"alpha": 0.4, "beta": 0.5}),
    ("ReluN", "YG", X, {"n": 1.0}),
    ("ThresholdedRelu", "YG", X, {"alpha": 0.5}),
    ("Reciprocal", "YG", POSITIVE, {}),
    ("Softsign", "XG", X, {}),
    ("Swish", "XYG", X, {}),
    ("Mish", "XYG", X, {}),
    ("Gelu", "GX", X, {}),
    ("Gelu", "GX", X, {"fast_gelu": 1}),
    ("Logit", "XG", SHARES, {"eps": 0.05}),
    ("Abs", "XG", X, {}),
    *((name, "XG", INSIDE, {}) for name in ("Acos", "Asin", "Atan", "Sin", "Cos", "Tan", "Erf", "Log1p")),
    *((name, "GX", X, {}) for name in ("Sinh", "Cosh", "Cube")),
    *((name, "GY", POSITIVE, {}) for name in ("Cbrt", "Rsqrt")),
)


@pytest.mark.parametrize(("op", "inputs", "x", "args"), CASES)
def test_finite_differences(op: str, inputs: str, x: np.ndarray, args: dict[str, Any]) -> None:
    step = np.float32(2**-7)
    slope = (answer(op, x + step, **args) - answer(op, x - step, **args)) / (2 * step)
    dy = np.linspace(-2, 3, len(x), dtype=np.float32)
    given = {"X": x, "Y": answer(op, x, **args), "G": dy}
    got = answer(f"{op}Gradient", *(given[i] for i in inputs), **args)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, dy * slope, rtol=5e-3, atol=5e-3)


def test_corners() -> None:
    zero, one = f32([0.0]), f32([1.0])
    assert answer("ReluGradient", zero, one).tolist() == [0]
    assert answer("AbsGradient", zero, one).tolist() == [0]
    assert answer("ClipGradient", one, one, max=1.0).tolist() == [0]
    assert answer("LogitGradient", f32([0.001, 0.9995]), f32([1, 1]), eps=0.01).tolist() == [0, 0]
    assert answer("NegateGradient", one).tolist() == [1]


def test_types() -> None:
    assert types("ReluGradient", "float[N,3]", "float[N,3]") == ["float[N,3]"]
    assert types("SeluGradient", "float[1,3]", "float[3]") == ["float[1,3]"]
    assert types("MishGradient", "double[2]", "double[2]", "double[2]") == ["double[2]"]
    assert answer("CubeGradient", np.array([2]), np.array([5])).tolist() == [150]
    assert answer("TanhGradient", f32(np.zeros((0, 3))), f32(np.zeros((0, 3)))).shape == (0, 3)
    assert "int32" in refusal("SigmoidGradient", "int32[2]", "int32[2]")
    assert "differ" in refusal("TanhGradient", "float[2]", "float[3]")
