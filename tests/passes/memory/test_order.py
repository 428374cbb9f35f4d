"""The order of operators: the best one by brute force, never worse than the given one, and soon."""

from __future__ import annotations

import random
import runpy
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.ir import Graph, infer_types, parse
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Schedule
from graphc.passes.lower import choose_kernels, lower, place_values
from graphc.passes.memory.order import best_order, depth_first, needed, search
from graphc.passes.memory.planner import plan
from graphc.passes.memory.problem import Problem, order_problem

GRAPHS = runpy.run_path(str(Path(__file__).resolve().parents[3] / "benchmarks" / "planning_times.py"))
LIBRARY = CpuLibrary(find("native"))


def random_problem(r: random.Random, n: int, edges: float) -> Problem:
    """A random graph: a storage for each node, some shared by two, workspaces, and results that may overwrite."""
    before = [tuple(j for j in range(i) if r.random() < edges) for i in range(n)]
    sizes = [64 * r.randrange(5) for _ in range(n)]
    home = [r.randrange(i) if i and r.random() < 0.2 else i for i in range(n)]
    touches = [tuple({home[j]: None for j in (*before[i], i)}) for i in range(n)]
    reuse = [tuple((home[j], i) for j in before[i] if home[i] == i and sizes[home[j]] == sizes[i]) for i in range(n)]
    work = [r.choice((0, 0, 128)) for _ in range(n)]
    return Problem(tuple(sizes), tuple(touches), tuple(work), tuple(before), tuple(reuse))


def all_orders(problem: Problem, done: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    n = len(problem.before)
    if len(done) == n:
        yield done
    for i in range(n):
        if i not in done and set(problem.before[i]) <= set(done):
            yield from all_orders(problem, (*done, i))


def peak_by_hand(problem: Problem, order: tuple[int, ...]) -> int:
    """The peak from its definition: for each node, the storages with a toucher before or now, and one now or later."""
    peak = 0
    for at, node in enumerate(order):
        early = {s for n in order[: at + 1] for s in problem.touches[n]}
        old = {s for n in order[:at] for s in problem.touches[n]}
        later = {s for n in order[at + 1 :] for s in problem.touches[n]}
        live = early & (later | set(problem.touches[node]))
        saved = [problem.sizes[b] for a, b in problem.reuse[node] if a not in later and b not in old]
        peak = max(peak, sum(problem.sizes[s] for s in live) + problem.work[node] - max(saved, default=0))
    return peak


@pytest.mark.parametrize("seed", range(150))
def test_no_order_is_better_than_the_one_that_is_called_best(seed: int) -> None:
    r = random.Random(seed)
    problem = random_problem(r, r.randrange(1, 8), r.choice((0.1, 0.3, 0.6)))
    best = min(peak_by_hand(problem, order) for order in all_orders(problem))
    found = best_order(problem)
    assert sorted(found.nodes) == list(range(len(problem.before)))
    assert found.nodes in set(all_orders(problem))
    assert found.exact
    assert best == found.peak == problem.peak(found.nodes) == peak_by_hand(problem, found.nodes)
    assert needed(problem) <= best


@pytest.mark.parametrize("seed", range(30))
def test_a_narrow_beam_is_valid_and_never_worse_than_the_given_order(seed: int) -> None:
    r = random.Random(seed)
    problem = random_problem(r, 60, 0.05)
    given = problem.peak(range(60))
    for choices in (1, 4, 100):
        found = search(problem, given, choices)
        if found.nodes:
            assert found.peak == peak_by_hand(problem, found.nodes) < given
            seen: set[int] = set()
            for node in found.nodes:
                assert seen.issuperset(problem.before[node])
                seen.add(node)
    best = best_order(problem)
    assert best.peak == problem.peak(best.nodes) <= given
    if best.peak == given:
        assert best.nodes == tuple(range(60))


def test_on_a_tree_the_operand_that_needs_most_comes_first() -> None:
    """Two leaves of one unit, and a product whose operands take ten: the product first needs 20, last 21."""
    before = ((), (), (), (), (0,), (1,), (4, 5), (2, 3, 6))
    sizes = (64, 64, 64, 64, 640, 640, 64, 64)
    touches = tuple((*b, i) for i, b in enumerate(before))
    problem = Problem(sizes, touches, (0,) * 8, before, ((),) * 8)
    order = depth_first(problem)
    assert order.index(6) < min(order.index(2), order.index(3))
    assert problem.peak(order) == best_order(problem).peak == 64 * 21


def typed(text: str) -> Graph:
    graph = parse(text)
    infer_types(graph)
    return graph


def planned(graph: Graph) -> tuple[Schedule, Schedule]:
    """The schedules in the given and in the planned order, both proved."""
    choices = choose_kernels(graph, LIBRARY)
    given, _ = lower(graph, LIBRARY, choices)
    best, _ = plan(graph, LIBRARY, choices)
    assert check_memory(given).ok
    assert check_memory(best).ok
    return given, best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["series_parallel", "dense_net"])
def test_arenas_of_random_graphs_are_never_larger(kind: str, seed: int) -> None:
    given, best = planned(GRAPHS[kind](60, seed))
    assert best.arena_bytes <= given.arena_bytes
    assert best.memory.lower_bound <= best.arena_bytes <= best.memory.unshared


WIDE = """graph "g" stage=imported {
  input %x : float[64]
  %a = Tile(%x) {tiles=64, axis=0}
  %b = Tile(%x) {tiles=64, axis=0}
  %c = Slice(%a) {starts=[0], ends=[64]}
  %d = Slice(%b) {starts=[0], ends=[64]}
  %y = Sigmoid(%c)
  %z = Sigmoid(%d)
  output %y
  output %z
}"""


def test_branches_run_one_after_another() -> None:
    """Both tiled values take 16384 bytes; one at a time is enough."""
    given, best = planned(typed(WIDE))
    assert given.arena_bytes >= 2 * 16384
    assert best.arena_bytes < 2 * 16384
    assert "no order has a lower peak" in best.memory.order


def test_operators_with_effects_and_checks_keep_their_order() -> None:
    text = """graph "g" stage=imported {
  input %x : float[64]
  input %i : int32[64]
  %a = Gather(%x, %i)
  %b = UniformFill() {shape=[64]}
  %c = Gather(%b, %i)
  %d = UniformFill() {shape=[64]}
  output %a
  output %c
  output %d
}"""
    graph = typed(text)
    choices = choose_kernels(graph, LIBRARY)
    problem, _ = order_problem(graph, place_values(graph, LIBRARY, choices))
    assert list(all_orders(problem)) == [(0, 1, 2, 3)]


@pytest.mark.parametrize("kind", ["series_parallel", "dense_net"])
def test_planning_is_soon(kind: str) -> None:
    """0.2 s for 100 operators on a machine that has nothing else to do; four times that on a busy one."""
    graph = GRAPHS[kind](100, 3)
    choices = choose_kernels(graph, LIBRARY)
    start = time.process_time()
    plan(graph, LIBRARY, choices)
    assert time.process_time() - start < 0.8
