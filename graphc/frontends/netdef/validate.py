"""Check nets before they are imported, and list every problem at once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from graphc.frontends.netdef.arguments import convert, is_harmless, known_argument
from graphc.frontends.netdef.blobs import live_operators, operator_reads
from graphc.frontends.netdef.fills import RANDOM_FILLS, is_weight, weight
from graphc.frontends.netdef.nested import expand
from graphc.frontends.netdef.net import Net, Operator
from graphc.frontends.netdef.problem import Problem, near, problem, some
from graphc.frontends.netdef.wiring import wiring_problems
from graphc.ir import NetError, OpDef, Port, registry
from graphc.ir.ops.unsupported import refusal


@dataclass
class Report:
    """What ``check`` found: how often each operator type occurs, and every problem in net order."""

    operators: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """The nets can be imported."""
        return not self.problems

    def __str__(self) -> str:
        total = sum(self.operators.values())
        head = f"{total} operators of {len(self.operators)} types, {len(self.problems)} problems"
        return "\n".join([head, *map(str, self.problems)])

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {"operators": dict(self.operators), "problems": [asdict(p) for p in self.problems]}


def check(predict: Net, init: Net | None = None) -> Report:
    """List every unsupported operator, unknown or ill-typed argument, wrong port, bad weight and wiring error.

    Of the init net only the operators count that the predict net needs. Raises nothing.
    """
    report = Report()
    predict, report.problems = expand(predict)
    if init is not None:
        init, unreadable = expand(init)
        report.problems += unreadable
        live = live_operators(init, _outside_blobs(predict))
        report.problems += _random_problems(init, live)
        _check_net(init, report, live)
    _check_net(predict, report, range(len(predict.ops)))
    report.problems += wiring_problems(predict)
    return report


def _outside_blobs(net: Net) -> list[str]:
    return [*net.external_inputs, *(n for op in net.ops for n in operator_reads(op)), *net.external_outputs]


def _check_net(net: Net, report: Report, positions: Sequence[int]) -> None:
    for i in positions:
        op = net.ops[i]
        report.operators[op.type] += 1
        report.problems += _operator_problems(net, i)
        for _, nested in op.nets():
            _check_net(nested, report, range(len(nested.ops)))


def _operator_problems(net: Net, i: int) -> Iterator[Problem]:
    op = net.ops[i]
    if is_weight(op):
        yield from _weight_problems(net, i)
        if op.type != "ConstantFill":
            return
    record = registry().get(op.type)
    if record is None or op.type.startswith("g."):
        yield problem("operator", net, i, op.type, *_why(op.type))
        return
    yield from _argument_problems(net, i, record)
    for what, ports, names in (("input", record.inputs, op.inputs), ("output", record.outputs, op.outputs)):
        reason = _arity(what, ports, len(names)) if _counts(op, what) else ""
        if reason:
            yield problem("arity", net, i, what, reason, f"{what}s: {_port_text(ports)}")
    if not any(op.nets()):  # nested nets may write any blob
        yield from _sharing_problems(net, i, record)


def _counts(op: Operator, what: str) -> bool:
    """The number of ports counts: nested nets may read and write more blobs than the operator lists."""
    return what == "input" or not any(op.nets())


@functools.lru_cache(1000)
def _why(op_type: str) -> tuple[str, str]:
    """Reason and remedy for an operator without a record."""
    known = refusal(op_type)
    if known is not None:
        return f"graphc does not run {op_type}: {known.reason}", known.remedy
    names = [n for n in registry() if not n.startswith("g.")]
    remedy = near(op_type, names, "remove it from the net, or declare it (docs/adding-an-operator.md)")
    return f"graphc has no operator {op_type!r}", remedy


def _argument_problems(net: Net, i: int, record: OpDef) -> Iterator[Problem]:
    op = net.ops[i]
    for name, value in op.args.items():
        arg = known_argument(record, name)
        if arg is not None:
            try:
                convert(value, arg.kind)
            except ValueError as e:
                yield problem("argument", net, i, name, f"argument '{name}' {e}", arg.doc)
        elif not is_harmless(op.type, name) and not op.is_gradient:  # which has its forward operator's, read or not
            known = [a.name for a in record.args]
            remedy = near(name, known, f"known: {', '.join(known) or 'none'}")
            yield problem("argument", net, i, name, f"argument '{name}' is unknown to {op.type}", remedy)


def _sharing_problems(net: Net, i: int, record: OpDef) -> Iterator[Problem]:
    """Inputs and outputs with one name where Caffe2 wants two, and with two names where it wants one."""
    op = net.ops[i]
    for j, name in enumerate(op.inputs):
        for k in (k for k, out in enumerate(op.outputs) if name and out == name and not record.may_share(j, k)):
            reason = f"input {j} and output {k} are both '{name}', {op.type} cannot work in place there"
            yield problem("in place", net, i, name, reason, "give the output a name of its own")
    for j, k in record.enforced:
        if j < len(op.inputs) and k < len(op.outputs) and op.inputs[j] != op.outputs[k]:
            reason = f"{op.type} changes input {j}, '{op.inputs[j]}', but its output {k} is named '{op.outputs[k]}'"
            yield problem("in place", net, i, op.outputs[k], reason, f"name the output '{op.inputs[j]}'")


def _arity(what: str, ports: Sequence[Port], n: int) -> str:
    most = None if any(p.variadic for p in ports) else len(ports)
    least = sum(not (p.optional or p.variadic) for p in ports)
    if most is not None and n > most:
        return f"it has {n} {what}s, at most {most} are possible"
    return f"it has {n} {what}s, at least {least} are needed" if n < least else ""


def _port_text(ports: Sequence[Port]) -> str:
    return " ".join(p.name + "?" * p.optional + "*" * p.variadic for p in ports) or "none"


def _weight_problems(net: Net, i: int) -> Iterator[Problem]:
    op = net.ops[i]
    try:
        weight(op)
    except NetError as e:
        yield problem("weight", net, i, op.outputs[0], e.message, e.help)


def _random_problems(init: Net, live: Sequence[int]) -> Iterator[Problem]:
    for i in live:
        op = init.ops[i]
        if op.type in RANDOM_FILLS:
            reason = f"'{some(op.outputs)}' would be drawn at random, so the answers would be different ones each time"
            yield problem("weight", init, i, op.type, reason, "run the init net once and save the weights as fills")
