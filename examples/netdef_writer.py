"""Just enough of the protobuf wire format to write a Caffe2 NetDef: the field numbers of ``caffe2.proto``, no more.

Kept apart from graphc's own reader on purpose: a file that two independent programs agree on is a better example than
one that a program agrees on with itself. Fields come in ascending order, repeated numbers unpacked, as in Caffe2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

ArgumentValue = int | str | Sequence[int] | Sequence[float]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _strings(field: int, values: Sequence[str]) -> bytes:
    return b"".join(_bytes(field, v.encode()) for v in values)


def _argument(name: str, value: ArgumentValue) -> bytes:
    """Argument: name=1, i=3, s=4, floats=5, ints=6."""
    head = _bytes(1, name.encode())
    if isinstance(value, int):
        return head + _varint(3 << 3) + _varint(value)
    if isinstance(value, str):
        return head + _bytes(4, value.encode())
    if all(isinstance(v, int) for v in value):
        return head + b"".join(_varint(6 << 3) + _varint(int(v)) for v in value)
    return head + b"".join(_varint(5 << 3 | 5) + struct.pack("<f", v) for v in value)


def operator(kind: str, inputs: Sequence[str], outputs: Sequence[str], **arguments: ArgumentValue) -> bytes:
    """OperatorDef: input=1, output=2, name=3, type=4, arg=5. Numbers must not be negative."""
    fields = [_strings(1, inputs), _strings(2, outputs), _bytes(3, b""), _bytes(4, kind.encode())]
    return b"".join(fields + [_bytes(5, _argument(name, value)) for name, value in arguments.items()])


def net(name: str, operators: Sequence[bytes], inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> bytes:
    """NetDef: name=1, op=2, external_input=7, external_output=8."""
    body = b"".join(_bytes(2, op) for op in operators)
    return _bytes(1, name.encode()) + body + _strings(7, inputs) + _strings(8, outputs)
