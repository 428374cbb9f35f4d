"""Greedy offsets: buffers in a fixed order, each into a gap between its neighbours in time that are already placed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from graphc.passes.memory.allocation import Integers

ROOM = np.iinfo(np.int64).max


def orders(size: Integers, first: Integers, last: Integers) -> Iterator[tuple[str, Integers]]:
    """Names and permutations, the one that most often wins first.

    By size: Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020). By area and by
    lifetime, because a long-lived buffer that comes late finds only scattered gaps.
    """
    life = last - first + 1
    yield "size", np.lexsort((first, -life, -size))
    yield "area", np.lexsort((first, -size, -(life.astype(float) * size)))
    yield "lifetime", np.lexsort((first, -size, -life))
    yield "start", np.lexsort((-size, -life, first))


def place(
    order: Integers, size: Integers, first: Integers, last: Integers, best_fit: bool, deadline: float = np.inf
) -> Integers:
    """Offsets of the buffers, placed in this order into the smallest gap that holds them, or into the lowest.

    After the deadline, by ``time.monotonic``, what is left lies end to end above the rest.
    """
    n = len(order)
    offsets = np.zeros(n, np.int64)
    bottom, top = np.empty(n, np.int64), np.empty(n, np.int64)
    begin, end = np.empty(n, np.int64), np.empty(n, np.int64)
    for k, i in enumerate(order.tolist()):
        if time.monotonic() > deadline:
            offsets[order[k:]] = top[:k].max(initial=0) + np.cumsum(size[order[k:]]) - size[order[k:]]
            break
        alive = np.flatnonzero((begin[:k] <= last[i]) & (end[:k] >= first[i]))
        offset = _gap(bottom[alive], top[alive], int(size[i]), best_fit)
        offsets[i] = offset
        at = int(np.searchsorted(bottom[:k], offset))
        for column, value in ((bottom, offset), (top, offset + size[i]), (begin, first[i]), (end, last[i])):
            column[at + 1 : k + 1] = column[at:k]
            column[at] = value
    return offsets


def _gap(bottom: Integers, top: Integers, size: int, best_fit: bool) -> int:
    """The start of the chosen gap between pieces that are sorted by their bottom; above all of them if none holds."""
    if not len(bottom):
        return 0
    reached = np.maximum.accumulate(top)
    floor = np.concatenate(([0], reached[:-1]))
    room = bottom - floor
    fits = np.where(room >= size, room, ROOM)
    at = int(fits.argmin() if best_fit else (room >= size).argmax())
    return int(floor[at]) if room[at] >= size else int(reached[-1])
