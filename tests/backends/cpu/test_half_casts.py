"""FloatToHalf and HalfToFloat against NumPy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, build_call, run_call


@pytest.mark.parametrize("clip", [0, 1])
def test_there_and_back(machine: Machine, clip: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 77)).astype(np.float32) * np.float32(1e4)
    x[0, :8] = [np.inf, -np.inf, np.nan, 7e4, -7e4, 1e-8, 65519.9, -0.0]
    call = build_call("FloatToHalf", [x], target=machine.target, attrs={"clip": clip})
    assert machine.library.choose(call).rule == "half_cast"
    (half,) = run_call(machine, call, [x])
    with np.errstate(over="ignore"):
        want = (np.clip(x, -65504, 65504) if clip else x).astype(np.float16)
    np.testing.assert_array_equal(half, want)
    (back,) = run_call(machine, build_call("HalfToFloat", [half], target=machine.target), [half])
    np.testing.assert_array_equal(back, want.astype(np.float32))
