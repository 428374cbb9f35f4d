"""Arguments of operators: messages from Python values by Caffe2's rules, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.message import Message as AnyMessage

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

_FLOATS = (float, np.float64)
_INTS = (int, bool, np.int64)


def MakeArgument(key: str, value: Any) -> Message:
    """An ``Argument``, in the field that the value's type calls for.

    float: ``f``; int and bool: ``i``; str (UTF-8) and bytes: ``s``; NetDef: ``n``; another message: its bytes in ``s``;
    a list of one of these: the repeated field; an empty list: no field at all. Arrays count as the list of their
    elements, NumPy's numbers as Python's. Raises ``ValueError`` for anything else, lists of ints and floats among them.
    """
    argument = caffe2_pb2.Argument()
    argument.name = key
    if isinstance(value, np.ndarray):
        value = value.flatten().tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if not _set_single(argument, value) and not _set_list(argument, value):
        items = f"[{', '.join(sorted({type(v).__name__ for v in value}))}]" if isinstance(value, Iterable) else ""
        raise ValueError(
            f"Unknown {'iterable ' * bool(items)}argument type: key={key} value={value}, value type="
            f"{type(value).__name__}{items}; help: a float, an int, a text, a message or a list of one of these"
        )
    return argument


def _set_single(argument: Message, value: Any) -> bool:
    if type(value) is float:
        argument.f = value
    elif type(value) in (int, bool):
        argument.i = int(value)
    elif isinstance(value, bytes | str):
        argument.s = _bytes(value)
    elif isinstance(value, caffe2_pb2.NetDef):
        argument.n.CopyFrom(value)
    elif isinstance(value, AnyMessage):
        argument.s = value.SerializeToString()
    else:
        return False
    return True


def _set_list(argument: Message, value: Any) -> bool:
    if not isinstance(value, Iterable):
        return False
    items = list(value)
    if all(type(v) in _FLOATS for v in items):
        argument.floats.extend(map(float, items))
    elif all(type(v) in _INTS for v in items):
        argument.ints.extend(map(int, items))
    elif all(isinstance(v, bytes | str) for v in items):
        argument.strings.extend(map(_bytes, items))
    elif all(isinstance(v, caffe2_pb2.NetDef) for v in items):
        argument.nets.extend(items)
    elif all(isinstance(v, AnyMessage) for v in items):
        argument.strings.extend(v.SerializeToString() for v in items)
    else:
        return False
    return True


def _bytes(text: bytes | str) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def ArgsToDict(args: Iterable[Message]) -> dict[str, Any]:
    """The values of ``Argument`` messages by name; None for one that has a name only."""
    return {arg.name: _value(arg) for arg in args if arg.HasField("name")}


def _value(arg: Message) -> Any:
    return next((value for field, value in arg.ListFields() if field.name != "name"), None)
