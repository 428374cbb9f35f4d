"""What the figures of machine code say about its blocks on a multiprocessor, against NVIDIA's limits by hand."""

from __future__ import annotations

import pytest

from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.target import find


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "target", "blocks"),
    [
        (512, 120, 144 << 10, "cuda:sm_90a", 1),  # registers for one
        (128, 84, 64 << 10, "cuda:sm_90a", 3),  # 3 x 65 KB of 228
        (256, 84, 72 << 10, "cuda:sm_90a", 2),  # registers for two, 3 x 73 KB
        (128, 88, 48 << 10, "cuda:sm_90a", 4),  # 4 x 49 KB
        (128, 88, 48 << 10, "cuda:sm_80", 3),  # 3 x 49 KB of 164
        (128, 33, 0, "cuda:sm_80", 12),  # 40 x 128 of 65536 registers
        (32, 16, 0, "cuda:sm_90a", 32),  # no more blocks than that
        (128, 32, 227 << 10, "cuda:sm_80", 0),  # cannot run there at all
    ],
)
def test_occupancy(threads: int, registers: int, shared: int, target: str, blocks: int) -> None:
    cubin = Cubin("k", b"", threads, registers, 0, 0, shared)
    assert cubin.occupancy(find(target).shared) == blocks * threads / 2048
