"""Vocabulary of half precision: vectors of float32 from and to float16 (``_h``) and bfloat16 (``_bf``) in memory.

Places are a byte address and an offset in halves. ``hdot`` multiplies pairs of bfloat16: a vector of words (``w...``),
two numbers to a word, by another one, added to a vector of float32. Where the target has no instruction for that, the
halves of the words are widened. Conversions round to the nearest, halves to even.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba import types

from graphc.backends.cpu.vector import F32, I32, VectorType, call_llvm, define, lane_mask, pointer, splat

I16 = ir.IntType(16)
UPPER = 0xFFFF0000 - (1 << 32)
"""The upper half of a word."""

TYPED = (16, 0, 0)
"""The version of LLVM from which on its dot product takes vectors of ``bfloat``, not of words."""


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's ``bfloat``, which llvmlite does not know."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


@cache
def namespace(lanes: int, fma: bool, bf16: bool) -> dict[str, Any]:
    """The words for vectors of ``lanes`` float32. fma: the target has F16C, too; bf16: dot products of bfloat16."""
    forms = {"h": (_half_to_float(lanes, fma), _float_to_half(lanes, fma)), "bf": (_widen, _narrow(lanes))}
    names: dict[str, Any] = {}
    for code, (widen, narrow) in forms.items():
        names |= _memory(code, lanes, widen, narrow)
    return names | _pairs(lanes, fma, bf16)


def _memory(code: str, lanes: int, widen: Callable[..., Any], narrow: Callable[..., Any]) -> dict[str, Any]:
    """Loads and stores; the masked forms touch the first ``n`` elements only. ``lds_``, ``sts_``: one number."""
    ip, f32, vt = types.intp, types.float32, VectorType(lanes, "f32")
    vec, one = ir.VectorType(I16, lanes), ir.VectorType(F32, lanes)

    def at(b: Any, a: Any, o: Any) -> Any:
        return b.bitcast(pointer(b, a, o, I16), vec.as_pointer())

    def load_masked(b: Any, a: Any, o: Any, n: Any) -> Any:
        args = [at(b, a, o), I32(2), lane_mask(b, n, lanes), ir.Constant(vec, [0] * lanes)]
        return widen(b, call_llvm(b, f"llvm.masked.load.v{lanes}i16.p0", vec, args))

    def store_masked(b: Any, a: Any, o: Any, n: Any, v: Any) -> None:
        args = [narrow(b, v), at(b, a, o), I32(2), lane_mask(b, n, lanes)]
        call_llvm(b, f"llvm.masked.store.v{lanes}i16.p0", ir.VoidType(), args)

    def store(b: Any, a: Any, o: Any, v: Any) -> None:
        b.store(narrow(b, v), at(b, a, o), align=2)

    def load_one(b: Any, a: Any, o: Any) -> Any:
        return b.extract_element(broadcast(b, a, o), I32(0))

    def broadcast(b: Any, a: Any, o: Any) -> Any:
        return widen(b, splat(b, b.load(pointer(b, a, o, I16), align=2), lanes))

    def store_one(b: Any, a: Any, o: Any, v: Any) -> None:
        vector = b.insert_element(ir.Constant(one, [0.0] * lanes), v, I32(0))
        b.store(b.extract_element(narrow(b, vector), I32(0)), pointer(b, a, o, I16), align=2)

    build: dict[str, tuple[Any, tuple[Any, ...], Callable[..., Any]]] = {
        "vload": (vt, (ip, ip), lambda b, a, o: widen(b, b.load(at(b, a, o), align=2))),
        "vloadm": (vt, (ip, ip, ip), load_masked),
        "vstore": (types.void, (ip, ip, vt), store),
        "vstorem": (types.void, (ip, ip, ip, vt), store_masked),
        "vbcast": (vt, (ip, ip), broadcast),
        "lds": (f32, (ip, ip), load_one),
        "sts": (types.void, (ip, ip, f32), store_one),
    }
    return {f"{word}_{code}": define(f"{word}_{code}", *rest) for word, rest in build.items()}


def _words(lanes: int, value: int) -> Any:
    return ir.Constant(ir.VectorType(I32, lanes), [value] * lanes)


def _widen(b: Any, bits: Any) -> Any:
    """float32 of the bits of bfloat16."""
    lanes = bits.type.count
    words = b.shl(b.zext(bits, ir.VectorType(I32, lanes)), _words(lanes, 16))
    return b.bitcast(words, ir.VectorType(F32, lanes))


def _narrow(lanes: int) -> Callable[..., Any]:
    """The bits of the nearest bfloat16; what is not a number stays so. The processor's own instruction would flush
    subnormal numbers, so it is not used."""

    def build(b: Any, v: Any) -> Any:
        bits = b.bitcast(v, ir.VectorType(I32, lanes))
        upper = b.lshr(bits, _words(lanes, 16))
        half = b.add(b.and_(upper, _words(lanes, 1)), _words(lanes, 0x7FFF))
        rounded = b.lshr(b.add(bits, half), _words(lanes, 16))
        quiet = b.or_(upper, _words(lanes, 0x40))
        return b.trunc(b.select(b.fcmp_unordered("uno", v, v), quiet, rounded), ir.VectorType(I16, lanes))

    return build


def _half_to_float(lanes: int, f16c: bool) -> Callable[..., Any]:
    """float32 of the bits of float16, exact: by the processor, or by ``ir/ops/_half.py``'s arithmetic."""
    vec, words = ir.VectorType(F32, lanes), ir.VectorType(I32, lanes)

    def by_processor(b: Any, bits: Any) -> Any:
        return b.fpext(b.bitcast(bits, ir.VectorType(ir.HalfType(), lanes)), vec)

    def by_arithmetic(b: Any, bits: Any) -> Any:
        wide = b.zext(bits, words)
        magnitude = b.shl(b.and_(wide, _words(lanes, 0x7FFF)), _words(lanes, 13))
        scaled = b.fmul(b.bitcast(magnitude, vec), ir.Constant(vec, [2.0**112] * lanes))
        special = b.icmp_unsigned(">=", b.and_(wide, _words(lanes, 0x7FFF)), _words(lanes, 0x7C00))
        value = b.select(special, b.or_(magnitude, _words(lanes, 0x7F800000)), b.bitcast(scaled, words))
        sign = b.shl(b.and_(wide, _words(lanes, 0x8000)), _words(lanes, 16))
        return b.bitcast(b.or_(value, sign), vec)

    return by_processor if f16c else by_arithmetic


