"""Arena offsets for buffers with known sizes and lifetimes: greedy by size, best fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


@dataclass(frozen=True)
class Lifetime:
    """size: bytes. first, last: the steps between which, both included, the bytes must not be overwritten."""

    size: int
    first: int
    last: int


def align(n: int) -> int:
    """The next multiple of ``ALIGNMENT``."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def assign_offsets(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offsets in order of the argument, and the arena's size; buffers that live at one time never overlap.

    Largest first, each into the smallest gap between its already placed neighbours in time that holds it (Pisarchyk and
    Lee, "Efficient memory management for deep neural net inference", 2020, greedy by size).
    """
    order = sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, lifetimes[i].first))
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for i in order:
        me = lifetimes[i]
        taken = sorted(
            (offsets[j], offsets[j] + align(lifetimes[j].size))
            for j in placed
            if lifetimes[j].first <= me.last and me.first <= lifetimes[j].last
        )
        offsets[i] = _best_gap(taken, align(me.size))
        placed.append(i)
    return offsets, max((offsets[i] + align(x.size) for i, x in enumerate(lifetimes)), default=0)


def _best_gap(taken: list[tuple[int, int]], size: int) -> int:
    best, best_room, top = -1, 0, 0
    for start, end in taken:
        room = start - top
        if room >= size and (best < 0 or room < best_room):
            best, best_room = top, room
        top = max(top, end)
    return best if best >= 0 else top
