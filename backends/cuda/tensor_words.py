"""Words of kernel source for tensor cores and for what feeds them: copies that run beside the arithmetic.

Addresses are bytes, ``s`` of shared memory, ``a`` of global memory; all of 16 bytes are multiples of 16. A register
holds 32 bits: two halves or four bytes, the first one lowest. Threads are those of a warp, all of which have to get
there; thread 4 g + t is (g, t).

    copy16(s, a, n)     begin to copy 16 bytes to shared memory: n of them from a on, 0 for the rest
    commit()            this thread's copies since the last one are a group
    wait(n)             until at most the last n groups of this thread are under way; n is written out
    matrices(s)         four 8 x 8 matrices of 16 bits: row r of matrix q begins at the address of thread 8 q + r;
                        register q of (g, t) holds elements 2 t and 2 t + 1 of row g
    turned_matrices(s)  the same, but register q of (g, t) holds element g of rows 2 t and 2 t + 1
    register(s)         32 bits at an address that is a multiple of 4
    mma_f2 mma_bf       (a0, .. a3, b0, b1, c0, .. c3): C + A B, A (16, 16), B (16, 8), sums in float32;
                        a: rows g, g + 8 of columns 2 t and on, then of columns 2 t + 8 and on; b: rows 2 t and on,
                        2 t + 8 and on of column g; c: columns 2 t and 2 t + 1 of rows g and g + 8
    mma_u1              the same for A (16, 32) of uint8, B (32, 8) of int8, four to a register, sums in int32
    mma_tf              the same for A (16, 8), B (8, 8) of TF32, one to a register, sums in float32: a: rows g, g + 8
                        of column t, then of column t + 4; b: rows t, t + 4 of column g
    tf32(v)             the bits of a float32 rounded to TF32, of two equally near numbers the one further from 0
    round_tf32(s)       the same for four float32 at a shared address, a multiple of 16, where they are
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic

from graphc.backends.cuda.words import CONVERGENT, F32, I32, SHARED, Build, pointer, word

MMA = "mma.sync.aligned.{}.row.col.{} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"
LDMATRIX = "ldmatrix.sync.aligned.m8n8.x4{}.shared.b16 {{$0,$1,$2,$3}}, [$4];"
SHAPES = {
    "mma_f2": ("m16n8k16", "f32.f16.f16.f32"),
    "mma_bf": ("m16n8k16", "f32.bf16.bf16.f32"),
    "mma_u1": ("m16n8k32", "s32.u8.s8.s32"),
    "mma_tf": ("m16n8k8", "f32.tf32.tf32.f32"),
}


def _effect(b: Any, text: str, constraints: str, result: Any, *values: Any, attributes: tuple[str, ...] = ()) -> Any:
    """An instruction that touches memory, and so keeps its place among others."""
    kind = ir.FunctionType(result, [v.type for v in values])
    joined = f"{constraints},~{{memory}}" if constraints else "~{memory}"
    return b.call(ir.InlineAsm(kind, text, joined, side_effect=True), values, attrs=attributes)


def _four(b: Any, found: Any) -> Any:
    return cgutils.pack_array(b, [b.extract_value(found, k) for k in range(4)])


def _copy16(b: Any, s: Any, a: Any, n: Any) -> Any:
    text = "cp.async.cg.shared.global [$0], [$1], 16, $2;"
    return _effect(b, text, "r,l,r", ir.VoidType(), b.trunc(s, I32), a, b.trunc(n, I32))


def _matrices(form: str) -> Build:
    def build(b: Any, s: Any) -> Any:
        kind, place = ir.LiteralStructType([I32] * 4), b.trunc(s, I32)
        return _four(b, _effect(b, LDMATRIX.format(form), "=r,=r,=r,=r,r", kind, place, attributes=CONVERGENT))

    return build


def _mma(name: str, sums: Any, letter: str) -> Build:
    constraints = ",".join([f"={letter}"] * 4 + ["r"] * 6 + [letter] * 4)

    def build(b: Any, *values: Any) -> Any:
        kind = ir.FunctionType(ir.LiteralStructType([sums] * 4), [v.type for v in values])
        product = ir.InlineAsm(kind, MMA.format(*SHAPES[name]), constraints)
        return _four(b, b.call(product, values, attrs=CONVERGENT))

    return build


def _tf32(b: Any, v: Any) -> Any:
    return b.call(ir.InlineAsm(ir.FunctionType(I32, [I32]), "cvt.rna.tf32.f32 $0, $1;", "=r,r"), [v])


def _round_tf32(b: Any, s: Any) -> Any:
    four = ir.VectorType(I32, 4)
    place = b.bitcast(pointer(b, s, I32(0), I32, SHARED), ir.PointerType(four, SHARED))
    loaded = b.load(place, align=16)
    rounded = ir.Constant(four, ir.Undefined)
    for k in range(4):
        rounded = b.insert_element(rounded, _tf32(b, b.extract_element(loaded, I32(k))), I32(k))
    return b.store(rounded, place, align=16)


@intrinsic  # type: ignore[untyped-decorator]
def wait(context: Any, n: Any) -> Any:
    """Until at most ``n`` groups of copies of this thread are under way; n is written out in the source."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _effect(builder, f"cp.async.wait_group {n.literal_value};", "", ir.VoidType())
        return context.get_dummy_value()

    if not isinstance(n, types.IntegerLiteral):
        return None  # Numba asks again, with the number
    return types.none(n), generate


def namespace() -> dict[str, Any]:
    """All words of this module."""
    i4, i8, f4 = types.int32, types.int64, types.float32
    sums = {"mma_u1": (i4, I32, "r")}
    products = {
        name: word(types.UniTuple(numba, 4), (*[i4] * 6, *[numba] * 4), _mma(name, llvm, letter))
        for name in SHAPES
        for numba, llvm, letter in [sums.get(name, (f4, F32, "f"))]
    }
    return products | {
        "copy16": word(types.none, (i8, i8, i8), _copy16),
        "commit": word(types.none, (), lambda b: _effect(b, "cp.async.commit_group;", "", ir.VoidType())),
        "wait": wait,
        "matrices": word(types.UniTuple(i4, 4), (i8,), _matrices("")),
        "turned_matrices": word(types.UniTuple(i4, 4), (i8,), _matrices(".trans")),
        "register": word(i4, (i8,), lambda b, s: b.load(pointer(b, s, I32(0), I32, SHARED))),
        "tf32": word(i4, (i4,), _tf32),
        "round_tf32": word(types.none, (i8,), _round_tf32),
    }
