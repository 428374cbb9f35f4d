"""Words of kernel source that move elements in several at once, and halves as the floats that they stand for.

``a`` is a byte address, ``i`` counts elements. ``f2`` is float16, ``bf`` bfloat16; a store rounds to the nearest one,
of two to the even one.

    ld_f2(a, i) ld_bf(a, i) st_f2(a, i, v) st_bf(a, i, v)       one element
    ld2_f2(a, i) .. st8_bf(a, i, v0, .. v7)                     2, 4 or 8 of them; of f4 2 or 8
    ld2_i4(a, i) .. st4_i4(a, i, v0, .. v3)                     2 or 4 int32

The address of several is a multiple of their size, of 16 bytes at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types

from graphc.backends.cuda.words import F32, GLOBAL, I32, Build, pointer, word

I16 = ir.IntType(16)
COUNTS = {"f4": (2, 8), "f2": (1, 2, 4, 8), "bf": (1, 2, 4, 8), "i4": (2, 4)}
"""Elements that a word moves."""
WORD = {"f4": F32, "f2": I32, "bf": I32, "i4": I32}
"""What 32 bits of memory are loaded as."""
ROUND = {"f2": "cvt.rn.f16x2.f32", "bf": "cvt.rn.bf16x2.f32"}
"""Two float32 as halves, the upper one first."""


def _asm(b: Any, text: str, constraints: str, result: Any, *values: Any) -> Any:
    kind = ir.FunctionType(result, [v.type for v in values])
    return b.call(ir.InlineAsm(kind, text, constraints), values)


def _widened(b: Any, code: str, bits: Any) -> list[Any]:
    """The two floats that the halves of 32 bits stand for."""
    upper = b.lshr(bits, I32(16))
    if code == "bf":
        return [b.bitcast(b.shl(bits, I32(16)), F32), b.bitcast(b.shl(upper, I32(16)), F32)]
    return [_asm(b, "cvt.f32.f16 $0, $1;", "=f,h", F32, b.trunc(v, I16)) for v in (bits, upper)]


def _narrowed(b: Any, code: str, low: Any, high: Any) -> Any:
    return _asm(b, f"{ROUND[code]} $0, $1, $2;", "=r,f,f", I32, high, low)


def _load(code: str, count: int) -> Build:
    def build(b: Any, a: Any, i: Any) -> Any:
        if count == 1:
            return _widened(b, code, b.zext(b.load(pointer(b, a, i, I16, GLOBAL)), I32))[0]
        found = _words(b, code, a, i, count)
        if code in ROUND:
            found = [half for bits in found for half in _widened(b, code, bits)]
        return cgutils.pack_array(b, found)

    return build


def _words(b: Any, code: str, a: Any, i: Any, count: int) -> list[Any]:
    """The 32-bit words of ``count`` elements."""
    element, each = WORD[code], 2 if code in ROUND else 1
    place = pointer(b, a, i, I16 if code in ROUND else element, GLOBAL)
    number = count // each
    size = min(number, 4)
    vector = ir.PointerType(ir.VectorType(element, size), GLOBAL)
    found = []
    for k in range(0, number, size):
        loaded = b.load(b.gep(b.bitcast(place, vector), [I32(k // size)]), align=4 * size)
        found += [b.extract_element(loaded, I32(j)) for j in range(size)]
    return found


def _store(code: str, count: int) -> Build:
    def build(b: Any, a: Any, i: Any, *values: Any) -> Any:
        if count == 1:
            bits = b.trunc(_narrowed(b, code, values[0], ir.Constant(F32, 0.0)), I16)
            return b.store(bits, pointer(b, a, i, I16, GLOBAL))
        if code in ROUND:
            pairs = zip(values[::2], values[1::2])
            return _store_words(b, pointer(b, a, i, I16, GLOBAL), [_narrowed(b, code, *pair) for pair in pairs])
        return _store_words(b, pointer(b, a, i, WORD[code], GLOBAL), values)

    return build


def _store_words(b: Any, place: Any, values: Sequence[Any]) -> Any:
    size = min(len(values), 4)
    kind = ir.VectorType(values[0].type, size)
    for k in range(0, len(values), size):
        vector = ir.Constant(kind, ir.Undefined)
        for j in range(size):
            vector = b.insert_element(vector, values[k + j], I32(j))
        to = b.gep(b.bitcast(place, ir.PointerType(kind, GLOBAL)), [I32(k // size)])
        last = b.store(vector, to, align=4 * size)
    return last


def namespace() -> dict[str, Any]:
    """All words of this module."""
    words, i8 = {}, types.int64
    for code, counts in COUNTS.items():
        numba = types.int32 if code == "i4" else types.float32
        for n in counts:
            name = f"{n if n > 1 else ''}_{code}"
            words[f"ld{name}"] = word(numba if n == 1 else types.UniTuple(numba, n), (i8, i8), _load(code, n))
            words[f"st{name}"] = word(types.none, (i8, i8, *[numba] * n), _store(code, n))
    return words
