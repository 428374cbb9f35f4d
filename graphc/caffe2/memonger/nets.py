"""NetDef messages as memonger takes them: what names occur in them and which nets are nested in an operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from graphc.caffe2.memonger.report import MemongerError
from graphc.frontends.netdef import parse_text
from graphc.frontends.netdef.schema import Message

Net = Any
"""A NetDef message, of graphc's or any other pool, or an object whose method ``Proto()`` gives one (``core.Net``)."""


def message_of(net: Net) -> Message:
    """The NetDef message of a net; it is not copied. Raises ``MemongerError`` for anything else."""
    message = net.Proto() if hasattr(net, "Proto") else net
    if not hasattr(message, "op") or not hasattr(message, "external_output"):
        raise MemongerError(
            f"a {type(message).__name__} is not a net", "give a NetDef message, parsed, or an object with Proto()"
        )
    return message


def copy_of(message: Message) -> Message:
    """A copy of a message, of the same class."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def names(blobs: Iterable[Any] | None) -> list[str]:
    """Blob names as text; scripts give strings or ``BlobReference`` objects."""
    return [str(b) for b in blobs or ()]


def blobs_of(net: Message) -> set[str]:
    """Every name among the inputs and outputs of the net's own operators."""
    return {b for op in net.op for b in (*op.input, *op.output)}


def is_recurrent(op: Message) -> bool:
    """The operator is RecurrentNetwork or its gradient: step nets in arguments, blobs tied to them by name."""
    return bool(op.type.startswith("RecurrentNetwork"))


def nested_nets(op: Message) -> Iterator[Message]:
    """The nets among the operator's arguments. Those that files of 2017 hold as text come as parsed copies."""
    for arg in op.arg:
        if arg.HasField("n"):
            yield arg.n
        yield from arg.nets
        if is_text_net(arg):
            yield parse_text(arg.s.decode())


def is_text_net(arg: Message) -> bool:
    """The argument holds a step net as text."""
    return bool(arg.name.endswith("step_net") and arg.s)


def nested_names(op: Message) -> set[str]:
    """Every blob name inside the operator's nested nets, at any depth."""
    found: set[str] = set()
    for net in nested_nets(op):
        found.update(blobs_of(net), net.external_input, net.external_output)
        for inner in net.op:
            found |= nested_names(inner)
    return found
