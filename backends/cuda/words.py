"""The words of kernel source on CUDA: what each means to Numba, as one or a few instructions.

Kernels address memory as integers: ``a`` is a byte address, ``i`` counts elements. All parameters of a kernel are
int64; ``i32`` makes index arithmetic short. Compile workers alone import this module; ``namespace`` gives the names.
Further words stand in ``vector_words.py`` (halves, several elements at once), ``tensor_words.py`` and
``warpgroup_words.py``; kernels with the latter have ``div`` and ``sqrt`` from ``inline_words.py``.

    thread() block()                                        numbers of the thread in its block, of the block
    ld_f4(a, i) st_f4(a, i, v)                              global memory; also f8 i1 i2 i4 i8 u1 u2
    ld4(a, i) st4(a, i, v0, v1, v2, v3)                     four floats, at a multiple of 16 bytes
    shared(n) sld(s, i) sst(s, i, v) sld4(s, i)             n floats of the block, loaded and stored like global ones;
                                                            more than 48 KB are one piece, whose size the launch says
    barrier()                                               for all threads of the block
    swap(v, m)                                              of the thread of the warp whose number differs by m
    quot(a, b) rest(a, b)                                   of integers from 0 to 2^31 - 1
    within(a, n)                                            0 <= a < n, of integers of 32 bits
    fma(a, b, c) div(a, b) largest(a, b) smallest(a, b)     float32; the last two are NaN where an operand is
    times(a, b) plus(a, b)                                  float32, each rounded by itself, also one behind the other
    sqrt exp log tanh sigmoid erf sin cos pow floor ceil nearest absolute
    where(m, a, b) isnan(a) no(m)
    double(n)                                               the float64 of these bits
"""

from __future__ import annotations

import re
from itertools import count
from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic
from numba.cuda.np import arrayobj

from graphc.backends.intrinsics import Build as Build
from graphc.backends.intrinsics import Numba

NUMBA = Numba(types, cgutils, arrayobj, intrinsic)
word = NUMBA.word
F32, F64, I1, I32, I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
GLOBAL, SHARED = 1, 3
CONVERGENT = ("convergent",)
"""What LLVM is told of instructions that threads have to reach together, so that it puts them under no other condition.
It knows so of barriers and exchanges, which are functions of its own; of inline assembly it knows nothing. Of functions
that a kernel calls it knows nothing either: these words stand in kernels themselves.
"""

_SAME = ("sqrt", "exp", "log", "tanh", "erf", "sin", "cos", "floor", "ceil")
LIBRARY = {**{name: name + "f" for name in _SAME}, "nearest": "rintf", "absolute": "fabsf"}
"""Words of one float32 -> functions of NVIDIA's libdevice."""


def pointer(b: Any, address: Any, index: Any, element: Any, space: int) -> Any:
    """The place of an element of a type at a byte address; space: ``GLOBAL`` or ``SHARED``."""
    return b.gep(b.inttoptr(address, ir.PointerType(element, space)), [index])


def _load(element: Any, space: int) -> Build:
    return lambda b, a, i: b.load(pointer(b, a, i, element, space))


def _store(space: int) -> Build:
    return lambda b, a, i, v: b.store(v, pointer(b, a, i, v.type, space))


def _load4(space: int) -> Build:
    four = ir.VectorType(F32, 4)

    def build(b: Any, a: Any, i: Any) -> Any:
        place = b.bitcast(pointer(b, a, i, F32, space), ir.PointerType(four, space))
        loaded = b.load(place, align=16)
        return cgutils.pack_array(b, [b.extract_element(loaded, I32(k)) for k in range(4)])

    return build


def _store4(space: int) -> Build:
    four = ir.VectorType(F32, 4)

    def build(b: Any, a: Any, i: Any, *values: Any) -> Any:
        vector = ir.Constant(four, ir.Undefined)
        for k, v in enumerate(values):
            vector = b.insert_element(vector, v, I32(k))
        place = b.bitcast(pointer(b, a, i, F32, space), ir.PointerType(four, space))
        return b.store(vector, place, align=16)

    return build


_SHARED = count()
DYNAMIC = "dynamic_shared_"
"""The name of dynamic shared memory in PTX, with its bytes behind."""
STATIC_SHARED = 48 << 10
"""Bytes of shared memory that a kernel can declare. Larger pieces are dynamic: the launch says their size."""


