"""``allocate``: offsets for buffers in one arena that is as small as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir import GraphcError
from graphc.passes.memory.allocation import ALIGNMENT, Allocation, Integers, Lifetime, align
from graphc.passes.memory.greedy import orders, place

LIMIT = 2**63
"""Sizes, steps and heights are signed 64-bit numbers."""


def allocate(lifetimes: Sequence[Lifetime], *, alignment: int = ALIGNMENT) -> Allocation:
    """Offsets that are multiples of ``alignment``, so that no two buffers that live at one step overlap.

    Raises ``GraphcError`` for a lifetime that ends before it begins, and for sizes that are negative or, together,
    2^63 bytes or more.
    """
    _refuse_unusable(lifetimes, alignment)
    real = [k for k, x in enumerate(lifetimes) if x.size]
    size = np.array([align(lifetimes[k].size, alignment) for k in real], np.int64)
    first = np.array([lifetimes[k].first for k in real], np.int64)
    last = np.array([lifetimes[k].last for k in real], np.int64)
    bound = live_bytes(size, first, last)
    height, found, method = 0, np.zeros(0, np.int64), "greedy"
    for name, order in orders(size, first, last) if real else ():
        for best_fit in (True, False):
            offsets = place(order, size, first, last, best_fit)
            reached = int((offsets + size).max())
            if not height or reached < height:
                height, found, method = reached, offsets, f"greedy by {name}"
            if height == bound:
                break
        if height == bound:
            break
    all_offsets = np.zeros(len(lifetimes), np.int64)
    all_offsets[real] = found
    return Allocation(tuple(all_offsets.tolist()), height, bound, height == bound, method)


def live_bytes(size: Integers, first: Integers, last: Integers) -> int:
    """The most bytes that live at one step: no allocation is smaller."""
    steps = np.concatenate((first, last + 1))
    change = np.concatenate((size, -size))
    by_time = np.lexsort((change, steps))
    return int(np.cumsum(change[by_time]).max(initial=0))


def _refuse_unusable(lifetimes: Sequence[Lifetime], alignment: int) -> None:
    if alignment < 1:
        raise GraphcError(f"alignment {alignment} is not a positive number of bytes", "use 1 for none")
    for k, x in enumerate(lifetimes):
        if x.size < 0 or x.first > x.last or not -LIMIT < x.first <= x.last < LIMIT - 1:
            raise GraphcError(
                f"buffer {k} has {x.size} bytes and lives from step {x.first} to step {x.last}",
                "a size is not negative, a lifetime ends no earlier than it begins, and both are 64-bit numbers",
            )
    total = sum(align(x.size, alignment) for x in lifetimes)
    if total >= LIMIT:
        raise GraphcError(
            f"the buffers have {total} bytes together, which is beyond 2^63", "no machine has this much memory"
        )
