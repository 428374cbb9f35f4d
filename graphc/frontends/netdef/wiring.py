"""Where the blobs that operators read come from: Caffe2's rules for nets, checked."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.frontends.netdef.blobs import operator_reads, operator_writes
from graphc.frontends.netdef.net import Net
from graphc.frontends.netdef.problem import Problem, near, problem

Makers = dict[str, list[int]]
"""Blob -> positions of the operators that write it."""
MAX_HINTS = 20
"""Near names are searched for the first problems only."""


def wiring_problems(net: Net) -> Iterator[Problem]:
    """Breaches of Caffe2's rules for nets.

    Where ``external_input`` is not empty, every input must be in it or be produced earlier; a blob that is only
    produced later is named as such, with the cycle if there is one. Every ``external_output`` must be produced or be
    in ``external_input``.
    """
    known = set(net.external_inputs)
    makers = _makers(net)
    hints = MAX_HINTS
    for i, op in enumerate(net.ops if net.external_inputs else ()):
        for name in dict.fromkeys(operator_reads(op)):
            if name and name not in known:
                yield _source_problem(net, i, name, known if hints > 0 else set(), makers)
                hints -= 1
        known.update(operator_writes(op))
    yield from _output_problems(net, known | makers.keys())


def produced_later(net: Net, name: str) -> int | None:
    """Position of the first operator that writes a blob, None where none does."""
    return next((i for i, op in enumerate(net.ops) if name in operator_writes(op)), None)


def _makers(net: Net) -> Makers:
    makers: Makers = {}
    for i, op in enumerate(net.ops):
        for name in operator_writes(op):
            makers.setdefault(name, []).append(i)
    return makers


def _source_problem(net: Net, i: int, name: str, known: set[str], makers: Makers) -> Problem:
    if name not in makers:
        reason = f"Source for input '{name}' is unknown for net '{net.name}'"
        return problem("wiring", net, i, name, reason, near(name, known, f"add '{name}' to external_input"))
    maker = makers[name][0]
    if maker == i:
        reason = f"input '{name}' is the operator's own output, and nothing gives its first value"
        return problem("wiring", net, i, name, reason, f"add '{name}' to external_input")
    cycle = _cycle(net, i, maker, makers)
    reason = f"input '{name}' is produced by op #{maker} {net.ops[maker].type}, which comes later: "
    remedy = "break the cycle" if cycle else f"move the producer before op #{i}"
    return problem("wiring", net, i, name, reason + (cycle or "the net is not in order"), remedy)


def _cycle(net: Net, start: int, maker: int, makers: Makers) -> str:
    """The cycle in which ``maker`` depends on operator ``start``, in words; empty if it does not."""
    back: dict[int, int] = {maker: start}
    queue = [maker]
    for at in queue:
        for name in operator_reads(net.ops[at]):
            for k in makers.get(name, ()):
                if k == start:
                    return _cycle_text(net, back, at, start)
                if k not in back:
                    back[k] = at
                    queue.append(k)
    return ""


def _cycle_text(net: Net, back: dict[int, int], at: int, start: int) -> str:
    ring = [start]
    while at != start:
        ring.append(at)
        at = back[at]
    names = [f"op #{k} {net.ops[k].type}" for k in [*ring, start]]
    return "a cycle of " + " -> ".join(names if len(names) < 9 else [*names[:4], "...", *names[-3:]])


def _output_problems(net: Net, known: set[str]) -> Iterator[Problem]:
    for count, name in enumerate(n for n in dict.fromkeys(net.external_outputs) if n not in known):
        reason = f"external_output '{name}' is never produced"
        remedy = near(name, known if count < MAX_HINTS else (), "remove it from external_output")
        yield Problem("wiring", net.name, -1, "", "", (), (), name, reason, remedy)
