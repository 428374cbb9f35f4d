"""Vocabulary of 8-bit kernels: vectors of int32 (``w...``, a word a lane) and of bytes (``b...``, four to a lane).

All places are byte addresses with byte offsets and need no alignment. ``wdot`` is the target's dot product: of four
uint8 with four int8 where it has VNNI, else of two int16 with two int16; kernels pack their operands accordingly.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types

from graphc.backends.cpu.vector import F32, I8, I32, I64, VectorType, call_llvm, define, lane_mask, pointer, splat

F64 = ir.DoubleType()
I16 = ir.IntType(16)
PAIRS = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd", 4: "sse2.pmadd.wd"}
"""x86's instruction for the dot products of pairs, by lanes."""
PACKS = {
    16: ("avx512.packssdw.512", "avx512.packuswb.512"),
    8: ("avx2.packssdw", "avx2.packuswb"),
    4: ("sse2.packssdw.128", "sse2.packuswb.128"),
}
"""Those that narrow words to int16 and these to uint8, with saturation, 128 bits of two vectors side by side."""
NEAREST = {16: "avx512.mask.cvtps2dq.512", 8: "avx.cvt.ps2dq.256", 4: "sse2.cvtps2dq"}
"""The conversion of floats to the nearest words, of two the even one."""
UNMASKED = (ir.Constant(ir.VectorType(I32, 16), [0] * 16), ir.Constant(I16, -1), I32(4))
"""What that of AVX-512 takes besides: all lanes, rounding as everywhere."""
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
ROUND31 = 1 << 30
MOST = 1e9
"""Means beyond it count as it: far from every 8-bit result."""


@cache
def namespace(lanes: int, vnni: bool) -> dict[str, Any]:
    """The words for vectors of ``lanes`` int32."""
    return {**_memory(lanes), **_narrow(lanes), **_bytes(lanes), **_arithmetic(lanes, vnni), **_scaling(lanes)}


def _at(b: Any, a: Any, o: Any, element: Any) -> Any:
    return b.bitcast(pointer(b, a, o, I8), element.as_pointer())


def _load(element: Any) -> Callable[..., Any]:
    return lambda b, a, o: b.load(_at(b, a, o, element), align=1)


def _store(b: Any, a: Any, o: Any, v: Any) -> None:
    b.store(v, _at(b, a, o, v.type), align=1)


def _masked(b: Any, a: Any, o: Any, n: Any, v: Any) -> None:
    """Store the first ``n`` elements of a vector."""
    bits = v.type.element.width
    args = [v, _at(b, a, o, v.type), I32(1), lane_mask(b, n, v.type.count)]
    call_llvm(b, f"llvm.masked.store.v{v.type.count}i{bits}.p0", ir.VoidType(), args)


def _memory(lanes: int) -> dict[str, Any]:
    """Whole words: load and store, one word to all lanes."""
    ip, it, vec = types.intp, VectorType(lanes, "i32"), ir.VectorType(I32, lanes)
    return {
        "wload": define("wload", it, (ip, ip), _load(vec)),
        "wstore": define("wstore", types.void, (ip, ip, it), _store),
        "wbcast": define("wbcast", it, (ip, ip), lambda b, a, o: splat(b, _load(I32)(b, a, o), lanes)),
        "wsplat": define("wsplat", it, (ip,), lambda b, n: splat(b, b.trunc(n, I32), lanes)),
    }


