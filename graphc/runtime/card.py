"""What the runtime asks of a card. ``nvidia.py`` has the real one; tests have others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from graphc.ir.library_call import LibraryCall
from graphc.runtime.card_array import CardArray
from graphc.runtime.card_stream import CallerStream

LESS_MEMORY = "use a smaller batch or smaller images, or end what else uses the card (nvidia-smi)"
"""The remedy where a card's memory is too small."""

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
Replay = Callable[[Sequence[Transfer], bool], None]
"""Does transfers, then recorded work, and waits for the end if told to. It may be called from any thread, by one at a
time."""


class Card(Protocol):
    """A card. Everything raises ``RunError`` with the card's own words where it fails.

    All work is done in the order in which it is handed in.
    """

    @property
    def name(self) -> str:
        """What people call it, with its number."""

    @property
    def number(self) -> int:
        """As this process counts its cards."""

    @property
    def stream(self) -> int:
        """CUDA's handle of the stream that all work is on."""

    def free_bytes(self) -> int:
        """Bytes of its memory that can be allocated now."""

    def allocate(self, nbytes: int, stream: CallerStream | None = None) -> CardMemory:
        """Memory whose content is undefined; stream: the caller's in whose order it is taken and given back."""

    def lend(self, memory: CardMemory, made: int | None, reader: int | None) -> None:
        """Note that others learn where a piece is, so that it is not given back while they may use it.

        made: the handle of the stream whose work so far makes the content. reader: of the stream that has to wait for
        that; None: the reader sees to it.
        """

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of the process that the card copies without help of the CPU."""

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        """Copy an array to the beginning of a piece, and wait."""

    def download(self, address: int, nbytes: int, behind: int | None = None) -> np.ndarray:
        """Bytes of the card's memory, when all work before is done; behind: also that of this stream."""

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

    def copy(self, transfers: Sequence[Transfer], stream: CallerStream | None = None) -> None:
        """Do transfers, and wait for them and all work before; stream: the caller's, which waits instead."""

    def follow(self, stream: CallerStream) -> None:
        """Do what is handed in from now on behind the work that a caller's stream has now."""

    def wait(self) -> None:
        """Wait for all work."""

    def measure(self, work: Sequence[Work], repeats: int) -> list[float]:
        """Seconds of each of some runs of the work, by the card's own clock, after one that is not counted."""
