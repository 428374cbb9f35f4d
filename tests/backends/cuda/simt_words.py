"""The words of kernel source (``backends/cuda/words.py``) on an emulated card: each works for all threads at once."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from simt_memory import DeviceMemory, Fault
from simt_numbers import converted
from simt_tensor import TensorWords
from simt_warpgroup import ProxiedMemory, WarpgroupWords

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16

WARP = 32
MOVES = re.compile(r"(ld|st)(\d?)_(\w\w)")
"""Words that load and store elements."""
KINDS = {"i32": np.int32, "i64": np.int64, "f4": np.float32, "f8": np.float64}
ERF = np.vectorize(math.erf, otypes=[np.float32])


def single(value: Any) -> Any:
    """As float32."""
    return np.asarray(value, np.float32)[()]


def _sigmoid(a: Any) -> Any:
    return single(1 / (1 + np.exp(-a)))


_NUMPY = ("sqrt", "exp", "log", "tanh", "sin", "cos", "floor", "ceil")
FUNCTIONS: dict[str, Any] = {
    **{name: getattr(np, name) for name in _NUMPY},
    "erf": ERF,
    "nearest": np.rint,
    "absolute": np.abs,
    "sigmoid": _sigmoid,
    "pow": np.power,
    "div": np.divide,
    "times": np.multiply,
    "plus": np.add,
    "largest": np.maximum,
    "smallest": np.minimum,
    "fma": lambda a, b, c: single(np.float64(a) * b + c),
}
"""Words of float32."""


def stored_as(code: str) -> np.dtype:
    """How elements lie in memory: by NumPy's letters, and bf for bfloat16."""
    return np.dtype(np.uint16 if code == "bf" else code)


