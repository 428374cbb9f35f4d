"""Arrays that refuse negative indices, and the reference interpreter with its loops running on them.

NumPy raises ``IndexError`` for an index beyond the end, but takes a negative one from the back; machine code checks
neither. Under ``guard_loops`` both are found.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import graphc.ir.reference
from graphc.ir.loops import run_loop
from graphc.ir.opdef import Call


class NegativeIndex(IndexError):
    """A loop used a negative index."""


def _check(key: Any) -> None:
    for k in key if isinstance(key, tuple) else (key,):
        ends = (k.start, k.stop) if isinstance(k, slice) else (k,)
        if any(isinstance(e, (int, np.integer)) and e < 0 for e in ends):
            raise NegativeIndex(f"index {key}")


class Guarded(np.ndarray):
    """An array whose indices are not negative."""

    def __getitem__(self, key: Any) -> Any:
        _check(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _check(key)
        super().__setitem__(key, value)

    @property
    def flat(self) -> Any:
        """The elements in one row; of a contiguous array, as all arrays of a loop are."""
        return self.reshape(-1)

    @flat.setter
    def flat(self, value: Any) -> None:
        raise TypeError("a loop does not set all elements at once")


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called on guarded arrays."""

    @functools.wraps(function)
    def call(*operands: Any) -> Any:
        return function(*(_guard(x) for x in operands))

    return call


def _guard(operand: Any) -> Any:
    if isinstance(operand, tuple):
        return tuple(_guard(x) for x in operand)
    return operand.view(Guarded) if isinstance(operand, np.ndarray) else operand


def _run_guarded(call: Call, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    record = call.opdef
    sizes = guarded(record.sizes) if record.sizes else None
    call.opdef = replace(record, loop=guarded(record.loop) if record.loop else None, sizes=sizes)
    try:
        results: list[np.ndarray] = run_loop(call, arrays)
        return results
    finally:
        call.opdef = record


def guard_loops() -> None:
    """From now on the reference interpreter of this process runs loops on guarded arrays."""
    setattr(graphc.ir.reference, "run_loop", _run_guarded)  # noqa: B010 - the name is not exported
