"""Who read and who stored what in a launch of an emulated card, so that races between threads are found."""

from __future__ import annotations

import numpy as np

THREADS = 1 << 32
"""More than a launch has. Launch n is the number n * THREADS, its thread t that number and t."""
MANY = THREADS - 1
"""In place of a thread: several."""


class Touched:
    """The last readers and the last writer of a memory's elements of one size.

    Each is a thread in a launch, as one number: what earlier launches did is smaller than the launch, and so nothing is
    cleared between them. Pages of these arrays exist once they are touched.
    """

    def __init__(self, capacity: int, itemsize: int) -> None:
        self.itemsize = itemsize
        self._reader, self._writer = (np.zeros(capacity // itemsize, np.int64) for _ in range(2))
        self._read_in = self._stored_in = 0

    def readers(self, at: np.ndarray, nbytes: int, launch: int) -> list[np.ndarray]:
        """Who read bytes of elements of ``nbytes`` at byte addresses ``at``; an array for each part of them."""
        return self._found(self._reader, at, nbytes) if self._read_in == launch else []

    def writers(self, at: np.ndarray, nbytes: int, launch: int) -> list[np.ndarray]:
        """The same for who stored."""
        return self._found(self._writer, at, nbytes) if self._stored_in == launch else []

    def _found(self, owner: np.ndarray, at: np.ndarray, nbytes: int) -> list[np.ndarray]:
        first = at // self.itemsize
        return [owner.take(first + k if k else first) for k in range(max(nbytes // self.itemsize, 1))]

    def read(self, at: np.ndarray, me: np.ndarray, launch: int) -> None:
        """The threads ``me`` read the elements at byte addresses ``at``."""
        self._read_in, place, many = launch, at // self.itemsize, launch + MANY
        before = self._reader.take(place)
        if (before == many).all():
            return
        self._reader[place] = np.where((before < launch) | (before == me), me, many)
        shared = self._reader.take(place) != me  # by earlier readers, or by others just now
        self._reader[place[shared]] = many

    def store(self, at: np.ndarray, me: np.ndarray, launch: int) -> bool:
        """The same for stores; false where two threads store an element at once."""
        self._stored_in, place = launch, at // self.itemsize
        self._writer[place] = me
        return bool((self._writer.take(place) == me).all())


class Races:
    """The accesses of a launch to a flat memory; sizes of elements may be mixed.

    No barrier helps: threads that exchange something through this memory are taken for a race even within a block,
    where a barrier would order them. No kernel does that.
    """

    def __init__(self, capacity: int) -> None:
        self._touched = {itemsize: Touched(capacity, itemsize) for itemsize in (1, 2, 4, 8)}
        self._launch = 0

    def start_launch(self) -> None:
        """Launches follow one another: what earlier ones did is no race."""
        self._launch += THREADS

    def read(self, at: np.ndarray, itemsize: int, lanes: np.ndarray) -> bool:
        """The threads ``lanes`` read elements at byte addresses; false where another one stored there."""
        me = lanes + self._launch
        good = not any(
            self._others(found, me) for t in self._touched.values() for found in self._writers(t, at, itemsize)
        )
        self._touched[itemsize].read(at, me, self._launch)
        return good

    def store(self, at: np.ndarray, itemsize: int, lanes: np.ndarray) -> str:
        """The threads store; what another one did there before, ``""`` if nothing."""
        me = lanes + self._launch
        for touched in self._touched.values():
            if any(self._others(found, me) for found in self._writers(touched, at, itemsize)):
                return "stored"
            if any(self._others(found, me) for found in touched.readers(at, itemsize, self._launch)):
                return "read"
        return "" if self._touched[itemsize].store(at, me, self._launch) else "stored"

    def _writers(self, touched: Touched, at: np.ndarray, itemsize: int) -> list[np.ndarray]:
        return touched.writers(at, itemsize, self._launch)

    def _others(self, found: np.ndarray, me: np.ndarray) -> bool:
        return bool(((found >= self._launch) & (found != me)).any())
