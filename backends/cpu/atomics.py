"""Atomic memory, calls through addresses and waiting, for the driver. Words are int64 at byte addresses."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types

from graphc.backends.cpu.vector import I32, I64, call_llvm, define

WORD = I64.as_pointer()


def _call_kernel(b: Any, function: Any, params: Any, lo: Any, hi: Any, thread: Any, ignored: Any) -> None:
    """Call Numba's bare function; ``ignored``: two words for the result and exception pointers, which nobody reads."""
    kernel = ir.FunctionType(I32, [I64] * 6)
    b.call(b.inttoptr(function, kernel.as_pointer()), [ignored, b.add(ignored, I64(8)), params, lo, hi, thread])


def _call_yield(b: Any, function: Any) -> None:
    b.call(b.inttoptr(function, ir.FunctionType(I32, []).as_pointer()), [])


def _pause(b: Any) -> None:
    if platform.machine().lower() in ("x86_64", "amd64"):
        call_llvm(b, "llvm.x86.sse2.pause", ir.VoidType(), [])


def _store(b: Any, address: Any, value: Any) -> None:
    b.store_atomic(value, b.inttoptr(address, WORD), "release", 8)


def _swap(b: Any, address: Any, expected: Any, new: Any) -> Any:
    # sequentially consistent: what a thread announces by a swap is seen before what it loads next
    pair = b.cmpxchg(b.inttoptr(address, WORD), expected, new, "seq_cst", "seq_cst")
    return b.extract_value(pair, 0)


def namespace() -> dict[str, Any]:
    """``aload astore aadd aswap callk pause cpu_yield``; ``aadd`` and ``aswap(a, expected, new)`` give old values."""
    ip, none = types.intp, types.void
    return {
        "aload": define("aload", ip, (ip,), lambda b, a: b.load_atomic(b.inttoptr(a, WORD), "acquire", 8)),
        "astore": define(
            "astore", none, (ip, ip), lambda b, a, v: b.store_atomic(v, b.inttoptr(a, WORD), "release", 8)
        ),
        "aadd": define("aadd", ip, (ip, ip), lambda b, a, v: b.atomic_rmw("add", b.inttoptr(a, WORD), v, "acq_rel")),
        "aswap": define("aswap", ip, (ip, ip, ip), _swap),
        "callk": define("callk", none, (ip,) * 6, _call_kernel),
        "pause": define("pause", none, (), _pause),
        "cpu_yield": define("cpu_yield", none, (ip,), _call_yield),
    }
