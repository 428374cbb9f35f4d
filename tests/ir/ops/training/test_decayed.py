"""Momentum with weight decay, by hand and by exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from operator_calls import answers, f32, refusal

from graphc.frontends.netdef import Operator
from graphc.operators import run_operator

RATE = f32([0.5])
GRAD, VELOCITY, PARAM = f32([1, -2]), f32([4, 8]), f32([10, 20])


@pytest.mark.parametrize(
    ("nesterov", "step"),
    # g = grad + 0.5 param = [6, 8]; new momentum = 0.25 velocity + 0.5 g = [4, 6]
    [(0, [4, 6]), (1, [1.25 * 4 - 1, 1.25 * 6 - 2])],
)
@pytest.mark.parametrize("op", ["FP32MomentumSGDUpdate", "FP16MomentumSGDUpdate"])
def test_by_hand(op: str, nesterov: int, step: list[float]) -> None:
    dtype = np.float32 if op.startswith("FP32") else np.float16
    arrays = [a.astype(dtype) for a in (GRAD, VELOCITY, PARAM)]
    args = {"momentum": 0.25, "weight_decay": 0.5, "nesterov": nesterov}
    found = answers(op, *arrays[:2], RATE, arrays[2], outputs=3, **args)
    assert [a.tolist() for a in found] == [step, [4, 6], [10 - step[0], 20 - step[1]]]
    assert all(a.dtype == dtype for a in found)


def test_halves_are_rounded_once_at_every_step() -> None:
    rng = np.random.default_rng(5)
    grad, velocity, param = (rng.standard_normal(3000).astype(np.float16) for _ in range(3))
    halves = {"momentum": 0.9, "weight_decay": 0.001}
    net = Operator("FP16MomentumSGDUpdate", ["g", "v", "lr", "p"], ["g", "v", "p"], halves)
    found = run_operator(net, [grad, velocity, RATE, param])
    mu, decay = np.float16(0.9), np.float16(0.001)

    def nearest(value: Fraction) -> np.float16:
        """The half number next to a fraction: of the two around it the nearer one, of equally near ones the even."""
        below = np.float16(float(value))
        around = [np.nextafter(below, np.float16(-np.inf)), below, np.nextafter(below, np.float16(np.inf))]
        return min(around, key=lambda h: (abs(Fraction(float(h)) - value), int(h.view(np.uint16)) & 1))

    for i in range(0, 3000, 10):
        g, v, p = (Fraction(float(a[i])) for a in (grad, velocity, param))
        summed = nearest(Fraction(float(decay)) * p + g)
        kept = nearest(Fraction(float(mu)) * v)
        step = nearest(Fraction(0.5) * Fraction(float(summed)) + Fraction(float(kept)))
        assert (found[0][i], found[1][i]) == (step, step)
        assert found[2][i] == nearest(p - Fraction(float(step)))
    single = run_operator(
        Operator("FP16MomentumSGDUpdate", ["g", "v", "lr", "p"], ["g", "v", "p"], {**halves, "fp32_update": 1}),
        [grad, velocity, RATE, param],
    )
    exact = 0.9 * velocity.astype(np.float64) + 0.5 * (grad + 0.001 * param.astype(np.float64))
    np.testing.assert_allclose(single[1], exact, rtol=2**-11, atol=2**-24)
    np.testing.assert_allclose(single[2], param - exact, rtol=2**-11, atol=2**-14)


def test_infinities_stay_what_they_are() -> None:
    large = np.array([60000, -60000, np.inf], np.float16)
    found = answers("FP16MomentumSGDUpdate", large, large, f32([1]), np.zeros(3, np.float16), outputs=3, momentum=1.0)
    assert found[1].tolist() == [np.inf, -np.inf, np.inf]


def test_refusals() -> None:
    assert "float16" in refusal("FP16MomentumSGDUpdate", *["float[2]"] * 2, "float[1]", "float[2]", outputs=3)
    assert "float16" in refusal("FP32MomentumSGDUpdate", *["float16[2]"] * 2, "float[1]", "float16[2]", outputs=3)
    assert "elements" in refusal("FP32MomentumSGDUpdate", "float[2]", "float[3]", "float[1]", "float[2]", outputs=3)
