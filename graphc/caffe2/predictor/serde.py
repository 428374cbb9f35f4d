"""``caffe2.python.predictor.serde``: messages as bytes."""

from __future__ import annotations

from typing import Any

from graphc.frontends.netdef.schema import Message


def serialize_protobuf_struct(protobuf_struct: Message) -> bytes:
    """The bytes of a message."""
    data: bytes = protobuf_struct.SerializeToString()
    return data


def deserialize_protobuf_struct(serialized_protobuf: bytes, struct_type: Any) -> Message:
    """A message of a class from its bytes; raises ``DecodeError``."""
    message = struct_type()
    message.ParseFromString(serialized_protobuf)
    return message
