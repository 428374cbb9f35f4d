"""The words ``div`` and ``sqrt`` without a call, for kernels with products of four warps: the same numbers as in
``words.py``, by other instructions.

What the compiler makes of a division or square root with IEEE rounding has a subroutine for rare operands, and where a
kernel calls anything, it lets no products run beside (its warning C7509). Here both are worked out in float64, whose
instructions reach every quotient of float32 without overflow or denormals, with a seed of 20 bits. Of two numbers of 24
bits neither quotient nor root comes closer to the middle between two float32 than 2^-51 of itself without being on it,
so rounding what has an error below that gives the number that rounding the exact one gives.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda import types

from graphc.backends.cuda.words import F32, F64, NUMBA, word

NEEDS_NO_CALLS = "wgmma_commit("
"""Source with this word in it takes these."""
DOUBLINGS = 2
"""Steps of Newton from 20 bits to more than 52; each doubles them."""


def _constant(value: float) -> Any:
    return ir.Constant(F64, value)


def _fma(b: Any, *values: Any) -> Any:
    return NUMBA.call(b, "llvm.fma.f64", F64, *values)


def _minus(b: Any, a: Any) -> Any:
    return b.fsub(_constant(-0.0), a)  # NVVM knows no fneg


def _seed(b: Any, name: str, a: Any) -> Any:
    """1 / a, or the root of that, to 20 bits; of 0 infinity, of infinity 0, with the sign."""
    kind = ir.FunctionType(F64, [F64])
    return b.call(ir.InlineAsm(kind, f"{name}.approx.ftz.f64 $0, $1;", "=d,d"), [a])


def _rounded(b: Any, value: Any, exact: Any, rest: Any, plain: Any) -> Any:
    """As float32: exact, unless nothing is left of it, which is so of zeros; plain where that is no number, which is so
    where an operand is 0, infinite or none itself."""
    value = b.select(b.fcmp_ordered("==", rest, _constant(0.0)), value, exact)
    return b.fptrunc(b.select(b.fcmp_unordered("uno", value, value), plain, value), F32)


def _div(b: Any, a: Any, c: Any) -> Any:
    a, c = b.fpext(a, F64), b.fpext(c, F64)
    seed = inverse = _seed(b, "rcp", c)
    for _ in range(DOUBLINGS):
        inverse = _fma(b, inverse, _fma(b, _minus(b, c), inverse, _constant(1.0)), inverse)
    near = b.fmul(a, inverse)
    rest = _fma(b, _minus(b, c), near, a)
    return _rounded(b, near, _fma(b, rest, inverse, near), rest, b.fmul(a, seed))


def _sqrt(b: Any, a: Any) -> Any:
    a = b.fpext(a, F64)
    inverse = _seed(b, "rsqrt", a)
    for _ in range(DOUBLINGS):
        half = b.fmul(inverse, _constant(0.5))
        inverse = _fma(b, half, _fma(b, _minus(b, b.fmul(a, inverse)), inverse, _constant(1.0)), inverse)
    near = b.fmul(a, inverse)
    rest = _fma(b, _minus(b, near), near, a)
    exact = _fma(b, rest, b.fmul(inverse, _constant(0.5)), near)
    below = b.fcmp_ordered("<", a, _constant(0.0))
    return _rounded(b, near, exact, rest, b.select(below, _constant(float("nan")), a))


def namespace() -> dict[str, Any]:
    """All words of this module."""
    f4 = types.float32
    return {"div": word(f4, (f4, f4), _div), "sqrt": word(f4, (f4,), _sqrt)}
