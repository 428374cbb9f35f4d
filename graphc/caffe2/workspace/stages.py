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

CONTROL = ("If", "While", "Do")
COUNTER = "AtomicIter"


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
    needed: those that later stages read.
    """

    kind: Kind
    net: Net
    expanded: Net
    positions: list[int]
    reads: list[str]
    writes: list[str]
    needed: frozenset[str] = frozenset()


def split_stages(net: Net, scoped: bool = False) -> list[Stage]:
    """The stages of a net, in order. A stretch of nothing but fills, as init nets are, is filled one by one.

    scoped: operators that have to do with scopes run on the workspace (``keeps_scopes``).
    """
    stages: list[Stage] = []
    for kind, positions in _stretches(net, scoped):
        if kind is Kind.COMPILED and not all(is_plain_fill(net.ops[i]) for i in positions):
            stages.append(_stage(net, kind, positions))
        else:
            stages += [_stage(net, Kind.HOST if kind is Kind.HOST else Kind.FILL, [i]) for i in positions]
    later: set[str] = set()
    for stage in reversed(stages):
        stage.needed = frozenset(later.intersection(stage.writes))
        later.update(stage.reads)
    return stages


def _stretches(net: Net, scoped: bool) -> list[tuple[Kind, list[int]]]:
    """Neighbours that are compiled stand together, all others alone.

    A counter among them that has nothing to do with those before it is counted first: so it does not part them.
    """
    found: list[tuple[Kind, list[int]]] = []
    inside, seen = scope_prefixes(net), set[str]()
    for i, op in enumerate(expand(net)[0].ops):
        kind, joins = _kind(net.ops[i], scoped), bool(found) and found[-1][0] is Kind.COMPILED
        if not joins:
            seen.clear()
        if not all(name.startswith(inside) for name in _sometimes_written(op, seen)):
            kind = Kind.HOST
        blobs = {*operator_reads(op), *operator_writes(op)}
        if joins and op.type == COUNTER and not blobs & seen:
            found.insert(-1, (kind, [i]))
        elif joins and kind is Kind.COMPILED:
            found[-1][1].append(i)
        else:
            found.append((kind, [i]))
        seen |= blobs
    return found


def _stage(net: Net, kind: Kind, positions: Sequence[int]) -> Stage:
    ops = [net.ops[i] for i in positions]
    part = Net(net.name, ops, device=net.device)
    inner, _ = expand(part)
    own = scope_prefixes(net)
    reads = [n for n in free_blobs(inner) if n]
    writes = [n for n in written_blobs(inner) if n and not n.startswith(own)]
    return Stage(kind, part, inner, list(positions), reads, writes)


def _sometimes_written(op: Operator, known: Collection[str]) -> set[str]:
    """Blobs that not every way through an If, a While or a Do writes, but for those that are known or that it reads:
    on the other ways they stay as they are, or do not come into being, which a plan cannot say."""
    if op.type not in CONTROL:
        return set()
    nets = [inner for argument, inner in op.nets() if argument != "cond_net"]
    ways = [set(written_blobs(inner)) for inner in nets]
    certain = op.type == "Do" or (op.type == "If" and len(ways) == 2)
    always = set.intersection(*ways) if ways and certain else set()
    seen = {*known, *operator_reads(op)}
    found = set().union(*ways) - always - seen
    for inner in nets:
        before = set(seen)
        for one in inner.ops:
            found |= _sometimes_written(one, before)
            before.update((*operator_reads(one), *operator_writes(one)))
    return found


def scope_prefixes(net: Net) -> tuple[str, ...]:
    """How the blobs begin that Do keeps in the scopes of a net."""
    return tuple(f"{name}/" for op in net.ops if op.type == "CreateScope" for name in op.outputs)


def keeps_scopes(net: Net) -> bool:
    """The workspaces that Do makes have to outlive it, for a gradient that reads them, or because an operator in them
    is a function of a workspace. Plans need no such workspaces: they call its blobs ``SCOPE/NAME``."""
    every = list(_every_operator(net))
    return any(op.type == "HasScope" or (op.type == "Do" and (op.is_gradient or not is_compiled(op))) for op in every)


def _every_operator(net: Net) -> Iterator[Operator]:
    for op in net.ops:
        yield op
        for _, inner in op.nets():
            yield from _every_operator(inner)


def _has_scopes(op: Operator) -> bool:
    return op.type in ("CreateScope", "HasScope", "Do") or any(map(_has_scopes, _inner(op)))


def _kind(op: Operator, scoped: bool) -> Kind:
    if not is_compiled(op) or (scoped and _has_scopes(op)):
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
    """The operator, with the nets in it, can be part of a plan. A branch or a loop that draws random numbers cannot: a
    plan draws the same ones in every turn of a loop."""
    if op.type in HOST_OPERATORS and op.type not in (*CONTROL, "CreateScope"):
        return False
    inner = _inner(op)
    if op.type in CONTROL and any(map(draws_numbers, inner)):
        return False
    return record_of(op) is not None and all(map(is_compiled, inner))


def _inner(op: Operator) -> list[Operator]:
    return [inner for _, net in op.nets() for inner in net.ops]


def is_plain_fill(op: Operator) -> bool:
    """The operator makes a tensor from its arguments and perhaps the shape of another, the same whenever it runs."""
    record = record_of(op)
    return record is not None and record.family == "fill.fill"
