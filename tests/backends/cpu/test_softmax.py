"""Softmax against the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(11)


def data(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(machine: Machine, x: np.ndarray, **attrs) -> None:
    call = build_call("Softmax", [x], target=machine.target, attrs=attrs)
    np.testing.assert_allclose(run_call(machine, call, [x])[0], evaluate_node(call.node, [x])[0], rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 1000), (3, 1), (17, 5), (2, 33, 1, 1), (2, 5, 3, 7), (1, 16)])
def test_softmax(machine, shape) -> None:
    check(machine, data(*shape) * 10)
    check(machine, data(*shape) * 10, axis=-1)


def test_softmax_of_large_values(machine) -> None:
    check(machine, np.array([[1000, 999, -1000], [3e38, 0, -3e38]], np.float32))
