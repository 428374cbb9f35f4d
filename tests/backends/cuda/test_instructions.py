"""Instructions read from machine code: made by hand, and those of a compiled kernel."""

from __future__ import annotations

import struct

import pytest
from machine_code import require_compiler

from graphc.backends.cache import KernelCache
from graphc.backends.cuda.compile import compile_kernels
from graphc.backends.cuda.instructions import Instruction, count, main_loop, read
from graphc.backends.cuda.kernels import conv
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.target import TARGETS

FFMA, LDG, NOP = (0x7223, 0), (0x7981, 0), (0x7918, 0)


def elf(instructions: list[tuple[int, int]]) -> bytes:
    """A file with one function: ELF's header, names, the function, the table of sections."""
    names = b"\0.shstrtab\0.text.kernel\0"
    text = b"".join(struct.pack("<QQ", *i) for i in instructions)
    first, second = 64, 64 + len(names)
    sections = [(0, 0, 0, 0, 0, 0), (1, 3, 0, 0, first, len(names)), (11, 1, 0, 0, second, len(text))]
    table = b"".join(struct.pack("<IIQQQQIIQQ", *s, 0, 0, 0, 0) for s in sections)
    head = b"\x7fELF".ljust(0x28, b"\0") + struct.pack("<Q", second + len(text)) + b"\0" * 10
    return head + struct.pack("<HHH", 64, 3, 1) + names + text + table


def branch(distance: int, capability: tuple[int, int]) -> tuple[int, int]:
    """A branch over so many bytes, as listings of nvdisasm show them: bits from 32 on; in 9.0 words, low byte apart."""
    if capability < (9, 0):
        bits = distance & (1 << 50) - 1
        return 0x7947 | (bits & 0xFFFFFFFF) << 32, bits >> 32
    bits = distance // 4 & (1 << 56) - 1
    high = bits >> 8
    return 0x7947 | (bits & 0xFF) << 16 | (high & (1 << 30) - 1) << 34, high >> 30


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_operations_and_branches(capability: tuple[int, int]) -> None:
    code = elf([LDG, FFMA, FFMA, branch(-48, capability), LDG, branch(-96, capability), NOP])
    found = read(code, capability)
    start = found[0].at
    assert [i.name for i in found] == ["LDG", "FFMA", "FFMA", "BRA", "LDG", "BRA", "NOP"]
    assert [i.target - start for i in found if i.target is not None] == [16, 0]
    assert count(found) == {"LDG": 2, "FFMA": 2, "BRA": 2}
    assert main_loop(found) == found[1:4]


def test_a_function_without_loops_is_its_own_main_loop() -> None:
    straight = [Instruction(0, "LDG"), Instruction(16, "BRA", 48), Instruction(32, "STG")]
    assert main_loop(straight) == straight


@pytest.mark.parametrize("code", [b"MZ", elf([FFMA])[:100]], ids=["other", "cut"])
def test_other_bytes(code: bytes) -> None:
    with pytest.raises(ValueError, match="machine code"):
        read(code, (8, 0))


@pytest.mark.parametrize("target", TARGETS)
def test_most_instructions_of_a_convolution_are_products(target: str) -> None:
    """A thread's 64 products for each of a loop's turns take two loads of four floats per eight of them."""
    require_compiler()
    tile = Tile(128, 128, 8, 8, 8)
    spec = conv.make_spec(tile, (1, 1), True, Epilogue("y=max(0.0,x0)", (), ()))
    source = conv.emit(spec, TARGETS[target]), tile.threads
    cubin = compile_kernels({spec.name: source}, TARGETS[target], KernelCache.default())[spec.name]
    found = count(main_loop(read(cubin.code, TARGETS[target].capability)))
    assert found["FFMA"] % 64 == 0 < found["FFMA"]
    assert found["LDS"] == found["FFMA"] // 64 * 4
    assert found["FFMA"] / sum(found.values()) > 0.8
    assert not count(read(cubin.code, TARGETS[target].capability)).keys() & {"LDL", "STL"}
