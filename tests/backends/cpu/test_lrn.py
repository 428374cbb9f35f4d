"""LRN against the NumPy reference: window sizes, powers, layouts, slices."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(4)


def check(machine: Machine, x: np.ndarray, blocked: bool, slices: bool, scale: bool = False, **attrs: object) -> None:
    place = Placement(
        blocked=frozenset({0} if blocked else ()),
        blocked_out=blocked,
        slices=slices,
        halo_out=(1, 2, 1, 3) if slices else (0, 0, 0, 0),
    )
    attrs = {"alpha": 0.5, "beta": 0.75, "bias": 2.0, **attrs}
    call = build_call("LRN", [x], target=machine.target, place=place, attrs=attrs, results=1 + scale)
    got, want = run_call(machine, call, [x], place), evaluate_node(call.node, [x])
    assert len(got) == len(want)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 17, 3, 20), (3, 33, 4, 4), (1, 16, 1, 70)])
def test_layouts(machine: Machine, blocked: bool, slices: bool, shape: tuple[int, ...]) -> None:
    check(machine, rng.standard_normal(shape).astype(np.float32), blocked, slices, size=5)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_windows(machine: Machine, blocked: bool, size: int) -> None:
    for c in (1, 5, 24, 33):
        check(machine, rng.standard_normal((2, c, 3, 6)).astype(np.float32), blocked, False, size=size)


@pytest.mark.parametrize("size", [12])
def test_wide_windows(machine: Machine, size: int) -> None:
    check(machine, rng.standard_normal((2, 20, 3, 6)).astype(np.float32), False, True, size=size)


@pytest.mark.parametrize(("beta", "blocked"), [(0.5, False), (0.3, True)])
def test_powers(machine: Machine, beta: float, blocked: bool) -> None:
    check(machine, 9 * rng.standard_normal((2, 20, 3, 6)).astype(np.float32), blocked, True, size=3, beta=beta)


def test_the_scale_is_a_second_result(machine: Machine) -> None:
    check(machine, rng.standard_normal((2, 20, 3, 6)).astype(np.float32), False, True, scale=True, size=3)
