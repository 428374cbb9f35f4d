"""The emulator itself: what it computes, and the mistakes that it has to find."""

from __future__ import annotations

import numpy as np
import pytest
import simt
from simt_memory import DeviceMemory, Fault


def run(source: str, n: int = 64, threads: int = 64, *, blocks: int = 1, given: bool = False) -> np.ndarray:
    """The n floats that ``def k(y)`` stored; given: they are 0, 1, 2 and so on before."""
    memory = DeviceMemory(1 << 18)
    y = memory.allocate(4 * n)
    if given:
        memory.view(y, 4 * n).view(np.float32)[:] = np.arange(n)
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
    "no multiple of 16": "def k(y):\n    v = ld4(y, 1)\n",
    "outside of what was declared": "def k(y):\n    s = shared(60)\n    sst(s, thread(), f4(0.0))\n",
    "not all threads of a warp": "def k(y):\n    if thread() < 7:\n        st_f4(y, 0, swap(f4(0.0), 1))\n",
    "is called, and a variable": "def k(y):\n    rest = 1\n    st_f4(y, thread(), f4(rest(thread(), 2)))\n",
    "outside of 32 bits": "def k(y):\n    st_f4(y, thread(), f4(quot(thread() - 1, 2)))\n",
    "reads what nobody stored": "def k(y):\n    st_f4(y, thread(), ld_f4(y, thread()))\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake: str) -> None:
    with pytest.raises(Fault, match=mistake):
        run(MISTAKES[mistake])


STORED, READ, SEEN = "stores what another one stored", "stores what another one read", "reads what another one stored"
KINDS = {"f4": "f4(0.0)", "f8": "f8(0.0)", "i4": "0", "i8": "0", "f2": "f4(0.0)", "bf": "f4(0.0)", "u1": "0", "i2": "0"}
RACES = [
    ("    st_KIND(y, quot(t, 2), ZERO)\n", STORED),
    ("    if t > 40:\n        st_KIND(y, 7, ZERO)\n    if t < 3:\n        st_KIND(y, 7, ZERO)\n", STORED),
    ("    v = ld_KIND(y, t ^ 1)\n    st_KIND(y, t, v)\n", READ),
    ("    v = ld_KIND(y, t)\n    barrier()\n    st_KIND(y, t ^ 1, v)\n", READ),
    ("    v = ld_KIND(y, 0)\n    if t == 63:\n        st_KIND(y, 0, v)\n", READ),
    ("    if t == 41:\n        v = ld_KIND(y, 7)\n    if t == 3:\n        st_KIND(y, 7, ld_KIND(y, 7))\n", READ),
    ("    st_KIND(y, t, ZERO)\n    v = ld_KIND(y, t ^ 1)\n", SEEN),
    ("    if t == 0:\n        st_KIND(y, 0, ZERO)\n    barrier()\n    v = ld_KIND(y, 0)\n", SEEN),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "found"), RACES)
def test_races_in_global_memory(body: str, found: str, kind: str) -> None:
    """Threads that touch an element of any size, one of them storing, in one launch; a barrier does not help."""
    text = body.replace("KIND", kind).replace("ZERO", KINDS[kind])
    with pytest.raises(Fault, match=found):
        run(f"def k(y):\n    t = thread()\n{text}", 128, given=True)


MIXED = [
    ("    if t == 0:\n        st_u1(y, 3, 0)\n    if t == 63:\n        v = ld_f4(y, 0)\n", SEEN),
    ("    v = ld_u1(y, t)\n    if t == 63:\n        st_f4(y, 0, f4(0.0))\n", READ),
    ("    st_i2(y, t, 0)\n    st_f8(y, quot(t, 2), f8(0.0))\n", STORED),
    ("    st_f8(y, t, f8(0.0))\n    st_u1(y, 8 * t + 15, 0)\n", STORED),
    ("    v = ld_f8(y, t)\n    st_f4(y, 2 * t + 3, f4(0.0))\n", READ),
]


@pytest.mark.parametrize(("body", "found"), MIXED)
def test_races_between_elements_of_two_sizes(body: str, found: str) -> None:
    with pytest.raises(Fault, match=found):
        run(f"def k(y):\n    t = thread()\n{body}", 256, given=True)


def test_races_between_blocks() -> None:
    """Also of blocks that the emulator runs one after another."""
    blocks = 2 * simt.LANES // 64
    source = "def k(y):\n    v = ld_f4(y, 0)\n    barrier()\n    if block() == LAST:\n        st_f4(y, thread(), v)\n"
    with pytest.raises(Fault, match=READ):
        run(source.replace("LAST", str(blocks - 1)), blocks=blocks, given=True)
    with pytest.raises(Fault, match=STORED):
        run("def k(y):\n    st_u1(y, rest(block(), 1000) * 64 + thread(), 0)\n", 16000, blocks=blocks)


LEGAL = {
    "in place": "    st_f4(y, t, ld_f4(y, t) + f4(1.0))\n    st_f4(y, t, ld_f4(y, t) + f4(1.0))\n",
    "neighbours": "    st_u1(y, t, 0)\n    st_i2(y, 64 + t, 0)\n    v = ld_u1(y, t)\n",
    "what nobody stores": "    v = ld_f4(y, 0) + ld_f4(y, quot(t, 3))\n    st_f4(y, 64 + t, v + ld_f4(y, 0))\n",
    "parts of a word": "    st_u1(y, 4 * t, 1)\n    st_u1(y, 4 * t + 3, 1)\n    v = ld_f4(y, t)\n    st_i4(y, t, 0)\n",
    "filled up": "    v = ld8_f4(y, t * 8 + 120) if t == 0 else ld8_f4(y, 0)\n",
}


@pytest.mark.parametrize("case", LEGAL)
def test_what_is_no_race(case: str) -> None:
    memory = DeviceMemory(1 << 12)
    y = memory.allocate(512)
    memory.view(y, 484)[:] = 0
    for t in ("thread()", "63 - thread()"):  # launches follow one another
        simt.launch(memory, "k", f"def k(y):\n    t = {t}\n{LEGAL[case]}", 1, 64, [y])


TURNS = """
def k(y):
    s = shared(64)
    t = thread()
    sst(s, t, f4(t))
    barrier()
    v = sld(s, t) + sld(s, 63 - t) + sld(s, 7)
    BETWEEN
    sst(s, TO, v)
    barrier()
    st_f4(y, block() * 64 + t, sld(s, t))
"""


def test_a_barrier_orders_readers_and_writers_of_shared_memory() -> None:
    good = TURNS.replace("TO", "t").replace("BETWEEN", "barrier()")
    assert run(good, 128, blocks=2).tolist() == [70.0] * 128
    one_block = "if block() == 0:\n        barrier()"
    for between in ("pass", one_block):
        with pytest.raises(Fault, match="another one read, without a barrier"):
            run(TURNS.replace("TO", "t").replace("BETWEEN", between), 128, blocks=2)
    with pytest.raises(Fault, match="two threads store the same float"):
        run(TURNS.replace("TO", "t & 31").replace("BETWEEN", "barrier()"))
