"""What the runtime asks of a card. ``nvidia.py`` has the real one; tests have others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class CardMemory(Protocol):
    """A piece of the card's memory; it is freed with the object. address: as kernels see it, a multiple of 256."""

    @property
    def address(self) -> int:
        """Where it begins."""

    @property
    def nbytes(self) -> int:
        """Its size."""


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: ``blocks`` blocks of ``threads`` threads; params: its arguments, int64 each."""

    kernel: Any
    blocks: int
    threads: int
    params: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """A copy of bytes [start, stop) between memory of the card and pinned memory of the same layout."""

    card: CardMemory
    host: np.ndarray
    start: int
    stop: int
    to_card: bool


Work = Launch | Move


class Card(Protocol):
    """A card. Everything raises ``RunError`` with the card's own words where it fails."""

    def allocate(self, nbytes: int) -> CardMemory:
        """Memory whose content is undefined."""

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of the process that the card copies without help of the CPU."""

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        """Copy an array to the beginning of a piece, and wait."""

    def download(self, place: CardMemory, nbytes: int) -> np.ndarray:
        """The first bytes of a piece."""

    def load(self, name: str, code: bytes) -> Any:
        """The kernel ``name`` of a piece of machine code."""

    def record(self, work: Sequence[Work]) -> Callable[[], None]:
        """A function that does all of the work in order, and waits for the end. The memory has to stay."""
