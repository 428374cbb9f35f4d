"""How much memory a model needs, from the shapes of its blobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from graphc.caffe2.memonger.nets import Net, message_of
from graphc.caffe2.memonger.report import log
from graphc.caffe2.proto.caffe2_pb2 import TensorProto
from graphc.frontends.netdef.schema import Message

_ELEMENT_BYTES = {
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.INT32: 4,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.BYTE: 1,
    TensorProto.UINT16: 2,
    TensorProto.INT16: 2,
    TensorProto.BOOL: 1,
    TensorProto.INT64: 8,
}
_RELEASING = ("Free", "Alias")
"""Operators whose outputs own no storage afterwards."""


class MemoryUsage(NamedTuple):
    """Bytes: of all blobs that are written, of those there at the same time at most, and by type of operator."""

    total: int
    highwater: int
    by_type: dict[str, int]


def estimate_memory_usage(
    protos: Iterable[Net], shapes: Mapping[str, Sequence[int]], types: Mapping[str, int], devicescope: Message
) -> MemoryUsage:
    """What the operators of one device write when the nets run one after the other, in order.

    shapes: dimensions by blob. types: numbers of ``TensorProto.DataType`` by blob. devicescope: a ``DeviceOption``;
    only operators with the same one count. What operators need inside, and what comes from outside, is not counted. A
    blob without shape or type counts as 0 bytes, with a warning. The nets are not changed.
    """
    there: dict[str, int] = {}
    total = highwater = 0
    by_type: dict[str, int] = {}
    for op in (op for proto in protos for op in message_of(proto).op):
        if op.type in _RELEASING:
            for blob in op.output:
                there.pop(blob, None)
        elif op.device_option.SerializeToString() == devicescope.SerializeToString():
            new = {blob: _bytes(blob, shapes, types) for blob in op.output if blob not in there}
            there.update(new)
            total += sum(new.values())
            highwater = max(highwater, sum(there.values()))
            by_type[op.type] = by_type.get(op.type, 0) + sum(new.values())
    return MemoryUsage(total, highwater, by_type)


def _bytes(blob: str, shapes: Mapping[str, Sequence[int]], types: Mapping[str, int]) -> int:
    if blob not in shapes or types.get(blob) not in _ELEMENT_BYTES:
        log.warning("Unknown blob encountered: %s", blob)
        return 0
    return int(_ELEMENT_BYTES[types[blob]]) * math.prod(int(n) for n in shapes[blob])
