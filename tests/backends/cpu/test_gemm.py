"""Matrix products on every target against the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from harness import Machine, build_call, run_call

TOLERANCE = 2e-6
"""Sums in float32 against float64: at most some hundred terms, relative to the largest result."""


def check(machine: Machine, op: str, shapes: Sequence[tuple], constants: Sequence[int], **attrs: int) -> None:
    """Run a product on seeded operands and compare with its reference in double precision."""
    r = np.random.default_rng(sum(map(sum, shapes)))
    arrays = [r.standard_normal(s).astype(np.float32) for s in shapes]
    call = build_call(op, arrays, constants=constants, target=machine.target, attrs=attrs)
    (got,) = run_call(machine, call, arrays)
    (want,) = call.opdef.reference(call, *(a.astype(np.float64) for a in arrays))
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 13, 40])
def test_fc(machine: Machine, rows: int) -> None:
    check(machine, "FC", [(rows, 37), (70, 37), (70,)], (1, 2))


def test_fc_flattens_at_axes(machine: Machine) -> None:
    check(machine, "FC", [(2, 3, 5, 7), (10, 105), (10,)], (1, 2))
    check(machine, "FC", [(2, 3, 35), (10, 5, 7), (10,)], (1, 2), axis=2)


def test_fc_transposed(machine: Machine) -> None:
    check(machine, "FCTransposed", [(4, 30), (30, 50), (50,)], (1, 2))


def test_fc_with_computed_weights(machine: Machine) -> None:
    check(machine, "FC", [(4, 37), (70, 37), (70,)], ())


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_matmul(machine: Machine, trans_a: int, trans_b: int) -> None:
    a, b = [(9, 20), (20, 9)][trans_a], [(20, 33), (33, 20)][trans_b]
    check(machine, "MatMul", [a, b], (1,) if trans_a else (), trans_a=trans_a, trans_b=trans_b)
    check(machine, "BatchMatMul", [(3, 2, *a), (3, 2, *b)], (), trans_a=trans_a, trans_b=trans_b)


@pytest.mark.parametrize(
    "shapes", [[(3, 1, 9, 20), (2, 20, 33)], [(3, 9, 20), (20, 33)], [(20,), (2, 20, 33)], [(4, 20), (20,)]], ids=str
)
def test_batches_broadcast(machine: Machine, shapes: list[tuple]) -> None:
    check(machine, "BatchMatMul", shapes, (), broadcast=1)
