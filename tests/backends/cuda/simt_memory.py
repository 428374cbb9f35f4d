"""Memory of an emulated card: one flat space with gaps, and the shared memory of blocks. Both know who touched what.

A kernel may not touch what nobody allocated, nor may two threads touch one element in the same launch if one of them
stores; in shared memory, not between two barriers.
"""

from __future__ import annotations

import numpy as np

GAP = 256
NOBODY, MANY = -1, -2


class Fault(Exception):
    """What a card would do silently, or die of."""


class DeviceMemory:
    """Bytes at addresses from ``GAP`` on; pieces begin at multiples of 256 with gaps between them."""

    def __init__(self, capacity: int = 1 << 26) -> None:
        self.bytes, self.owned = np.zeros(capacity, np.uint8), np.zeros(capacity, bool)
        self.stored_by = np.zeros(capacity // 4, np.int64)  # only what is used is ever touched
        self.end = GAP

    def allocate(self, nbytes: int) -> int:
        """The address of a new piece, which holds NaN."""
        address = self.end
        self.end = -(-(address + nbytes + GAP) // 256) * 256
        if self.end > self.bytes.size:
            raise MemoryError("the emulated card has no more memory")
        self.owned[address : address + nbytes] = True
        self.bytes[address : address + nbytes] = 0xFF  # NaN, in every kind of float
        return address

    def view(self, address: int, nbytes: int) -> np.ndarray:
        """The bytes of a piece, for the host."""
        return self.bytes[address : address + nbytes]

    def start_launch(self) -> None:
        """Forget who stored what: launches follow one another."""
        self.stored_by[: self.end // 4] = NOBODY

    def _check(self, at: np.ndarray, nbytes: int) -> None:
        if (at % nbytes).any():
            raise Fault(f"an address is no multiple of {nbytes}")
        if at.size and (at.min() < 0 or at.max() + nbytes > self.end):
            raise Fault("an address outside of all memory")
        if not (self.owned[at].all() and self.owned[at + nbytes - 1].all()):
            raise Fault("an address outside of what was allocated")

    def load(self, at: np.ndarray, dtype: np.dtype, lanes: np.ndarray) -> np.ndarray:
        """Elements at byte addresses; lanes: the thread of each."""
        self._check(at, dtype.itemsize)
        owner = self.stored_by[at // 4]
        if ((owner != NOBODY) & (owner != lanes)).any():
            raise Fault("a thread reads what another one stored in the same launch")
        return self.bytes.view(dtype)[at // dtype.itemsize]

    def store(self, at: np.ndarray, values: np.ndarray, lanes: np.ndarray) -> None:
        """Store elements at byte addresses."""
        self._check(at, values.dtype.itemsize)
        if values.dtype.itemsize >= 4:  # threads may store neighbours within a word
            owner = self.stored_by[at // 4]
            if ((owner != NOBODY) & (owner != lanes)).any():
                raise Fault("two threads store the same element")
            self.stored_by[at // 4] = lanes
            if (self.stored_by[at // 4] != lanes).any():
                raise Fault("two threads store the same element at once")
        self.bytes.view(values.dtype)[at // values.dtype.itemsize] = values


class SharedMemory:
    """Words of 32 bits of some blocks. Uninitialised ones are NaN, as floats and as halves.

    Copies that run beside the arithmetic (``send``) land when their thread waits for them (``land``); until then nobody
    may touch their target. conflicts: how often a warp that loads matrices has to go through a bank again.
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
