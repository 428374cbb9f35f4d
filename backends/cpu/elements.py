"""Vocabulary for elements of every type: loads, stores, arrays; and transposition of tiles in registers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types

from graphc.backends.cpu.vector import F32, I32, I64, NUMBA, define, pointer


@cache
def namespace(lanes: int) -> dict[str, Any]:
    """``ld_f8(a, i)``, ``st_f8(a, i, v)`` and so on for every type: element i from byte address a; ``array_f8(a,
    shape)``: ``intrinsics.Numba.arrays``; ``transpose``.
    """
    ip = types.intp
    names = NUMBA.arrays()
    for code, (numba_type, llvm_type) in NUMBA.elements().items():
        names[f"ld_{code}"] = define(f"ld_{code}", numba_type, (ip, ip), _load(llvm_type))
        names[f"st_{code}"] = define(f"st_{code}", types.void, (ip, ip, numba_type), _store)
    names["transpose"] = define("transpose", types.void, (ip,) * 6, _transposition(lanes))
    return names


def _load(element: Any) -> Callable[..., Any]:
    return lambda b, a, i: b.load(pointer(b, a, i, element), align=1)


def _store(b: Any, a: Any, i: Any, v: Any) -> None:
    b.store(v, pointer(b, a, i, v.type), align=1)


def _transposition(lanes: int) -> Callable[..., None]:
    """``transpose(x, xo, xs, y, yo, ys)``: the rows of a square tile, xs floats apart, become the columns of one whose
    rows are ys apart.
    """
    vec = ir.VectorType(F32, lanes)

    def at(b: Any, a: Any, o: Any, stride: Any, i: int) -> Any:
        return b.bitcast(pointer(b, a, b.add(o, b.mul(stride, I64(i))), F32), vec.as_pointer())

    def whole(b: Any, x: Any, xo: Any, xs: Any, y: Any, yo: Any, ys: Any) -> None:
        rows = [b.load(at(b, x, xo, xs, i), align=4) for i in range(lanes)]
        for i, v in enumerate(_exchange(b, rows, lanes)):
            b.store(v, at(b, y, yo, ys, i), align=4)

    return whole


def _exchange(b: Any, rows: list[Any], lanes: int) -> list[Any]:
    """Transpose ``lanes`` vectors: exchange one bit of the row number with one of the lane number at a time."""
    distance = 1
    while distance < lanes:
        swapped = list(rows)
        for i in range(lanes):
            if i & distance:
                continue
            low = [j + lanes - distance if j & distance else j for j in range(lanes)]
            high = [j + lanes if j & distance else j + distance for j in range(lanes)]
            pair = (rows[i], rows[i + distance])
            for k, indices in ((i, low), (i + distance, high)):
                swapped[k] = b.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, lanes), indices))
        rows = swapped
        distance *= 2
    return rows
