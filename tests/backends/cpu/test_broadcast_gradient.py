"""Gradients of broadcast arithmetic on float32: the rule's steps against the loops of the records."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(4)
SHAPES = (
    ((2, 3, 4), (2, 3, 4), {}),
    ((2, 3, 4), (4,), {}),
    ((2, 1, 40), (1, 3, 1), {}),
    ((2, 3, 4), (3,), {"broadcast": 1, "axis": 1}),
)


@pytest.mark.parametrize("op", ["Sub", "Mul", "Div"])
def test_every_broadcast(machine: Machine, op: str) -> None:
    for left, right, attrs in SHAPES:
        a, b = (rng.uniform(1, 3, s).astype(np.float32) for s in (left, right))
        c = evaluate_node(build_call(op, [a, b], target=machine.target, attrs=attrs).node, [a, b])[0]
        g = rng.standard_normal(c.shape).astype(np.float32)
        operands = [g, a, b, c] if op == "Div" else [g, a, b]
        call = build_call(f"{op}Gradient", operands, target=machine.target, attrs=attrs, results=2)
        for got, want in zip(run_call(machine, call, operands), evaluate_node(call.node, operands)):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_quotient_without_its_first_operand(machine: Machine) -> None:
    b, c, g = rng.uniform(1, 3, (3, 4)).astype(np.float32), *rng.standard_normal((2, 3, 4)).astype(np.float32)
    call = build_call("DivGradient", [b, c, g], target=machine.target, results=2)
    da, db = run_call(machine, call, [b, c, g])
    np.testing.assert_allclose(da, g / b, rtol=1e-6)
    np.testing.assert_allclose(db, -g * c / b, rtol=1e-6)
