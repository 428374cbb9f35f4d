"""Allocations within a capacity by exact search: the problem in sections, and restarts with other orders and tastes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from graphc.passes.memory import search
from graphc.passes.memory.allocation import Floats, Integers

FIRST_LIMIT = 2000
"""Nodes of the first tries. A lucky order needs about one node a buffer, so many short tries beat a long one."""

GROWTH = 1.1
"""By which the limit grows after each round of tries: in the end one is long enough to be exhaustive."""

SLICE = 4000
"""Nodes between two looks at the clock: some tens of milliseconds for a thousand buffers."""

TASTES = (
    (1.0, 0.05, 0.0, "lifetime"),
    (1.0, 0.5, 0.0, "lifetime"),
    (1.0, 0.1, 1.0, "lifetime"),
    (0.0, 1.0, 1e-6, "lifetime"),
    (1.0, 0.1, 1.0, "pressure"),
    (1.0, 0.1, 0.0, "pressure"),
)
"""What a try prefers: see ``search.run``, and the order of the buffers. Each solves instances that others do not."""

NOISE = 0.05
"""Standard deviation of the places that a buffer moves in the order of a later try, as a share of their number."""

FAILURES = 2**18
MOST_BUFFERS = 4096


def sections(first: Integers, last: Integers) -> tuple[Integers, Integers, int]:
    """First section and the one after the last of each buffer, and the number of sections.

    A section is a step whose live buffers are not all alive at another step: the others add no constraint.
    """
    steps = np.unique(np.concatenate((first, last)))
    begins, ends = np.zeros(len(steps), bool), np.zeros(len(steps), bool)
    first, last = np.searchsorted(steps, first), np.searchsorted(steps, last)
    begins[first], ends[last] = True, True
    kept, fresh = [], False
    for s in range(len(steps)):
        fresh |= bool(begins[s])
        if fresh and ends[s]:
            kept.append(s)
            fresh = False
    return np.searchsorted(kept, first), np.searchsorted(kept, last, side="right"), len(kept)


def fits(first: Integers, last: Integers) -> bool:
    """Whether the search's tables hold a problem of this size."""
    return len(first) <= MOST_BUFFERS and sections(first, last)[2] <= search.MOST_SECTIONS


@dataclass
class Budget:
    """nodes: how many the search may still look at. deadline: when it ends, by ``time.monotonic``."""

    nodes: int
    deadline: float = np.inf
    spent: int = 0

    @property
    def left(self) -> int:
        """Nodes that may still be looked at; 0 after the deadline."""
        return max(self.nodes - self.spent, 0) if time.monotonic() < self.deadline else 0

    def share(self, nodes: int) -> Budget:
        """A budget that ends earlier, after so many nodes from now."""
        return Budget(min(self.nodes, self.spent + nodes), self.deadline, self.spent)


