"""The words of tensor cores that four warps use together (``backends/cuda/warpgroup_words.py``) on an emulated card.

Written from NVIDIA's PTX ISA: descriptors are taken apart as the hardware does, and what it leaves undefined is a
``Fault``. Products read shared memory through another view of it (the async proxy) at any time until they are waited
for, so nothing they read may be under way, unpublished, or stored to meanwhile; the registers of their sums belong to
them until then, and have to be fenced before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from simt_memory import MANY, Fault, SharedMemory
from simt_tensor import TensorWords, require_tf32

from graphc.ir.bfloat16 import from_bfloat16

GROUP = 128
"""Threads of a warpgroup."""
FIELDS = {"start": 0, "lead": 16, "stride": 32}
"""The fields of a descriptor that are offsets: 14 bits each from these on, in units of 16 bytes."""
OTHER_BITS = ~sum(0x3FFF << at for at in FIELDS.values()) & 0xFFFFFFFFFFFFFFFF
SEEN, STORED, PUBLISHED = 0, 1, 2
STATIC, LARGEST = 48 << 10, 227 << 10
"""Bytes of shared memory that a kernel declares, and that a block is launched with, at most."""
NEVER = -1
COLUMNS = {"f": range(8, 257, 8), "i": [8, 16, 24, *range(32, 257, 16)]}
"""Columns of a product, by the kind of its sums."""


class ProxiedMemory(SharedMemory):
    """Shared memory that products read beside the arithmetic; dynamic: bytes that the launch gives each block.

    A word is ``STORED``, then ``PUBLISHED`` by the thread that stored it, then behind a barrier ``SEEN`` by products.
    """

    def __init__(self, blocks: int, dynamic: int = 0) -> None:
        super().__init__(blocks)
        self.blocks, self.dynamic = blocks, dynamic
        self._watch()

    def _watch(self) -> None:
        self.state, self.last = np.zeros(self.words.size, np.int8), np.zeros(self.words.size, np.int32)
        self.reading = np.zeros(self.words.size, np.int16)

    def allocate(self, n: int) -> int:
        """The byte address of ``n`` floats; more than 48 KiB are dynamic memory, which is one piece."""
        if 4 * n <= STATIC:
            return super().allocate(n)
        if self.end or 4 * n > min(self.dynamic, LARGEST):
            raise Fault(f"{4 * n} bytes of dynamic shared memory where the launch gives a block {self.dynamic}")
        SharedMemory.__init__(self, self.blocks, n)
        self._watch()
        return super().allocate(n)

    def _claim(self, block: np.ndarray, at: np.ndarray, threads: np.ndarray) -> np.ndarray:
        place = super()._claim(block, at, threads)
        if self.reading.take(place).any():
            raise Fault("a thread stores shared memory that products under way read")
        self.state[place], self.last[place] = STORED, threads
        return place

    def land(self, block: np.ndarray, at: np.ndarray, values: np.ndarray, threads: np.ndarray) -> None:
        """Copies have arrived, by the thread's own view."""
        super().land(block, at, values, threads)
        self.state[block * self.size + at] = STORED

    def publish(self, active: np.ndarray) -> None:
        """What these threads of blocks (blocks, threads) stored goes to the other view."""
        block = np.repeat(np.arange(self.blocks), self.size)
        mine = active[block, self.last] & (self.state == STORED) & ~self.flying
        self.state[mine] = PUBLISHED

    def barrier(self, blocks: np.ndarray) -> None:
        """What was published before is seen behind."""
        super().barrier(blocks)
        state = self.state.reshape(self.blocks, self.size)
        state[blocks[:, None] & (state == PUBLISHED)] = SEEN

    def read(self, block: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Words that products begin to read; they end with ``release`` of their places."""
        place = self._place(block, at)
        if (self.state.take(place) != SEEN).any():
            raise Fault("a product reads shared memory that was not published, with a barrier behind")
        np.add.at(self.reading, place, 1)
        return self.words.take(place)

    def release(self, block: np.ndarray, at: np.ndarray) -> None:
        """Products have read these words; that they have, other warps know behind a barrier."""
        place = block * self.size + at
        np.subtract.at(self.reading, place, 1)
        self.reader[place] = MANY


class Sums:
    """The registers of sums of all threads: (number, thread).

    group: of products under way with them, ``NEVER`` if there is none. touched: when a thread last used them itself.
    gone: they went into a product, which has given others.
    """

    def __init__(self, words: WarpgroupWords, values: np.ndarray) -> None:
        self.words, self.values = words, values
        self.group = np.full(values.shape[1], NEVER)
        self.touched = np.full(values.shape[1], words.clock)
        self.gone = np.zeros(values.shape[1], bool)

    def copy(self) -> Sums:
        """Others with the same state."""
        made = Sums(self.words, self.values.copy())
        made.group, made.touched, made.gone = self.group.copy(), self.touched.copy(), self.gone.copy()
        return made

    def merged(self, mask: np.ndarray, old: Sums) -> Sums:
        """These for the threads of a mask, the old ones for the others."""
        made = self.copy()
        for name in ("values", "group", "touched", "gone"):
            setattr(made, name, np.where(mask, getattr(self, name), getattr(old, name)))
        return made

    def take(self) -> Sums:
        """Others for the active threads, which may not use these any more."""
        self.require_here()
        made = self.copy()
        self.gone |= self.words.mask
        return made

    def require_here(self) -> None:
        """Raise ``Fault`` where a product has taken the registers of an active thread."""
        if self.gone[self.words.mask].any():
            raise Fault("sums are used that went into a product")

    def __getitem__(self, number: int) -> np.ndarray:
        self.require_here()
        if (self.group[self.words.mask] != NEVER).any():
            raise Fault("a thread touches sums while products are under way with them")
        self.touched[self.words.mask] = self.words.clock
        return self.values[number]


def _of_tf32(found: np.ndarray) -> np.ndarray:
    """The numbers of a matrix, which have to be rounded."""
    require_tf32(found.view(np.int32))
    return found.view(np.float32)


class WarpgroupWords(TensorWords):
    """What products of warpgroups do for some blocks side by side."""

    shared_memory: ProxiedMemory
    threads: int

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0
        self._fenced = np.full(self.lanes.size, NEVER)
        self._group = np.zeros(-(-self.lanes.size // GROUP), np.int64)
        """Of each warpgroup: how many groups of products it has committed."""
        self._products: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        """Of products under way: warpgroups, their groups, the words that each of them reads."""

    def _warpgroups(self, what: str) -> np.ndarray:
        """The numbers of the active warpgroups, all of whose threads have to be active."""
        if self.threads % GROUP:
            raise Fault(f"{what} in a block that is not made of warpgroups")
        active = self.mask.reshape(-1, GROUP)
        if (active.any(1) != active.all(1)).any():
            raise Fault(f"{what} that not all threads of a warpgroup reach")
        return np.flatnonzero(active.all(1))

    # ---- registers --------------------------------------------------------------------------------------------------

    def zeros_f4(self, n: Any) -> Sums:
        return Sums(self, np.zeros((int(n), self.lanes.size), np.float32))

    def zeros_i4(self, n: Any) -> Sums:
        return Sums(self, np.zeros((int(n), self.lanes.size), np.int32))

    def wgmma_fence(self) -> None:
        self._warpgroups("a fence of sums")
        self._fenced[self.mask] = self.clock
        self.clock += 1

    def wgmma_commit(self) -> None:
        self._group[self._warpgroups("a group of products")] += 1

    def wgmma_wait(self, sums: Sums, n: Any) -> Sums:
        there, left = np.isin(np.arange(self._group.size), self._warpgroups("a wait for products")), []
        for groups, numbers, words in self._products:
            done = there[groups] & (numbers < self._group[groups] - int(n))
            block = np.repeat(groups[done] * GROUP // self.threads, words.shape[1])
            self.shared_memory.release(block, words[done].reshape(-1))
            if not done.all():
                left.append((groups[~done], numbers[~done], words[~done]))
        self._products = left
        made = sums.take()
        done = self.mask & (made.group < np.repeat(self._group, GROUP)[: self.lanes.size] - int(n))
        made.group[done] = NEVER
        return made

    # ---- shared memory ----------------------------------------------------------------------------------------------

    def publish(self) -> None:
        self.shared_memory.publish(self.mask.reshape(-1, self.threads))

    def descriptor(self, s: Any, deep: Any, down: Any) -> np.ndarray:
        for value in (self._active(s), deep, down):
            if (np.asarray(value) % 16).any():
                raise Fault("a matrix at no multiple of 16 bytes")
        parts = {"start": s, "lead": deep, "stride": down}
        bits = [(np.asarray(parts[name], np.int64) & 0x3FFFF) >> 4 << at for name, at in FIELDS.items()]
        return bits[0] | bits[1] | bits[2]

    def _matrix(self, groups: np.ndarray, given: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The bytes (warpgroup, rows, 32) of the matrix that a descriptor tells of, and the words that they are in.

        Sixteen bytes of a row lie together, those of eight rows behind each other; ``lead`` goes to the other sixteen
        bytes, ``stride`` to the next eight rows.
        """
        told = self._spread(given, np.int64).reshape(-1, GROUP)[groups]
        if (told != told[:, :1]).any():
            raise Fault("threads of a warpgroup have different descriptors")
        if (told[:, 0].view(np.uint64) & np.uint64(OTHER_BITS)).any():
            raise Fault("a descriptor of another layout, or one that overflowed")
        start, lead, stride = ((told[:, 0] >> at & 0x3FFF) << 4 for at in FIELDS.values())
        row = np.arange(rows)
        down = row % 8 * 16 + row // 8 * stride[:, None]
        places = start[:, None, None] + down[:, :, None] + np.arange(2) * lead[:, None, None]
        words = (places[..., None] // 4 + np.arange(4)).reshape(len(groups), -1)
        block = np.repeat(groups * GROUP // self.threads, words.shape[1])
        found = self.shared_memory.read(block, words.reshape(-1))
        return found.view(np.uint8).reshape(len(groups), rows, 32), words

    # ---- products ---------------------------------------------------------------------------------------------------

    def wgmma_f2(self, sums: Sums, a: Any, b: Any) -> Sums:
        return self._begin(sums, a, b, *[lambda v: v.view(np.float16).astype(np.float32)] * 2)

    def wgmma_bf(self, sums: Sums, a: Any, b: Any) -> Sums:
        return self._begin(sums, a, b, *[lambda v: from_bfloat16(v.view(np.uint16))] * 2)

    def wgmma_tf(self, sums: Sums, a: Any, b: Any) -> Sums:
        return self._begin(sums, a, b, *[_of_tf32] * 2)

    def wgmma_u1(self, sums: Sums, a: Any, b: Any) -> Sums:
        return self._begin(sums, a, b, lambda v: v.astype(np.float32), lambda v: v.view(np.int8).astype(np.float32))

    def _begin(self, sums: Sums, a: Any, b: Any, *read: Any) -> Sums:
        groups, made = self._warpgroups("a product"), sums.take()
        columns = 2 * len(made.values)
        if columns not in COLUMNS[made.values.dtype.kind]:
            raise Fault(f"a product with {columns} columns")
        if (made.touched[self.mask] > self._fenced[self.mask]).any():
            raise Fault("a product with sums that threads touched, without a fence")
        (left, left_words), (right, right_words) = self._matrix(groups, a, 64), self._matrix(groups, b, columns)
        total = np.matmul(read[0](left), read[1](right).transpose(0, 2, 1))
        # row 16 warp + 8 h + g, column 8 j + 2 q + k -> number (j, h, k) of thread (warp, g, q)
        whole = total.reshape(len(groups), 4, 2, 8, columns // 8, 4, 2).transpose(4, 2, 6, 0, 1, 3, 5)
        made.values[:, self.mask] += whole.reshape(columns // 2, -1).astype(made.values.dtype)
        made.group[self.mask] = np.repeat(self._group[groups], GROUP)
        self._products.append((groups, self._group[groups], np.concatenate([left_words, right_words], 1)))
        return made
