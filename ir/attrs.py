"""Values of arguments and their text form. A leaf module but for Graph values, which the printer handles."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Union

import numpy as np

if TYPE_CHECKING:
    from graphc.ir.graph import Graph

Scalar = int | float | bytes
Attr = Union[
    int, float, bytes, "tuple[int, ...]", "tuple[float, ...]", "tuple[bytes, ...]", "tuple[Graph, ...]", "Graph"
]
"""int, float (a float32 value held exactly), bytes (Caffe2's strings), tuples of one of these, or a Graph."""


_FLOAT32 = struct.Struct("<f")


def format_scalar(value: Scalar) -> str:
    """Text of one scalar: ``3``, ``0.5``, ``1e-05``, ``inf``, ``"NCHW"`` (unprintable bytes as ``\\xNN``)."""
    if isinstance(value, bytes):
        return '"' + "".join(_escape(b) for b in value) + '"'
    if isinstance(value, bool) or not isinstance(value, float):
        return str(int(value))
    if math.isnan(value) or math.isinf(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if as_float32(value) != value:
        return f"{value!r}d"
    short = str(np.float32(value))
    return short if as_float32(float(short)) == value else f"{value!r}d"


def as_float32(value: float) -> float:
    """The float32 value nearest to ``value``, as NetDef holds it; infinite where it is too large."""
    try:
        return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def parse_float(text: str) -> float:
    """Inverse of ``format_scalar`` for floats; raises ``ValueError``."""
    return float(text[:-1]) if text.endswith("d") else as_float32(float(text))


def _escape(b: int) -> str:
    c = chr(b)
    if c in '"\\':
        return "\\" + c
    return c if 32 <= b < 127 else f"\\x{b:02x}"


def unescape(text: str) -> bytes:
    """Bytes of the inside of a quoted string, other text as UTF-8; raises ``ValueError``."""
    if "\\" not in text:
        return text.encode()
    out = bytearray()
    i = 0
    while i < len(text):
        if text[i] != "\\":
            out += text[i].encode()
            i += 1
        elif text[i + 1 : i + 2] == "x":
            out.append(int(text[i + 2 : i + 4], 16))
            i += 4
        else:
            out += text[i + 1].encode()
            i += 2
    return bytes(out)


def quote(text: str) -> str:
    """A quoted string; names that are not UTF-8 come from NetDef with ``surrogateescape``."""
    return format_scalar(text.encode("utf-8", "surrogateescape"))


def unquote(inside: str) -> str:
    """Inverse of ``quote``, given what stands between the quotes; raises ``ValueError``."""
    return unescape(inside).decode("utf-8", "surrogateescape")


def same_attr(a: Attr, b: Attr) -> bool:
    """Equality that tells 1 from 1.0 and holds for NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same_attr, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))
    return a == b
