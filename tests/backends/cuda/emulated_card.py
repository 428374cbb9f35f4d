"""Cards that are none: one that runs kernels in the emulator, and one that does nothing but note what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import simt
from simt_memory import DeviceMemory

from graphc.runtime.card import CardMemory, Launch, Move, Work


class Piece:
    """Memory of such a card."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.address, self.nbytes = address, nbytes


class EmulatedCard:
    """A card that interprets the source of kernels; source: that of a kernel by name. runs: launches so far."""

    def __init__(self, source: Callable[[str], str], capacity: int = 1 << 26) -> None:
        self._source, self._memory = source, DeviceMemory(capacity)
        self.launches: list[Launch] = []

    def allocate(self, nbytes: int) -> CardMemory:
        return Piece(self._memory.allocate(nbytes), nbytes)

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.full(nbytes, 0xFF, np.uint8)

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        self._memory.view(place.address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def download(self, place: CardMemory, nbytes: int) -> np.ndarray:
        return self._memory.view(place.address, nbytes).copy()

    def load(self, name: str, code: bytes) -> Any:
        assert code.startswith(b"\x7fELF")
        return name

    def record(self, work: Sequence[Work]) -> Callable[[], None]:
        return lambda: [self._do(item) for item in work] and None

    def _do(self, item: Work) -> None:
        if isinstance(item, Launch):
            self.launches.append(item)
            params = list(item.params)
            simt.launch(self._memory, item.kernel, self._source(item.kernel), item.blocks, item.threads, params)
            return
        self._move(item)

    def _move(self, item: Move) -> None:
        size = item.stop - item.start
        card, host = self._memory.view(item.card.address + item.start, size), item.host[item.start : item.stop]
        if item.to_card:
            card[:] = host
        else:
            host[:] = card


class NullCard(EmulatedCard):
    """A card whose kernels do nothing: results are what memory happens to hold."""

    def __init__(self) -> None:
        super().__init__(lambda name: "")

    def _do(self, item: Work) -> None:
        if isinstance(item, Launch):
            self.launches.append(item)
        else:
            self._move(item)
