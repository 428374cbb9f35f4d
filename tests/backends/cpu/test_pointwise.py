"""Pointwise kernels against the NumPy reference: broadcasting, layouts, halos, slices, tails."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.types import TensorType

PLAIN = Placement()
rng = np.random.default_rng(3)


def data(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(machine: Machine, op: str, operands: list, place: Placement = PLAIN, constants: tuple = (), **attrs) -> None:
    call = build_call(op, operands, constants=constants, target=machine.target, place=place, attrs=attrs)
    got = run_call(machine, call, operands, place)
    want = evaluate_node(call.node, operands)
    np.testing.assert_allclose(got[0], want[0], rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(1,), (7,), (16,), (3, 33), (2, 3, 5), (2, 5, 7, 9), (1, 70000)])
def test_any_rank(machine, shape) -> None:
    check(machine, "Sigmoid", [data(*shape)])
    check(machine, "Add", [data(*shape), data(*shape)])


BROADCAST = [
    ((2, 5, 4, 3), (5, 1, 1)),
    ((2, 5, 4, 3), (1,)),
    ((2, 5, 4, 3), (2, 5, 1, 1)),
    ((2, 5, 4, 3), (2, 1, 4, 3)),
    ((2, 5, 4, 3), (3,)),
    ((2, 5, 4, 3), (4, 1)),
    ((17, 33), (33,)),
    ((17, 33), (17, 1)),
    ((6, 1, 5), (1, 4, 5)),
    ((2, 1, 3, 1, 2), (4, 1, 5, 1)),
]


@pytest.mark.parametrize(("a", "b"), BROADCAST)
def test_broadcasting(machine, a, b) -> None:
    check(machine, "Mul", [data(*a), data(*b)])
    check(machine, "Sub", [data(*a), data(*b)], constants=(1,))


@pytest.mark.parametrize("halo", [(0, 0, 0, 0), (1, 2, 3, 1)])
@pytest.mark.parametrize("shape", [(2, 5, 7, 9), (1, 33, 3, 1), (2, 16, 1, 1), (1, 3, 1, 6), (3, 24, 20, 20)])
@pytest.mark.parametrize("blocked", [False, True])
def test_views(machine, blocked, shape, halo) -> None:
    both = frozenset({0, 1}) if blocked else frozenset()
    place = Placement(blocked=both, blocked_out=blocked, halo_out=halo, slices=halo != (0, 0, 0, 0))
    check(machine, "Relu", [data(*shape)], place)
    check(machine, "Add", [data(*shape), data(*shape)], place)


@pytest.mark.parametrize("c", [1, 5, 16, 33])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("slices", [False, True])
def test_blocked_broadcasting(machine, c, constant, slices) -> None:
    place = Placement(blocked=frozenset({0}), blocked_out=True, slices=slices)
    constants = (1,) if constant else ()
    for shape in [(c, 1, 1), (1, c, 1, 1), (1,), (1, 1, 1, 1), (2, 1, 4, 3), (4, 3)]:
        check(machine, "Mul", [data(2, c, 4, 3), data(*shape)], place, constants)
    check(machine, "Add", [data(2, c, 4, 3), data(c)], place, constants, broadcast=1, axis=1)
    if constant:
        check(machine, "Mul", [data(2, c, 4, 3), data(2, c, 4, 3)], place, constants)
    else:
        check(machine, "Mul", [data(2, c, 4, 3), data(2, c, 1, 1)], place)
        both = Placement(blocked=frozenset({0, 1}), blocked_out=True, slices=slices)
        check(machine, "Mul", [data(2, c, 4, 3), data(2, c, 1, 1)], both)
        check(machine, "Mul", [data(2, c, 4, 3), data(2, 1, 4, 3)], both)


def test_nan_passes_through_relu_and_max(machine) -> None:
    x = np.array([np.nan, -1, 2, -0.0], np.float32)
    y = np.array([1, np.nan, np.nan, 0], np.float32)
    check(machine, "Relu", [x])
    check(machine, "Max", [x, y])
    check(machine, "Max", [y, x])


def fused_body() -> Graph:
    """leaky((x + r) * c)."""
    body, t = Graph("body"), TensorType.parse("float[1,8,3,3]")
    x, r, c = body.add_input(t, "x"), body.add_input(t, "r"), body.add_input(TensorType.parse("float[8]"), "c")
    total = body.append(Node("Add", [x, r], [Value(t, "s")]))
    scaled = body.append(Node("Mul", [total.results[0], c], [Value(t, "m")], {"broadcast": 1, "axis": 1}))
    leaky = body.append(Node("LeakyRelu", [scaled.results[0]], [Value(t, "y")], {"alpha": 0.25}))
    body.add_output(leaky.results[0], "y")
    return body


@pytest.mark.parametrize("blocked", [False, True])
def test_fused_body(machine, blocked) -> None:
    both = frozenset({0, 1}) if blocked else frozenset()
    x, r, c = data(1, 8, 3, 3), data(1, 8, 3, 3), data(8)
    place = Placement(blocked=both, blocked_out=blocked, slices=True)
    call = build_call(
        "g.pointwise", [x, r, c], constants=(2,), target=machine.target, place=place, attrs={"body": fused_body()}
    )
    got = run_call(machine, call, [x, r, c], place)[0]
    value = (x + r) * c[:, None, None]
    np.testing.assert_allclose(got, np.where(value < 0, value * np.float32(0.25), value), rtol=1e-6)
    assert isinstance(call, Call)
