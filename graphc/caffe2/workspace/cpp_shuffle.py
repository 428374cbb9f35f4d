"""``std::shuffle`` of the GNU C++ library with its default engine, whose order Caffe2's data sets have."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

_MULTIPLIER, _MODULUS = 16807, 2**31 - 1
"""``std::minstd_rand0``: x becomes 16807 x mod 2**31 - 1."""
_RANGE = _MODULUS - 2
"""Its largest number less its smallest."""


class _Engine:
    """The engine as it is made: its state is 1."""

    def __init__(self) -> None:
        self._state = 1

    def below(self, count: int) -> int:
        """``std::uniform_int_distribution``: a number from 0 to count - 1; count is at most the engine's range."""
        scale = _RANGE // count
        while True:
            self._state = self._state * _MULTIPLIER % _MODULUS
            drawn = self._state - 1
            if drawn < scale * count:
                return drawn // scale


def std_shuffle(items: MutableSequence[Any]) -> None:
    """Shuffle in place, always alike; of less than 46340 items two positions come of one drawn number."""
    engine, n = _Engine(), len(items)
    if n > _RANGE // max(n, 1):
        for i in range(1, n):
            _swap(items, i, engine.below(i + 1))
        return
    at = 1
    if n and n % 2 == 0:
        _swap(items, at, engine.below(2))
        at += 1
    while at < n:
        first, second = divmod(engine.below((at + 1) * (at + 2)), at + 2)
        _swap(items, at, first)
        _swap(items, at + 1, second)
        at += 2


def _swap(items: MutableSequence[Any], i: int, k: int) -> None:
    items[i], items[k] = items[k], items[i]
