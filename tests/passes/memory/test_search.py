"""The exact search: optimal where brute force says so, honest where it is cut short."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.allocation_file import read_problem
from graphc.passes.memory.allocate import allocate
from graphc.passes.memory.allocation import Allocation, Lifetime

NODES = 10**6


def assert_sound(lifetimes: list[Lifetime], found: Allocation, alignment: int = 1) -> None:
    """No overlap, no byte above the height, which is at least what lives at any step."""
    assert len(found.offsets) == len(lifetimes)
    for i, a in enumerate(lifetimes):
        assert found.offsets[i] % alignment == 0
        assert 0 <= found.offsets[i] <= found.height - a.size
        for j, b in enumerate(lifetimes[:i]):
            if a.first <= b.last and b.first <= a.last:
                assert found.offsets[i] >= found.offsets[j] + b.size or found.offsets[j] >= found.offsets[i] + a.size
    assert found.lower_bound <= found.height
    assert found.optimal == (found.lower_bound == found.height)


def least_height(lifetimes: list[Lifetime]) -> int:
    """By trying: buffers in any order, each on top of all placed before it that it meets, reach every pushed-down
    solution, and some solution of least height is pushed down."""
    steps = sorted({x.first for x in lifetimes} | {x.last for x in lifetimes})
    spans = [(steps.index(x.first), steps.index(x.last) + 1, x.size) for x in lifetimes]

    @cache
    def rest(placed: int, tops: tuple[int, ...]) -> int:
        if placed == (1 << len(spans)) - 1:
            return max(tops)
        heights = []
        for k, (low, high, size) in enumerate(spans):
            if not placed >> k & 1:
                top = max(tops[low:high]) + size
                heights.append(rest(placed | 1 << k, tops[:low] + (top,) * (high - low) + tops[high:]))
        return min(heights)

    return rest(0, (0,) * len(steps))


def small_problem(seed: int) -> list[Lifetime]:
    """A few buffers over a few steps, and at each step one that fills it up: greedy and the bound often miss."""
    random = np.random.default_rng(seed)
    steps = 4
    lifetimes = []
    for _ in range(int(random.integers(3, 6))):
        first = int(random.integers(0, steps - 1))
        last = min(first + int(random.integers(0, 3)), steps - 1)
        lifetimes.append(Lifetime(int(random.integers(1, 6)), first, last))
    live = [sum(x.size for x in lifetimes if x.first <= t <= x.last) for t in range(steps)]
    return lifetimes + [Lifetime(max(live) - n, t, t) for t, n in enumerate(live) if n < max(live)]


@pytest.mark.parametrize("seeds", [range(40), range(40, 80)])
def test_optimal_as_brute_force_says(seeds: range) -> None:
    for seed in seeds:
        lifetimes = small_problem(seed)
        found = allocate(lifetimes, alignment=1, nodes=NODES)
        assert_sound(lifetimes, found)
        assert found.optimal
        assert found.height == least_height(lifetimes), lifetimes


def test_a_height_above_the_live_bytes_is_proven() -> None:
    """At most 13 bytes live at a time, but no placement keeps within 13."""
    rows = [(4, 3, 3), (3, 2, 4), (3, 0, 3), (3, 3, 5), (10, 0, 0), (10, 1, 1), (7, 2, 2), (7, 4, 4), (10, 5, 5)]
    lifetimes = [Lifetime(*row) for row in rows]
    found = allocate(lifetimes, alignment=1, nodes=NODES)
    assert_sound(lifetimes, found)
    assert found.optimal
    assert found.height == found.lower_bound == least_height(lifetimes) == 16
    assert not allocate(lifetimes, alignment=1).optimal


def test_a_rectangle_in_pieces_is_put_together() -> None:
    """Cut from a full rectangle, so that there is a solution without any gap."""
    pieces = [(0, 40, 0, 64)]
    random = np.random.default_rng(3)
    while len(pieces) < 80:
        a, b, low, top = pieces.pop(int(random.integers(len(pieces))))
        if b - a > 1 and (random.random() < 0.5 or top - low < 2):
            at = int(random.integers(a + 1, b))
            pieces += [(a, at, low, top), (at, b, low, top)]
        elif top - low > 1:
            at = int(random.integers(low + 1, top))
            pieces += [(a, b, low, at), (a, b, at, top)]
        else:
            pieces.append((a, b, low, top))
    lifetimes = [Lifetime(top - low, a, b - 1) for a, b, low, top in pieces]
    found = allocate(lifetimes, alignment=1, nodes=NODES)
    assert_sound(lifetimes, found)
    assert found.height == 64


def test_the_clock_ends_greedy_placement_too() -> None:
    """A sound answer at once, however many buffers there are."""
    random = np.random.default_rng(1)
    lifetimes = [Lifetime(int(random.integers(0, 99)), k, k + int(random.integers(0, 300))) for k in range(400)]
    found = allocate(lifetimes, alignment=1, nodes=NODES, seconds=0.0)
    assert_sound(lifetimes, found)
    many = [Lifetime(k % 97 + 1, k % 31, k % 31 + k % 11) for k in range(100_000)]
    start = time.monotonic()
    allocate(many, alignment=1, nodes=NODES, seconds=0.2)
    assert time.monotonic() - start < 5, "all of it takes many times as long"


buffers = st.builds(
    lambda size, first, life: Lifetime(size, first, first + life),
    st.integers(0, 300),
    st.integers(-5, 30),
    st.integers(0, 12),
)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.lists(buffers, max_size=40), st.sampled_from([1, 8, 64]), st.sampled_from([0, 300]))
def test_any_buffers(lifetimes: list[Lifetime], alignment: int, nodes: int) -> None:
    found = allocate(lifetimes, alignment=alignment, nodes=nodes)
    assert_sound(lifetimes, found, alignment)
    assert found.nodes <= nodes
    assert found.height % alignment == 0
    assert found == allocate(lifetimes, alignment=alignment, nodes=nodes)


@pytest.mark.parametrize("name", ["A.1048576.csv", "K.1048576.csv"])
def test_public_instances_are_solved(shared: Path, name: str) -> None:
    problem = read_problem(shared / "allocation" / name)
    lifetimes = list(problem.lifetimes)
    assert problem.capacity == 2**20
    found = allocate(lifetimes, alignment=1, capacity=problem.capacity, nodes=NODES)
    assert_sound(lifetimes, found)
    assert found.height == found.lower_bound == problem.capacity


def test_the_clock_ends_a_search() -> None:
    """Without a solution in sight the answer is greedy's, with what is proven of the bound."""
    random = np.random.default_rng(0)
    lifetimes = [
        Lifetime(int(random.integers(1, 10**6)), first, first + int(random.integers(0, 40)))
        for first in random.integers(0, 200, 1500).tolist()
    ]
    start = time.monotonic()
    found = allocate(lifetimes, alignment=1, capacity=1, nodes=10**12, seconds=1.5)
    assert time.monotonic() - start < 5, "a loaded machine is late by some time, not by this much"
    assert found.height >= found.lower_bound