def _narrow(lanes: int) -> dict[str, Any]:
    """Bytes, three of them and int16 as words and back (the low bits); the masked forms touch the first ``n`` only."""
    ip, it, vec = types.intp, VectorType(lanes, "i32"), ir.VectorType(I32, lanes)
    byte_vec, half_vec = ir.VectorType(I8, lanes), ir.VectorType(I16, lanes)

    def load_masked(b: Any, a: Any, o: Any, n: Any) -> Any:
        zero = ir.Constant(byte_vec, [0] * lanes)
        args = [_at(b, a, o, byte_vec), I32(1), lane_mask(b, n, lanes), zero]
        return b.zext(call_llvm(b, f"llvm.masked.load.v{lanes}i8.p0", byte_vec, args), vec)

    def stores(code: str, narrow: Any) -> dict[str, Any]:
        def whole(b: Any, a: Any, o: Any, v: Any) -> None:
            _store(b, a, o, b.trunc(v, narrow))

        def masked(b: Any, a: Any, o: Any, n: Any, v: Any) -> None:
            _masked(b, a, o, n, b.trunc(v, narrow))

        return {
            f"wstore_{code}": define(f"wstore_{code}", types.void, (ip, ip, it), whole),
            f"wstore_{code}m": define(f"wstore_{code}m", types.void, (ip, ip, ip, it), masked),
        }

    def threes(b: Any, v: Any) -> Any:
        """The three low bytes of every word side by side, and a quarter of anything."""
        quads, count = ir.VectorType(I8, 4 * lanes), ir.VectorType(I32, 4 * lanes)
        order = [4 * i + k for i in range(lanes) for k in range(3)]
        picked = ir.Constant(count, [*order, *order[:lanes]])
        return b.shuffle_vector(b.bitcast(v, quads), ir.Constant(quads, ir.Undefined), picked)

    return {
        "wstore_u3m": define(
            "wstore_u3m",
            types.void,
            (ip, ip, ip, it),
            lambda b, a, o, n, v: _masked(b, a, o, b.mul(n, I64(3)), threes(b, v)),
        ),
        "wload_u1": define("wload_u1", it, (ip, ip), lambda b, a, o: b.zext(_load(byte_vec)(b, a, o), vec)),
        "wload_u1m": define("wload_u1m", it, (ip, ip, ip), load_masked),
        **stores("u1", byte_vec),
        **stores("i2", half_vec),
    }


def _bytes(lanes: int) -> dict[str, Any]:
    """Vectors of ``4 * lanes`` bytes; ``wpack``: four vectors of words clamped to 0 ... 255, of which the words
    ``bstore_k`` store one each.
    """
    ip, it, count = types.intp, VectorType(lanes, "i32"), 4 * lanes
    bt, vec = VectorType(count, "i8"), ir.VectorType(I8, count)

    def largest(b: Any, x: Any, y: Any) -> Any:
        return b.select(b.icmp_unsigned(">", x, y), x, y)

    def smallest(b: Any, x: Any, y: Any) -> Any:
        return b.select(b.icmp_unsigned("<", x, y), x, y)

    def load_masked(b: Any, a: Any, o: Any, n: Any) -> Any:
        args = [_at(b, a, o, vec), I32(1), lane_mask(b, n, count), ir.Constant(vec, [0] * count)]
        return call_llvm(b, f"llvm.masked.load.v{count}i8.p0", vec, args)

    def half(k: int) -> Any:
        picked = ir.Constant(ir.VectorType(I32, 2 * lanes), list(range(2 * k * lanes, 2 * (k + 1) * lanes)))

        def build(b: Any, a: Any, o: Any, v: Any) -> None:
            _store(b, a, o, b.shuffle_vector(v, ir.Constant(vec, ir.Undefined), picked))

        return define(f"bstore_half{k}", types.void, (ip, ip, bt), build)

    def part(k: int) -> dict[str, Any]:
        picked = ir.Constant(ir.VectorType(I32, lanes), list(range(k * lanes, (k + 1) * lanes)))

        def taken(b: Any, v: Any) -> Any:
            return b.shuffle_vector(v, ir.Constant(vec, ir.Undefined), picked)

        def whole(b: Any, a: Any, o: Any, v: Any) -> None:
            _store(b, a, o, taken(b, v))

        def masked(b: Any, a: Any, o: Any, n: Any, v: Any) -> None:
            _masked(b, a, o, n, taken(b, v))

        return {
            f"bstore_{k}": define(f"bstore_{k}", types.void, (ip, ip, bt), whole),
            f"bstore_{k}m": define(f"bstore_{k}m", types.void, (ip, ip, ip, bt), masked),
        }

    return {
        **part(0),
        **part(1),
        **part(2),
        **part(3),
        "wpack": define("wpack", bt, (it,) * 4, lambda b, *words: _in_order(b, _joined(b, words, None), lanes)),
        "bload": define("bload", bt, (ip, ip), _load(vec)),
        "bloadm": define("bloadm", bt, (ip, ip, ip), load_masked),
        "bstore": define("bstore", types.void, (ip, ip, bt), _store),
        "bstorem": define("bstorem", types.void, (ip, ip, ip, bt), _masked),
        "bstore_half0": half(0),
        "bstore_half1": half(1),
        "bsplat": define("bsplat", bt, (ip,), lambda b, n: splat(b, b.trunc(n, I8), count)),
        "bmax": define("bmax", bt, (bt, bt), largest),
        "bmin": define("bmin", bt, (bt, bt), smallest),
        "wbytes": define("wbytes", it, (bt,), lambda b, v: b.bitcast(v, ir.VectorType(I32, lanes))),
        "bwords": define("bwords", bt, (it,), lambda b, v: b.bitcast(v, vec)),
        **_mixing(lanes),
    }


