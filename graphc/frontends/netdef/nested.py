"""Nets in arguments: those held as text or bytes, as ``step_net`` in files of 2017, those that rename blobs, and those
whose blobs share memory."""

from __future__ import annotations

from dataclasses import replace

from graphc.frontends.netdef.blobs import RECURRENT
from graphc.frontends.netdef.engines import engine_type
from graphc.frontends.netdef.net import ArgValue, Net, Operator
from graphc.frontends.netdef.problem import Problem, problem
from graphc.frontends.netdef.reader import read_net
from graphc.frontends.netdef.renames import restore
from graphc.frontends.netdef.scopes import bind_scope
from graphc.frontends.netdef.shared_states import share_states
from graphc.frontends.netdef.state_outputs import order_aliases
from graphc.ir import GraphcError, NetError, registry


def expand(net: Net) -> tuple[Net, list[Problem]]:
    """The net with every net-valued argument as a ``Net`` that calls blobs by the names they have around it.

    Operators get the name of the record that their engine runs (``engines.py``).

    Also gives problems for arguments that hold no net and for bindings of names that do not fit. An empty string and
    an argument that has a name only stand for an absent net. The net given is not changed.
    """
    problems: list[Problem] = []
    ops = [_expand_operator(net, i, problems) for i in range(len(net.ops))]
    return replace(net, ops=ops), problems


def _expand_operator(net: Net, i: int, problems: list[Problem]) -> Operator:
    op = net.ops[i]
    op = replace(op, type=engine_type(op))
    record = registry().get(op.type)
    args: dict[str, ArgValue] = {}
    for name, value in op.args.items():
        is_net = record is not None and record.has_arg(name) and record.arg(name).kind == "graph"
        if is_net and isinstance(value, bytes) and value:
            value = _read(net, i, name, value, problems)
        elif is_net and isinstance(value, bytes | tuple) and not value:
            value = None
        if isinstance(value, Net):
            value, inner = expand(value)
            problems += inner
        if value is not None:
            args[name] = value
    expanded = replace(op, args=args)
    if op.type in RECURRENT:
        return share_states(order_aliases(restore(expanded)))
    return _bound(net, i, expanded, problems) if op.type == "Do" else expanded


def _bound(net: Net, i: int, op: Operator, problems: list[Problem]) -> Operator:
    try:
        return bind_scope(op)
    except NetError as e:
        problems.append(problem("argument", net, i, "outer_blobs_idx", e.message, "number inputs, then outputs"))
        return op


def _read(net: Net, i: int, name: str, value: bytes, problems: list[Problem]) -> Net | None:
    try:
        return read_net(value)
    except GraphcError as e:
        problems.append(problem("argument", net, i, name, f"argument '{name}' holds no net: {e.message}", e.help))
        return None
