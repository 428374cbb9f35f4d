"""Vectors in Numba: a type for LLVM's ``<lanes x float>`` and the operations that generated kernels use.

Kernels address memory as integers: ``a`` is a byte address, ``off`` an offset in floats. Everything inlines to one
or a few instructions. ``namespace(lanes)`` gives the names that kernel source sees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np import arrayobj

from graphc.backends.intrinsics import Build, Numba

NUMBA = Numba(types, cgutils, arrayobj, intrinsic)
F32 = ir.FloatType()
I1 = ir.IntType(1)
I8 = ir.IntType(8)
I32 = ir.IntType(32)
I64 = ir.IntType(64)


class VectorType(types.Type):  # type: ignore[misc]
    """Numba's view of ``<lanes x element>``; element is ``f32``, ``i32``, ``i8`` or ``i1`` (a mask)."""

    def __init__(self, lanes: int, element: str) -> None:
        self.lanes, self.element = lanes, element
        super().__init__(name=f"v{lanes}{element}")


ELEMENTS = {"f32": F32, "i32": I32, "i8": I8, "i1": I1}


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(ELEMENTS[fe_type.element], fe_type.lanes))


def define(name: str, result: Any, arguments: tuple[Any, ...], build: Build) -> Any:
    """The word ``name(arguments) -> result`` whose code is ``build(builder, *llvm_values)``."""
    return NUMBA.word(result, arguments, build, name)


def pointer(b: Any, address: Any, offset: Any, element: Any) -> Any:
    """Pointer to ``element`` number ``offset`` from a byte address."""
    return b.gep(b.inttoptr(address, element.as_pointer()), [offset])