def _mixing(lanes: int) -> dict[str, Any]:
    """Elements of two vectors in turn, and the way back, within every 128 bits: one instruction each on x86.

    ``bmix_low``, ``bmix_high``: bytes of the lower and upper halves; ``pmix_...``: pairs of bytes. ``wpack_added`` and
    ``wunmix``: four vectors of words clamped to int16, plus the int16 of a fifth, clamped to 0 ... 255: as bytes one
    after the other, or in the order that undoes ``bmix`` and then ``pmix`` of four vectors.
    """
    it, count = VectorType(lanes, "i32"), 4 * lanes
    bt = VectorType(count, "i8")

    def mix(name: str, size: int, first: int) -> Any:
        element, n, per = ir.IntType(8 * size), count // size, 16 // size
        vec = ir.VectorType(element, n)
        order = [i + k * n for chunk in range(0, n, per) for i in range(chunk, chunk + per // 2) for k in (0, 1)]
        picked = ir.Constant(ir.VectorType(I32, n), [i + first // size for i in order])

        def build(b: Any, x: Any, y: Any) -> Any:
            return b.bitcast(b.shuffle_vector(b.bitcast(x, vec), b.bitcast(y, vec), picked), ir.VectorType(I8, count))

        return define(name, bt, (bt, bt), build)

    def unmixed(b: Any, *values: Any) -> Any:
        return _joined(b, values[:4], values[4])

    def packed(b: Any, *values: Any) -> Any:
        return _in_order(b, _joined(b, values[:4], values[4]), lanes)

    return {
        "bmix_low": mix("bmix_low", 1, 0),
        "bmix_high": mix("bmix_high", 1, 8),
        "pmix_low": mix("pmix_low", 2, 0),
        "pmix_high": mix("pmix_high", 2, 8),
        "wpack_added": define("wpack_added", bt, (it,) * 5, packed),
        "wunmix": define("wunmix", bt, (it,) * 5, unmixed),
    }


def _joined(b: Any, words: Sequence[Any], more: Any) -> Any:
    """Four vectors of words, clamped to int16, plus the int16 ``more``, as bytes: 128 bits of each side by side."""
    first, second = (_narrowed(b, words[i], words[i + 1], I16, -(1 << 15), (1 << 15) - 1) for i in (0, 2))
    if more is not None:
        halves = first.type
        name, more = f"llvm.sadd.sat.v{halves.count}i16", b.bitcast(more, halves)
        first, second = (call_llvm(b, name, halves, [pair, more]) for pair in (first, second))
    return _narrowed(b, first, second, I8, 0, 255)


def _in_order(b: Any, mixed: Any, lanes: int) -> Any:
    """What ``_joined`` gives, one vector's bytes after the other's."""
    words = ir.VectorType(I32, lanes)
    order = ir.Constant(words, [4 * chunk + k for k in range(4) for chunk in range(lanes // 4)])
    return b.bitcast(b.shuffle_vector(b.bitcast(mixed, words), ir.Constant(words, ir.Undefined), order), mixed.type)


def _narrowed(b: Any, x: Any, y: Any, element: Any, low: int, high: int) -> Any:
    """Elements of two vectors clamped and narrowed to ``element``; 128 bits of x, then of y, side by side."""
    n, lanes = x.type.count, x.type.count * x.type.element.width // 32
    result = ir.VectorType(element, 2 * n)
    if IS_X86:
        return call_llvm(b, f"llvm.x86.{PACKS[lanes][element is I8]}", result, [x, y])
    least, most = (ir.Constant(x.type, [v] * n) for v in (low, high))
    parts = [b.select(b.icmp_signed(">", v, least), v, least) for v in (x, y)]
    parts = [b.trunc(b.select(b.icmp_signed("<", v, most), v, most), ir.VectorType(element, n)) for v in parts]
    per = 4 * n // lanes
    order = [i + k * n for chunk in range(0, n, per) for k in (0, 1) for i in range(chunk, chunk + per)]
    return b.shuffle_vector(*parts, ir.Constant(ir.VectorType(I32, 2 * n), order))


def _arithmetic(lanes: int, vnni: bool) -> dict[str, Any]:
    """Arithmetic modulo 2**32, signed comparisons, dot products added to words."""
    it, vec = VectorType(lanes, "i32"), ir.VectorType(I32, lanes)
    vt, fvec = VectorType(lanes, "f32"), ir.VectorType(F32, lanes)

    def pairs(b: Any, total: Any, x: Any, y: Any) -> Any:
        if vnni:
            return call_llvm(b, f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", vec, [total, x, y])
        return b.add(total, _pair_products(b, x, y, lanes))

    def fours(b: Any, total: Any, x: Any, y: Any) -> Any:
        # LLVM brings the operands of newer versions, vectors of bytes, up to date by itself
        return call_llvm(b, f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", vec, [total, x, y])

    def whole_sum(b: Any, v: Any) -> Any:
        return b.sext(call_llvm(b, f"llvm.vector.reduce.add.v{lanes}i32", I32, [v]), I64)

    def to_words(b: Any, x: Any) -> Any:
        return b.fptosi(call_llvm(b, f"llvm.rint.v{lanes}f32", fvec, [x]), vec)

    def nearest(b: Any, x: Any) -> Any:
        if not IS_X86:
            return to_words(b, x)
        return call_llvm(b, f"llvm.x86.{NEAREST[lanes]}", vec, [x, *(UNMASKED if lanes == 16 else ())])

    names = {
        "wdot": define("wdot", it, (it, it, it), fours if vnni else pairs),
        "wdot2": define("wdot2", it, (it, it, it), pairs),
        "wmax": define("wmax", it, (it, it), lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y)),
        "wmin": define("wmin", it, (it, it), lambda b, x, y: b.select(b.icmp_signed("<", x, y), x, y)),
        "whsum": define("whsum", types.intp, (it,), whole_sum),
        "wfloat": define("wfloat", vt, (it,), lambda b, v: b.sitofp(v, fvec)),
        "wround": define("wround", it, (vt,), nearest),
        "wor": define("wor", it, (it, it), lambda b, x, y: b.or_(x, y)),
    }
    for name, method in {
        "wadd": "add",
        "wsub": "sub",
        "wmul": "mul",
        "wshl": "shl",
        "wsra": "ashr",
        "wor": "or_",
    }.items():
        names[name] = define(name, it, (it, it), lambda b, x, y, method=method: getattr(b, method)(x, y))
    return names


def _pair_products(b: Any, x: Any, y: Any, lanes: int) -> Any:
    """In each word, low half times low half plus high half times high half, signed."""
    vec, halves = ir.VectorType(I32, lanes), ir.VectorType(I16, 2 * lanes)
    if IS_X86:
        return call_llvm(b, f"llvm.x86.{PAIRS[lanes]}", vec, [b.bitcast(x, halves), b.bitcast(y, halves)])
    half = ir.Constant(vec, [16] * lanes)
    low = b.mul(*(b.ashr(b.shl(v, half), half) for v in (x, y)))
    return b.add(low, b.mul(b.ashr(x, half), b.ashr(y, half)))


def _scaling(lanes: int) -> dict[str, Any]:
    """Fixed-point scaling as in ``ir/ops/quantized/_fixed_point.py``, for what cannot overflow 32 bits."""
    it, vec = VectorType(lanes, "i32"), ir.VectorType(I32, lanes)
    wide = ir.VectorType(I64, lanes // 2)
    doubles = ir.VectorType(F64, lanes)

    def words(value: int) -> Any:
        return ir.Constant(vec, [value] * lanes)

    def longs(value: int) -> Any:
        return ir.Constant(wide, [value] * (lanes // 2))

    def high_product(b: Any, x: Any, y: Any) -> Any:
        """(x * y + 2**30) >> 31, of the even words and of the odd ones."""
        x, y, half = b.bitcast(x, wide), b.bitcast(y, wide), longs(32)
        even = b.mul(*(b.ashr(b.shl(v, half), half) for v in (x, y)))
        odd = b.mul(b.ashr(x, half), b.ashr(y, half))
        low = b.lshr(b.add(even, longs(ROUND31)), longs(31))
        high = b.shl(b.add(odd, longs(ROUND31)), longs(1))
        order = [lanes * (i % 2) + i for i in range(lanes)]
        return b.shuffle_vector(b.bitcast(low, vec), b.bitcast(high, vec), ir.Constant(vec, order))

    def shift_half_away(b: Any, x: Any, n: Any) -> Any:
        """x / 2**n for n in 0 ... 31, rounded to the nearest, halves away from zero."""
        mask = b.sub(b.shl(words(1), n), words(1))
        rest = b.add(b.and_(x, mask), b.ashr(x, words(31)))
        up = b.icmp_signed(">", rest, b.lshr(mask, words(1)))
        return b.sub(b.ashr(x, n), b.sext(up, vec))

    def times_half_away(b: Any, x: Any, unit: Any) -> Any:
        """x times a float64, rounded to the nearest, halves away from zero; at most a thousand million."""
        product = b.fmul(b.sitofp(x, doubles), splat(b, unit, lanes))
        size = call_llvm(b, f"llvm.fabs.v{lanes}f64", doubles, [product])
        most, half = (ir.Constant(doubles, [v] * lanes) for v in (MOST, 0.5))
        size = b.select(b.fcmp_ordered("<", size, most), size, most)
        nearest = b.fptosi(b.fadd(size, half), vec)
        return b.select(b.fcmp_ordered("<", product, ir.Constant(doubles, [0.0] * lanes)), b.neg(nearest), nearest)

    def away(b: Any, x: Any, start: Any) -> Any:
        """x + start, less 1 where x is negative: what a right shift then rounds half away from zero."""
        return b.add(b.add(x, start), b.ashr(x, words(31)))

    return {
        "waway": define("waway", it, (it, it), away),
        "wscale": define("wscale", it, (it, it), high_product),
        "wshift": define("wshift", it, (it, it), shift_half_away),
        "wmean": define("wmean", it, (it, types.float64), times_half_away),
    }
