"""Nested nets: which blobs pass between an operator with nets in its arguments and the graph around it.

The convention, for If and While and every other operator whose nets share the blobs around them:

- The node's operands are its declared inputs, then the ``captured`` values: the outer blobs that a net reads, and those
  that are results and had a value before. All its sub-graphs have the same inputs, one for each captured operand in
  that order: input ``j`` of a sub-graph is operand ``len(operands) - len(graph.inputs) + j``.
- The node's results are its declared outputs, then the outer blobs that a net writes and that existed before or are
  read later. Output ``k`` of a sub-graph is result ``k``; a net that does not write the blob hands its input through.
- An absent ``else_net`` becomes a sub-graph that hands everything through.
- The ``cond_net`` of While has one output more, in front: ``NAME.condition``. Results of an iteration are the captured
  values of the next, matched by name: result ``k`` replaces the input of the same name.

Do binds names (``scopes.py``); its net is renamed to the outer names and then treated as above. RecurrentNetwork's nets
have a workspace of their own. Their inputs are what the net reads before it writes it, in the order of its
``external_input``, which scripts let list more. Their outputs are its ``external_output`` and the blobs named in the
operator's arguments or outputs, those of a step net also what the ``backward_step_net`` reads of it. Outer blobs that
they read and that are not among the operator's inputs are captured after those.

The inputs of ONNXWhile's net are the first of its ``external_input`` (iteration, condition, carried values), then the
captured operands; its outputs are its ``external_output``, by position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from graphc.frontends.netdef.blobs import (
    LOOP,
    RECURRENT,
    free_blobs,
    n_carried,
    operator_reads,
    own_inputs,
    written_blobs,
)
from graphc.frontends.netdef.net import Net, Operator
from graphc.frontends.netdef.renames import old_names
from graphc.ir import NetError
from graphc.ir.attrs import Attr


@dataclass
class SubnetPlan:
    """One nested net.

    inputs, outputs: blobs that pass in and out. labels: names of the outputs, each once. needed: blobs that are read
    inside or passed out.
    """

    net: Net
    inputs: list[str]
    outputs: list[str]
    labels: list[str]
    needed: set[str]


@dataclass
class Subnets:
    """The nested nets of an operator by argument, what they capture, the node's results, further arguments of it."""

    nets: dict[str, list[SubnetPlan]]
    captured: list[str]
    results: list[str]
    attrs: dict[str, Attr] = field(default_factory=dict)


def plan_subnets(op: Operator, known: Collection[str], needed: set[str]) -> Subnets:
    """Decide what passes in and out of the nets of ``op``.

    known: blobs that have a value before the operator. needed: blobs that something outside the operator may read.
    Raises ``NetError`` where a result has no value on one of the ways through the operator.
    """
    nets: dict[str, list[Net]] = {}
    for name, net in op.nets():
        nets.setdefault(name, []).append(net)
    if op.type in RECURRENT:
        return _recurrent(op, nets, known)
    if op.type == LOOP:
        return _loop(op, nets)
    if op.type == "If" and "else_net" not in nets:
        nets["else_net"] = [Net("else_net")]
    return _sharing(op, nets, known, needed)


def _sharing(op: Operator, nets: Mapping[str, list[Net]], known: Collection[str], needed: set[str]) -> Subnets:
    every = [net for items in nets.values() for net in items]
    free = dict.fromkeys(n for net in every for n in free_blobs(net))
    written = dict.fromkeys(n for net in every for n in written_blobs(net))
    always = [set(written_blobs(net)) for net in every]
    changed = [n for n in written if n in known or (n in needed and all(n in w for w in always))]
    results = list(dict.fromkeys([*op.outputs, *changed]))
    loop_locals = set(written) if op.type == "While" else set()
    captured = [n for n in dict.fromkeys([*free, *results]) if n in known or (n in free and n not in loop_locals)]
    plans: dict[str, list[SubnetPlan]] = {}
    for arg, items in nets.items():
        front = op.inputs[:1] if arg == "cond_net" else []
        for net in items:
            _check_results(op, arg, net, results, captured)
            plans.setdefault(arg, []).append(_plan(net, captured, front, results))
    return Subnets(plans, captured, results)


def _plan(net: Net, inputs: list[str], front: list[str], results: list[str]) -> SubnetPlan:
    outputs = [*front, *results]
    labels = [*(f"{n}.condition" for n in front), *results]
    return SubnetPlan(net, inputs, outputs, labels, {n for op in net.ops for n in operator_reads(op)}.union(outputs))


def _check_results(op: Operator, arg: str, net: Net, results: list[str], captured: list[str]) -> None:
    made = set(written_blobs(net)).union(captured)
    lost = [n for n in results if n not in made]
    if lost:
        raise NetError(
            f"{op.type} '{op.name}': its output {', '.join(lost)} has no value where {arg} runs",
            f"let every net of the operator write {lost[0]}, or give it a value before the operator",
        )


def _recurrent(op: Operator, nets: Mapping[str, list[Net]], known: Collection[str]) -> Subnets:
    backward = {n for net in nets.get("backward_step_net", ()) for n in (*net.external_inputs, *free_blobs(net))}
    named = {v.decode("utf-8", "backslashreplace") for v in _strings(op)}
    old = old_names(op)
    inputs_of_op, outputs_of_op = ([old.get(n, n) for n in names] for names in (op.inputs, op.outputs))
    passed = named.union(outputs_of_op, backward)
    captured: dict[str, None] = {}
    plans: dict[str, list[SubnetPlan]] = {}
    for arg, items in nets.items():
        for net in items:
            free = free_blobs(net)
            inputs = list(dict.fromkeys([*(n for n in net.external_inputs if n in free), *free]))
            written = written_blobs(net)
            outputs = [n for n in dict.fromkeys([*net.external_outputs, *written]) if n in written]
            kept = [n for n in outputs if n in net.external_outputs or n in passed or not net.external_outputs]
            plans.setdefault(arg, []).append(_plan(net, inputs, [], kept))
            captured.update(dict.fromkeys(n for n in inputs if n in known and n not in inputs_of_op and n not in named))
    names = tuple(n.encode() for n in (*inputs_of_op, *captured))
    return Subnets(plans, list(captured), list(op.outputs), {"operand_names": names})


def _loop(op: Operator, nets: Mapping[str, list[Net]]) -> Subnets:
    captured: dict[str, None] = {}
    plans: dict[str, list[SubnetPlan]] = {}
    n = n_carried(op)
    for arg, items in nets.items():
        for net in items:
            own = own_inputs(op, net)
            if len(own) != n + 2 or len(op.inputs) < n + 2:
                raise NetError(f"{op.type} '{op.name}' carries {n} values, but '{net.name}' or it has fewer inputs")
            outer = [n for n in free_blobs(net) if n not in own]
            plan = _plan(net, [*own, *outer], [], net.external_outputs)
            plan.labels = [n if n not in plan.outputs[:k] else f"{n}.{k}" for k, n in enumerate(plan.outputs)]
            plans.setdefault(arg, []).append(plan)
            captured.update(dict.fromkeys(outer))
    return Subnets(plans, list(captured), list(op.outputs), {"num_loop_carried_deps": n})


def _strings(op: Operator) -> list[bytes]:
    values = [v for value in op.args.values() for v in (value if isinstance(value, tuple) else (value,))]
    return [v for v in values if isinstance(v, bytes)]
