"""Words for loops over arrays: arrays made of addresses, errors, and NumPy's rounding of any float.

array_f4(a, shape)          a row-major array at a byte address; also b1 f8 i1 i2 i4 i8 u1 u2
fail(a, code)               the word at an address becomes code, unless it is larger: for errors, by any thread
floor_of ceil_of round_of   of a float32 or float64, as such; halves are rounded to even
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from graphc.backends.cuda.words import GLOBAL, I64, NUMBA, word


def _rounding(name: str) -> Any:
    def make(typing: Any, value: Any) -> Any:
        if value not in (types.float32, types.float64):
            return None

        def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
            suffix = "f" if value == types.float32 else ""
            return NUMBA.call(b, f"__nv_{name}{suffix}", args[0].type, *args)  # NVVM knows no llvm.rint

        return value(value), generate

    return intrinsic(make)


def _fail(b: Any, address: Any, code: Any) -> Any:
    return b.atomic_rmw("max", b.inttoptr(address, ir.PointerType(I64, GLOBAL)), code, "monotonic")


def namespace() -> dict[str, Any]:
    """The words, and ``np`` and ``math`` for the names that loops have of them."""
    return {
        "np": np,
        "math": math,
        **NUMBA.arrays(),
        "fail": word(types.none, (types.int64, types.int64), _fail),
        "floor_of": _rounding("floor"),
        "ceil_of": _rounding("ceil"),
        "round_of": _rounding("rint"),
    }