@intrinsic  # type: ignore[untyped-decorator]
def shared(context: Any, n: Any) -> Any:
    """The address of ``n`` floats that the threads of a block share; n is written out in the source."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        nbytes, kind = 4 * n.literal_value, ir.ArrayType(F32, n.literal_value)
        if nbytes > STATIC_SHARED:
            kind = ir.ArrayType(F32, 0)
            place = cgutils.add_global_variable(builder.module, kind, f"{DYNAMIC}{nbytes}", SHARED)
            place.linkage, place.align = "external", 16
        else:
            place = cgutils.add_global_variable(builder.module, kind, f"shared_{next(_SHARED)}", SHARED)
            place.linkage, place.align, place.initializer = "internal", 16, ir.Constant(kind, ir.Undefined)
        return builder.ptrtoint(place, I64)

    if not isinstance(n, types.IntegerLiteral):
        return None  # Numba asks again, with the number
    return types.int64(n), generate


def dynamic_bytes(ptx: str) -> int:
    """Bytes of dynamic shared memory that a block of the kernel has to be launched with."""
    return max((int(nbytes) for nbytes in re.findall(rf"\b{DYNAMIC}(\d+)\b", ptx)), default=0)


def _asm(text: str, constraints: str) -> Build:
    def build(b: Any, *values: Any) -> Any:
        kind = ir.FunctionType(F32, [v.type for v in values])
        return b.call(ir.InlineAsm(kind, text, constraints), values)

    return build


def _sigmoid(b: Any, a: Any) -> Any:
    """1 / (1 + exp(-a)), infinite below included, without the subroutine that a division with IEEE rounding has.

    A quarter of the divisor is at most 2^126, so nothing is flushed to 0 before the end; one step of Newton makes of
    the instruction's 23 bits what rounding the quotient gives, or, seldom, a number beside it.
    """
    one, quarter = ir.Constant(F32, 1.0), ir.Constant(F32, 0.25)
    below = b.fadd(one, NUMBA.call(b, "__nv_expf", F32, _minus(b, a)))
    divisor = b.fmul(below, quarter)
    near = _asm("rcp.approx.ftz.f32 $0, $1;", "=f,f")(b, divisor)
    rest = NUMBA.call(b, "llvm.fma.f32", F32, _minus(b, divisor), near, one)
    found = b.fmul(NUMBA.call(b, "llvm.fma.f32", F32, near, rest, near), quarter)
    return b.select(b.fcmp_ordered("==", below, ir.Constant(F32, float("inf"))), ir.Constant(F32, 0.0), found)


def _minus(b: Any, a: Any) -> Any:
    return b.fsub(ir.Constant(F32, -0.0), a)  # NVVM knows no fneg


def _narrow(operation: str) -> Build:
    """A 32-bit operation on integers whose upper halves are zero: 64-bit division is a long subroutine."""

    def build(b: Any, a: Any, c: Any) -> Any:
        return b.zext(getattr(b, operation)(b.trunc(a, I32), b.trunc(c, I32)), I64)

    return build


def _within(b: Any, a: Any, n: Any) -> Any:
    """One comparison: what is below 0 is a large number without its sign."""
    return b.icmp_unsigned("<", b.trunc(a, I32), b.trunc(n, I32))


def _memory() -> dict[str, Any]:
    f4, i8 = types.float32, types.int64
    four = types.UniTuple(f4, 4)
    words = {}
    for code, (numba, llvm) in NUMBA.elements().items():
        words[f"ld_{code}"] = word(numba, (i8, i8), _load(llvm, GLOBAL))
        words[f"st_{code}"] = word(types.none, (i8, i8, numba), _store(GLOBAL))
    return words | {
        "ld4": word(four, (i8, i8), _load4(GLOBAL)),
        "st4": word(types.none, (i8, i8, f4, f4, f4, f4), _store4(GLOBAL)),
        "shared": shared,
        "sld": word(f4, (i8, i8), _load(F32, SHARED)),
        "sst": word(types.none, (i8, i8, f4), _store(SHARED)),
        "sld4": word(four, (i8, i8), _load4(SHARED)),
        "sst4": word(types.none, (i8, i8, f4, f4, f4, f4), _store4(SHARED)),
    }


def _threads() -> dict[str, Any]:
    def register(name: str) -> Build:
        return lambda b: NUMBA.call(b, f"llvm.nvvm.read.ptx.sreg.{name}.x", I32)

    def swap(b: Any, v: Any, m: Any) -> Any:
        return NUMBA.call(b, "llvm.nvvm.shfl.sync.bfly.f32", F32, I32(-1), v, b.trunc(m, I32), I32(31))

    return {
        "thread": word(types.int32, (), register("tid")),
        "block": word(types.int32, (), register("ctaid")),
        "barrier": word(types.none, (), lambda b: NUMBA.call(b, "llvm.nvvm.barrier0", ir.VoidType())),
        "swap": word(types.float32, (types.float32, types.int64), swap),
    }


def _arithmetic() -> dict[str, Any]:
    f4, i8, mask = types.float32, types.int64, types.boolean

    def function(name: str) -> Build:
        return lambda b, *values: NUMBA.call(b, f"__nv_{name}", F32, *values)

    return {
        "quot": word(i8, (i8, i8), _narrow("udiv")),
        "rest": word(i8, (i8, i8), _narrow("urem")),
        "within": word(mask, (i8, i8), _within),
        "fma": word(f4, (f4, f4, f4), lambda b, *v: NUMBA.call(b, "llvm.fma.f32", F32, *v)),
        "div": word(f4, (f4, f4), lambda b, a, c: b.fdiv(a, c)),
        "largest": word(f4, (f4, f4), _asm("max.NaN.f32 $0, $1, $2;", "=f,f,f")),
        "smallest": word(f4, (f4, f4), _asm("min.NaN.f32 $0, $1, $2;", "=f,f,f")),
        "times": word(f4, (f4, f4), _asm("mul.rn.f32 $0, $1, $2;", "=f,f,f")),
        "plus": word(f4, (f4, f4), _asm("add.rn.f32 $0, $1, $2;", "=f,f,f")),
        "sigmoid": word(f4, (f4,), _sigmoid),
        "pow": word(f4, (f4, f4), function("powf")),
        **{name: word(f4, (f4,), function(called)) for name, called in LIBRARY.items()},
        "where": word(f4, (mask, f4, f4), lambda b, m, a, c: b.select(m, a, c)),
        "isnan": word(mask, (f4,), lambda b, a: b.fcmp_unordered("uno", a, a)),
        "double": word(types.float64, (i8,), lambda b, n: b.bitcast(n, F64)),
        "no": word(mask, (mask,), lambda b, m: b.xor(m, I1(1))),
    }


def namespace() -> dict[str, Any]:
    """All words, and the types ``i32``, ``i64``, ``f4``, ``f8``."""
    kinds = {"i32": types.int32, "i64": types.int64, "f4": types.float32, "f8": types.float64}
    return {**kinds, **_memory(), **_threads(), **_arithmetic()}
