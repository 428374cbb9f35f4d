"""Memory of an emulated card: one flat space with gaps, and the shared memory of blocks. Both know who touched what.

A kernel may not touch what nobody allocated, nor read what nobody stored; nor may two threads touch one element in the
same launch if one of them stores; in shared memory, not between two barriers.
"""

from __future__ import annotations

import numpy as np
from simt_races import Races

GAP = 256
NOBODY, MANY = -1, -2
OWNED, FILLED = 1, 3
"""What is noted of a byte: that somebody allocated it, and also that it holds something."""


class Fault(Exception):
    """What a card would do silently, or die of."""


def of_all_bytes(note: int, itemsize: int) -> np.unsignedinteger:
    """A number of ``itemsize`` bytes of which each is ``note``."""
    return np.full(itemsize, note, np.uint8).view(f"u{itemsize}")[0]


class DeviceMemory:
    """Bytes at addresses from ``GAP`` on; pieces begin at multiples of 256 with gaps between them."""

    def __init__(self, capacity: int = 1 << 26) -> None:
        self.bytes, self._state = np.zeros(capacity, np.uint8), np.zeros(capacity, np.uint8)
        self._races = Races(capacity)
        self.end = GAP

    def allocate(self, nbytes: int) -> int:
        """The address of a new piece, which holds NaN."""
        address = self.end
        self.end = -(-(address + nbytes + GAP) // 256) * 256
        if self.end > self.bytes.size:
            raise MemoryError("the emulated card has no more memory")
        self.bytes[address : address + nbytes] = 0xFF  # NaN, in every kind of float
        self.forget(address, nbytes)
        return address

    def view(self, address: int, nbytes: int) -> np.ndarray:
        """The bytes of a piece, for the host to fill."""
        self._state[address : address + nbytes] = FILLED
        return self.bytes[address : address + nbytes]

    def read(self, address: int, nbytes: int) -> np.ndarray:
        """A copy of the bytes of a piece."""
        return self.bytes[address : address + nbytes].copy()

    def forget(self, address: int, nbytes: int) -> None:
        """A piece holds nothing that a kernel may read, until somebody stores there."""
        self._state[address : address + nbytes] = OWNED

    def start_launch(self) -> None:
        """Launches follow one another: what one stores, the next may read."""
        self._races.start_launch()

    def _noted(self, at: np.ndarray, dtype: np.dtype, needed: int) -> np.ndarray:
        """Whether what is noted of all bytes of elements at byte addresses has the bits ``needed``."""
        if (at % dtype.itemsize).any():
            raise Fault(f"an address is no multiple of {dtype.itemsize}")
        if at.size and (at.min() < 0 or at.max() + dtype.itemsize > self.end):
            raise Fault("an address outside of all memory")
        bits = of_all_bytes(needed, dtype.itemsize)
        return (self._state.view(bits.dtype).take(at // dtype.itemsize) & bits) == bits

    def load(self, at: np.ndarray, dtype: np.dtype, lanes: np.ndarray, filled: bool = True) -> np.ndarray:
        """Elements at byte addresses; lanes: the thread of each. filled: they have to hold something."""
        if not self._noted(at, dtype, FILLED if filled else OWNED).all():
            if self._noted(at, dtype, OWNED).all():
                raise Fault("a thread reads what nobody stored")
            raise Fault("an address outside of what was allocated")
        if not self._races.read(at, dtype.itemsize, lanes):
            raise Fault("a thread reads what another one stored in the same launch")
        return self.bytes.view(dtype).take(at // dtype.itemsize)

    def store(self, at: np.ndarray, values: np.ndarray, lanes: np.ndarray) -> None:
        """Store elements at byte addresses."""
        itemsize = values.dtype.itemsize
        if not self._noted(at, values.dtype, OWNED).all():
            raise Fault("an address outside of what was allocated")
        if did := self._races.store(at, itemsize, lanes):
            raise Fault(f"a thread stores what another one {did} in the same launch")
        self.bytes.view(values.dtype)[at // itemsize] = values
        filled = of_all_bytes(FILLED, itemsize)
        self._state.view(filled.dtype)[at // itemsize] = filled


class SharedMemory:
    """Words of 32 bits of some blocks. Uninitialised ones are NaN, as floats and as halves.

    Copies that run beside the arithmetic (``send``) land when their thread waits for them (``land``); until then nobody
    may touch their target. conflicts: how often a warp that loads matrices or registers, or eight threads that copy
    or round, have to go through a bank again (``meet``).
    """

    def __init__(self, blocks: int, words: int = 12288) -> None:
        self.size, total = words, blocks * words
        self.words = np.full(total, 0xFFFFFFFF, np.uint32)
        self.writer, self.reader = (np.full(total, NOBODY, np.int32) for _ in range(2))
        self.flying, self.any_flying = np.zeros(total, bool), False
        self.end, self.conflicts = 0, 0

    def allocate(self, n: int) -> int:
        """The byte address of ``n`` floats."""
        address = self.end * 4
        self.end += -(-n // 4) * 4
        if self.end > self.size:
            raise Fault("a block has 48 KiB of static shared memory")
        return address

    def meet(self, banks: np.ndarray) -> None:
        """Note conflicts: along the last dimension are the banks of accesses at once, all to different places."""
        found = np.sort(banks)
        self.conflicts += int((found[..., 1:] == found[..., :-1]).sum())

    def barrier(self, blocks: np.ndarray) -> None:
        """What was stored in some blocks may be read by others."""
        for owner in (self.writer, self.reader):
            if blocks.all():
                owner.fill(NOBODY)
            else:
                owner.reshape(blocks.size, self.size)[blocks] = NOBODY

    def _place(self, block: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Where words number ``at`` of blocks are."""
        if at.size and (at.min() < 0 or at.max() >= self.end):
            raise Fault("shared memory outside of what was declared")
        place: np.ndarray = block * self.size + at
        if self.any_flying and self.flying.take(place).any():
            raise Fault("a thread touches shared memory to which a copy is under way")
        return place

    def load(self, block: np.ndarray, at: np.ndarray, threads: np.ndarray) -> np.ndarray:
        """Words number ``at`` of the threads' blocks."""
        place = self._place(block, at)
        writer = self.writer.take(place)
        if ((writer != NOBODY) & (writer != threads)).any():
            raise Fault("a thread reads shared memory that another one stored, without a barrier")
        before = self.reader.take(place)
        self.reader[place] = np.where((before == NOBODY) | (before == threads), threads, MANY)
        self.reader[place[self.reader.take(place) != threads]] = MANY
        return self.words.take(place)

    def store(self, block: np.ndarray, at: np.ndarray, values: np.ndarray, threads: np.ndarray) -> None:
        """Store words."""
        self.words[self._claim(block, at, threads)] = values

    def _claim(self, block: np.ndarray, at: np.ndarray, threads: np.ndarray) -> np.ndarray:
        place = self._place(block, at)
        for owner, did in ((self.writer, "stored"), (self.reader, "read")):
            found = owner.take(place)
            if ((found != NOBODY) & (found != threads)).any():
                raise Fault(f"a thread stores shared memory that another one {did}, without a barrier")
        self.writer[place] = threads
        if (self.writer.take(place) != threads).any():
            raise Fault("two threads store the same float of shared memory at once")
        return place

    def send(self, block: np.ndarray, at: np.ndarray, threads: np.ndarray) -> None:
        """Copies to words number ``at`` begin."""
        self.flying[self._claim(block, at, threads)] = True
        self.any_flying = True

    def land(self, block: np.ndarray, at: np.ndarray, values: np.ndarray, threads: np.ndarray) -> None:
        """Copies have arrived; other threads see them behind a barrier."""
        place = block * self.size + at
        self.flying[place] = False
        self.writer[place] = threads
        self.words[place] = values