class Words(WarpgroupWords):
    """The words for some blocks that run side by side. mask: the threads that are active, set by the interpreter."""

    def __init__(self, memory: DeviceMemory, first_block: int, blocks: int, threads: int, shared: int = 0) -> None:
        self.memory, self.shared_memory = memory, ProxiedMemory(blocks, shared)
        self.lanes = np.arange(blocks * threads)
        self.threads = threads
        self.tid, self.local_block = self.lanes % threads, self.lanes // threads
        self.number = self.lanes + first_block * threads
        self.first_block = first_block
        self.mask = np.ones(self.lanes.size, bool)
        self._declared: dict[int, int] = {}
        super().__init__()

    def call(self, name: str, site: int, arguments: list[Any]) -> Any:
        """The value of a word at a place of the source."""
        if name in FUNCTIONS:
            return single(FUNCTIONS[name](*(single(a) for a in arguments)))
        if name in KINDS:
            return converted(arguments[0], KINDS[name])[()]
        if name == "shared":
            return np.int64(self._declared.setdefault(site, self.shared_memory.allocate(int(arguments[0]))))
        move = MOVES.fullmatch(name)
        if move:
            kind, count, code = move.groups()
            return {"ld": self.load, "st": self.store}[kind](code, int(count or 1), *arguments)
        return getattr(self, name)(*arguments)

    def knows(self, name: str) -> bool:
        """It is a word."""
        return name in FUNCTIONS or name in KINDS or name == "shared" or bool(MOVES.fullmatch(name)) or name in WORDS

    # ---- memory -----------------------------------------------------------------------------------------------------

    def load(self, code: str, count: int, a: Any, i: Any) -> Any:
        """One element, or ``count`` of them as a tuple; halves as the floats that they stand for.

        Of several, somebody must have stored the first: the others may be channels that fill up a block, which kernels
        load with it and leave alone.
        """
        self._require_aligned(code, count, a, i)
        found = [self._load(code, a, i + k, filled=k == 0) for k in range(count)]
        return found[0] if count == 1 else tuple(found)

    def _load(self, code: str, a: Any, i: Any, filled: bool) -> np.ndarray:
        dtype = stored_as(code)
        at = self._active(a, np.int64) + self._active(i, np.int64) * dtype.itemsize
        found = self.memory.load(at, dtype, self.number[self.mask], filled)
        if code == "bf":
            found = from_bfloat16(found)
        return self._whole(found.astype(np.float32) if code == "f2" else found)

    def store(self, code: str, count: int, a: Any, i: Any, *values: Any) -> None:
        """Store elements; floats are rounded to halves."""
        self._require_aligned(code, count, a, i)
        if len(values) != count:
            raise Fault(f"{len(values)} elements are given to be stored, not {count}")
        for k, v in enumerate(values):
            self._store(code, a, i + k, v)

    def _store(self, code: str, a: Any, i: Any, v: Any) -> None:
        dtype = stored_as(code)
        at = self._active(a, np.int64) + self._active(i, np.int64) * dtype.itemsize
        values = self._active(v)
        values = to_bfloat16(values.astype(np.float32)) if code == "bf" else converted(values, dtype)
        self.memory.store(at, values, self.number[self.mask])

    def ld4(self, a: Any, i: Any) -> Any:
        return self.load("f4", 4, a, i)

    def st4(self, a: Any, i: Any, *values: Any) -> None:
        self.store("f4", 4, a, i, *values)

    def _require_aligned(self, code: str, count: int, a: Any, i: Any) -> None:
        each = stored_as(code).itemsize
        size = min(count * each, 16)
        if count > 1 and ((self._active(a) + each * self._active(i)) % size).any():
            raise Fault(f"{count} elements at an address that is no multiple of {size}")

    def sld(self, s: Any, i: Any) -> np.ndarray:
        at = self._active(s) // 4 + self._active(i)
        words = self.shared_memory.load(self.local_block[self.mask], at, self.tid[self.mask])
        return self._whole(words.view(np.float32))

    def sst(self, s: Any, i: Any, v: Any) -> None:
        at = self._active(s) // 4 + self._active(i)
        values = np.ascontiguousarray(self._active(v), np.float32).view(np.uint32)
        self.shared_memory.store(self.local_block[self.mask], at, values, self.tid[self.mask])

    def sld4(self, s: Any, i: Any) -> tuple[Any, ...]:
        self._require_aligned("f4", 4, s, i)
        return tuple(self.sld(s, i + k) for k in range(4))

    def sst4(self, s: Any, i: Any, *values: Any) -> None:
        self._require_aligned("f4", 4, s, i)
        for k, v in enumerate(values):
            self.sst(s, i + k, v)

    def fail(self, a: Any, code: Any) -> None:
        """The word at an address becomes the largest of what the threads give."""
        word = self.memory.view(int(self._active(a)[0]), 8).view(np.int64)
        word[0] = max(int(word[0]), int(self._active(code).max()))

    # ---- threads ----------------------------------------------------------------------------------------------------

    def thread(self) -> np.ndarray:
        return self.tid.astype(np.int32)

    def block(self) -> np.ndarray:
        return (self.local_block + self.first_block).astype(np.int32)

    def barrier(self) -> None:
        there = self.mask.reshape(-1, self.threads)
        if (there.any(1) != there.all(1)).any():
            raise Fault("a barrier that not all threads of a block reach")
        self.shared_memory.barrier(there.all(1))

    def swap(self, v: Any, m: Any) -> np.ndarray:
        self._require_whole_warps("an exchange")
        return single(self._spread(v).reshape(-1, WARP)[:, np.arange(WARP) ^ int(m)].reshape(-1))

    # ---- numbers ----------------------------------------------------------------------------------------------------

    def quot(self, a: Any, b: Any) -> Any:
        a, b = self._naturals(a, b)
        return a // b

    def rest(self, a: Any, b: Any) -> Any:
        a, b = self._naturals(a, b)
        return a % b

    def within(self, a: Any, n: Any) -> Any:
        for v in (self._active(a), self._active(n)):
            if v.size and (v.min() < -(2**31) or v.max() > 2**31 - 1):
                raise Fault("a comparison outside of 32 bits")
        return (np.asarray(a) >= 0) & (np.asarray(a) < n)

    def _naturals(self, *values: Any) -> list[Any]:
        """The operands of a division of 32 bits; those of threads that are not active do not count."""
        found = []
        for v in values:
            active = self._active(v)
            if active.size and (active.min() < 0 or active.max() > 2**31 - 1):
                raise Fault("a division outside of 32 bits")
            found.append(np.maximum(np.asarray(v, np.int64), 0)[()])
        found[1] = np.maximum(found[1], 1)
        return found

    def where(self, m: Any, a: Any, b: Any) -> Any:
        return np.where(m, single(a), single(b))[()]

    def isnan(self, a: Any) -> Any:
        return np.isnan(a)

    def double(self, n: Any) -> Any:
        return np.int64(n).view(np.float64)

    def no(self, m: Any) -> Any:
        return np.logical_not(m)


NO_WORDS = {"call", "knows", "load", "store"}
WORDS = {n for kind in (Words, TensorWords, WarpgroupWords) for n in vars(kind) if not n.startswith("_")} - NO_WORDS
