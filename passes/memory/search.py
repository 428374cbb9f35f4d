"""The exact search, compiled: can these buffers be stacked within a capacity?

Time is a row of sections; a buffer covers some that follow each other. In every section a floor rises from 0: what
lies below is decided. A branching takes a section and says which buffer comes next on its floor, or that none rests
on it and the floor rises. Sound prunings, of which the first three are those of Moffitt, "MiniMalloc: a lightweight
memory allocator for hardware-accelerated machine learning" (ASPLOS 2023):

- canonical solutions: a buffer rests on the ground or on another buffer, since any solution can be pushed down;
- inference: a floor rises to the lowest place that any of the section's buffers can still take, and the floor and the
  sizes of what is left must not exceed the capacity;
- dominance: no buffer may fit whole into the space that was left empty, since moving it there is no worse;
- parts of time that no unplaced buffer joins are solved one by one, and a part's failure undoes the step that made it;
- a part that failed is remembered by its floors and buffers, and not searched again.

This module imports Numba and is therefore imported when a search is needed. All sizes are int64 in units of the
caller's choice; the sum of all sizes is below 2^62.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numba

from graphc.passes.memory.allocation import Floats, Integers

_F = TypeVar("_F", bound=Callable[..., object])

LOW, HIGH, SIZE, TWIN, RANK, CODE, OFFSET, TOP, BOTTOM, OPEN, READY = range(11)
"""Rows of ``Search.buffers``: sections [LOW, HIGH); an equal buffer that goes first, or -1; the order of trying; a
random number; the answer, -1 where open. Then, of open buffers: the highest and lowest floor under them; in OPEN the
list of those of the part at hand; whether they can be the next on their floor."""

FLOOR, REAL, REST, COUNT, JOINED, WEIGHT, STEP = range(7)
"""Rows of ``Search.sections``: the floor; the top of what lies there; bytes and number of open buffers; how many of
them reach into the next section; failures seen; a difference array."""

HIGHEST, DEEPEST, SUPPORT, LEAST, BLOCKED = range(5)
"""``Search.tables``: sparse tables over a part's sections, level k for 2^k of them: the largest floor, the largest
negated floor, the largest REAL; then, spread from buffers over their sections: the lowest place of any, and of those
that lie on floors of several heights."""

TRAIL, FRAMES, HEAD, AGENDA, OPTIONS, NODES, PLACED, FULL = range(8)
"""``Search.state``: lengths of the stacks; the first entry of the agenda; nodes so far; a stack that ran full."""

BEGIN, END, PARENT, MARK, KEPT_HEAD, KEPT_AGENDA, NEXT, LAST, WHERE, KEY = range(10)
"""Columns of ``Search.frames``, one branching each: the part and the frame that made it; the stacks' lengths before;
the options left; the section; the part's key among the failures."""

SOLVED, INFEASIBLE, STOPPED = 1, 0, -1
INFINITE = 2**62
LEVELS = 13
MOST_SECTIONS = 2 ** (LEVELS - 1)


class Search(NamedTuple):
    """Everything the search reads and writes; all int64, see the names of rows and columns above."""

    buffers: Integers
    sections: Integers
    tables: Integers
    trail: Integers
    frames: Integers
    agenda: Integers
    options: Integers
    failures: Integers
    state: Integers


