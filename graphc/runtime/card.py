"""What the runtime asks of a card. ``nvidia.py`` has the real one; tests have others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from graphc.ir.library_call import LibraryCall
from graphc.runtime.card_array import CardArray

Array = np.ndarray | CardArray
"""An input or output of a run: in the memory of the process, or of the card."""


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
    """One launch of a kernel: ``blocks`` blocks of ``threads`` threads; params: its arguments, int64 each.

    label: what it computes, for people. shared: bytes of dynamic shared memory of a block.
    """

    kernel: Any
    blocks: int
    threads: int
    params: tuple[int, ...]
    label: str = ""
    shared: int = 0


@dataclass(frozen=True)
class Request:
    """One call of a library that is made ready; enqueue: hands it to a stream, given by CUDA's handle.

    label: what it computes, for people.
    """

    enqueue: Callable[[int], None]
    label: str = ""


@dataclass(frozen=True)
class Move:
    """A copy of bytes [start, stop) between memory of the card and pinned memory of the same layout."""

    card: CardMemory
    host: np.ndarray
    start: int
    stop: int
    to_card: bool


@dataclass(frozen=True)
class Transfer:
    """A copy within the card's memory: all of an array to the bytes of a piece from ``start`` on."""

    source: CardArray
    card: CardMemory
    start: int


Work = Launch | Request | Move | Transfer
Replay = Callable[[Sequence[Transfer]], None]
"""Does transfers, then recorded work, and waits for the end. It may be called from any thread, by one at a time."""


class Card(Protocol):
    """A card. Everything raises ``RunError`` with the card's own words where it fails."""

    @property
    def stream(self) -> int:
        """CUDA's handle of the stream that all work is on."""

    def allocate(self, nbytes: int) -> CardMemory:
        """Memory whose content is undefined."""

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of the process that the card copies without help of the CPU."""

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        """Copy an array to the beginning of a piece, and wait."""

    def download(self, address: int, nbytes: int) -> np.ndarray:
        """Bytes of the card's memory, when all work before is done."""

    def require_here(self, array: CardArray, name: str) -> None:
        """Raise ``RunError`` that names the input unless its memory is this card's."""

    def load(self, name: str, code: bytes) -> Any:
        """The kernel ``name`` of a piece of machine code."""

    def prepare(self, call: LibraryCall, label: str) -> Request:
        """Have a library ready for a call at addresses of the card's memory, whose results may be overwritten now.

        Raises ``GraphcError`` where the library is not installed, ``RunError`` where it does not do the call.
        """

    def record(self, work: Sequence[Work]) -> Replay:
        """A function that does all of the work in order. The memory has to stay."""

    def measure(self, work: Sequence[Work], repeats: int) -> list[float]:
        """Seconds of each of some runs of the work, by the card's own clock, after one that is not counted."""
