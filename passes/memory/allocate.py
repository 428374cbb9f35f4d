"""``allocate``: offsets for buffers in one arena that is as small as possible."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir import GraphcError
from graphc.passes.memory.allocation import ALIGNMENT, Allocation, Integers, Lifetime, align
from graphc.passes.memory.greedy import orders, place

LIMIT = 2**62
"""Sizes, steps and heights, and sums of two of them, are signed 64-bit numbers."""


@dataclass
class _Component:
    """Buffers that overlap in time without a gap; no other one lives in their span."""

    members: Integers
    size: Integers
    first: Integers
    last: Integers
    offsets: Integers
    method: str = ""

    @property
    def height(self) -> int:
        return int((self.offsets + self.size).max())


def allocate(
    lifetimes: Sequence[Lifetime],
    *,
    alignment: int = ALIGNMENT,
    capacity: int | None = None,
    nodes: int = 0,
    seconds: float | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Allocation:
    """Offsets that are multiples of ``alignment``, so that no two buffers that live at one step overlap.

    Greedy first. Where that misses the lower bound, an exact search looks at up to ``nodes`` partial solutions, which
    gives the same answer each time; or all ends ``seconds`` after the call. With a ``capacity`` in bytes it goes on
    beyond that only for a short while. Without nodes, or beyond 4096 buffers that overlap in time without a gap, the
    answer is greedy's. ``report`` is called with height and bound whenever the search takes a new aim.

    Raises ``GraphcError`` for a lifetime that ends before it begins, and for sizes that are negative or, together,
    2^62 bytes or more.
    """
    deadline = np.inf if seconds is None else time.monotonic() + seconds
    _refuse_unusable(lifetimes, alignment)
    real = np.array([k for k, x in enumerate(lifetimes) if x.size], np.int64)
    size = np.array([align(lifetimes[k].size, alignment) for k in real], np.int64)
    first = np.array([lifetimes[k].first for k in real], np.int64)
    last = np.array([lifetimes[k].last for k in real], np.int64)
    live = live_bytes(size, first, last)
    bound, spent = live, 0
    parts = list(_components(real, size, first, last))
    for part in parts:
        _place_greedily(part, bound, float(deadline))
    if nodes and max((p.height for p in parts), default=0) > bound:
        bound, spent = _search(parts, bound, capacity, nodes, float(deadline), report)
    offsets = np.zeros(len(lifetimes), np.int64)
    for part in parts:
        offsets[part.members] = part.offsets
    tallest = max(parts, key=lambda part: part.height, default=None)
    height, method = (tallest.height, tallest.method) if tallest else (0, "nothing to place")
    method += ", bound proven by search" if bound > live else ""
    return Allocation(tuple(offsets.tolist()), height, bound, height == bound, method, spent)


def live_bytes(size: Integers, first: Integers, last: Integers) -> int:
    """The most bytes that live at one step: no allocation is smaller."""
    steps = np.concatenate((first, last + 1))
    change = np.concatenate((size, -size))
    by_time = np.lexsort((change, steps))
    return int(np.cumsum(change[by_time]).max(initial=0))


def _components(members: Integers, size: Integers, first: Integers, last: Integers) -> Iterator[_Component]:
    """Cut where no buffer lives on from one step to the next."""
    order = np.argsort(first, kind="stable")
    reached = np.maximum.accumulate(last[order])
    cuts = np.flatnonzero(first[order][1:] > reached[:-1]) + 1
    for chosen in np.split(order, cuts) if len(order) else ():
        yield _Component(members[chosen], size[chosen], first[chosen], last[chosen], np.zeros(len(chosen), np.int64))


def _place_greedily(part: _Component, bound: int, deadline: float) -> None:
    """The best of several orders, or the first one that does not exceed the bound or ends after the deadline."""
    best = 0
    for name, order in orders(part.size, part.first, part.last):
        for best_fit in (True, False):
            offsets = place(order, part.size, part.first, part.last, best_fit, deadline)
            height = int((offsets + part.size).max())
            if not best or height < best:
                best, part.offsets, part.method = height, offsets, f"greedy by {name}"
            if best <= bound or time.monotonic() > deadline:
                return


def _search(
    parts: list[_Component],
    bound: int,
    capacity: int | None,
    nodes: int,
    deadline: float,
    report: Callable[[int, int], None] | None,
) -> tuple[int, int]:
    """Improve the components in place; gives the proven bound and the nodes that were looked at."""
    if not _prepare(deadline):
        return bound, 0
    from graphc.passes.memory.exact import Budget, Problem, fits
    from graphc.passes.memory.minimise import minimise

    budget, enough = Budget(nodes, deadline), bound
    for part in sorted(parts, key=lambda part: -part.height):
        if part.height > enough and budget.left and fits(part.first, part.last):
            problem, before = Problem(part.size, part.first, part.last), part.height
            part.offsets, proven = minimise(problem, part.offsets, enough, capacity, budget, report)
            part.method = "search" if part.height < before else part.method
            bound = max(bound, proven)
        enough = max(enough, part.height)
    return bound, budget.spent


def _prepare(deadline: float) -> bool:
    """Load or compile the search; False if that takes beyond the deadline, in a thread that nobody waits for."""
    if deadline == np.inf:
        return True
    thread = threading.Thread(target=_load, daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0.0))
    return not thread.is_alive()


def _load() -> None:
    from graphc.passes.memory.exact import prepare

    prepare()


def _refuse_unusable(lifetimes: Sequence[Lifetime], alignment: int) -> None:
    if alignment < 1:
        raise GraphcError(f"alignment {alignment} is not a positive number of bytes", "use 1 for none")
    for k, x in enumerate(lifetimes):
        if x.size < 0 or x.first > x.last or not -LIMIT < x.first <= x.last < LIMIT:
            raise GraphcError(
                f"buffer {k} has {x.size} bytes and lives from step {x.first} to step {x.last}",
                "a size is not negative, a lifetime ends no earlier than it begins, and steps are below 2^62",
            )
    total = sum(align(x.size, alignment) for x in lifetimes)
    if total >= LIMIT:
        raise GraphcError(
            f"the buffers have {total} bytes together, which is beyond 2^62", "no machine has this much memory"
        )
