"""The static allocation problem and its answer: buffers with known sizes and lifetimes, and where each of them lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


@dataclass(frozen=True)
class Lifetime:
    """size: bytes. first, last: the steps between which, both included, the bytes must not be overwritten."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Allocation:
    """Where buffers lie so that no two that live at one step overlap.

    offsets: bytes, in the order of the lifetimes; a buffer of no bytes lies at 0. height: bytes of the whole arena, a
    multiple of the alignment. lower_bound: bytes below which no allocation of these lifetimes can be. optimal: whether
    no smaller height exists; if not, nobody knows. method: which algorithm found the offsets, and whether a search
    raised the bound. nodes: the partial solutions that the exact search looked at, 0 where greedy's answer met the
    bound.
    """

    offsets: tuple[int, ...]
    height: int
    lower_bound: int
    optimal: bool
    method: str
    nodes: int = 0

    @property
    def gap(self) -> float:
        """By how much the height may exceed the best one, as a share of the lower bound; 0.0 where it is optimal."""
        return 0.0 if self.optimal else (self.height - self.lower_bound) / self.lower_bound


def align(n: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of ``alignment``."""
    return -(-n // alignment) * alignment
