"""What becomes of floats that do not fit an integer: on cards what x86 makes of them, and so Caffe2 in C++ there.

A card itself gives the nearest integer, of NaN 0 or the smallest. x86 converts to int32, or to int64 where the type has
more bits, gives the smallest integer of these for everything that does not fit, NaN among it, and cuts off what a
shorter type does not hold. To uint64 a card converts as it does. Numba asks here for each conversion of a kernel:
``int(v)``, ``np.int32(v)``, and a float stored where integers are. Compile workers alone import this module.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import lower_cast

from graphc.backends.cuda.words import I32, I64

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


def to_integer(context: Any, b: Any, source: Any, target: Any, value: Any) -> Any:
    """LLVM's integer of Numba's type ``target`` for a float; Numba's signature of conversions."""
    wide = I64 if target.bitwidth > 32 or target == types.uint32 else I32
    limit = 2.0 ** (wide.width - 1)
    above = b.fcmp_ordered(">=", value, ir.Constant(value.type, -limit))
    below = b.fcmp_ordered("<", value, ir.Constant(value.type, limit))
    made = b.select(b.and_(above, below), b.fptosi(value, wide), wide(-(1 << (wide.width - 1))))
    return b.trunc(made, ir.IntType(target.bitwidth)) if target.bitwidth < wide.width else made


def register() -> None:
    """Have Numba convert so; its own conversions, of any float to any integer, are less specific."""
    for source in (types.float32, types.float64):
        for name in INTEGERS:
            lower_cast(source, getattr(types, name))(to_integer)
