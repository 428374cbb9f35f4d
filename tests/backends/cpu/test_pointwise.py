"""Pointwise kernels against the NumPy reference: broadcasting, layouts, halos, slices, tails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from harness import Bound, Machine, Memory, Placement, bind_call, build_call, get, make_view, put, run_call

from graphc.backends.cpu.kernels.nest import CHUNK
from graphc.backends.cpu.library import CpuLibrary
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.schedule import Address, View
from graphc.ir.types import TensorType

PLAIN = Placement()
rng = np.random.default_rng(3)


@dataclass(frozen=True)
class Case:
    """A call to test. constants: operands that are weights. want: the result, where the reference is not asked."""

    op: str
    operands: tuple[np.ndarray, ...]
    place: Placement = PLAIN
    constants: tuple[int, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    want: np.ndarray | None = None

    def __str__(self) -> str:
        shapes = " ".join("x".join(map(str, a.shape)) for a in self.operands)
        blocked = f" blocked{sorted(self.place.blocked)}" if self.place.blocked else ""
        words = [" constant"] if self.constants else []
        words += [" sliced"] if self.place.slices else []
        words += [" halo"] if any(self.place.halo_out) else []
        return f"{self.op} {shapes}{blocked}{''.join(words)}"

    def call(self, machine: Machine) -> Call:
        return build_call(
            self.op,
            self.operands,
            constants=self.constants,
            target=machine.target,
            place=self.place,
            attrs=self.attrs,
        )


def data(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def any_rank() -> Iterator[Case]:
    for shape in [(1,), (7,), (16,), (3, 33), (2, 3, 5), (2, 5, 7, 9), (1, 70000)]:
        yield Case("Sigmoid", (data(*shape),))
        yield Case("Add", (data(*shape), data(*shape)))


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


def broadcasting() -> Iterator[Case]:
    for a, b in BROADCAST:
        yield Case("Mul", (data(*a), data(*b)))
        yield Case("Sub", (data(*a), data(*b)), constants=(1,))


def views() -> Iterator[Case]:
    for blocked in (False, True):
        both = frozenset({0, 1}) if blocked else frozenset()
        for halo in [(0, 0, 0, 0), (1, 2, 3, 1)]:
            place = Placement(blocked=both, blocked_out=blocked, halo_out=halo, slices=halo != (0, 0, 0, 0))
            for shape in [(2, 5, 7, 9), (1, 33, 3, 1), (2, 16, 1, 1), (1, 3, 1, 6), (3, 24, 20, 20)]:
                yield Case("Relu", (data(*shape),), place)
                yield Case("Add", (data(*shape), data(*shape)), place)


def blocked_broadcasting() -> Iterator[Case]:
    for slices in (False, True):
        one = Placement(blocked=frozenset({0}), blocked_out=True, slices=slices)
        both = Placement(blocked=frozenset({0, 1}), blocked_out=True, slices=slices)
        for c in (1, 5, 16, 33):
            x = data(2, c, 4, 3)
            for constants in ((), (1,)):
                for shape in [(c, 1, 1), (1, c, 1, 1), (1,), (1, 1, 1, 1), (2, 1, 4, 3), (4, 3)]:
                    yield Case("Mul", (x, data(*shape)), one, constants)
                yield Case("Add", (x, data(c)), one, constants, {"broadcast": 1, "axis": 1})
            yield Case("Mul", (x, data(2, c, 4, 3)), one, (1,))
            yield Case("Mul", (x, data(2, c, 1, 1)), one)
            yield Case("Mul", (x, data(2, c, 1, 1)), both)
            yield Case("Mul", (x, data(2, 1, 4, 3)), both)


def nan_passes_through() -> Iterator[Case]:
    x = np.array([np.nan, -1, 2, -0.0], np.float32)
    y = np.array([1, np.nan, np.nan, 0], np.float32)
    yield Case("Relu", (x,))
    yield Case("Max", (x, y))
    yield Case("Max", (y, x))


def fused_body() -> Graph:
    """leaky((x + r) * c)."""
    body, t = Graph("body"), TensorType.parse("float[1,8,3,3]")
    x, r, c = body.add_input(t, "x"), body.add_input(t, "r"), body.add_input(TensorType.parse("float[8]"), "c")
    total = body.append(Node("Add", [x, r], [Value(t, "s")]))
    scaled = body.append(Node("Mul", [total.results[0], c], [Value(t, "m")], {"broadcast": 1, "axis": 1}))
    leaky = body.append(Node("LeakyRelu", [scaled.results[0]], [Value(t, "y")], {"alpha": 0.25}))
    body.add_output(leaky.results[0], "y")
    return body


def fused_bodies() -> Iterator[Case]:
    x, r, c = data(1, 8, 3, 3), data(1, 8, 3, 3), data(8)
    value = (x + r) * c[:, None, None]
    want = np.where(value < 0, value * np.float32(0.25), value)
    for both in (frozenset(), frozenset({0, 1})):
        place = Placement(blocked=both, blocked_out=bool(both), slices=True)
        yield Case("g.pointwise", (x, r, c), place, (2,), {"body": fused_body()}, want)


CASES = (
    *any_rank(),
    *broadcasting(),
    *views(),
    *blocked_broadcasting(),
    *nan_passes_through(),
    *fused_bodies(),
)


@cache
def compile_all(machine: Machine) -> None:
    """Compile the kernels of all cases at once, in parallel: one by one takes many times as long."""
    bound = [bind_call(machine, case.call(machine), case.operands, case.place) for case in CASES]
    machine.compile([task.kernel for b in bound for step in b.steps for task in step])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(machine, case) -> None:
    compile_all(machine)
    call = case.call(machine)
    got = run_call(machine, call, case.operands, case.place)
    want = evaluate_node(call.node, list(case.operands))[0] if case.want is None else case.want
    np.testing.assert_allclose(got[0], want, rtol=3e-6, atol=1e-6)


def test_results_past_the_caches(machine) -> None:
    library = CpuLibrary(replace(machine.target, l3=4096))
    for n in (2 * CHUNK + 7, 2 * CHUNK + 300):  # the last run is too short for it, or not
        x, memory = data(n), Memory()
        call = build_call("Sqr", [x], target=machine.target)
        source = make_view(memory, call.type(0))
        for misalign in (0, 4, 16):
            result = View(Address("arena", memory.allocate(4 * n, misalign)), call.type(0), (1,))
            memory.make()
            put(memory, source, x)
            steps = library.bind(call, library.choose(call), [source], [result], Address("arena"))
            assert steps[0][0].params[-1] == 1
            Bound(machine, steps, [source], [result], memory, [], library.choose(call), 0, 0).run()
            np.testing.assert_array_equal(get(memory, result), x * x)
