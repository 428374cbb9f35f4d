"""Conflicts of accesses to shared memory that the emulator counts, by hand: it has 32 banks of four bytes."""

from __future__ import annotations

import numpy as np
import pytest
import simt
from simt_memory import DeviceMemory, Fault
from tiles import watch_memory

REGISTERS = """
def k(y):
    t, s = thread(), shared(1024)
    sst(s, PLACE, f4(1.0))
    barrier()
    st_i4(y, t, register(s + 4 * (PLACE)))
"""
COPIES = """
def k(x):
    t, s = thread(), shared(1024)
    if t < ACTIVE:
        copy16(s + 16 * (PLACE), x, 16)
"""


def conflicts(monkeypatch: pytest.MonkeyPatch, source: str, memory: DeviceMemory, address: int) -> int:
    """Those of a warp's launch."""
    seen = watch_memory(monkeypatch)
    simt.launch(memory, "k", source, 1, 32, [address])
    (found,) = seen
    return found.conflicts


# words 32 apart share a bank: with a stride of 8 there are 4 banks for 32 threads; four lines of 32 words, of which
# 8 neighbours are read, meet unless they are exchanged
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("t", 0),
        ("t * 33", 0),
        ("t * 2", 16),
        ("t * 8", 28),
        ("(t & 3) * 32 + (t >> 2)", 24),
        ("(t & 3) * 32 + ((t >> 2) ^ ((t & 3) << 3))", 0),
    ],
)
def test_registers(place: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = DeviceMemory(1 << 14)
    y = memory.allocate(128)
    assert conflicts(monkeypatch, REGISTERS.replace("PLACE", place), memory, y) == expected
    assert (memory.view(y, 128).view(np.float32) == 1).all()


# eight threads copy 128 bytes at once; of fewer, of which the others do not copy, nothing is known
@pytest.mark.parametrize(
    ("place", "active", "expected"),
    [("t", 32, 0), ("t ^ 5", 32, 0), ("t * 2", 32, 16), ("t * 2", 16, 8), ("t * 2", 4, 0), ("t * 8", 32, 28)],
)
def test_copies(place: str, active: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = DeviceMemory(1 << 14)
    x = memory.allocate(16)
    memory.view(x, 16)[:] = 0
    source = COPIES.replace("PLACE", place).replace("ACTIVE", str(active))
    assert conflicts(monkeypatch, source, memory, x) == expected


@pytest.mark.parametrize(
    ("mistake", "source"),
    [
        ("a register at an address that is no multiple of 4", REGISTERS.replace("register(s", "register(s + 2")),
        (
            "that another one stored, without a barrier",
            REGISTERS.replace("4 * (PLACE)", "4 * (t ^ 1)").replace("    barrier()\n", ""),
        ),
        ("a load of a register that not all threads", REGISTERS.replace("    st_i4", "    if t < 9:\n        st_i4")),
    ],
)
def test_mistakes_with_registers_are_found(mistake: str, source: str) -> None:
    memory = DeviceMemory(1 << 14)
    with pytest.raises(Fault, match=mistake):
        simt.launch(memory, "k", source.replace("PLACE", "t"), 1, 32, [memory.allocate(128)])
