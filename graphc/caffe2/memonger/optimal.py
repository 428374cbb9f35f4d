"""Assignments of live ranges with the least bytes, by dynamic programming over the blobs in order of definition.

A state is what matters of an assignment of the first k blobs for those to come: how large each piece of storage is,
and until when it is in use. All states after the same blob have the same blobs alive. Of two states one is enough if
its pieces, those of the same blobs and those that are free compared by size, are nowhere larger: whatever the other
goes on to do, it can do too, for no more bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from graphc.caffe2.memonger.greedy import compute_assignments_greedy
from graphc.caffe2.memonger.ranges import Assignment, LiveRange, NamedRange, get_memory_usage, largest
from graphc.caffe2.memonger.report import log

MAX_STATES = 300
"""States kept after each blob. Beyond, the cheapest are kept, and the result need not be optimal."""

_FREE = -2
"""Before every position, and before -1, where blobs that nobody defines begin."""
_NEVER = 1 << 62


class _Link(NamedTuple):
    """A blob of a piece of storage and the ones before it."""

    blob: NamedRange
    before: _Link | None


class _Piece(NamedTuple):
    """A piece of storage. until: position of the last use of its blob, ``_FREE`` once that is over."""

    size: int
    until: int
    start: int
    """Which of the initial assignments it continues, -1 for none."""
    blobs: _Link | None
    """Its new blobs, from the last to the first."""


_State = tuple[_Piece, ...]


def compute_assignments_dp(
    ranges_sorted: Sequence[NamedRange],
    init_assignment: list[Assignment] | None,
    counter: list[int] | None = None,
) -> list[Assignment]:
    """Assignments of the blobs behind ``init_assignment`` that need the least bytes (``get_memory_usage``).

    init_assignment: assignments to start with, not changed; None for none. counter: a list with one number, to which
    the number of states that were looked at is added. The work is bounded by ``MAX_STATES``; where that cuts the
    search short, a warning says that the result may not be optimal. It is never worse than the greedy one.
    """
    start = [list(a) for a in init_assignment or []]
    greedy = compute_assignments_greedy(ranges_sorted, [list(a) for a in start])
    bound = get_memory_usage(greedy)
    states: list[_State] = [tuple(_Piece(largest(a), _end(a[-1][1]), i, None) for i, a in enumerate(start))]
    cut = False
    for blob in sorted(ranges_sorted, key=lambda b: _begin(b[1])):
        every = (n for state in states for n in _placements(_released(state, blob[1]), blob))
        following = _distinct(n for n in every if _cost(n) <= bound)
        if counter is not None:
            counter[0] += len(following)
        states = _undominated(following)
        cut = cut or len(states) > MAX_STATES
        states = states[:MAX_STATES]
    if cut:
        log.warning("Too many assignments to try all: the result may need more than the least memory.")
    found = [_assignments(state, start) for state in states[:1]]
    return min([*found, greedy], key=get_memory_usage)


def _begin(range_: LiveRange) -> int:
    return _NEVER if range_.defined is None else range_.defined


def _end(range_: LiveRange) -> int:
    return _NEVER if range_.used is None or range_.defined is None else range_.used


def _released(state: _State, candidate: LiveRange) -> _State:
    """The state when the candidate is defined: pieces whose blob has had its last use are free."""
    if candidate.defined is None:
        return state
    return tuple(p._replace(until=_FREE) if p.until < candidate.defined else p for p in state)


def _placements(state: _State, blob: NamedRange) -> Iterator[_State]:
    """The states after the blob is put into a free piece, one for each size among them, or into a new one."""
    size, until = blob[1].size or 0, _end(blob[1])
    tried = set()
    for i, piece in enumerate(state):
        usable = piece.until == _FREE and blob[1].defined is not None
        if usable and piece.size not in tried:
            tried.add(piece.size)
            grown = _Piece(max(piece.size, size), until, piece.start, _Link(blob, piece.blobs))
            yield (*state[:i], grown, *state[i + 1 :])
    yield (*state, _Piece(size, until, -1, _Link(blob, None)))


def _signature(state: _State) -> tuple[tuple[int, int], ...]:
    """The pieces' last uses and sizes, the free ones last and the larger ones first."""
    return tuple(sorted(((p.until, p.size) for p in state), reverse=True))


def _distinct(states: Iterable[_State]) -> list[_State]:
    return list({_signature(state): state for state in states}.values())


def _undominated(states: list[_State]) -> list[_State]:
    """Those of the states that no other makes superfluous, the cheapest first; stops once there are too many."""
    width = max(map(len, states), default=0)
    sizes = np.zeros((len(states), width), np.int64)
    for row, state in zip(sizes, states):
        row[: len(state)] = [size for _, size in _signature(state)]
    kept: list[int] = []
    for i in sorted(range(len(states)), key=lambda k: _cost(states[k])):
        if not (sizes[kept] <= sizes[i]).all(axis=1).any():
            kept.append(i)
        if len(kept) > MAX_STATES:
            break
    return [states[i] for i in kept]


def _cost(state: _State) -> int:
    return sum(p.size for p in state)


def _assignments(state: _State, start: list[Assignment]) -> list[Assignment]:
    return [[*(start[p.start] if p.start >= 0 else []), *_chain(p)] for p in state]


def _chain(piece: _Piece) -> Assignment:
    found: Assignment = []
    link = piece.blobs
    while link is not None:
        found.append(link.blob)
        link = link.before
    return found[::-1]
