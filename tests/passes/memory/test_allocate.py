"""The memory planner: no overlap in time and space, and the bound."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.passes.memory.allocate import allocate
from graphc.passes.memory.allocation import ALIGNMENT, Lifetime, align


def test_buffers_that_never_meet_share_memory() -> None:
    chain = [Lifetime(640, i, i + 1) for i in range(10)]
    plan = allocate(chain)
    assert plan.height == plan.lower_bound == 2 * 640
    assert plan.optimal
    assert set(plan.offsets) == {0, 640}


def test_a_gap_that_fits_best_is_taken() -> None:
    lifetimes = [Lifetime(1024, 0, 9), Lifetime(512, 0, 2), Lifetime(512, 4, 9), Lifetime(256, 3, 3)]
    plan = allocate(lifetimes)
    offsets, size = plan.offsets, plan.height
    assert size == 1536
    assert offsets[3] == 1024


def lower_bound(lifetimes: list[Lifetime]) -> int:
    """Bytes that live at the busiest step: no plan of this order can be smaller."""
    change: dict[int, int] = {}
    for x in lifetimes:
        change[x.first] = change.get(x.first, 0) + align(x.size)
        change[x.last + 1] = change.get(x.last + 1, 0) - align(x.size)
    live = peak = 0
    for step in sorted(change):
        live += change[step]
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("seed", range(20))
def test_no_overlap_and_at_least_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lifetimes = []
    for _ in range(60):
        first = int(rng.integers(0, 40))
        lifetimes.append(Lifetime(int(rng.integers(1, 5000)), first, first + int(rng.integers(0, 8))))
    plan = allocate(lifetimes)
    offsets, size = plan.offsets, plan.height
    for i, a in enumerate(lifetimes):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + align(a.size) <= size
        for j, b in enumerate(lifetimes[:i]):
            if a.first <= b.last and b.first <= a.last:
                assert offsets[i] >= offsets[j] + b.size or offsets[j] >= offsets[i] + a.size
    assert lower_bound(lifetimes) == plan.lower_bound <= size <= 2 * lower_bound(lifetimes)
