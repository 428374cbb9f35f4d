"""NetDef to graph: blobs, which are variables, become SSA values; fills become constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graphc.frontends.netdef.arguments import convert, known_argument
from graphc.frontends.netdef.blobs import live_operators, operator_reads
from graphc.frontends.netdef.fills import is_weight, weight
from graphc.frontends.netdef.inputs import choose_inputs
from graphc.frontends.netdef.nested import expand
from graphc.frontends.netdef.net import Net, Operator
from graphc.frontends.netdef.problem import Problem
from graphc.frontends.netdef.subnets import Subnets, plan_subnets
from graphc.frontends.netdef.validate import check
from graphc.ir import (
    Constant,
    Graph,
    Location,
    NetError,
    Node,
    Origin,
    TensorType,
    Trait,
    UnsupportedError,
    Value,
    lookup,
)
from graphc.ir.attrs import Attr


def import_net(predict: Net, init: Net | None = None, inputs: Mapping[str, TensorType] | None = None) -> Graph:
    """The graph of a net, stage ``imported``: operators as they are, no types but those given.

    predict: the net to run. init: the net that makes its weights. inputs: types of run-time inputs by blob; naming a
    blob makes it an input even where the init net fills it (``choose_inputs`` has the rule for the others).

    Inputs come in the order of ``external_input``, because Caffe2's ``Predictor.run([x])`` feeds them in that order.
    Every write of a blob makes a new value that keeps the blob's name as its hint. Fills of the init net that are
    needed become constants; its other operators come first in the graph, where constant folding evaluates them. Outputs
    are ``external_output``, or where that is empty the last values of blobs that no operator reads, optional outputs
    excepted. Nested nets become sub-graphs (``subnets.py`` has the convention).

    Raises ``UnsupportedError`` with every operator and argument that graphc lacks, and ``NetError`` for weights that
    are missing, random or damaged, for operators of the init net with effects, and for wiring that breaks Caffe2's
    rules.
    """
    _raise_problems(check(predict, init).problems, predict.name)
    predict = expand(predict)[0]
    init = expand(init)[0] if init is not None else None
    choice = choose_inputs(predict, init, inputs or {})
    scope = _Scope(Graph(predict.name))
    for name in choice.names:
        scope.blobs[name] = scope.graph.add_input((inputs or {}).get(name, TensorType()), name)
    if init is not None:
        _import_init(scope, init, predict)
    needed = {n for op in predict.ops for n in operator_reads(op)}.union(predict.external_outputs)
    scope.operators(predict, range(len(predict.ops)), needed)
    _add_outputs(scope, predict)
    scope.graph.notes += [*choice.notes, *_net_notes(predict)]
    return scope.graph


def _raise_problems(problems: list[Problem], net: str) -> None:
    if not problems:
        return
    lines = tuple(map(str, problems))
    if any(p.kind in ("operator", "argument", "arity") for p in problems):
        types = sorted({p.op_type for p in problems if p.kind == "operator"})
        what = f"graphc has no operator {', '.join(types)}" if types else "graphc does not understand some arguments"
        help = "`graphc ops` lists the operators; each line below names one problem and its remedy"
        raise UnsupportedError(f"net '{net}' cannot be imported: {what} ({len(problems)} problems)", lines, help)
    rest = "\n".join(lines[1:])
    raise NetError(f"net '{net}' cannot be imported: {lines[0]}", f"{len(lines)} problems in all" if rest else "", rest)


def _import_init(scope: _Scope, init: Net, predict: Net) -> None:
    """Run-time inputs hide what the init net makes under the same name; the init net itself sees its own blobs."""
    given = dict(scope.blobs)
    wanted = {n for op in predict.ops for n in operator_reads(op)}.union(predict.external_outputs).difference(given)
    live = live_operators(init, wanted)
    impure = [i for i in live if not is_weight(init.ops[i]) and _is_impure(init.ops[i])]
    if impure:
        names = ", ".join(f"op #{i} {init.ops[i].type} -> {', '.join(init.ops[i].outputs[:3])}" for i in impure)
        raise NetError(
            f"the init net '{init.name}' makes weights with operators that are not functions of their inputs: {names}",
            "run the init net once with Caffe2 and save the weights as fills (mobile_exporter)",
        )
    unmade = _unmade(init, live)
    missing = [n for n in unmade if n not in given]
    if missing:
        raise NetError(f"the init net '{init.name}' reads blobs that nothing makes: {', '.join(missing)}")
    scope.blobs = {n: given[n] for n in unmade}
    scope.operators(init, live, wanted, fold=True)
    scope.blobs.update(given)


def _unmade(net: Net, live: list[int]) -> list[str]:
    made: set[str] = set()
    unmade: dict[str, None] = {}
    for i in live:
        unmade.update(dict.fromkeys(n for n in operator_reads(net.ops[i]) if n not in made))
        made.update(net.ops[i].outputs)
    return list(unmade)


def _is_impure(op: Operator) -> bool:
    return bool(lookup(op.type).traits & (Trait.RANDOM | Trait.EFFECT))


def _add_outputs(scope: _Scope, net: Net) -> None:
    names = list(dict.fromkeys(net.external_outputs))
    if not names:
        names = _unread_blobs(scope)
        scope.graph.notes.append(
            f"external_output is empty; outputs are the blobs that nothing reads: {', '.join(names)}"
        )
    for name in names:
        scope.graph.add_output(scope.final(name, net), name)


def _unread_blobs(scope: _Scope) -> list[str]:
    """Blobs whose last value an operator made and none reads; optional outputs (masks, scales ...) are left out."""
    names = []
    for name, value in scope.blobs.items():
        node = value.producer
        if node is None or value.uses:
            continue
        ports = node.opdef.outputs
        if not ports or not ports[min(value.index, len(ports) - 1)].optional:
            names.append((node.location.origins[0].index, value.index, name))
    return [name for _, _, name in sorted(names)]


def _net_notes(net: Net) -> list[str]:
    notes = [f"net type '{net.type}': operators run in list order"] if net.type not in ("", "simple") else []
    if net.device is not None and net.device.type:
        notes.append(f"net device {net.device} is kept as a preference")
    return notes


def _places(net: Net) -> list[str]:
    """The device of each operator as text: its own, else the net's.

    Exported nets say CPU of most operators and nothing of the others. So that means nothing where no operator is on a
    card: the target decides. In a net that uses a card, an operator of the CPU is ``cpu:0``.
    """
    devices = [op.device or net.device for op in net.ops]
    cards = any(device is not None and device.is_card for device in devices)
    return ["" if device is None else str(device) or ("cpu:0" if cards else "") for device in devices]


@dataclass
class _Scope:
    """A graph being built and the current value of every blob."""

    graph: Graph
    blobs: dict[str, Value] = field(default_factory=dict)
    constant_names: set[str] = field(default_factory=set)

    def operators(self, net: Net, positions: Iterable[int], needed: set[str], fold: bool = False) -> None:
        """Import operators of a net.

        needed: blobs that the net or what is around it reads. fold: ConstantFill becomes a constant too.
        """
        places = _places(net)
        for i in positions:
            op = net.ops[i]
            if is_weight(op) and (fold or op.type != "ConstantFill"):
                self.constant(op)
            else:
                self.operator(net, i, op, needed, places[i])

    def constant(self, op: Operator) -> None:
        """Bind a fill's blob to a constant; constants have names of their own, as a blob may be filled twice."""
        data, type = weight(op)
        blob, name, k = op.outputs[0], op.outputs[0], 1
        while name in self.constant_names:
            name, k = f"{blob}.{k}", k + 1
        self.constant_names.add(name)
        value = Value(type, blob, Constant(name, type, data))
        self.graph.constants.append(value)
        self.blobs[blob] = value

    def operator(self, net: Net, i: int, op: Operator, needed: set[str], place: str) -> None:
        """Append the node of an operator, which runs at ``place``, and bind its outputs."""
        operands: list[Value | None] = [self.read(net, i, op, name) for name in op.inputs]
        results = list(op.outputs)
        attrs = _attributes(op)
        if any(op.nets()):
            subnets = plan_subnets(op, self.blobs.keys(), needed)
            operands += [self.read(net, i, op, n) for n in subnets.captured]
            results = subnets.results
            attrs |= self.subgraphs(subnets) | subnets.attrs
        node = Node(
            op.type,
            operands,
            [Value(TensorType(), name) for name in results],
            attrs,
            Location((Origin(net.name, i, op.type, op.name),)),
            op.engine,
            place,
        )
        self.graph.append(node)
        self.blobs.update(zip(results, node.results))

    def read(self, net: Net, i: int, op: Operator, name: str) -> Value | None:
        """The current value of a blob; an empty name is an absent input."""
        value = self.blobs.get(name)
        if value is None and name:
            raise NetError(f"net '{net.name}' op #{i} {op.type}: Source for input '{name}' is unknown")
        return value

    def final(self, name: str, net: Net) -> Value:
        """The last value of a blob that a net gives; a nested net may make it on some of its ways only."""
        if name not in self.blobs:
            raise NetError(
                f"net '{net.name}' gives '{name}', which not every way through its nested nets makes",
                f"fill '{name}' before the operator that holds the nested net, or remove it from the outputs",
            )
        return self.blobs[name]

    def subgraphs(self, subnets: Subnets) -> dict[str, Attr]:
        """Import the nested nets of an operator."""
        graphs: dict[str, Attr] = {}
        for arg, plans in subnets.nets.items():
            made = []
            for plan in plans:
                inner = _Scope(Graph(plan.net.name), constant_names=self.constant_names)
                for name in plan.inputs:
                    inner.blobs[name] = inner.graph.add_input(TensorType(), name)
                inner.operators(plan.net, range(len(plan.net.ops)), plan.needed)
                for name, label in zip(plan.outputs, plan.labels):
                    inner.graph.add_output(inner.final(name, plan.net), label)
                made.append(inner.graph)
            graphs[arg] = made[0] if len(made) == 1 else tuple(made)
        return graphs


def _attributes(op: Operator) -> dict[str, Attr]:
    """The arguments that the record lists, as its kinds; ``check`` has refused all others but harmless ones."""
    record = lookup(op.type)
    attrs: dict[str, Attr] = {}
    for name, value in op.args.items():
        arg = known_argument(record, name)
        if arg is None or isinstance(value, Net) or (isinstance(value, tuple) and value and isinstance(value[0], Net)):
            continue
        attrs[name] = convert(value, arg.kind)
    return attrs
