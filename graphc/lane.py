"""Memory for one run at a time, which the executors of many input shapes share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from graphc.ir.schedule import Schedule
from graphc.kernel_code import Memory, Runner

MOST_EXECUTORS = 64
"""Executors that a lane keeps; the oldest is forgotten first."""

Make = Callable[[Any, Any], Runner]
"""An executor in an arena and a scratch buffer."""


class Lane:
    """Executors by key, of which one runs at a time, because all use the same arena and scratch buffer.

    The buffers grow to what the largest schedule needs: a net whose sizes depend on data has another schedule for
    almost every run, and must not keep memory for each.
    """

    def __init__(self, allocate: Callable[[int], Memory]) -> None:
        self._allocate = allocate
        self._arena, self._scratch = allocate(0), allocate(0)
        self._executors: dict[Hashable, Runner] = {}

    @property
    def held(self) -> int:
        """Bytes of the arena."""
        return self._arena.nbytes

    def find(self, key: Hashable) -> Runner | None:
        """The executor kept under a key."""
        return self._executors.get(key)

    def add(self, key: Hashable, schedule: Schedule, threads: int, make: Make) -> Runner:
        """A new executor for a schedule, kept under a key. Where the memory has to grow, the older ones go."""
        arena, scratch = schedule.arena_bytes, schedule.scratch_bytes * threads
        if arena > self._arena.nbytes or scratch > self._scratch.nbytes:
            self._grow(arena, scratch)
        elif len(self._executors) >= MOST_EXECUTORS:
            del self._executors[next(iter(self._executors))]
        made = make(self._arena, self._scratch)
        made.key = self
        self._executors[key] = made
        return made

    def forget(self) -> None:
        """Let all executors go, with the memory that is theirs alone."""
        self._executors.clear()

    def _grow(self, arena: int, scratch: int) -> None:
        """Memory of at least these sizes; with a quarter to spare from the second time on, as sizes seem to vary."""
        spare = 5 if self._executors else 4
        self._executors.clear()
        arena, scratch = max(arena * spare // 4, self._arena.nbytes), max(scratch * spare // 4, self._scratch.nbytes)
        self._arena = self._scratch = self._allocate(0)
        self._arena, self._scratch = self._allocate(arena), self._allocate(scratch)