def splat(b: Any, scalar: Any, lanes: int) -> Any:
    """All lanes equal to a scalar."""
    t = ir.VectorType(scalar.type, lanes)
    v = b.insert_element(ir.Constant(t, ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(v, ir.Constant(t, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def call_llvm(b: Any, name: str, result: Any, args: list[Any]) -> Any:
    """Call an LLVM intrinsic function by its full name."""
    return NUMBA.call(b, name, result, *args)


def lane_mask(b: Any, count: Any, lanes: int) -> Any:
    """Mask of the lanes below ``count`` (an i64)."""
    index = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    return b.icmp_signed("<", index, splat(b, count, lanes))


def _memory(lanes: int, vec: Any, vt: Any) -> dict[str, Any]:
    """Loads and stores; the masked forms touch the first ``n`` lanes only. ``_u1``: bytes, as floats."""
    ip = types.intp

    def cast(b: Any, a: Any, off: Any) -> Any:
        return b.bitcast(pointer(b, a, off, F32), vec.as_pointer())

    def store(b: Any, a: Any, off: Any, v: Any) -> None:
        b.store(v, cast(b, a, off), align=4)

    def stream(b: Any, a: Any, off: Any, v: Any) -> None:
        whole = b.store(v, cast(b, a, off), align=4 * lanes)
        whole.set_metadata("nontemporal", b.module.add_metadata([I32(1)]))

    def load_masked(b: Any, a: Any, off: Any, n: Any) -> Any:
        name = f"llvm.masked.load.v{lanes}f32.p0"
        args = [cast(b, a, off), I32(4), lane_mask(b, n, lanes), ir.Constant(vec, [0.0] * lanes)]
        return call_llvm(b, name, vec, args)

    def store_masked(b: Any, a: Any, off: Any, n: Any, v: Any) -> None:
        name = f"llvm.masked.store.v{lanes}f32.p0"
        call_llvm(b, name, ir.VoidType(), [v, cast(b, a, off), I32(4), lane_mask(b, n, lanes)])

    def load_bytes(b: Any, a: Any, off: Any) -> Any:
        byte_vec = ir.VectorType(I8, lanes)
        return b.uitofp(b.load(b.bitcast(pointer(b, a, off, I8), byte_vec.as_pointer()), align=1), vec)

    def load_bytes_masked(b: Any, a: Any, off: Any, n: Any) -> Any:
        byte_vec = ir.VectorType(I8, lanes)
        place = b.bitcast(pointer(b, a, off, I8), byte_vec.as_pointer())
        args = [place, I32(1), lane_mask(b, n, lanes), ir.Constant(byte_vec, [0] * lanes)]
        return b.uitofp(call_llvm(b, f"llvm.masked.load.v{lanes}i8.p0", byte_vec, args), vec)

    def prefetch(write: int, locality: int) -> Callable[..., None]:
        def build(b: Any, a: Any, off: Any) -> None:
            p = b.bitcast(pointer(b, a, off, F32), ir.IntType(8).as_pointer())
            call_llvm(b, "llvm.prefetch.p0", ir.VoidType(), [p, I32(write), I32(locality), I32(1)])

        return build

    return {
        "vload": define("vload", vt, (ip, ip), lambda b, a, o: b.load(cast(b, a, o), align=4)),
        "vstore": define("vstore", types.void, (ip, ip, vt), store),
        "vstream": define("vstream", types.void, (ip, ip, vt), stream),
        "fence": define("fence", types.void, (), lambda b: b.fence("seq_cst")),
        "vloadm": define("vloadm", vt, (ip, ip, ip), load_masked),
        "vstorem": define("vstorem", types.void, (ip, ip, ip, vt), store_masked),
        "vload_u1": define("vload_u1", vt, (ip, ip), load_bytes),
        "vload_u1m": define("vload_u1m", vt, (ip, ip, ip), load_bytes_masked),
        "vbcast": define("vbcast", vt, (ip, ip), lambda b, a, o: splat(b, b.load(pointer(b, a, o, F32)), lanes)),
        "prefetch": define("prefetch", types.void, (ip, ip), prefetch(0, 3)),
        "prefetch_l2": define("prefetch_l2", types.void, (ip, ip), prefetch(0, 2)),
        "prefetch_write": define("prefetch_write", types.void, (ip, ip), prefetch(1, 3)),
        "vsplat": define("vsplat", vt, (types.float32,), lambda b, s: splat(b, s, lanes)),
        "vzero": define("vzero", vt, (), lambda b: ir.Constant(vec, [0.0] * lanes)),
    }


def _scalar_memory() -> dict[str, Any]:
    """``ld(p, i)``: parameter i as integer; ``lds``/``sts``: one float; ``ldb``: uint8; ``ldi``: int32, by element."""
    ip, f32 = types.intp, types.float32

    def load(element: Any) -> Callable[..., Any]:
        return lambda b, a, o: b.load(pointer(b, a, o, element))

    def store(b: Any, a: Any, o: Any, v: Any) -> None:
        b.store(v, pointer(b, a, o, v.type))

    return {
        "ld": define("ld", ip, (ip, ip), load(I64)),
        "lds": define("lds", types.float32, (ip, ip), load(F32)),
        "sts": define("sts", types.void, (ip, ip, types.float32), store),
        "ldb": define("ldb", types.uint8, (ip, ip), load(ir.IntType(8))),
        "stb": define("stb", types.void, (ip, ip, types.uint8), store),
        "ldi": define("ldi", types.int32, (ip, ip), load(I32)),
        "sti": define("sti", types.void, (ip, ip, types.int32), store),
        "fma": define("fma", f32, (f32, f32, f32), lambda b, *xyz: call_llvm(b, "llvm.fmuladd.f32", F32, list(xyz))),
    }


def _arithmetic(lanes: int, vec: Any, vt: Any, mt: Any, fma: bool) -> dict[str, Any]:
    """Lane-wise arithmetic, comparison and selection."""
    fused = f"llvm.{'fma' if fma else 'fmuladd'}.v{lanes}f32"
    unary = {"vabs": "fabs", "vsqrt": "sqrt", "vfloor": "floor", "vceil": "ceil", "vround": "rint"}
    names: dict[str, Any] = {
        "vfma": define("vfma", vt, (vt, vt, vt), lambda b, x, y, z: call_llvm(b, fused, vec, [x, y, z])),
        "vneg": define("vneg", vt, (vt,), lambda b, x: b.fneg(x)),
        # the second operand is returned where the first is NaN, as x86's maxps does
        "vmax": define("vmax", vt, (vt, vt), lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y)),
        "vmin": define("vmin", vt, (vt, vt), lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y)),
        "vmaximum": define("vmaximum", vt, (vt, vt), lambda b, x, y: _of_both(b, ">", x, y)),
        "vminimum": define("vminimum", vt, (vt, vt), lambda b, x, y: _of_both(b, "<", x, y)),
        "vwhere": define("vwhere", vt, (mt, vt, vt), lambda b, m, x, y: b.select(m, x, y)),
        "mand": define("mand", mt, (mt, mt), lambda b, x, y: b.and_(x, y)),
        "mor": define("mor", mt, (mt, mt), lambda b, x, y: b.or_(x, y)),
        "mnot": define("mnot", mt, (mt,), lambda b, x: b.not_(x)),
        "visnan": define("visnan", mt, (vt,), lambda b, x: b.fcmp_unordered("uno", x, x)),
        "vfirst": define("vfirst", mt, (types.intp,), lambda b, n: lane_mask(b, n, lanes)),
    }
    for name, method in {"vadd": "fadd", "vsub": "fsub", "vmul": "fmul", "vdiv": "fdiv"}.items():
        names[name] = define(name, vt, (vt, vt), lambda b, x, y, method=method: getattr(b, method)(x, y))
    for name, function in unary.items():
        full = f"llvm.{function}.v{lanes}f32"
        names[name] = define(name, vt, (vt,), lambda b, x, full=full: call_llvm(b, full, vec, [x]))
    for name, op in {"vlt": "<", "vle": "<=", "veq": "=="}.items():
        names[name] = define(name, mt, (vt, vt), lambda b, x, y, op=op: b.fcmp_ordered(op, x, y))
    return names


def _of_both(b: Any, op: str, x: Any, y: Any) -> Any:
    """The larger or smaller operand; NaN where either is.

    Compared in one order it is NaN where the second is, in the other where the first is: the bits of both together.
    """
    bits = ir.VectorType(I32, x.type.count)
    picks = (b.select(b.fcmp_ordered(op, one, other), one, other) for one, other in ((x, y), (y, x)))
    return b.bitcast(b.or_(*(b.bitcast(v, bits) for v in picks)), x.type)


def _horizontal(lanes: int, vt: Any) -> dict[str, Any]:
    """Reductions over the lanes, as a tree: the order of additions does not depend on the target's LLVM."""

    def reduce(combine: Callable[..., Any]) -> Callable[..., Any]:
        def build(b: Any, v: Any) -> Any:
            undefined, half = ir.Constant(v.type, ir.Undefined), lanes // 2
            while half:
                low, high = (ir.Constant(ir.VectorType(I32, half), list(range(n, n + half))) for n in (0, half))
                v = combine(b, b.shuffle_vector(v, undefined, low), b.shuffle_vector(v, undefined, high))
                undefined, half = ir.Constant(v.type, ir.Undefined), half // 2
            return b.extract_element(v, I32(0))

        return build

    return {
        "vhsum": define("vhsum", types.float32, (vt,), reduce(lambda b, x, y: b.fadd(x, y))),
        "vhmax": define("vhmax", types.float32, (vt,), reduce(lambda b, x, y: _of_both(b, ">", x, y))),
        "vhmin": define("vhmin", types.float32, (vt,), reduce(lambda b, x, y: _of_both(b, "<", x, y))),
        "vlane": define("vlane", types.float32, (vt, types.intp), lambda b, v, i: b.extract_element(v, i)),
    }


@cache
def namespace(lanes: int, fma: bool) -> dict[str, Any]:
    """The names that kernel source may use, for vectors of ``lanes`` floats."""
    vec, vt, mt = ir.VectorType(F32, lanes), VectorType(lanes, "f32"), VectorType(lanes, "i1")
    names = {
        **_memory(lanes, vec, vt),
        **_scalar_memory(),
        **_arithmetic(lanes, vec, vt, mt, fma),
        **_horizontal(lanes, vt),
    }
    return {**names, "f4": np.float32}
