"""Words of kernel source for tensor cores that four warps use together, on cards of capability 9.0 (``wgmma``).

Their matrices lie in shared memory, where copies have put them, and are read beside the arithmetic; sums are registers.
A warpgroup is four warps whose first one's number is a multiple of four. All words but ``descriptor`` and ``publish``
are for all 128 threads of it, at the same place of the source. ``sums`` is a tuple of N / 2 numbers: of element
(row, column) of a matrix of sums (64, N) thread t of the warpgroup has those where
row = 16 (t / 32) + 8 h + t / 4 mod 8 and column = 8 j + 2 (t mod 4) + k, as number 4 j + 2 h + k. N is up to 256: of
halves a multiple of eight, of bytes 8, 24 or a multiple of sixteen.

    zeros_f4(n) zeros_i4(n)     n sums of 0; n is written out
    descriptor(s, deep, down)   a matrix of rows of 32 bytes: each half of eight rows is 128 bytes, row after row, from
                                the shared address s on; deep: bytes to the second half of a row, down: to the next
                                eight rows. Both are written out; all three are multiples of 16
    publish()                   what this thread stored or copied to shared memory, behind a barrier, is there for wgmma
    wgmma_fence()               registers that this thread has computed may be sums; before the first product of a group
    wgmma_f2 wgmma_bf           (sums, a, b): begin to add A B' to the sums, A (64, 16) and B (N, 16) by descriptors,
                                both the same in all threads
    wgmma_u1                    the same for A (64, 32) of uint8, B (N, 32) of int8, sums in int32
    wgmma_tf                    the same for A (64, 8) and B (N, 8) of TF32, which float32 has been rounded to
    wgmma_commit()              products since the last one are a group
    wgmma_wait(sums, n)         until at most the last n groups are under way, n is written out: the sums again, which
                                nobody may touch while products with them are under way
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic

from graphc.backends.cuda.words import CONVERGENT, F32, I32, I64, word

SHAPES = {
    "wgmma_f2": ("k16.f32.f16.f16", ", 1, 1, 0, 0"),
    "wgmma_bf": ("k16.f32.bf16.bf16", ", 1, 1, 0, 0"),
    "wgmma_u1": ("k32.s32.u8.s8", ""),
    "wgmma_tf": ("k8.f32.tf32.tf32", ", 1, 1"),
}
"""Depth and types of a product; that operands are not negated, nor halves transposed."""
ADDRESS = 0x3FFFF
"""The bits of a shared address that a descriptor has, in units of 16 bytes."""


def _instruction(b: Any, text: str) -> Any:
    kind = ir.FunctionType(ir.VoidType(), [])
    return b.call(ir.InlineAsm(kind, text, "~{memory}", side_effect=True), (), attrs=CONVERGENT)


def _with_sums(b: Any, text: str, sums: Any, *values: Any) -> Any:
    """An instruction that changes sums, registers 0 and on of its text; those of the values come behind them."""
    parts = [b.extract_value(sums, k) for k in range(sums.type.count)]
    count, element = len(parts), parts[0].type
    letter = "f" if element == F32 else "r"
    same = ",".join(str(k) for k in range(count))
    constraints = ",".join([f"={letter}"] * count + ["l"] * len(values) + [same, "~{memory}"])
    kind = ir.FunctionType(ir.LiteralStructType([element] * count), [*(v.type for v in values), *[element] * count])
    found = b.call(ir.InlineAsm(kind, text, constraints, side_effect=True), [*values, *parts], attrs=CONVERGENT)
    return cgutils.pack_array(b, [b.extract_value(found, k) for k in range(count)])


def _product(name: str) -> Any:
    """The word ``name``; the number of sums says how many columns there are."""
    shape, flags = SHAPES[name]

    def product(context: Any, sums: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            n = sums.count
            head = f"wgmma.mma_async.sync.aligned.m64n{2 * n}{shape}"
            text = f"{head} {{{','.join(f'${k}' for k in range(n))}}}, ${n}, ${n + 1}, 1{flags};"
            return _with_sums(builder, text, *values)

        return sums(sums, types.int64, types.int64), generate

    return intrinsic(product)


def _zeros(numba: Any, zero: Any) -> Any:
    def zeros(context: Any, n: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return cgutils.pack_array(builder, [zero] * n.literal_value)

        if not isinstance(n, types.IntegerLiteral):
            return None  # Numba asks again, with the number
        return types.UniTuple(numba, n.literal_value)(n), generate

    return intrinsic(zeros)


@intrinsic  # type: ignore[untyped-decorator]
def descriptor(context: Any, s: Any, deep: Any, down: Any) -> Any:
    """A matrix in shared memory, as products take it; ``deep`` and ``down`` are written out in the source."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        place = b.and_(b.trunc(values[0], I32), I32(ADDRESS))
        low = b.or_(b.lshr(place, I32(4)), I32(deep.literal_value >> 4 << 16))
        return b.or_(b.zext(low, I64), I64(down.literal_value >> 4 << 32))

    if not (isinstance(deep, types.IntegerLiteral) and isinstance(down, types.IntegerLiteral)):
        return None  # Numba asks again, with the numbers
    return types.int64(types.int64, deep, down), generate


@intrinsic  # type: ignore[untyped-decorator]
def wgmma_wait(context: Any, sums: Any, n: Any) -> Any:
    """The sums, when at most ``n`` groups of products are under way; n is written out in the source."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _with_sums(builder, f"wgmma.wait_group.sync.aligned {n.literal_value};", values[0])

    if not isinstance(n, types.IntegerLiteral):
        return None  # Numba asks again, with the number
    return sums(sums, n), generate


def _plain(text: str) -> Any:
    return word(types.none, (), lambda b: _instruction(b, text))


def namespace() -> dict[str, Any]:
    """All words of this module."""
    return {
        "zeros_f4": _zeros(types.float32, ir.Constant(F32, 0.0)),
        "zeros_i4": _zeros(types.int32, I32(0)),
        "descriptor": descriptor,
        "publish": _plain("fence.proxy.async.shared::cta;"),
        "wgmma_fence": _plain("wgmma.fence.sync.aligned;"),
        "wgmma_commit": _plain("wgmma.commit_group.sync.aligned;"),
        "wgmma_wait": wgmma_wait,
        **{name: _product(name) for name in SHAPES},
    }