def jit(function: _F, inner: bool = True) -> _F:
    """Compile on first use, into Numba's cache where there is a folder for it. inner: only compiled functions call it,
    which saves a fifth of the time."""
    options = {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": inner}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's is writable
        return cast(_F, numba.njit(**options)(function))


def entry(function: _F) -> _F:
    """The same for what Python calls."""
    return jit(function, inner=False)


@jit
def _maxima(table: Integers, level: int, length: int) -> None:
    for k in range(1, level + 1):
        half = 1 << (k - 1)
        for s in range(length - 2 * half + 1):
            table[k, s] = max(table[k - 1, s], table[k - 1, s + half])


@jit
def _spread(table: Integers, level: int, length: int) -> None:
    for k in range(level, 0, -1):
        half = 1 << (k - 1)
        for s in range(length - 2 * half + 1):
            table[k - 1, s] = min(table[k - 1, s], table[k, s])
            table[k - 1, s + half] = min(table[k - 1, s + half], table[k, s])


@jit
def _level(width: int) -> int:
    k = 0
    while (2 << k) <= width:
        k += 1
    return k


@jit
def _set_floor(m: Search, s: int, floor: int, real: int) -> None:
    n = m.state[TRAIL]
    m.trail[n, 0], m.trail[n, 1], m.trail[n, 2] = s, m.sections[FLOOR, s], m.sections[REAL, s]
    m.state[TRAIL] = n + 1
    m.sections[FLOOR, s], m.sections[REAL, s] = floor, real


@jit
def _count(m: Search, j: int, sign: int) -> None:
    """Add or remove an open buffer in its sections' sums."""
    low, high = m.buffers[LOW, j], m.buffers[HIGH, j]
    for s in range(low, high):
        m.sections[REST, s] += sign * m.buffers[SIZE, j]
        m.sections[COUNT, s] += sign
        m.sections[JOINED, s] += sign
    m.sections[JOINED, high - 1] -= sign
    m.state[PLACED] -= sign


@jit
def _place(m: Search, j: int) -> None:
    top = m.sections[FLOOR, m.buffers[LOW, j]]
    m.buffers[OFFSET, j] = top
    top += m.buffers[SIZE, j]
    _count(m, j, -1)
    for s in range(m.buffers[LOW, j], m.buffers[HIGH, j]):
        _set_floor(m, s, top, top)
    m.trail[m.state[TRAIL], 0] = -1 - j
    m.state[TRAIL] += 1


@jit
def _undo(m: Search, mark: int) -> None:
    for n in range(m.state[TRAIL] - 1, mark - 1, -1):
        s = m.trail[n, 0]
        if s >= 0:
            m.sections[FLOOR, s], m.sections[REAL, s] = m.trail[n, 1], m.trail[n, 2]
        else:
            m.buffers[OFFSET, -1 - s] = -1
            _count(m, -1 - s, 1)
    m.state[TRAIL] = mark


@jit
def _list_open(m: Search, begin: int, end: int) -> int:
    n = 0
    for j in range(m.buffers.shape[1]):
        if m.buffers[OFFSET, j] < 0 and m.buffers[LOW, j] >= begin and m.buffers[HIGH, j] <= end:
            m.buffers[OPEN, n] = j
            n += 1
    return n


@jit
def _lowest_places(m: Search, begin: int, end: int, n: int) -> None:
    """TOP and BOTTOM of the open buffers, and LEAST of the sections."""
    length = end - begin
    level = _level(length)
    highest, deepest, least = m.tables[HIGHEST], m.tables[DEEPEST], m.tables[LEAST]
    for s in range(length):
        highest[0, s] = m.sections[FLOOR, begin + s]
        deepest[0, s] = -highest[0, s]
    _maxima(highest, level, length)
    _maxima(deepest, level, length)
    for k in range(level + 1):
        for s in range(length):
            least[k, s] = INFINITE
    for q in range(n):
        j = m.buffers[OPEN, q]
        x = m.buffers[LOW, j] - begin
        k = _level(m.buffers[HIGH, j] - m.buffers[LOW, j])
        y = m.buffers[HIGH, j] - begin - (1 << k)
        top = max(highest[k, x], highest[k, y])
        m.buffers[TOP, j] = top
        m.buffers[BOTTOM, j] = -max(deepest[k, x], deepest[k, y])
        least[k, x] = min(least[k, x], top)
        least[k, y] = min(least[k, y], top)
    _spread(least, level, length)


@jit
def _infer(m: Search, begin: int, end: int, n: int, capacity: int) -> bool:
    """Raise floors until nothing changes; False if a section cannot hold its buffers."""
    changed = True
    while changed:
        _lowest_places(m, begin, end, n)
        changed = False
        for s in range(begin, end):
            if m.sections[COUNT, s] == 0:
                continue
            least = m.tables[LEAST, 0, s - begin]
            if least > m.sections[FLOOR, s]:
                _set_floor(m, s, least, m.sections[REAL, s])
                changed = True
            if m.sections[FLOOR, s] + m.sections[REST, s] > capacity:
                m.sections[WEIGHT, s] += 1
                return False
        if m.state[TRAIL] + 2 * (end - begin) + 2 > len(m.trail):
            m.state[FULL] = 1
            return False
    return True


@jit
def _dominated(m: Search, begin: int, end: int, n: int) -> bool:
    """Whether an open buffer would fit below the floors; fills the table SUPPORT."""
    length = end - begin
    support = m.tables[SUPPORT]
    for s in range(length):
        support[0, s] = m.sections[REAL, begin + s]
    _maxima(support, _level(length), length)
    for q in range(n):
        j = m.buffers[OPEN, q]
        if _support(m, j, begin) + m.buffers[SIZE, j] <= m.buffers[BOTTOM, j]:
            return True
    return False


@jit
def _support(m: Search, j: int, begin: int) -> int:
    k = _level(m.buffers[HIGH, j] - m.buffers[LOW, j])
    y = m.buffers[HIGH, j] - begin - (1 << k)
    return int(max(m.tables[SUPPORT, k, m.buffers[LOW, j] - begin], m.tables[SUPPORT, k, y]))


@jit
def _mark_ready(m: Search, begin: int, end: int, n: int) -> None:
    """READY of the open buffers, their number per section in STEP, and BLOCKED of the sections."""
    length = end - begin
    level = _level(length)
    blocked = m.tables[BLOCKED]
    for k in range(level + 1):
        for s in range(length):
            blocked[k, s] = INFINITE
    for s in range(begin, end + 1):
        m.sections[STEP, s] = 0
    for q in range(n):
        j = m.buffers[OPEN, q]
        low, high, top, twin = m.buffers[LOW, j], m.buffers[HIGH, j], m.buffers[TOP, j], m.buffers[TWIN, j]
        m.buffers[READY, j] = 0
        if m.buffers[BOTTOM, j] < top:
            k = _level(high - low)
            x, y = low - begin, high - begin - (1 << k)
            blocked[k, x] = min(blocked[k, x], top)
            blocked[k, y] = min(blocked[k, y], top)
        elif (twin < 0 or m.buffers[OFFSET, twin] >= 0) and (top == 0 or _support(m, j, begin) == top):
            m.buffers[READY, j] = 1
            m.sections[STEP, low] += 1
            m.sections[STEP, high] -= 1
    _spread(blocked, level, length)


@jit
def _choose(m: Search, begin: int, end: int, n: int, capacity: int, taste: Floats) -> int:
    """The section to branch on, -1 if one of them has no option left.

    A section whose floor could also carry a buffer that lies on lower floors elsewhere has to wait.
    """
    smallest = INFINITE
    for q in range(n):
        smallest = min(smallest, m.buffers[SIZE, m.buffers[OPEN, q]])
    best, least, ready = -1, 1e300, 0
    for s in range(begin, end):
        ready += m.sections[STEP, s]
        floor, rest, blocked = m.sections[FLOOR, s], m.sections[REST, s], m.tables[BLOCKED, 0, s - begin]
        if m.sections[COUNT, s] == 0 or blocked == floor:
            continue
        ways = ready
        if min(blocked, floor + smallest) + rest <= capacity:
            ways += 1
        if ways == 0:
            m.sections[WEIGHT, s] += 1
            return -1
        if ways == 1:
            return s
        cost = taste[0] * floor + taste[1] * capacity * (ways - 1) / m.sections[WEIGHT, s]
        cost += taste[2] * (capacity - floor - rest)
        if cost < least:
            best, least = s, cost
    return best


@jit
def _risen(m: Search, s: int, n: int) -> int:
    """Where the lowest open buffer of a section can be if none rests on its floor."""
    floor, found = m.sections[FLOOR, s], INFINITE
    for q in range(n):
        j = m.buffers[OPEN, q]
        low, high = m.buffers[LOW, j], m.buffers[HIGH, j]
        if low > s or high <= s:
            continue
        if m.buffers[TOP, j] > floor:
            found = min(found, m.buffers[TOP, j])
            continue
        for r in range(n):  # it will rest on another one, which is not in this section
            i = m.buffers[OPEN, r]
            beside = m.buffers[LOW, i] > s or m.buffers[HIGH, i] <= s
            if beside and m.buffers[LOW, i] < high and m.buffers[HIGH, i] > low:
                found = min(found, m.buffers[TOP, i] + m.buffers[SIZE, i])
    return found


@jit
def _add_options(m: Search, s: int, n: int, capacity: int) -> int:
    """The buffers that can be next, by rank, then as -1 - floor the floor's rise; gives their number."""
    first = end = m.state[OPTIONS]
    for q in range(n):
        j = m.buffers[OPEN, q]
        if m.buffers[READY, j] == 0 or m.buffers[LOW, j] > s or m.buffers[HIGH, j] <= s:
            continue
        at = end
        while at > first and m.buffers[RANK, m.options[at - 1]] > m.buffers[RANK, j]:
            m.options[at] = m.options[at - 1]
            at -= 1
        m.options[at] = j
        end += 1
    if m.sections[FLOOR, s] + m.sections[REST, s] < capacity:
        risen = _risen(m, s, n)
        if risen + m.sections[REST, s] <= capacity:
            m.options[end] = -1 - risen
            end += 1
    m.state[OPTIONS] = end
    return int(end - first)


@jit
def _key(m: Search, begin: int, end: int, n: int) -> int:
    """A hash of all that the search of a part depends on."""
    key = begin * 1000003 + end
    for q in range(n):
        key += m.buffers[CODE, m.buffers[OPEN, q]]
    for s in range(begin, end):
        if m.sections[COUNT, s] > 0:
            key = (key ^ (m.sections[FLOOR, s] * 0x1E3779B97F4A7C15)) * 0x56E8FEB86659FD93
            key = (key ^ (key >> 29) ^ m.sections[REAL, s]) * 0x2545F4914F6CDD1D
            key ^= key >> 32
    return key | 1


@jit
def _expand(m: Search, begin: int, end: int, parent: int, capacity: int, taste: Floats) -> bool:
    """A new frame for a part; False if it has no solution."""
    n = _list_open(m, begin, end)
    if not _infer(m, begin, end, n, capacity) or _dominated(m, begin, end, n):
        return False
    key = _key(m, begin, end, n)
    if m.failures[key & (len(m.failures) - 1)] == key:
        return False
    _mark_ready(m, begin, end, n)
    s = _choose(m, begin, end, n, capacity, taste)
    if s < 0:
        return False
    first = m.state[OPTIONS]
    if m.state[FRAMES] + 1 >= len(m.frames) or first + n + 1 >= len(m.options):
        m.state[FULL] = 1
        return False
    if _add_options(m, s, n, capacity) == 0:
        m.sections[WEIGHT, s] += 1
        return False
    frame = m.frames[m.state[FRAMES]]
    m.state[FRAMES] += 1
    frame[BEGIN], frame[END], frame[PARENT], frame[WHERE], frame[KEY] = begin, end, parent, s, key
    frame[MARK], frame[KEPT_HEAD], frame[KEPT_AGENDA] = m.state[TRAIL], m.state[HEAD], m.state[AGENDA]
    frame[NEXT], frame[LAST] = first, m.state[OPTIONS]
    return True


@jit
def add_parts(m: Search, begin: int, end: int, parent: int) -> None:
    """Put the parts of [begin, end) that no open buffer joins on the agenda."""
    s = begin
    while s < end:
        if m.sections[COUNT, s] == 0:
            s += 1
            continue
        stop = s
        while m.sections[JOINED, stop] > 0:
            stop += 1
        n = m.state[AGENDA]
        m.agenda[n, 0], m.agenda[n, 1], m.agenda[n, 2], m.agenda[n, 3] = s, stop + 1, parent, m.state[HEAD]
        m.state[HEAD] = n
        m.state[AGENDA] = n + 1
        s = stop + 1


@jit
def _advance(m: Search) -> bool:
    """Take the next option of the last frame."""
    k = m.state[FRAMES] - 1
    frame = m.frames[k]
    if frame[NEXT] == frame[LAST]:
        return False
    option = m.options[frame[NEXT]]
    frame[NEXT] += 1
    if option >= 0:
        _place(m, option)
    else:
        _set_floor(m, frame[WHERE], -1 - option, m.sections[REAL, frame[WHERE]])
    add_parts(m, frame[BEGIN], frame[END], k)
    return True


@jit
def _backtrack(m: Search, k: int) -> bool:
    """Undo to frame k and take its next option, or to the frame that made its part; False if all is exhausted."""
    while k >= 0:
        frame = m.frames[k]
        _undo(m, frame[MARK])
        m.state[FRAMES], m.state[HEAD], m.state[AGENDA] = k + 1, frame[KEPT_HEAD], frame[KEPT_AGENDA]
        m.state[OPTIONS] = frame[LAST]
        if _advance(m):
            return True
        m.failures[frame[KEY] & (len(m.failures) - 1)] = frame[KEY]
        k = frame[PARENT]
    return False


@entry
def run(m: Search, capacity: int, nodes: int, taste: Floats) -> int:
    """Search on, until ``state[NODES]`` is ``nodes``; a later call goes on from there. SOLVED, INFEASIBLE, STOPPED.

    taste: what a section costs, the cheapest being branched on: per unit of its floor, per option beyond the first as
    a share of the capacity, per unit of room.
    """
    while m.state[NODES] < nodes:
        part = m.state[HEAD]
        if part < 0:
            return SOLVED
        m.state[NODES] += 1
        begin, end, parent = m.agenda[part, 0], m.agenda[part, 1], m.agenda[part, 2]
        m.state[HEAD] = m.agenda[part, 3]
        if _expand(m, begin, end, parent, capacity, taste):
            _advance(m)
        elif m.state[FULL]:
            return STOPPED
        elif not _backtrack(m, parent):
            return INFEASIBLE
    return STOPPED


@entry
def restart(m: Search) -> None:
    """Back to the beginning; what is known about failures stays."""
    _undo(m, 0)
    m.state[:] = 0
    m.state[HEAD] = -1
    add_parts(m, 0, m.sections.shape[1] - 1, -1)
