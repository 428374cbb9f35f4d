"""Every schedule that lowering makes passes the checker, and no schedule that was tampered with does."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_nets import NetMaker

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.ir import Graph, LoweringError
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Address, Buffer, Schedule, Task
from graphc.passes import LEVELS, run_pipeline, with_block
from graphc.passes.lower import choose_kernels, lower
from graphc.passes.memory.planner import plan

TARGET = find("avx2")
LIBRARY = CpuLibrary(TARGET)
NETS = st.tuples(st.integers(0, 10_000), st.sampled_from((0, 1, 2)))
FEW = settings(max_examples=12, derandomize=True, deadline=None, database=None)


def optimised(seed: int, level: int) -> Graph:
    """A random net, ready to be lowered."""
    made = NetMaker(seed, batch="2")
    graph = made.graph(made.r.randrange(3, 25))
    run_pipeline(graph, with_block(LEVELS[level], TARGET.lanes))
    return graph


@cache
def lowered(seed: int, level: int, keep: tuple[str, ...] = ()) -> Schedule:
    """The schedule of a random net, with no machine code."""
    graph = optimised(seed, level)
    return lower(graph, LIBRARY, choose_kernels(graph, LIBRARY), keep)[0]


def planned(seed: int, level: int, limit: int | None = None) -> Schedule:
    """The schedule in the best order, below a limit of bytes; raises ``LoweringError`` where there is none."""
    graph = optimised(seed, level)
    return plan(graph, LIBRARY, choose_kernels(graph, LIBRARY), limit)[0]


@FEW
@given(NETS)
def test_every_plan_passes(net: tuple[int, int]) -> None:
    schedule = lowered(*net)
    report = check_memory(schedule)
    assert report.violations == ()
    assert report.held_longer == ()
    assert report.views == len(schedule.views)
    assert report.lower_bound <= report.arena <= report.buffer_sum <= schedule.memory.unshared


@FEW
@given(NETS, st.randoms(use_true_random=False))
def test_kept_blobs_live_to_the_end(net: tuple[int, int], r: random.Random) -> None:
    names = sorted(lowered(*net).views)
    keep = tuple(r.sample(names, min(2, len(names))))
    schedule = lowered(*net, keep)
    assert check_memory(schedule, keep).violations == ()
    for name in keep:
        number = schedule.views[name].address.index
        early = with_buffer(schedule, number, last=len(schedule.steps) - 1)
        assert "kept" in rules(early, keep)


@FEW
@given(NETS, st.sampled_from((0.95, 0.8)))
def test_plans_in_the_best_order_and_below_a_limit_pass(net: tuple[int, int], share: float) -> None:
    """However the operators are ordered, and whatever is computed twice."""
    free = planned(*net)
    assert check_memory(free).violations == ()
    assert free.arena_bytes <= lowered(*net).arena_bytes
    limit = int(share * free.arena_bytes)
    with suppress(LoweringError):  # some nets have no plan below it
        limited = planned(*net, limit)
        assert check_memory(limited).violations == ()
        assert limited.arena_bytes <= limit


# ---- what a defect of the planner would do ---------------------------------------------------------------------------

Mutation = Callable[[Schedule, random.Random], Schedule | None]


def rules(schedule: Schedule, keep: tuple[str, ...] = ()) -> set[str]:
    return {v.rule for v in check_memory(schedule, keep).violations}


def with_buffer(s: Schedule, number: int, **changes: int) -> Schedule:
    """The schedule with one buffer changed."""
    buffers = list(s.buffers)
    buffers[number] = replace(buffers[number], **changes)
    return replace(s, buffers=buffers)


def with_addresses(s: Schedule, change: Callable[[Address], Address]) -> Schedule:
    """The schedule with every address of tasks and views changed."""

    def task(t: Task) -> Task:
        return replace(t, params=tuple(change(p) if isinstance(p, Address) else p for p in t.params))

    views = {name: replace(v, address=change(v.address)) for name, v in s.views.items()}
    return replace(s, steps=[tuple(map(task, step)) for step in s.steps], views=views)


def arena_addresses(s: Schedule) -> list[Address]:
    return [p for step in s.steps for t in step for p in t.params if isinstance(p, Address) and p.space == "arena"]


def together(a: Buffer, b: Buffer) -> bool:
    return a is not b and a.first <= b.last and b.first <= a.last


def into_a_neighbour(s: Schedule, r: random.Random) -> Schedule | None:
    """A buffer and all its addresses lie where another one is that lives at the same time."""
    pairs = [(i, j) for i, a in enumerate(s.buffers) for j, b in enumerate(s.buffers) if together(a, b)]
    if not pairs:
        return None
    i, j = r.choice(pairs)
    shift = s.buffers[j].offset - s.buffers[i].offset
    moved = with_buffer(s, i, offset=s.buffers[j].offset)
    return with_addresses(moved, lambda a: a.plus(shift) if (a.space, a.index) == ("arena", i) else a)


def ends_early(s: Schedule, r: random.Random) -> Schedule | None:
    """A buffer's life ends before its last use."""
    i = r.randrange(len(s.buffers))
    b = s.buffers[i]
    return with_buffer(s, i, last=b.last - 1) if b.first < b.last < len(s.steps) else None


