"""Machine code of a kernel for a card, and what it takes of a multiprocessor. Nothing here needs a card or Numba."""

from __future__ import annotations

import json
from dataclasses import dataclass

from graphc.backends.load import KernelObject

THREADS, REGISTERS, BLOCKS = 2048, 65536, 32
"""Of a multiprocessor: threads, registers, resident blocks."""
SYSTEM_SHARED = 1 << 10
"""Bytes of shared memory that each block takes besides its own."""


@dataclass(frozen=True)
class Cubin:
    """Machine code whose entry has the kernel's name.

    registers: of a thread. stack, spilled: bytes of a thread in slow memory, both 0 in a good kernel. shared: bytes of
    a block. serialized: how often the compiler has products of warpgroups wait where the source does not, 0 in a good
    kernel. threads: of a block.
    """

    name: str
    code: bytes
    threads: int
    registers: int
    stack: int
    spilled: int
    shared: int
    serialized: int = 0

    def occupancy(self, shared: int) -> float:
        """The share of a multiprocessor's threads that can be resident, as registers and its shared memory allow.

        shared: bytes that it has, ``CudaTarget.shared``.
        """
        warps = -(-self.threads // 32)
        registers = warps * (-(-self.registers * 32 // 256) * 256)
        blocks = min(BLOCKS, THREADS // self.threads, REGISTERS // max(registers, 1))
        blocks = min(blocks, shared // (self.shared + SYSTEM_SHARED))
        return blocks * self.threads / THREADS

    def pack(self) -> KernelObject:
        """For the kernel cache and plan files."""
        numbers = (self.threads, self.registers, self.stack, self.spilled, self.shared, self.serialized)
        return KernelObject(self.name, json.dumps(numbers).encode() + b"\n" + self.code)

    @staticmethod
    def unpack(packed: KernelObject) -> Cubin:
        """Inverse of ``pack``; raises ``ValueError`` for anything else."""
        head, _, code = packed.code.partition(b"\n")
        numbers = json.loads(head)
        if not isinstance(numbers, list) or len(numbers) != 6 or not code.startswith(b"\x7fELF"):
            raise ValueError("not machine code of a card")
        threads, registers, stack, spilled, shared, serialized = map(int, numbers)
        return Cubin(packed.symbol, code, threads, registers, stack, spilled, shared, serialized)
