"""Reductions against the NumPy reference: every operator, every set of axes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from harness import Machine, bind_call, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(8)


def check(machine: Machine, op: str, x: np.ndarray, **attrs: object) -> None:
    call = build_call(op, [x], target=machine.target, attrs=attrs)
    got, want = run_call(machine, call, [x])[0], evaluate_node(call.node, [x])[0]
    # sums run in another order
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * x.size)


def data(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"])
def test_every_set_of_axes(machine: Machine, op: str) -> None:
    for shape in [(3, 5, 7, 18), (2, 1, 33, 4)]:
        for n in range(1, 5):
            for axes in combinations(range(4), n):
                check(machine, op, data(*shape), axes=axes, keepdims=n % 2)


def test_sizes(machine: Machine) -> None:
    for n in (1, 2, 15, 16, 17, 63, 64, 65, 1000):
        check(machine, "ReduceSum", data(3, n), axes=(1,))
        check(machine, "ReduceSum", data(3, n), axes=(0,))
        check(machine, "ReduceMax", data(n))


@pytest.mark.parametrize("end", ["Front", "Back"])
@pytest.mark.parametrize("what", ["Sum", "Mean", "Max"])
def test_ends(machine: Machine, end: str, what: str) -> None:
    for n in (1, 2):
        check(machine, f"Reduce{end}{what}", data(5, 6, 7), num_reduce_dim=n)


def test_everything(machine: Machine) -> None:
    check(machine, "SumElements", data(5, 6, 7))
    check(machine, "SumElements", data(5, 6, 7), average=1)
    check(machine, "SumSqrElements", data(5, 6, 7))
    check(machine, "RowwiseMax", data(5, 6, 7))
    check(machine, "ColwiseMax", data(5, 6, 7))
    check(machine, "ReduceTailSum", data(5, 6, 7))


def test_wide_columns(machine: Machine) -> None:
    for columns in (127, 128, 129, 300):
        check(machine, "ReduceSum", data(9, columns), axes=(0,))
        check(machine, "ReduceMax", data(2, 3, columns), axes=(1,))


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceL2"])
def test_few_large_results_are_cut_into_pieces(machine: Machine, op: str) -> None:
    for shape, axes in [((300, 701), (0, 1)), ((2, 90001), (1,)), ((3, 1500, 70), (1,)), ((70001, 1), (0,))]:
        x = data(*shape)
        call = build_call(op, [x], target=machine.target, attrs={"axes": axes})
        assert len(bind_call(machine, call, [x]).steps) == 2
        check(machine, op, x, axes=axes)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_not_a_number_prevails(machine: Machine, op: str) -> None:
    x = data(5, 70)
    x[1, 3], x[2, 69], x[3, 0], x[3, 1] = np.nan, np.nan, np.inf, -np.inf
    for axes in [(0,), (1,), (0, 1)]:
        check(machine, op, x, axes=axes)


@pytest.mark.parametrize("op", ["DotProduct", "L1Distance", "SquaredL2Distance", "CosineSimilarity"])
def test_pairs_of_rows(machine: Machine, op: str) -> None:
    for shape in [(3,), (1, 1), (7, 33), (5, 64), (4, 131), (2, 3, 17)]:
        x, y = data(*shape), data(*shape)
        call = build_call(op, [x, y], target=machine.target)
        got, want = run_call(machine, call, [x, y])[0], evaluate_node(call.node, [x, y])[0]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_norms(machine: Machine) -> None:
    for p in (1, 2):
        check(machine, "LpNorm", data(3, 50), p=p, average=p - 1)
