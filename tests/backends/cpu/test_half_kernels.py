"""Kernels in half precision on every target, in poisoned memory, against float64 on the same rounded operands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.backends.cpu.kernels import half_types
from graphc.ir.graph import Constant
from graphc.ir.opdef import Call
from graphc.ir.precision import PRECISION, rounded, to_float
from graphc.ir.types import DType

KINDS = (DType.FLOAT16, DType.BFLOAT16)
UNIT = {DType.FLOAT: 0.0, DType.FLOAT16: 2.0**-11, DType.BFLOAT16: 2.0**-8}
"""Half a unit of the last place, relative to a number."""
SUMS = 4e-6
"""Sums in float32 against float64, relative to the largest result."""
WINOGRAD = {DType.FLOAT16: 1.5e-3, DType.BFLOAT16: 1.2e-2}
"""What rounding transformed weights (and, of bfloat16, transformed inputs) adds."""


def call_of(
    op: str,
    arrays: Sequence[np.ndarray],
    target: object,
    place: Placement,
    kinds: Sequence[DType],
    result: DType,
    constants: Collection[int] = (),
    attrs: dict | None = None,
) -> tuple[Call, list[np.ndarray], list[np.ndarray]]:
    """A call in half precision, its operands as they lie in memory, and the numbers that these are."""
    call = build_call(op, arrays, constants=tuple(constants), target=target, place=place, attrs=attrs)
    stored = [rounded(a, k) for a, k in zip(arrays, kinds)]
    for value, kind, data in zip(call.node.operands, kinds, stored):
        value.type = replace(value.type, dtype=kind)
        if value.is_constant:
            value.constant = Constant(value.name, value.type, data)
    y = call.node.results[0]
    y.type = replace(y.type, dtype=result)
    call.node.attrs[PRECISION] = result.text.encode()
    return call, stored, [to_float(a, k).astype(np.float64) for a, k in zip(stored, kinds)]


def check(got: np.ndarray, want: np.ndarray, kind: DType, more: float = SUMS) -> None:
    """Nothing but one rounding to ``kind``, and ``more`` of the largest result."""
    numbers = to_float(got, kind).astype(np.float64)
    allowed = 1.01 * UNIT[kind] * np.abs(want) + more * np.abs(want).max()
    assert (np.abs(numbers - want) <= allowed).all(), np.abs(numbers - want).max() / np.abs(want).max()


def one_of_two(machine: Machine, kind: DType) -> None:
    """Both kinds on the widest target, one each on the others: kernels take their time to compile."""
    narrow = {8: DType.FLOAT16, 4: DType.BFLOAT16}.get(machine.target.lanes, kind)
    if narrow is not kind:
        pytest.skip("tested on other targets")


def random(*shapes: Sequence[int]) -> list[np.ndarray]:
    r = np.random.default_rng(sum(map(sum, shapes)))
    return [r.standard_normal(s).astype(np.float32) for s in shapes]


# shape, maps, kernel, stride, pad, group, blocked in, result
CONVOLUTIONS = [
    ((2, 33, 5, 7), 17, 1, 1, 0, 1, True, None),
    ((1, 3, 11, 9), 18, 3, 2, 1, 1, False, None),
    ((2, 32, 6, 5), 32, 3, 2, 1, 2, True, DType.FLOAT),
    ((1, 20, 9, 8), 20, 3, 1, 1, 20, True, None),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.text)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions(machine: Machine, case: tuple, kind: DType) -> None:
    shape, maps, kernel, stride, pad, group, blocked_in, result = case
    one_of_two(machine, kind)
    arrays = random(shape, (maps, shape[1] // group, kernel, kernel), (maps,))
    if shape[1] // group % machine.target.lanes and group not in (1, shape[1]):
        pytest.skip("groups are no whole blocks")
    place = Placement(frozenset([0] if blocked_in else []), True, (1, 2, 1, 1), True)
    inputs = kind if blocked_in else DType.FLOAT
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "group": group}
    kinds, result = (inputs, inputs, DType.FLOAT), result or kind
    call, stored, numbers = call_of("Conv", arrays, machine.target, place, kinds, result, (1, 2), attrs)
    (want,) = call.opdef.reference(call, *numbers)
    check(run_call(machine, call, stored, place)[0], want, result)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.text)
def test_winograd(machine: Machine, kind: DType) -> None:
    one_of_two(machine, kind)
    shape = (1, 64, 28, 29)
    arrays = random(shape, (48, shape[1], 3, 3), (48,))
    place = Placement(frozenset([0]), True, (1, 2, 1, 1), True)
    kinds = (kind, kind, DType.FLOAT)
    call, stored, numbers = call_of("Conv", arrays, machine.target, place, kinds, kind, (1, 2), {"kernel": 3, "pad": 1})
    assert machine.library.choose(call).rule.startswith("winograd")
    (want,) = call.opdef.reference(call, *numbers)
    check(run_call(machine, call, stored, place)[0], want, kind, WINOGRAD[kind])


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.text)
@pytest.mark.parametrize("rows", [1, 3, 13])
def test_products(machine: Machine, rows: int, kind: DType) -> None:
    one_of_two(machine, kind)
    arrays = random((rows, 37), (45, 37), (45,))
    kinds = (kind, kind, DType.FLOAT)
    call, stored, numbers = call_of("FC", arrays, machine.target, Placement(), kinds, kind, (1, 2))
    x, w, b = numbers
    check(run_call(machine, call, stored)[0], x @ w.T + b, kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.text)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools(machine: Machine, op: str, kind: DType) -> None:
    one_of_two(machine, kind)
    (x,) = random((2, 19, 9, 8))
    for blocked, attrs in ((True, {"kernel": 3, "stride": 2, "pad": 1}), (False, {"kernel": 2})):
        place = Placement(frozenset([0] if blocked else []), blocked, slices=True)
        call, stored, numbers = call_of(op, [x], machine.target, place, [kind], kind, attrs=attrs)
        (want,) = call.opdef.reference(call, numbers[0])
        check(run_call(machine, call, stored, place)[0], want, kind)


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize(
    ("kinds", "result"),
    [((KINDS[0], KINDS[1]), KINDS[1]), ((KINDS[1], DType.FLOAT), KINDS[0]), ((KINDS[0], KINDS[0]), DType.FLOAT)],
    ids=str,
)
def test_elementwise_of_mixed_types(machine: Machine, kinds: tuple[DType, DType], result: DType, blocked: bool) -> None:
    one_of_two(machine, kinds[0])
    arrays = random((2, 19, 5, 7), (2, 19, 5, 7))
    place = Placement(frozenset([0, 1] if blocked else []), blocked, (1, 1, 1, 1), True)
    call, stored, numbers = call_of("Add", arrays, machine.target, place, kinds, result)
    check(run_call(machine, call, stored, place)[0], numbers[0] + numbers[1], result, 2.0**-24)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.text)
def test_channels_and_single_numbers(machine: Machine, kind: DType) -> None:
    one_of_two(machine, kind)
    for other in ((19,), (1,)):
        arrays = random((1, 19, 3, 5), other)
        place = Placement(frozenset([0]), True)
        attrs = {"broadcast": 1, "axis": 1} if other == (19,) else {"broadcast": 1}
        call, stored, numbers = call_of("Mul", arrays, machine.target, place, [kind, kind], kind, attrs=attrs)
        check(run_call(machine, call, stored, place)[0], numbers[0] * numbers[1].reshape(-1, 1, 1), kind, 2.0**-24)


def test_float_kernels_know_nothing_of_halves(machine: Machine) -> None:
    arrays = random((1, 16, 8, 8), (16, 16, 3, 3), (16,))
    place = Placement(frozenset([0]), True)
    call = build_call("Conv", arrays, constants=(1, 2), target=machine.target, place=place, attrs={"kernel": 1 + 2})
    spec = machine.library.choose(call).spec
    assert spec is not None
    assert not {"types", "halves"} & {name for name, _ in spec.params}
    assert half_types.Types.of_spec(spec) == half_types.FLOATS
