"""What instructions machine code of a card consists of, read from its bytes: no tool of NVIDIA's is needed.

An instruction is 16 bytes. Its lowest nine bits are the operation, the next three the kinds of its operands. A branch
holds the distance to its target from the instruction behind it, in other bits from compute capability 9.0 on. The
numbers were read off the listings of nvdisasm, which is the only place where NVIDIA tells them.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

OPERATIONS = {
    0x023: "FFMA",
    0x020: "FMUL",
    0x021: "FADD",
    0x108: "MUFU",
    0x03C: "HMMA",
    0x037: "IMMA",
    0x1F0: "HGMMA",
    0x1F1: "IGMMA",
    0x181: "LDG",
    0x186: "STG",
    0x184: "LDS",
    0x188: "STS",
    0x03B: "LDSM",
    0x1AE: "LDGSTS",
    0x183: "LDL",
    0x187: "STL",
    0x189: "SHFL",
    0x11D: "BAR",
    0x024: "IMAD",
    0x025: "IMAD",
    0x027: "IMAD",
    0x010: "IADD",
    0x036: "IADD",
    0x011: "LEA",
    0x012: "LOP",
    0x019: "SHF",
    0x00C: "ISETP",
    0x147: "BRA",
    0x118: "NOP",
}
"""The lowest nine bits -> the operation. LDL and STL go to a thread's stack: a kernel without spills has none."""
PRODUCTS = ("FFMA", "HMMA", "IMMA", "HGMMA", "IGMMA")
"""What a kernel of products is made for."""
OTHERS = "others"
SIZE = 16


@dataclass(frozen=True)
class Instruction:
    """One of a function's. name: an operation, or ``OTHERS``. at: its place. target: where a branch leads to."""

    at: int
    name: str
    target: int | None = None


def read(code: bytes, capability: tuple[int, int]) -> list[Instruction]:
    """The instructions of an ELF file's sections ``.text...``, one behind the other; ``ValueError`` for other bytes."""
    if not code.startswith(b"\x7fELF"):
        raise ValueError("not machine code of a card")
    try:
        return [_instruction(code, at, capability) for text in _texts(code) for at in range(*text, SIZE)]
    except struct.error:
        raise ValueError("machine code that ends in the middle") from None


def _texts(code: bytes) -> list[tuple[int, int]]:
    """Where the sections of functions begin and end in a file: ELF's header, then its table of sections."""
    (start,) = struct.unpack_from("<Q", code, 0x28)
    size, number, names = struct.unpack_from("<HHH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", code, start + i * size) for i in range(number)]
    strings = sections[names][4]
    return [
        (offset, offset + length)
        for name, _, _, _, offset, length in sections
        if code.startswith(b".text", strings + name)
    ]


def _instruction(code: bytes, at: int, capability: tuple[int, int]) -> Instruction:
    low, high = struct.unpack_from("<QQ", code, at)
    name = OPERATIONS.get(low & 0x1FF, OTHERS)
    target = at + SIZE + _distance(low, high, capability) if name == "BRA" else None
    return Instruction(at, name, target)


def _distance(low: int, high: int, capability: tuple[int, int]) -> int:
    """Bytes from behind a branch to its target."""
    if capability < (9, 0):
        return _signed(low >> 32 | (high & 0x3FFFF) << 32, 50)
    return 4 * _signed((low >> 34 | (high & 0x3FFFF) << 30) << 8 | (low >> 16 & 0xFF), 56)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def main_loop(instructions: Sequence[Instruction]) -> list[Instruction]:
    """The loop with the most products that has none with products in it; where no loop has products, that of loads from
    memory, else the first; all where there is no loop."""
    ends = [(i.target, i.at) for i in instructions if i.target is not None and i.target < i.at]
    bodies = {(a, b): [i for i in instructions if a <= i.at <= b] for a, b in ends}
    for names in (PRODUCTS, ("LDG",)):
        number = {span: sum(i.name in names for i in body) for span, body in bodies.items()}
        found = [span for span in bodies if number[span]]
        inner = [(a, b) for a, b in found if not any((a, b) != (c, d) and a <= c and d <= b for c, d in found)]
        if inner:
            return bodies[max(inner, key=number.__getitem__)]
    return next(iter(bodies.values()), list(instructions))


def count(instructions: Sequence[Instruction]) -> Counter[str]:
    """How many there are of each name; those that do nothing, which fill a function up, are left out."""
    return Counter(i.name for i in instructions if i.name != "NOP")
