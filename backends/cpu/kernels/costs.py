"""A machine model for choosing between kernels: nanoseconds on one core. Only the order of its answers matters."""

from __future__ import annotations

from graphc.backends.cpu.target import CpuTarget

GHZ = 3.6
MEMORY = 30.0
"""Bytes a nanosecond from beyond the second-level cache."""


def flops_per_ns(target: CpuTarget) -> float:
    """Peak of two vector multiply-adds a cycle, half of it without fused ones."""
    return 2 * 2 * target.lanes * GHZ * (1.0 if target.fma else 0.5)


def compute_ns(target: CpuTarget, flops: float, efficiency: float = 0.97) -> float:
    """Time of arithmetic."""
    return flops / (flops_per_ns(target) * efficiency)


def stream_ns(nbytes: float) -> float:
    """Time of reading or writing memory once."""
    return nbytes / MEMORY
