"""Pointwise operators on integers, booleans and float64, comparisons, conversions, as kernels of any target see them.

A text (``pointwise.py``) and the types of what it reads and gives; values are numbers of Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from graphc.backends.broadcast import full_shape, inputs, operand_strides, views
from graphc.backends.nest import Nest
from graphc.backends.pointwise import text_of_call
from graphc.ir.opdef import Call, Trait
from graphc.ir.schedule import View
from graphc.ir.types import DType, TensorType

EXACT = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "neg": "(-{})",
    "fma": "({} * {} + {})",
    "max": "larger({}, {})",
    "min": "smaller({}, {})",
    "abs": "abs({})",
    "lt": "({} < {})",
    "le": "({} <= {})",
    "eq": "({} == {})",
    "both": "({} & {})",
    "either": "({} | {})",
    "negate": "(not {})",
    "where": "chosen({}, {}, {})",
    "bits_and": "({} & {})",
    "bits_or": "({} | {})",
    "bits_xor": "({} ^ {})",
}
"""Operations of a text -> Python on numbers of any type."""
FLOATING = {"div": "({} / {})", "isnan": "unordered({})"}
"""What only float32 and float64 have."""
HELPERS = {
    "larger": "def larger(a, b):\n    return a if a > b else b\n",
    "smaller": "def smaller(a, b):\n    return a if a < b else b\n",
    "chosen": "def chosen(m, a, b):\n    return a if m else b\n",
    "unordered": "def unordered(a):\n    return a != a\n",
    "cut": "def cut(a):\n    return int(a) if (a >= -2147483648.0) & (a < 2147483648.0) else -2147483648\n",
}
TEXTS = {
    "EQ": "y=eq(x0,x1)",
    "NE": "t0=eq(x0,x1);y=negate(t0)",
    "LT": "y=lt(x0,x1)",
    "LE": "y=le(x0,x1)",
    "GT": "y=lt(x1,x0)",
    "GE": "y=le(x1,x0)",
    "And": "y=both(x0,x1)",
    "Or": "y=either(x0,x1)",
    "Xor": "t0=eq(x0,x1);y=negate(t0)",
    "BitwiseAnd": "y=bits_and(x0,x1)",
    "BitwiseOr": "y=bits_or(x0,x1)",
    "BitwiseXor": "y=bits_xor(x0,x1)",
    "Not": "y=negate(x0)",
    "IsNaN": "y=isnan(x0)",
    "Cast": "y=x0",
    "Where": "y=where(x0,x1,x2)",
}
"""Operators whose records have no scalar meaning, or one that gives a truth value."""
CODES = {
    DType.FLOAT: "f4",
    DType.DOUBLE: "f8",
    DType.INT32: "i4",
    DType.INT64: "i8",
    DType.BOOL: "b1",
    DType.UINT8: "u1",
    DType.INT8: "i1",
    DType.INT16: "i2",
    DType.UINT16: "u2",
}


def functions(types: Sequence[str], single: Mapping[str, str], double: Mapping[str, str]) -> dict[str, str]:
    """The operations on elements of these types; single, double: what a target has for float32 and float64 alone."""
    table = dict(EXACT)
    if all(t[0] == "f" for t in types):
        table |= FLOATING
    if all(t == "f4" for t in types):
        table |= single
    if all(t == "f8" for t in types):
        table |= double
    return table


def with_helpers(source: str) -> str:
    """A kernel's source with the functions that it calls before it."""
    return "".join(helper for name, helper in HELPERS.items() if f"{name}(" in source) + source


def body(text: str, types: Sequence[str]) -> str:
    """A text for operands of these types: a float among integers would make float64 of int64, so that numbers lose
    their ``.0``.
    """
    if any(t[0] == "f" for t in types):
        return text
    return re.sub(r"(?<=[=(,])(-?\d+)\.0(?=[,);]|$)", r"\1", text)


def load(code: str, name: str, at: str) -> str:
    """The element of ``name`` at an offset."""
    return f"(ld_u1({name}, {at}) != 0)" if code == "b1" else f"ld_{code}({name}, {at})"


def store(code: str, at: str, value: str, types: Sequence[str]) -> str:
    """Storing into ``y`` what was computed of operands of these types.

    Conversion as by C++ on x86: of floats through int32, where what does not fit is the smallest, of integers through
    int64; of either the small types take the lowest bits.
    """
    if code == "b1":
        return f"st_u1(y, {at}, 1 if {value} else 0)"
    through = "cut" if any(t[0] == "f" for t in types) else "int"
    return f"st_{code}(y, {at}, {value if code in ('f4', 'f8', 'i8') else f'{through}({value})'})"


def number(types: Sequence[str]) -> str:
    """How a number is spelled: in float32 where everything is, so that nothing is computed in float64."""
    return "f4({})" if all(t == "f4" for t in types) else "{}"


def text_and_types(call: Call, single: Mapping[str, str], double: Mapping[str, str]) -> tuple[str, list[str]] | None:
    """The text of a plain call and its types, the result's first; None where a kernel cannot compute it."""
    result = call.node.results[0].type
    types = [result, *(call.type(i) for i in inputs(call))]
    codes = [CODES.get(t.dtype, "") if t.dtype else "" for t in types]
    if not all(codes) or any(t.layout.block > 1 for t in types):
        return None
    if any(shape_of(call, i) is None for i in inputs(call)):
        return None
    text = _text(call)
    if text is None or not set(re.findall(r"(\w+)\(", text)) <= set(functions(codes[1:], single, double)):
        return None
    if codes[0][0] in "iu" and re.search(r"\d\.\d*[1-9]|e-", text):
        return None  # a fraction among integers: the reference computes in float64
    return text, codes


def _text(call: Call) -> str | None:
    if call.node.op in TEXTS:
        return TEXTS[call.node.op]
    return text_of_call(call) if Trait.POINTWISE in call.opdef.traits_of(call) else None


def number_code(type: TensorType) -> str | None:
    """The code of a plain value of numbers, None for others."""
    code = CODES.get(type.dtype) if type.dtype and type.layout.block == 1 else None
    return None if code == "b1" else code


def operands(call: Call, ins: Sequence[View | None], out: View) -> tuple[list[View], Nest]:
    """Where the result and the operands lie, and the nest over them, of one dimension at least."""
    given = views(call, ins)
    strides = [operand_strides(v, shape_of(call, i) or ()) for i, v in zip(inputs(call), given)]
    return [out, *given], Nest.make(out.type.static_shape, [out.strides, *strides]).with_a_dimension()


def shape_of(call: Call, i: int) -> tuple[int, ...] | None:
    """The shape of an operand among the result's dimensions; the condition of Where may have rows alone."""
    shape = call.type(i).static_shape
    if call.node.op == "Where":
        return shape + (1,) * (len(call.node.results[0].type.static_shape) - len(shape))
    return full_shape(call, i)