def _float_to_half(lanes: int, f16c: bool) -> Callable[..., Any]:
    """The bits of the nearest float16."""
    vec, words = ir.VectorType(F32, lanes), ir.VectorType(I32, lanes)

    def by_processor(b: Any, v: Any) -> Any:
        return b.bitcast(b.fptrunc(v, ir.VectorType(ir.HalfType(), lanes)), ir.VectorType(I16, lanes))

    def by_arithmetic(b: Any, v: Any) -> Any:
        bits = b.bitcast(v, words)
        magnitude = b.and_(bits, _words(lanes, 0x7FFFFFFF))
        odd = b.and_(b.lshr(magnitude, _words(lanes, 13)), _words(lanes, 1))
        normal = b.add(b.sub(magnitude, _words(lanes, 0x38000000)), b.add(odd, _words(lanes, 0xFFF)))
        normal = b.lshr(normal, _words(lanes, 13))
        # below 2**-14: the sum with 0.5 has the rounded multiple of 2**-24 in its last bits
        small = b.fadd(b.bitcast(magnitude, vec), ir.Constant(vec, [0.5] * lanes))
        small = b.sub(b.bitcast(small, words), _words(lanes, 0x3F000000))
        quiet = b.or_(b.and_(b.lshr(magnitude, _words(lanes, 13)), _words(lanes, 0x3FF)), _words(lanes, 0x7E00))
        half = b.select(b.icmp_unsigned(">=", magnitude, _words(lanes, 0x38800000)), normal, small)
        half = b.select(b.icmp_unsigned(">=", magnitude, _words(lanes, 0x477FF000)), _words(lanes, 0x7C00), half)
        half = b.select(b.icmp_unsigned(">", magnitude, _words(lanes, 0x7F800000)), quiet, half)
        sign = b.and_(b.lshr(bits, _words(lanes, 16)), _words(lanes, 0x8000))
        return b.trunc(b.or_(half, sign), ir.VectorType(I16, lanes))

    return by_processor if f16c else by_arithmetic


def _pairs(lanes: int, fma: bool, bf16: bool) -> dict[str, Any]:
    """Words of two bfloat16 numbers: loads, one word to all lanes, one number with a zero beside it, dot products."""
    ip, it, vt = types.intp, VectorType(lanes, "i32"), VectorType(lanes, "f32")
    vec, words = ir.VectorType(F32, lanes), ir.VectorType(I32, lanes)
    fused = f"llvm.{'fma' if fma else 'fmuladd'}.v{lanes}f32"

    def load(b: Any, a: Any, o: Any) -> Any:
        return b.load(b.bitcast(pointer(b, a, o, I16), words.as_pointer()), align=2)

    def pair(b: Any, a: Any, o: Any) -> Any:
        return splat(b, b.load(b.bitcast(pointer(b, a, o, I16), I32.as_pointer()), align=2), lanes)

    def single(b: Any, a: Any, o: Any) -> Any:
        return splat(b, b.zext(b.load(pointer(b, a, o, I16), align=2), I32), lanes)

    def by_processor(b: Any, total: Any, x: Any, y: Any) -> Any:
        pairs = ir.VectorType(_BFloat(), 2 * lanes)
        operands = [x, y] if binding.llvm_version_info < TYPED else [b.bitcast(v, pairs) for v in (x, y)]
        return call_llvm(b, f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}", vec, [total, *operands])

    def by_halves(b: Any, total: Any, x: Any, y: Any) -> Any:
        low = [b.bitcast(b.shl(v, _words(lanes, 16)), vec) for v in (x, y)]
        high = [b.bitcast(b.and_(v, _words(lanes, UPPER)), vec) for v in (x, y)]
        return call_llvm(b, fused, vec, [*high, call_llvm(b, fused, vec, [*low, total])])

    return {
        "hload": define("hload", it, (ip, ip), load),
        "hpair": define("hpair", it, (ip, ip), pair),
        "hsingle": define("hsingle", it, (ip, ip), single),
        "hdot": define("hdot", vt, (vt, it, it), by_processor if bf16 else by_halves),
    }
