"""A net as stages: stretches of operators that are compiled, and operators that run one by one."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from graphc.caffe2.workspace.host_operators import HOST_OPERATORS
from graphc.frontends.netdef.blobs import free_blobs, operator_reads, operator_writes, written_blobs
from graphc.frontends.netdef.engines import engine_type
from graphc.frontends.netdef.nested import expand
from graphc.frontends.netdef.net import Net, Operator
from graphc.ir import OpDef, Trait, registry


class Kind(enum.Enum):
    """How a stage runs: compiled; by the interpreter, because it is a fill among fills or draws random numbers; by a
    function of the workspace, because its operator has to do with more than tensors."""

    COMPILED = "compiled"
    FILL = "fill"
    HOST = "host"


@dataclass
class Stage:
    """Operators that run together.

    positions: where they stand in the net. expanded: the stage's net with nested nets written out, their blobs called
    as around them. reads: blobs that they need; writes: blobs that they make, but for those that belong to a Do alone.
    kept: those of writes that some way through an If or a While leaves as they were. needed: those that later stages
    read.
    """

    kind: Kind
    net: Net
    expanded: Net
    positions: list[int]
    reads: list[str]
    writes: list[str]
    kept: list[str]
    needed: frozenset[str] = frozenset()


def split_stages(net: Net) -> list[Stage]:
    """The stages of a net, in order. A stretch of nothing but fills, as init nets are, is filled one by one."""
    stages: list[Stage] = []
    for positions in _stretches(net):
        kind = _kind(net.ops[positions[0]])
        if kind is Kind.COMPILED and not all(is_plain_fill(net.ops[i]) for i in positions):
            stages.append(_stage(net, kind, positions))
        else:
            stages += [_stage(net, Kind.HOST if kind is Kind.HOST else Kind.FILL, [i]) for i in positions]
    later: set[str] = set()
    for stage in reversed(stages):
        stage.needed = frozenset(later.intersection(stage.writes))
        later.update(stage.reads)
    return stages


def _stretches(net: Net) -> list[list[int]]:
    """Neighbours that are compiled stand together, all others alone."""
    found: list[list[int]] = []
    for i, op in enumerate(net.ops):
        joins = found and _kind(op) is Kind.COMPILED and _kind(net.ops[found[-1][0]]) is Kind.COMPILED
        if joins:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def _stage(net: Net, kind: Kind, positions: Sequence[int]) -> Stage:
    ops = [net.ops[i] for i in positions]
    part = Net(net.name, ops, device=net.device)
    inner, _ = expand(part)
    own = tuple(f"{name}/" for op in net.ops if op.type == "CreateScope" for name in op.outputs)
    reads = [n for n in free_blobs(inner) if n]
    writes = [n for n in written_blobs(inner) if n and not n.startswith(own)]
    kept = [n for n in dict.fromkeys(_sometimes_written(inner, ())) if n in writes and n not in reads]
    return Stage(kind, part, inner, list(positions), reads, writes, kept)


def _sometimes_written(net: Net, known: Collection[str]) -> Iterator[str]:
    """Blobs that not every way through the Ifs and Whiles of a net writes, but for those that are known, or that the
    net read or wrote before."""
    seen = set(known)
    for op in net.ops:
        seen.update(operator_reads(op))
        if op.type in ("If", "While", "Do"):
            nets = [inner for argument, inner in op.nets() if argument != "cond_net"]
            ways = [set(written_blobs(inner)) for inner in nets]
            certain = op.type == "Do" or (op.type == "If" and len(ways) == 2)
            always = set.intersection(*ways) if ways and certain else set()
            yield from (name for inner in nets for name in _sometimes_written(inner, seen))
            yield from sorted(set().union(*ways) - always - seen)
        seen.update(operator_writes(op))


def _kind(op: Operator) -> Kind:
    if not is_compiled(op):
        return Kind.HOST
    return Kind.FILL if draws_numbers(op) else Kind.COMPILED


def record_of(op: Operator) -> OpDef | None:
    """The record that the operator runs, which may be that of its engine."""
    return registry().get(engine_type(op))


def draws_numbers(op: Operator) -> bool:
    """The operator draws random numbers."""
    record = record_of(op)
    return record is not None and Trait.RANDOM in record.traits


def is_compiled(op: Operator) -> bool:
    """The operator, with the nets in it, can be part of a plan."""
    if op.type in HOST_OPERATORS and not (op.type in ("If", "While") and all(is_compiled(o) for o in _inner(op))):
        return False
    return record_of(op) is not None and all(is_compiled(o) for o in _inner(op))


def _inner(op: Operator) -> list[Operator]:
    return [inner for _, net in op.nets() for inner in net.ops]


def is_plain_fill(op: Operator) -> bool:
    """The operator makes a tensor from its arguments and perhaps the shape of another, the same whenever it runs."""
    record = record_of(op)
    return record is not None and record.family == "fill.fill"
