"""Name and device scopes: what operators that are created inside of a ``with`` block get. Scopes belong to a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

_NAMESCOPE_SEPARATOR = "/"


class _Scopes(threading.local):
    """The scopes of one thread."""

    name: str = ""
    device: Message | None = None


_CURRENT = _Scopes()


def CurrentNameScope() -> str:
    """The prefix of blob names, with a slash at its end, or empty."""
    return _CURRENT.name


def CurrentDeviceScope() -> Message | None:
    """The ``DeviceOption`` that new operators get, None outside of any scope."""
    return _CURRENT.device


@contextmanager
def NameScope(prefix: str | None, reset: bool = False) -> Iterator[None]:
    """Blobs created in the block are called ``prefix/...``. reset: without the scopes around it."""
    if prefix is not None and not isinstance(prefix, str):
        raise AssertionError(f"NameScope takes a string, not {type(prefix).__name__}")
    part = prefix + _NAMESCOPE_SEPARATOR if prefix else ""
    with _name_scope(part if reset else _CURRENT.name + part):
        yield


@contextmanager
def EmptyNameScope() -> Iterator[None]:
    """Blobs created in the block have no prefix."""
    with _name_scope(""):
        yield


@contextmanager
def _name_scope(name: str) -> Iterator[None]:
    old, _CURRENT.name = _CURRENT.name, name
    try:
        yield
    finally:
        _CURRENT.name = old


@contextmanager
def DeviceScope(scope: Message | None, node_name: str | None = None) -> Iterator[None]:
    """Operators created in the block get this ``DeviceOption``.

    The node name of the scope around it is inherited where none is given; ``extra_info`` adds up and is sorted.
    """
    if not scope and not node_name:
        raise AssertionError("DeviceScope needs a DeviceOption or a node name")
    if scope and not isinstance(scope, caffe2_pb2.DeviceOption):
        raise AssertionError(f"DeviceScope takes a caffe2_pb2.DeviceOption, not {type(scope).__name__}")
    option, outer = caffe2_pb2.DeviceOption(), _CURRENT.device
    if scope:
        option.CopyFrom(scope)
    if node_name:
        option.node_name = node_name
    if outer is not None:
        if outer.HasField("node_name") and not option.HasField("node_name"):
            option.node_name = outer.node_name
        option.extra_info.extend(outer.extra_info)
    option.extra_info.sort()
    with _device_scope(option):
        yield


@contextmanager
def EmptyDeviceScope() -> Iterator[None]:
    """Operators created in the block get no ``DeviceOption``: that of the net counts for them."""
    with _device_scope(None):
        yield


@contextmanager
def _device_scope(option: Message | None) -> Iterator[None]:
    old, _CURRENT.device = _CURRENT.device, option
    try:
        yield
    finally:
        _CURRENT.device = old
