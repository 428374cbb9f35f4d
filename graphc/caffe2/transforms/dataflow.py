"""Who reads what an operator of a NetDef writes, while blobs are written again and again."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.frontends.netdef.schema import Message


def readers(net: Message, at: int, blob: str) -> list[int]:
    """The operators that read what operator ``at`` writes to a blob, before another one writes it."""
    found = []
    for i in range(at + 1, len(net.op)):
        if blob in net.op[i].input:
            found.append(i)
        if blob in net.op[i].output:
            break
    return found


def is_given(net: Message, at: int, blob: str) -> bool:
    """What operator ``at`` writes to a blob is what the net gives: it is declared, and not written again."""
    return blob in net.external_output and not any(blob in op.output for op in net.op[at + 1 :])


def only_reader(net: Message, at: int, kind: str) -> int | None:
    """The operator of a type that reads operator ``at``'s first output, as its first input, where nothing else does."""
    blob = net.op[at].output[0]
    found = readers(net, at, blob)
    if len(found) != 1 or is_given(net, at, blob):
        return None
    reader = net.op[found[0]]
    fits = reader.type == kind and reader.input[0] == blob and list(reader.input).count(blob) == 1
    return found[0] if fits else None


def names(net: Message) -> set[str]:
    """Every blob that the net names."""
    blobs = (name for op in net.op for name in (*op.input, *op.output))
    return {*net.external_input, *net.external_output, *blobs}


def fresh(taken: set[str], name: str) -> str:
    """A name that is not taken, and is from then on."""
    found, k = name, 0
    while found in taken:
        found, k = f"{name}_{k}", k + 1
    taken.add(found)
    return found


def remove(net: Message, positions: Sequence[int]) -> None:
    """Take away operators."""
    for i in sorted(positions, reverse=True):
        del net.op[i]


def argument(op: Message, name: str) -> Message | None:
    """An argument of an operator; None where it is absent."""
    return next((arg for arg in op.arg if arg.name == name), None)


def order(op: Message) -> str:
    """The layout of a layer: ``NCHW`` or ``NHWC``."""
    found = argument(op, "order")
    return found.s.decode() if found is not None and found.s else "NCHW"
