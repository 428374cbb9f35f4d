"""Operators that nobody needs, and those that compute what another one does."""

from __future__ import annotations

from graphc.caffe2.transforms.dataflow import names, remove
from graphc.frontends.netdef.schema import Message
from graphc.ir import Trait, registry
from graphc.ir.ops.unsupported import refusal


def _is_pure(op: Message) -> bool:
    """What the operator gives follows from its inputs, and nothing else happens."""
    record = registry().get(op.type)
    return record is not None and refusal(op.type) is None and not record.traits & (Trait.RANDOM | Trait.EFFECT)


def _has_nested(net: Message) -> bool:
    """An operator holds a net, which may read blobs that the operator does not list."""
    return any(arg.HasField("n") or arg.nets for op in net.op for arg in op.arg)


def dead_code_elim(net: Message) -> None:
    """Take away operators of whose outputs none is read or declared, and so on.

    A net that declares no outputs, or holds nets, stays as it is.
    """
    if not net.external_output or _has_nested(net):
        return
    needed, unused = set(net.external_output), []
    for i in range(len(net.op) - 1, -1, -1):
        op = net.op[i]
        if _is_pure(op) and not needed.intersection(op.output):
            unused.append(i)
            continue
        needed.difference_update(op.output)
        needed.update(op.input)
    remove(net, unused)


def common_subexpression_elimination(net: Message) -> None:
    """Let operators read what an equal one before computed; operators that write declared or reused blobs stay.

    A net that holds nets stays as it is.
    """
    if _has_nested(net):
        return
    writers: dict[str, int] = dict.fromkeys(names(net), 0)
    for op in net.op:
        for blob in op.output:
            writers[blob] += 1
    stable = {blob for blob, count in writers.items() if count + (blob in net.external_input) <= 1}
    seen: dict[bytes, list[str]] = {}
    renamed: dict[str, str] = {}
    same = []
    for i, op in enumerate(net.op):
        op.input[:] = [renamed.get(blob, blob) for blob in op.input]
        if not _is_pure(op) or not stable.issuperset([*op.input, *op.output]):
            continue
        known = seen.setdefault(_key(op), list(op.output))
        if known != list(op.output) and not set(op.output).intersection(net.external_output):
            renamed.update(zip(op.output, known))
            same.append(i)
    remove(net, same)


def _key(op: Message) -> bytes:
    copy = type(op).FromString(op.SerializeToString())
    copy.ClearField("output")
    copy.ClearField("name")
    copy.ClearField("debug_info")
    arguments = sorted(arg.SerializeToString(deterministic=True) for arg in copy.arg)
    copy.ClearField("arg")
    key: bytes = b"\0".join([copy.SerializeToString(deterministic=True), b"%d" % len(op.output), *arguments])
    return key