class Problem:
    """Buffers that overlap in time without a gap, and their search."""

    def __init__(self, size: Integers, first: Integers, last: Integers) -> None:
        low, high, count = sections(first, last)
        n, cells = len(size), int((high - low).sum())
        self._size, self.unit = size, int(np.gcd.reduce(size))
        buffers = np.full((search.READY + 1, n), -1, np.int64)
        buffers[search.LOW], buffers[search.HIGH], buffers[search.SIZE] = low, high, size // self.unit
        buffers[search.TWIN] = _twins(low, high, size)
        buffers[search.CODE] = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, n)
        self._search = search.Search(
            buffers,
            _sections(buffers, count),
            np.zeros((search.BLOCKED + 1, count.bit_length(), count), np.int64),
            np.zeros((4 * cells + 64 * count + 4096, 3), np.int64),
            np.zeros((4 * (n + count) + 64, search.KEY + 1), np.int64),
            np.zeros((4 * (n + count) * 4 + 64, 4), np.int64),
            np.zeros(64 * n + 4096, np.int64),
            np.zeros(FAILURES, np.int64),
            np.zeros(search.FULL + 1, np.int64),
        )
        self._orders = _orders(buffers, self._search.sections)

    def height(self, offsets: Integers) -> int:
        """Bytes that an allocation takes."""
        return int((offsets + self._size).max())

    def next_above(self, height: int) -> int:
        """The least height above one that an allocation can have: a sum of sizes."""
        return (height // self.unit + 1) * self.unit

    def decide(self, capacity: int, budget: Budget, nodes: int) -> Integers | bool | None:
        """Offsets within ``capacity`` bytes; False if there are none; None if ``nodes`` or the budget did not suffice.

        Deterministic but for the budget's deadline.
        """
        m, random = self._search, np.random.default_rng(1)
        m.failures[:] = 0
        m.sections[search.WEIGHT] = 1
        end, limit, tries = budget.spent + nodes, float(FIRST_LIMIT), 0
        while budget.left and budget.spent < end:
            *taste, order = TASTES[tries % len(TASTES)]
            self._rank(self._orders[order], random if tries >= len(TASTES) else None)
            search.restart(m)
            status = self._run(capacity // self.unit, budget, min(int(limit), end - budget.spent), np.array(taste))
            if status == search.SOLVED:
                return np.asarray(m.buffers[search.OFFSET] * self.unit)
            if status == search.INFEASIBLE:
                return False
            tries += 1
            limit *= GROWTH if tries % len(TASTES) == 0 else 1
        return None

    def _run(self, capacity: int, budget: Budget, limit: int, taste: Floats) -> int:
        m, status = self._search, search.STOPPED
        while status == search.STOPPED and not m.state[search.FULL] and (step := min(SLICE, budget.left, limit)):
            before = int(m.state[search.NODES])
            status = search.run(m, capacity, before + step, taste)
            done = int(m.state[search.NODES]) - before
            budget.spent, limit = budget.spent + max(done, 1), limit - done
        return status

    def _rank(self, places: Integers, random: np.random.Generator | None) -> None:
        n = len(places)
        moved = places + random.normal(0.0, NOISE * n, n) if random else places
        self._search.buffers[search.RANK, np.argsort(moved, kind="stable")] = np.arange(n)


def prepare() -> None:
    """Compile the search, or load it from Numba's cache, by solving a problem."""
    Problem(np.array([1, 1]), np.array([0, 0]), np.array([0, 1])).decide(2, Budget(FIRST_LIMIT), FIRST_LIMIT)


def _sections(buffers: Integers, count: int) -> Integers:
    sections = np.zeros((search.STEP + 1, count + 1), np.int64)
    for j in range(buffers.shape[1]):
        low, high, size = (int(buffers[row, j]) for row in (search.LOW, search.HIGH, search.SIZE))
        sections[search.REST, low:high] += size
        sections[search.COUNT, low:high] += 1
        sections[search.JOINED, low : high - 1] += 1
    return sections


def _twins(low: Integers, high: Integers, size: Integers) -> list[int]:
    """The buffer before with equal size and lifetime, or -1: of such twins the first one is placed first."""
    latest: dict[tuple[int, int, int], int] = {}
    twins = []
    for j, key in enumerate(zip(low.tolist(), high.tolist(), size.tolist())):
        twins.append(latest.get(key, -1))
        latest[key] = j
    return twins


def _orders(buffers: Integers, sections: Integers) -> dict[str, Integers]:
    """Places of the buffers: the longest-lived first, or those of the fullest section first."""
    low, high, size = buffers[search.LOW], buffers[search.HIGH], buffers[search.SIZE]
    width = high - low
    pressure = np.array([sections[search.REST, a:b].max() for a, b in zip(low, high)])
    orders = {
        "lifetime": np.lexsort((-size, -width)),
        "pressure": np.lexsort((-size, -width, -pressure)),
    }
    return {name: np.argsort(order) for name, order in orders.items()}
