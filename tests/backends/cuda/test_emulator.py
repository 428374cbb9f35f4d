"""The emulator itself: what it computes, and the mistakes that it has to find."""

from __future__ import annotations

import numpy as np
import pytest
import simt
from simt_memory import DeviceMemory, Fault


def run(source: str, n: int = 64, threads: int = 64, *, blocks: int = 1) -> np.ndarray:
    """The n floats that ``def k(y)`` stored."""
    memory = DeviceMemory(1 << 16)
    y = memory.allocate(4 * n)
    simt.launch(memory, "k", source, blocks, threads, [y])
    return memory.view(y, 4 * n).view(np.float32).copy()


def test_threads_go_their_own_ways() -> None:
    got = run("""
def odd(i):
    if i & 1 == 1:
        return f4(1.0)
    return f4(0.0)
def k(y):
    t = thread()
    s = f4(0.0)
    for j in range(t):
        if j == 10:
            break
        if j < 3:
            continue
        s = s + f4(j)
    while s > f4(20.0):
        s = s - f4(1.0)
    st_f4(y, t, s + odd(t))
""")
    want = [min(sum(j for j in range(t) if 3 <= j < 10), 20) + t % 2 for t in range(64)]
    assert got.tolist() == want


def test_numbers_have_numbas_types() -> None:
    got = run("""
def k(y):
    t = thread()
    big = i32(t) * 1000000000
    st_f4(y, t, f4(f4(16777216.0) + 1.0) if big > 40000000000 else f4(16777216.0) + f4(1.0))
""")
    assert got[63] == np.float32(2**24)  # the integer does not wrap
    memory = DeviceMemory(1 << 12)
    a = memory.allocate(8)
    simt.launch(memory, "k", "def k(a):\n    st_f8(a, 0, f4(0.1) + 0.1 if thread() == 0 else 0.0)\n", 1, 1, [a])
    assert memory.view(a, 8).view(np.float64)[0] == np.float64(np.float32(0.1)) + 0.1


def test_warps_exchange_values() -> None:
    got = run("def k(y):\n    v = f4(thread())\n    st_f4(y, thread(), swap(v, 5))\n")
    assert got.tolist() == [t ^ 5 for t in range(64)]


REVERSE = """
def k(y):
    s = shared(64)
    sst(s, thread(), f4(thread()))
    barrier()
    st_f4(y, block() * 64 + thread(), sld(s, 63 - thread()))
"""


def test_blocks_have_shared_memory_of_their_own() -> None:
    assert run(REVERSE, 128, blocks=2).tolist() == [*range(63, -1, -1)] * 2


BARRIER = "    barrier()\n"
MISTAKES = {
    "without a barrier": REVERSE.replace(BARRIER, ""),
    "not all threads of a block reach": REVERSE.replace(
        "    barrier()\n", "    if thread() < 32:\n        barrier()\n"
    ),
    "outside of what was allocated": "def k(y):\n    st_f4(y, thread() + 1, f4(0.0))\n",
    "two threads store the same element": "def k(y):\n    st_f4(y, quot(thread(), 2), f4(0.0))\n",
    "another one stored in the same launch": (
        "def k(y):\n    st_f4(y, thread(), f4(0.0))\n    st_f4(y, thread(), ld_f4(y, 63 - thread()))\n"
    ),
    "no multiple of 16": "def k(y):\n    v = ld4(y, 1)\n",
    "outside of what was declared": "def k(y):\n    s = shared(60)\n    sst(s, thread(), f4(0.0))\n",
    "not all threads of a warp": "def k(y):\n    if thread() < 7:\n        st_f4(y, 0, swap(f4(0.0), 1))\n",
    "is called, and a variable": "def k(y):\n    rest = 1\n    st_f4(y, thread(), f4(rest(thread(), 2)))\n",
    "outside of 32 bits": "def k(y):\n    st_f4(y, thread(), f4(quot(thread() - 1, 2)))\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake: str) -> None:
    with pytest.raises(Fault, match=mistake):
        run(MISTAKES[mistake])
