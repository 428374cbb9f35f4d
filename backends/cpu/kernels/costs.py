"""A machine model for choosing between kernels: nanoseconds on one core. Only the order of its answers matters."""

from __future__ import annotations

from graphc.backends.cpu.target import CpuTarget

GHZ = 3.6
MEMORY = 40.0
"""Bytes a nanosecond from memory."""
CACHE = 80.0
"""Bytes a nanosecond from the last-level cache."""


def flops_per_ns(target: CpuTarget) -> float:
    """Peak of two vector multiply-adds a cycle, half of it without fused ones."""
    return 2 * 2 * target.lanes * GHZ * (1.0 if target.fma else 0.5)


def compute_ns(target: CpuTarget, flops: float, efficiency: float = 0.97) -> float:
    """Time of arithmetic."""
    return flops / (flops_per_ns(target) * efficiency)


def stream_ns(nbytes: float) -> float:
    """Time of reading or writing memory once."""
    return nbytes / MEMORY


def cached_ns(nbytes: float) -> float:
    """Time of reading from the last-level cache, or writing to it."""
    return nbytes / CACHE


def outgrows_caches(nbytes: int, target: CpuTarget) -> bool:
    """A result of so many bytes is best written past the caches: it and an operand of its size do not fit the last one
    together, so its beginning would be lost before anyone reads it.
    """
    return 2 * nbytes >= target.l3


def overlapped_ns(work: float, nbytes: float) -> float:
    """Time of ``work`` while weights of ``nbytes`` come from memory ahead of their use."""
    stream = stream_ns(nbytes)
    return max(work, stream) + 0.3 * min(work, stream)
