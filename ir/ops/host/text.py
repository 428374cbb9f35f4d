"""Operators on tensors of strings, which are bytes. They run in Python. Rules from Caffe2's ``string_ops``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import require, require_rank
from graphc.ir.types import UNKNOWN, DType, TensorType

JOINED = (
    *(DType.FLOAT, DType.DOUBLE, DType.BYTE, DType.UINT8, DType.INT8, DType.UINT16, DType.INT16),
    *(DType.INT32, DType.INT64, DType.BOOL, DType.STRING),
)
"""What StringJoin writes as text."""

Element = Callable[[Call, bytes], Any]


def _each(function: Element, dtype: DType) -> Callable[..., list[np.ndarray]]:
    def reference(call: Call, x: np.ndarray) -> list[np.ndarray]:
        y = np.empty(x.shape, dtype.numpy)
        for k, text in enumerate(x.flat):
            y.flat[k] = function(call, text)
        return [y]

    return reference


def _element(name: str, function: Element, dtype: DType, arg: Arg, doc: str) -> None:
    """Declare an operator whose output elements depend on a string each."""

    def infer(call: Call) -> list[TensorType]:
        return [TensorType(dtype, require(call, 0, (DType.STRING,)).shape)]

    op(
        name,
        infer,
        inputs="strings",
        outputs="prefixes" if dtype is DType.STRING else "bools",
        args=(arg,),
        reference=_each(function, dtype),
        traits=Trait.HOST,
        family=__name__,
        doc=doc,
    )


def _length(call: Call) -> int:
    length = int(call.arg("length"))
    if length < 0:
        call.fail(f"argument length is {length}", "give it a value from 0 on")
    return length


def _argument(call: Call, name: str) -> bytes:
    """A text argument as the bytes that it has."""
    value = call.node.attrs.get(name, b"")
    return value if isinstance(value, bytes) else b""


def _suffix(call: Call, text: bytes) -> bytes:
    return text[max(len(text) - _length(call), 0) :]


_LENGTH = Arg("length", "int", 3, "bytes at most")
_element("StringPrefix", lambda c, t: t[: _length(c)], DType.STRING, _LENGTH, "The first bytes of each string.")
_element("StringSuffix", _suffix, DType.STRING, _LENGTH, "The last bytes of each string.")
_element(
    "StringStartsWith",
    lambda c, t: t.startswith(_argument(c, "prefix")),
    DType.BOOL,
    Arg("prefix", "string", b""),
    "Whether each string begins with a text.",
)
_element(
    "StringEndsWith",
    lambda c, t: t.endswith(_argument(c, "suffix")),
    DType.BOOL,
    Arg("suffix", "string", b""),
    "Whether each string ends with a text.",
)
_element(
    "StringEquals",
    lambda c, t: t == _argument(c, "text"),
    DType.BOOL,
    Arg("text", "string", b""),
    "Whether each string is a text.",
)


def _written(value: Any) -> bytes:
    """An element as C++ streams write it: numbers with six significant digits, single bytes as characters."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (np.int8, np.uint8)):
        return bytes([int(value) & 255])
    if isinstance(value, np.floating):
        return f"{float(value):g}".encode()
    return str(int(value)).encode()


def _join(call: Call, x: np.ndarray) -> list[np.ndarray]:
    delimiter = _argument(call, "delimiter") if call.given("delimiter") else b","
    rows = x.reshape(len(x), -1)
    rows = rows.T if call.arg("axis") else rows
    y = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        y[i] = b"".join(_written(v) + delimiter for v in row)
    return [y]


def _join_infer(call: Call) -> list[TensorType]:
    """strings: one for each row of a vector or matrix, with axis 1 one for each column of a matrix."""
    require(call, 0, JOINED)
    shape, axis = require_rank(call, 0, 1, 2), call.arg("axis")
    if axis not in (0, 1):
        call.fail(f"axis {axis} is not supported", "use 0 or 1")
    if shape is None:
        return [TensorType(DType.STRING, (UNKNOWN,))]
    if 0 in shape:
        call.fail(f"an input of shape {shape} has nothing to join")
    if axis >= len(shape):
        call.fail(f"axis {axis} is outside an input of {len(shape)} dimensions")
    return [TensorType(DType.STRING, (shape[axis],))]


op(
    "StringJoin",
    _join_infer,
    inputs="input",
    outputs="strings",
    args=(Arg("delimiter", "string", b",", "what follows each element"), Arg("axis", "int", 0, "0: rows, 1: columns")),
    reference=_join,
    traits=Trait.HOST,
    doc="The elements of each row as text, one string.",
)
