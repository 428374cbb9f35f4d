"""What instructions machine code of a card has: 16 bytes each in the sections ``.text...`` of an ELF file."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

import graphc
from graphc.backends.cuda.compile import compiler_versions

INSTRUCTIONS = {0x23C: "HMMA", 0x237: "IMMA", 0x83B: "LDSM", 0xFAE: "LDGSTS", 0x387: "STL", 0x983: "LDL"} | {
    0x9F0: "HGMMA",
    0x9F1: "IGMMA",
    0x9C5: "WARPGROUP",
    0x984: "LDS",
}
"""The lowest 12 bits of an instruction -> its name; STL and LDL go to a thread's stack. WARPGROUP: fences and waits of
the products of four warps, HGMMA and IGMMA. LDS: loads of shared memory to a register."""
NO_REGISTER = 0xFF
"""The number of the register that holds nothing, in the third byte: loads to it stand before the copies LDGSTS."""


def require_compiler() -> None:
    """Skip a test where the compiler for cards is not installed."""
    try:
        compiler_versions()
    except graphc.GraphcError as error:
        pytest.skip(f"{error.message}: {error.help}")


def instructions(code: bytes) -> Counter[str]:
    """How many of the instructions named above there are, and of all others together."""
    start, (size, number, names) = struct.unpack_from("<Q", code, 0x28)[0], struct.unpack_from("<HHH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", code, start + i * size) for i in range(number)]
    text = sections[names][4]
    found: Counter[str] = Counter()
    for name, _, _, _, offset, length in sections:
        if code[text + name :].startswith(b".text"):
            for at in range(offset, offset + length, 16):
                word = struct.unpack_from("<Q", code, at)[0]
                known = INSTRUCTIONS.get(word & 0xFFF, "others")
                found["others" if known == "LDS" and word >> 16 & 0xFF == NO_REGISTER else known] += 1
    return found
