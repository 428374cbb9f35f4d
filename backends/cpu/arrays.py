"""Vocabulary for loops over arrays: NumPy arrays made of addresses, without anyone who owns their memory."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

ELEMENTS: dict[str, Any] = {
    "b1": types.boolean,
    "f4": types.float32,
    "f8": types.float64,
    "i1": types.int8,
    "i2": types.int16,
    "i4": types.int32,
    "i8": types.int64,
    "u1": types.uint8,
    "u2": types.uint16,
}
"""NumPy's letters -> Numba's types."""


@cache
def namespace() -> dict[str, Any]:
    """``array_f4(address, shape)`` and so on for every type: a row-major array that lies at a byte address."""
    return {f"array_{code}": _maker(element) for code, element in ELEMENTS.items()}


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
