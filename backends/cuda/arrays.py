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
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic
from numba.cuda.np.arrayobj import make_array, populate_array

from graphc.backends.cuda.words import ELEMENTS, GLOBAL, I64, word


def _maker(element: Any) -> Any:
    def make(typing: Any, address: Any, shape: Any) -> Any:
        array_type = types.Array(element, len(shape), "C")

        def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
            return _array(context, b, array_type, args[0], cgutils.unpack_tuple(b, args[1], array_type.ndim))

        return array_type(types.intp, types.UniTuple(types.intp, len(shape))), generate

    return intrinsic(make)


def _array(context: Any, b: Any, array_type: Any, address: Any, shape: list[Any]) -> Any:
    """The array structure; its strides follow from the shape."""
    item = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    strides = [item]
    for size in reversed(shape[1:]):
        strides.insert(0, b.mul(strides[0], size))
    array = make_array(array_type)(context, b)
    data = b.inttoptr(address, context.get_data_type(array_type.dtype).as_pointer())
    populate_array(array, data, shape, strides[-len(shape) :] if shape else [], item, None)
    return array._getvalue()


def _rounding(name: str) -> Any:
    def make(typing: Any, value: Any) -> Any:
        if value not in (types.float32, types.float64):
            return None

        def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(args[0].type, [args[0].type])
            suffix = "f32" if value == types.float32 else "f64"
            return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}.{suffix}"), args)

        return value(value), generate

    return intrinsic(make)


def _fail(b: Any, address: Any, code: Any) -> Any:
    return b.atomic_rmw("max", b.inttoptr(address, ir.PointerType(I64, GLOBAL)), code, "monotonic")


def namespace() -> dict[str, Any]:
    """The words, and ``np`` and ``math`` for the names that loops have of them."""
    arrays = {code: numba for code, (numba, _) in ELEMENTS.items()} | {"b1": types.boolean}
    return {
        "np": np,
        "math": math,
        **{f"array_{code}": _maker(element) for code, element in arrays.items()},
        "fail": word(types.none, (types.int64, types.int64), _fail),
        "floor_of": _rounding("floor"),
        "ceil_of": _rounding("ceil"),
        "round_of": _rounding("rint"),
    }
