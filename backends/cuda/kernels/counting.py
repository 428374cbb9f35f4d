"""Loops as NVVM knows them: it unrolls a ``while`` with a counter, not the iterator that Numba makes of ``range``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphc.backends.lines import Lines


@contextmanager
def counting(s: Lines, name: str, start: str, stop: str, step: int = 1) -> Iterator[None]:
    """A block in which ``name`` takes the values of ``range(start, stop, step)``; without ``continue`` in it."""
    s(f"{name} = {start}")
    with s.block(f"while {name} < {stop}:"):
        yield
        s(f"{name} = {name} + {step}")
