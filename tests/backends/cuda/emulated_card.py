"""Cards that are none: one that runs kernels in the emulator, and one that does nothing but note what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import simt
import simt_loops
from simt_memory import DeviceMemory

from graphc.ir import RunError
from graphc.runtime.card import CardMemory, Launch, Move, Replay, Transfer, Work
from graphc.runtime.card_array import CardArray
from graphc.runtime.card_stream import CallerStream


class Piece:
    """Memory of such a card."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.address, self.nbytes = address, nbytes


class EmulatedCard:
    """A card that interprets the source of kernels; source: that of a kernel by name. runs: launches so far."""

    def __init__(self, source: Callable[[str], str], capacity: int = 1 << 26) -> None:
        self._source, self._memory = source, DeviceMemory(capacity)
        self._passing: dict[int, int] = {}
        """The bytes of each piece, by its address, into which nobody uploaded anything: it holds values of a run."""
        self.launches: list[Launch] = []
        self.moved: list[tuple[str, int]] = []
        """Copies so far: ``up``, ``down`` or ``inside``, and bytes."""

        self.waits: list[int | None] = []
        """Handles of the callers' streams that waited for copies; None: the host did."""
        self.followed: list[int] = []

    stream, number, name = 0, 0, "card 0 (emulated)"

    def free_bytes(self) -> int:
        return self._memory.bytes.size - self._memory.end

    def allocate(self, nbytes: int, stream: CallerStream | None = None) -> CardMemory:
        piece = Piece(self._memory.allocate(nbytes), nbytes)
        self._passing[piece.address] = nbytes
        return piece

    def lend(self, memory: CardMemory, made: int | None, reader: int | None) -> None:
        self.lent = made, reader

    def follow(self, stream: CallerStream) -> None:
        self.followed.append(stream.handle)

    def wait(self) -> None:
        self.waits.append(None)

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.full(nbytes, 0xFF, np.uint8)

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        self._passing.pop(place.address, None)
        self._memory.view(place.address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def download(self, address: int, nbytes: int, behind: int | None = None) -> np.ndarray:
        return self._memory.read(address, nbytes)

    def require_here(self, array: CardArray, name: str) -> None:
        if array.address < 0:
            raise RunError(f"input '{name}' is elsewhere")

    def load(self, name: str, code: bytes) -> Any:
        assert code.startswith(b"\x7fELF")
        return name

    def record(self, work: Sequence[Work]) -> Replay:
        def replay(first: Sequence[Transfer], wait: bool) -> None:
            for address, nbytes in self._passing.items():
                self._memory.forget(address, nbytes)
            for item in (*first, *work):
                self._do(item)
            if wait:
                self.wait()

        return replay

    def copy(self, transfers: Sequence[Transfer], stream: CallerStream | None = None) -> None:
        for transfer in transfers:
            self._do(transfer)
        self.waits.append(None if stream is None else stream.handle)

    def measure(self, work: Sequence[Work], repeats: int) -> list[float]:
        """By a clock that takes a nanosecond for each thread, and for each byte that is copied."""
        return [1e-9 * sum(map(_nanoseconds, work))] * repeats

    def _do(self, item: Work) -> None:
        if isinstance(item, Launch):
            self.launches.append(item)
            source = self._source(item.kernel)
            given = (self._memory, item.kernel, source, item.blocks, item.threads, list(item.params))
            if "array_" in source:
                simt_loops.launch(*given)
            else:
                simt.launch(*given, item.shared)
        else:
            self._copy(item)

    def _copy(self, item: Move | Transfer) -> None:
        if isinstance(item, Transfer):
            size = item.source.nbytes
            source, target = item.source.address, item.card.address + item.start
            self._memory.view(target, size)[:] = self._memory.read(source, size)
            self.moved.append(("inside", size))
            return
        size = item.stop - item.start
        place, host = item.card.address + item.start, item.host[item.start : item.stop]
        if item.to_card:
            self._memory.view(place, size)[:] = host
        else:
            host[:] = self._memory.read(place, size)
        self.moved.append(("up" if item.to_card else "down", size))


def _nanoseconds(item: Work) -> int:
    if isinstance(item, Launch):
        return item.blocks * item.threads
    return item.source.nbytes if isinstance(item, Transfer) else item.stop - item.start


class NullCard(EmulatedCard):
    """A card whose kernels do nothing: results are what memory happens to hold."""

    def __init__(self) -> None:
        super().__init__(lambda name: "")

    def _do(self, item: Work) -> None:
        if isinstance(item, Launch):
            self.launches.append(item)
        else:
            self._copy(item)
