"""Two nets compute the same: what memonger's rewrites are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.caffe2.memonger.nets import Net, message_of
from graphc.caffe2.memonger.report import MemongerError, log
from graphc.frontends.netdef.schema import Message

Source = tuple[int, int] | None
"""Where an input comes from: position of an operator and number of its output; None: from outside."""


def verify_graph_equality(net_a: Net, net_b: Net) -> bool:
    """Run in order, the operators of both nets get the same inputs, whatever the blobs are called.

    True if the operators agree in number, types, devices and engines, and each input comes from the same output of the
    same operator. What comes from outside, and what is read from the net at its end, is not compared. The first
    differences are logged.
    """
    ops_a, ops_b = message_of(net_a).op, message_of(net_b).op
    if len(ops_a) != len(ops_b):
        log.info("%d operators and %d operators", len(ops_a), len(ops_b))
        return False
    unlike = [i for i, (a, b) in enumerate(zip(ops_a, ops_b)) if not _alike(a, b)]
    differing = [i for i, (a, b) in enumerate(zip(_sources(ops_a), _sources(ops_b))) if a != b]
    for i in [*unlike, *differing][:10]:
        log.info("Difference at operator #%d:\n%s\n%s", i, ops_a[i], ops_b[i])
    return not unlike and not differing


def _alike(a: Message, b: Message) -> bool:
    device = a.device_option.SerializeToString() == b.device_option.SerializeToString()
    return bool(device and a.type == b.type and a.engine == b.engine)


def _sources(ops: Sequence[Message]) -> list[list[Source]]:
    """Per operator where its inputs come from."""
    maker: dict[str, tuple[int, int]] = {}
    found = []
    for i, op in enumerate(ops):
        found.append([maker.get(blob) for blob in op.input])
        maker.update({blob: (i, k) for k, blob in enumerate(op.output)})
    return found


def verify_inplace_blobs(net_a: Net, net_b: Net) -> bool:
    """The operators of both nets have the same types and work in place on the same inputs and outputs.

    Operators whose record does not allow it are thereby not made to work in place, and those that have to, still do.
    """
    pairs = zip(message_of(net_a).op, message_of(net_b).op)
    return all(a.type == b.type and _inplace(a) == _inplace(b) for a, b in pairs)


def _inplace(op: Message) -> list[tuple[int, int]]:
    """(input, output) numbers that share a blob."""
    outputs = list(op.output)
    return [(j, outputs.index(blob)) for j, blob in enumerate(op.input) if blob in outputs]


def require_same(before: Net, after: Net, wanted: Iterable[str]) -> None:
    """Raise ``MemongerError`` where a rewritten net does not compute what the original does.

    wanted: blobs that have to hold the same after both.
    """
    if not verify_graph_equality(before, after):
        raise MemongerError("Memonger graph is not equal to original.")
    if not verify_inplace_blobs(before, after):
        raise MemongerError("Inplace assignments differ in memonger net.")
    makers_before, makers_after = _makers(message_of(before).op), _makers(message_of(after).op)
    lost = sorted(b for b in wanted if makers_before.get(b) != makers_after.get(b))
    if lost:
        raise MemongerError(f"Blobs {', '.join(lost)} hold something else after the memonger net.")


def _makers(ops: Sequence[Message]) -> dict[str, tuple[int, int]]:
    """Which output of which operator each blob holds after the run."""
    return {blob: (i, k) for i, op in enumerate(ops) for k, blob in enumerate(op.output)}
