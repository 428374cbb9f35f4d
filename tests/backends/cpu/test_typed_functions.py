"""Typed kernels: functions of doubles, whole numbers beyond float64, against the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(2)


@pytest.mark.parametrize("op", ["Mish", "MishGradient", "SwishGradient"])
def test_doubles(machine: Machine, op: str) -> None:
    arrays = [rng.standard_normal((3, 5)) for _ in range(3 if "Gradient" in op else 1)]
    call = build_call(op, arrays, target=machine.target)
    got, want = run_call(machine, call, arrays)[0], evaluate_node(call.node, arrays)[0]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-13)


def test_whole_numbers_stay_whole(machine: Machine) -> None:
    x, dy = np.array([1, -2, 3]), np.array([2**53 + 1, 5, 2**54 - 1])
    call = build_call("CubeGradient", [dy, x], target=machine.target)
    assert run_call(machine, call, [dy, x])[0].tolist() == (3 * x * x * dy).tolist()
    many = [np.array([-5, 7], np.int32)] * 2
    call = build_call("SumRelu", many, target=machine.target)
    assert run_call(machine, call, many)[0].tolist() == [0, 14]
