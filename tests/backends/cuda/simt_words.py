"""The words of kernel source (``backends/cuda/words.py``) on an emulated card: each works for all threads at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from simt_memory import DeviceMemory, Fault, SharedMemory

WARP = 32
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
    "largest": np.maximum,
    "smallest": np.minimum,
    "fma": lambda a, b, c: single(np.float64(a) * b + c),
}
"""Words of float32."""


class Words:
    """The words for some blocks that run side by side. mask: the threads that are active, set by the interpreter."""

    def __init__(self, memory: DeviceMemory, first_block: int, blocks: int, threads: int) -> None:
        self.memory, self.shared_memory = memory, SharedMemory(blocks)
        self.lanes = np.arange(blocks * threads)
        self.threads = threads
        self.tid, self.local_block = self.lanes % threads, self.lanes // threads
        self.number = self.lanes + first_block * threads
        self.first_block = first_block
        self.mask = np.ones(self.lanes.size, bool)
        self._declared: dict[int, int] = {}

    def call(self, name: str, site: int, arguments: list[Any]) -> Any:
        """The value of a word at a place of the source."""
        if name in FUNCTIONS:
            return single(FUNCTIONS[name](*(single(a) for a in arguments)))
        if name in KINDS:
            return np.asarray(arguments[0]).astype(KINDS[name])[()]
        if name == "shared":
            return np.int64(self._declared.setdefault(site, self.shared_memory.allocate(int(arguments[0]))))
        if name[:3] in ("ld_", "st_"):
            return getattr(self, name[:2])(np.dtype(name[3:]), *arguments)
        return getattr(self, name)(*arguments)

    def knows(self, name: str) -> bool:
        """It is a word."""
        return name in FUNCTIONS or name in KINDS or name == "shared" or name[:3] in ("ld_", "st_") or name in WORDS

    def _spread(self, value: Any, dtype: Any = None) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype), self.lanes.shape)

    def _active(self, value: Any, dtype: Any = None) -> np.ndarray:
        return self._spread(value, dtype)[self.mask]

    def _whole(self, values: np.ndarray) -> np.ndarray:
        whole = np.zeros(self.lanes.size, values.dtype)
        whole[self.mask] = values
        return whole

    # ---- memory -----------------------------------------------------------------------------------------------------

    def ld(self, dtype: np.dtype, a: Any, i: Any) -> np.ndarray:
        at = self._active(a, np.int64) + self._active(i, np.int64) * dtype.itemsize
        return self._whole(self.memory.load(at, dtype, self.number[self.mask]))

    def st(self, dtype: np.dtype, a: Any, i: Any, v: Any) -> None:
        at = self._active(a, np.int64) + self._active(i, np.int64) * dtype.itemsize
        self.memory.store(at, self._active(v).astype(dtype), self.number[self.mask])

    def ld4(self, a: Any, i: Any) -> tuple[Any, ...]:
        self._require_aligned(a, i)
        return tuple(self.ld(np.dtype("f4"), a, i + k) for k in range(4))

    def st4(self, a: Any, i: Any, *values: Any) -> None:
        self._require_aligned(a, i)
        for k, v in enumerate(values):
            self.st(np.dtype("f4"), a, i + k, v)

    def _require_aligned(self, a: Any, i: Any) -> None:
        if ((self._active(a) + 4 * self._active(i)) % 16).any():
            raise Fault("four floats at an address that is no multiple of 16")

    def sld(self, s: Any, i: Any) -> np.ndarray:
        at = self._active(s) // 4 + self._active(i)
        return self._whole(self.shared_memory.load(self.local_block[self.mask], at, self.tid[self.mask]))

    def sst(self, s: Any, i: Any, v: Any) -> None:
        at = self._active(s) // 4 + self._active(i)
        values = self._active(v).astype(np.float32)
        self.shared_memory.store(self.local_block[self.mask], at, values, self.tid[self.mask])

    def sld4(self, s: Any, i: Any) -> tuple[Any, ...]:
        self._require_aligned(s, i)
        return tuple(self.sld(s, i + k) for k in range(4))

    def sst4(self, s: Any, i: Any, *values: Any) -> None:
        self._require_aligned(s, i)
        for k, v in enumerate(values):
            self.sst(s, i + k, v)

    # ---- threads ----------------------------------------------------------------------------------------------------

    def thread(self) -> np.ndarray:
        return self.tid.astype(np.int32)

    def block(self) -> np.ndarray:
        return (self.local_block + self.first_block).astype(np.int32)

    def barrier(self) -> None:
        if not self.mask.all():
            raise Fault("a barrier that not all threads of a block reach")
        self.shared_memory.barrier()

    def swap(self, v: Any, m: Any) -> np.ndarray:
        if self.mask.reshape(-1, WARP).any(1).tolist() != self.mask.reshape(-1, WARP).all(1).tolist():
            raise Fault("an exchange that not all threads of a warp reach")
        return single(self._spread(v).reshape(-1, WARP)[:, np.arange(WARP) ^ int(m)].reshape(-1))

    # ---- numbers ----------------------------------------------------------------------------------------------------

    def quot(self, a: Any, b: Any) -> Any:
        a, b = self._naturals(a, b)
        return a // b

    def rest(self, a: Any, b: Any) -> Any:
        a, b = self._naturals(a, b)
        return a % b

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


WORDS = {n for n in vars(Words) if not n.startswith("_")} - {"call", "knows", "ld", "st"}
