"""Which blobs a net reads and writes, nested nets included; a net in an argument of text or bytes counts as nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphc.frontends.netdef.net import Net, Operator

RECURRENT = ("RecurrentNetwork", "RecurrentNetworkGradient")
"""Operators whose nested nets have a workspace of their own, tied to the outer one by name lists in arguments."""


LOOP = "ONNXWhile"
"""A loop whose net reads the blobs around it, but keeps what it writes to itself."""


def shares_blobs(op: Operator) -> bool:
    """The nested nets of the operator write the blobs around it (If, While, Do with its names bound ...)."""
    return op.type not in RECURRENT and op.type != LOOP


def n_carried(op: Operator) -> int:
    """How many values ONNXWhile hands from an iteration to the next: its further inputs, unless it says."""
    given = op.args.get("num_loop_carried_deps", -1)
    return given if isinstance(given, int) and given >= 0 else max(len(op.inputs) - 2, 0)


def own_inputs(op: Operator, net: Net) -> list[str]:
    """The first inputs of ONNXWhile's net: iteration, condition and what an iteration hands to the next."""
    return net.external_inputs[: n_carried(op) + 2] if op.type == LOOP else []


def operator_reads(op: Operator) -> Iterator[str]:
    """Blobs that an operator reads: its inputs, then what its nested nets read and did not write before."""
    yield from op.inputs
    if op.type not in RECURRENT:
        for _, net in op.nets():
            own = own_inputs(op, net)
            yield from (n for n in free_blobs(net) if n not in own)


def operator_writes(op: Operator) -> Iterator[str]:
    """Blobs that an operator writes: its outputs, then those of its nested nets."""
    yield from op.outputs
    if shares_blobs(op):
        for _, net in op.nets():
            yield from written_blobs(net)


def free_blobs(net: Net) -> list[str]:
    """Blobs that a net reads before it writes them, in order of first use."""
    known: set[str] = set()
    free: dict[str, None] = {}
    for op in net.ops:
        free.update(dict.fromkeys(n for n in operator_reads(op) if n not in known))
        known.update(operator_writes(op))
    return list(free)


def written_blobs(net: Net) -> list[str]:
    """Blobs that a net writes, in order of first write."""
    return list(dict.fromkeys(n for op in net.ops for n in operator_writes(op)))


def live_operators(net: Net, wanted: Iterable[str]) -> list[int]:
    """Positions of the operators that the ``wanted`` blobs depend on, in net order."""
    needed, live = set(wanted), []
    for i in range(len(net.ops) - 1, -1, -1):
        op = net.ops[i]
        if needed.intersection(operator_writes(op)):
            live.append(i)
            needed.difference_update(op.outputs)
            needed.update(operator_reads(op))
    return live[::-1]
