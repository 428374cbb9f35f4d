"""Nets, operators, plans and names in every form in which scripts give them."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message as AnyMessage

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def StringifyProto(obj: Any) -> bytes:
    """The bytes of a message, of an object with ``Proto()``, or bytes as they are; raises ``ValueError``."""
    if isinstance(obj, str):
        return obj.encode("utf-8", "surrogateescape")
    if isinstance(obj, bytes):
        return obj
    if isinstance(obj, AnyMessage):
        return obj.SerializeToString()
    if hasattr(obj, "Proto"):
        data: bytes = obj.Proto().SerializeToString()
        return data
    raise ValueError(f"Unexpected argument to StringifyProto of type {type(obj).__name__}")


def StringifyBlobName(name: Any) -> str:
    """The name of a blob: text, bytes or a ``BlobReference``; raises ``AssertionError``."""
    return _name(name, "BlobReference")


def StringifyNetName(name: Any) -> str:
    """The name of a net: text, bytes or a ``core.Net``; raises ``AssertionError``."""
    return _name(name, "Net")


def _name(name: Any, kind: str) -> str:
    if isinstance(name, bytes):
        return name.decode("utf-8")
    if isinstance(name, str):
        return name
    if type(name).__name__ != kind:
        raise AssertionError(f"Expected a string or {kind}, not {type(name).__name__}")
    return str(name)


def GetNetName(net: Any) -> str:
    """The name of a net given as a name, a ``core.Net`` or a NetDef."""
    if isinstance(net, str):
        return net
    if isinstance(net, caffe2_pb2.NetDef):
        return str(net.name)
    if hasattr(net, "Proto"):
        return str(net.Proto().name)
    raise Exception(f"Not a Net object: {net}")


def net_message(net: Any) -> Message:
    """A NetDef message of a net in any form."""
    proto = net.Proto() if hasattr(net, "Proto") else net
    return caffe2_pb2.NetDef.FromString(StringifyProto(proto)) if isinstance(proto, bytes) else proto
