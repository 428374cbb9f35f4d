"""Normalisation by statistics against the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(9)


def data(*shape: int) -> np.ndarray:
    return (3 + rng.standard_normal(shape)).astype(np.float32)


def check(machine: Machine, op: str, operands: list, results: int = 1, **attrs: object) -> None:
    call = build_call(op, operands, target=machine.target, attrs=attrs, results=results)
    for got, want in zip(run_call(machine, call, operands), evaluate_node(call.node, operands), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


SHAPES = [(1, 4, 1, 3), (2, 6, 5, 7), (3, 8, 17, 13), (2, 4, 129), (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("results", [1, 3])
def test_instance_and_group_norm(machine: Machine, shape: tuple[int, ...], results: int) -> None:
    operands = [data(*shape), data(shape[1]), data(shape[1])]
    check(machine, "InstanceNorm", operands, results, epsilon=1e-3)
    check(machine, "GroupNorm", operands, results, group=2)


@pytest.mark.parametrize("shape", [(1, 3), (5, 33), (4, 3, 70), (2, 3, 4, 5)])
def test_layer_norm(machine: Machine, shape: tuple[int, ...]) -> None:
    for axis in (1, -1):
        check(machine, "LayerNorm", [data(*shape)], 3, axis=axis)
        row = shape[axis:]
        check(machine, "LayerNorm", [data(*shape), data(*row), data(*row)], 3, axis=axis, elementwise_affine=1)
