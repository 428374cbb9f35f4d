"""The words of tensor cores (``backends/cuda/tensor_words.py``) on an emulated card."""

from __future__ import annotations

from typing import Any

import numpy as np
from simt_memory import DeviceMemory, Fault, SharedMemory

from graphc.ir.bfloat16 import from_bfloat16
from graphc.ir.fpmath import to_tf32

WARP = BANKS = 32
QUARTERS = np.arange(4)


def require_tf32(bits: np.ndarray) -> None:
    """Raise ``Fault`` where a number has bits that TF32 does not have."""
    if ((bits & 0x1FFF != 0) & ~np.isnan(bits.view(np.float32))).any():
        raise Fault("a product of numbers that are not rounded to TF32")


class TensorWords:
    """What copies, loads of matrices and products do for some blocks side by side."""

    memory: DeviceMemory
    shared_memory: SharedMemory
    mask: np.ndarray
    lanes: np.ndarray
    tid: np.ndarray
    number: np.ndarray
    local_block: np.ndarray

    def __init__(self) -> None:
        self._groups = np.zeros(self.lanes.size, np.int64)
        self._flying: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        """Of each copy of some threads: the threads, their groups, the words of shared memory, what comes there."""

    def _spread(self, value: Any, dtype: Any = None) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype), self.lanes.shape)

    def _active(self, value: Any, dtype: Any = None) -> np.ndarray:
        return self._spread(value, dtype)[self.mask]

    def _whole(self, values: np.ndarray) -> np.ndarray:
        whole = np.zeros(self.lanes.size, values.dtype)
        whole[self.mask] = values
        return whole

    def _require_whole_warps(self, what: str) -> None:
        warps = self.mask.reshape(-1, WARP)
        if (warps.any(1) != warps.all(1)).any():
            raise Fault(f"{what} that not all threads of a warp reach")

    # ---- copies -----------------------------------------------------------------------------------------------------

    def copy16(self, s: Any, a: Any, n: Any) -> None:
        lanes = np.flatnonzero(self.mask)
        to, source, count = (self._active(v, np.int64) for v in (s, a, n))
        if (to % 16).any() or (source % 16).any():  # also where nothing is taken
            raise Fault("a copy of 16 bytes from or to an address that is no multiple of 16")
        if ((count < 0) | (count > 16)).any():
            raise Fault("a copy of 16 bytes that is to take less than none, or more than all")
        values = np.zeros((lanes.size, 4), np.uint32)
        whole = count == 16
        places, owners = source[whole][:, None] + 4 * QUARTERS, self.number[lanes[whole]][:, None]
        values[whole] = self.memory.load(places, np.dtype(np.uint32), owners)
        for k in range(16 if (~whole & (count > 0)).any() else 0):
            some = ~whole & (count > k)
            found = self.memory.load(source[some] + k, np.dtype(np.uint8), self.number[lanes[some]])
            values.view(np.uint8)[some, k] = found
        words = to[:, None] // 4 + QUARTERS
        eights = self.mask.reshape(-1, 8).all(1)
        self.shared_memory.meet(self._spread(s, np.int64).reshape(-1, 8)[eights] // 16 % 8)
        block, threads = (np.repeat(v[lanes], 4) for v in (self.local_block, self.tid))
        self.shared_memory.send(block, words.reshape(-1), threads)
        self._flying.append((lanes, self._groups[lanes], words, values))

    def commit(self) -> None:
        self._groups[self.mask] += 1

    def wait(self, n: Any) -> None:
        left = []
        for lanes, groups, words, values in self._flying:
            done = self.mask[lanes] & (groups < self._groups[lanes] - int(n))
            block, threads = (np.repeat(v[lanes[done]], 4) for v in (self.local_block, self.tid))
            self.shared_memory.land(block, words[done].reshape(-1), values[done].reshape(-1), threads)
            if not done.all():
                left.append((lanes[~done], groups[~done], words[~done], values[~done]))
        self._flying = left

    # ---- matrices ---------------------------------------------------------------------------------------------------

    def matrices(self, s: Any) -> tuple[np.ndarray, ...]:
        found = self._rows_of_matrices(s)
        return tuple(self._whole(np.ascontiguousarray(found[:, q]).view(np.int32).reshape(-1)) for q in range(4))

    def turned_matrices(self, s: Any) -> tuple[np.ndarray, ...]:
        rows = np.ascontiguousarray(self._rows_of_matrices(s)).view(np.uint16).reshape(-1, 4, 8, 8)
        found = np.ascontiguousarray(rows.swapaxes(2, 3)).view(np.int32).reshape(-1, 4, WARP)
        return tuple(self._whole(np.ascontiguousarray(found[:, q]).reshape(-1)) for q in range(4))

    def register(self, s: Any) -> np.ndarray:
        self._require_whole_warps("a load of a register")
        at = self._active(s, np.int64)
        if (at % 4).any():
            raise Fault("a register at an address that is no multiple of 4")
        self.shared_memory.meet(at.reshape(-1, WARP) // 4 % BANKS)
        words = self.shared_memory.load(self.local_block[self.mask], at // 4, self.tid[self.mask])
        return self._whole(words.view(np.int32))

    def _rows_of_matrices(self, s: Any) -> np.ndarray:
        """The words of four matrices by warp, matrix, and row."""
        self._require_whole_warps("a load of matrices")
        at = self._active(s, np.int64)
        if (at % 16).any():
            raise Fault("a row of a matrix at an address that is no multiple of 16")
        rows = at.reshape(-1, 4, 8)
        self.shared_memory.meet(rows // 16 % 8)
        words = (rows[..., None] // 4 + QUARTERS).reshape(-1, 4, WARP)  # a row is read by the threads that get it
        shape = words.shape
        block, threads = (
            np.broadcast_to(v[self.mask].reshape(-1, 1, WARP), shape).reshape(-1) for v in (self.local_block, self.tid)
        )
        return self.shared_memory.load(block, words.reshape(-1), threads).reshape(shape)

    def mma_f2(self, *registers: Any) -> tuple[np.ndarray, ...]:
        return self._product(lambda bits: bits.view(np.float16).astype(np.float32), *registers)

    def mma_bf(self, *registers: Any) -> tuple[np.ndarray, ...]:
        return self._product(lambda bits: from_bfloat16(bits.view(np.uint16)), *registers)

    def mma_tf(self, *registers: Any) -> tuple[np.ndarray, ...]:
        for v in registers[:6]:
            require_tf32(self._active(v, np.int32))
        return self._product(lambda bits: bits.view(np.float32), *registers)

    def tf32(self, v: Any) -> np.ndarray:
        return self._whole(to_tf32(self._active(v, np.int32).view(np.float32)).view(np.int32))

    def round_tf32(self, s: Any) -> None:
        at, kept = self._active(s, np.int64), (self.local_block[self.mask], self.tid[self.mask])
        if (at % 16).any():
            raise Fault("numbers to be rounded at an address that is no multiple of 16")
        eights = self.mask.reshape(-1, 8).all(1)
        self.shared_memory.meet(self._spread(s, np.int64).reshape(-1, 8)[eights] // 16 % 8)
        words = at[:, None] // 4 + QUARTERS
        block, threads = (np.repeat(v, 4) for v in kept)
        found = self.shared_memory.load(block, words.reshape(-1), threads)
        rounded = to_tf32(found.view(np.float32)).view(found.dtype)
        self.shared_memory.store(block, words.reshape(-1), rounded, threads)

    def mma_u1(self, *registers: Any) -> tuple[np.ndarray, ...]:
        kinds = (np.uint8, np.int8)
        return self._product(lambda bits, k=0: bits.view(kinds[k]).astype(np.float32), *registers, whole=True)

    def _product(self, read: Any, *registers: Any, whole: bool = False) -> tuple[np.ndarray, ...]:
        """C + A B by warps; read: numbers of 32-bit registers, whole: they are bytes and the sums integers.

        The numbers of a register are the last dimension; rows and columns as ``tensor_words.py`` has them.
        """
        self._require_whole_warps("a product")
        a, b = (np.stack([self._active(r, np.int32) for r in part], 1) for part in (registers[:4], registers[4:6]))
        numbers = [read(a, 0), read(b, 1)] if whole else [read(a), read(b)]
        each = numbers[0].shape[1] // 4
        left = numbers[0].reshape(-1, 8, 4, 2, 2, each).transpose(0, 4, 1, 3, 2, 5).reshape(-1, 16, 8 * each)
        right = numbers[1].reshape(-1, 8, 4, 2, each).transpose(0, 3, 2, 4, 1).reshape(-1, 8 * each, 8)
        made = np.matmul(left, right).reshape(-1, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4)
        kind = np.int32 if whole else np.float32
        return tuple(
            self._whole((self._active(c, kind) + made[:, k].astype(kind)).astype(kind))
            for k, c in enumerate(registers[6:])
        )