def begins_late(s: Schedule, r: random.Random) -> Schedule | None:
    """A buffer's life begins after its first use."""
    i = r.randrange(len(s.buffers))
    b = s.buffers[i]
    return with_buffer(s, i, first=b.first + 1) if b.first < b.last else None


def dropped(s: Schedule, r: random.Random) -> Schedule:
    """A buffer is forgotten; those behind it move up."""
    i = r.randrange(len(s.buffers))
    fewer = replace(s, buffers=s.buffers[:i] + s.buffers[i + 1 :])
    return with_addresses(fewer, lambda a: replace(a, index=a.index - 1) if a.space == "arena" and a.index > i else a)


def address_moved(s: Schedule, r: random.Random) -> Schedule:
    """The addresses of one place lie behind the end of their buffer, where others may live."""
    old = r.choice(arena_addresses(s))
    b = s.buffers[old.index]
    return with_addresses(s, lambda a: replace(a, offset=b.offset + b.size) if a == old else a)


def steps_reversed(s: Schedule, r: random.Random) -> Schedule | None:
    """The steps run in another order than the lifetimes are for."""
    lives = {(b.first, b.last) for b in s.buffers}
    mirrored = {(len(s.steps) - 1 - last, len(s.steps) - 1 - first) for first, last in lives}
    return replace(s, steps=s.steps[::-1]) if mirrored != lives else None


def other_constant(s: Schedule, r: random.Random) -> Schedule | None:
    """An address of a constant, input or output that does not exist."""
    spaces = [p for step in s.steps for t in step for p in t.params if isinstance(p, Address)]
    outside = [a for a in spaces if a.space in ("const", "in", "out")]
    old = r.choice(outside)
    return with_addresses(s, lambda a: replace(a, index=a.index + 1000) if a == old else a)


def arena_too_small(s: Schedule, r: random.Random) -> Schedule:
    return replace(s, arena_bytes=s.arena_bytes - 64)


def view_moved(s: Schedule, r: random.Random) -> Schedule | None:
    """A blob would be fetched from beyond its buffer."""
    if not s.views:
        return None
    name = r.choice(sorted(s.views))
    view = s.views[name]
    moved = replace(view, address=view.address.plus(s.buffers[view.address.index].size))
    return replace(s, views={**s.views, name: moved})


def bound_too_low(s: Schedule, r: random.Random) -> Schedule:
    return replace(s, memory=replace(s.memory, lower_bound=s.memory.lower_bound - 64))


def optimal_by_claim(s: Schedule, r: random.Random) -> Schedule:
    return replace(s, arena_bytes=s.arena_bytes + 64, memory=replace(s.memory, optimal=True, method="by size"))


MUTATIONS: dict[Mutation, set[str]] = {
    into_a_neighbour: {"overlap", "buffer"},
    ends_early: {"lifetime"},
    begins_late: {"lifetime"},
    dropped: {"address", "lifetime", "view"},
    address_moved: {"address"},
    steps_reversed: {"lifetime"},
    other_constant: {"address"},
    arena_too_small: {"buffer"},
    view_moved: {"view"},
    bound_too_low: {"claim"},
    optimal_by_claim: {"claim"},
}
"""What is done to a schedule -> the rules of which one must be broken by it."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_mutated_plans_are_rejected(mutation: Mutation) -> None:
    """On a dozen random nets; a mutation that does not apply to a net counts for nothing."""
    tried = 0
    for seed in range(12):
        schedule, r = lowered(seed, seed % 3), random.Random(seed)
        mutated = mutation(schedule, r) if schedule.buffers else None
        if mutated is not None and mutated != schedule:
            tried += 1
            assert rules(mutated) & MUTATIONS[mutation], (seed, check_memory(mutated).violations)
    assert tried >= 6
