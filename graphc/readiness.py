"""The readiness report: every problem between a net and a plan, found stage by stage without compiling anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.backends.cuda.target import is_cuda
from graphc.compiler import optimise
from graphc.engines import AUTO, Engine, engine_requests, without_measuring
from graphc.frontends.netdef import Source, import_net, read_net
from graphc.frontends.netdef.order import require_order
from graphc.frontends.netdef.validate import check
from graphc.input_shapes import assume_input_shapes
from graphc.ir import Call, Graph, GraphcError, Node, TensorType, UnsupportedError
from graphc.ir.engine import DEFAULT
from graphc.ir.ops.unsupported import require_runnable
from graphc.kernel_code import TargetLibrary
from graphc.passes.choose_engines import Asked, choose_engines
from graphc.passes.place_devices import Stay, place_devices
from graphc.passes.segments import is_host
from graphc.plan import Plan
from graphc.tables import aligned
from graphc.targets import beside, find, library_for, machine_code

COLUMNS = ("operator", "blob", "reason", "remedy")
"""Of the table of what stays on the CPU."""
ASKED = ("operator", "blob", "library", "reason")
"""Of the table of what libraries are asked for; either a library does it, or there is a reason why none does."""


@dataclass
class Readiness:
    """operators: how often each type occurs. problems: one text each. notes: decisions of the importer.

    on_cpu: for a card, the operators that stay on the CPU: operator, blob, reason, remedy. asked: the operators that
    libraries are asked for: operator, blob, library, reason why none does it.
    """

    operators: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    on_cpu: list[tuple[str, str, str, str]] = field(default_factory=list)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    reached: str = "read"

    @property
    def ok(self) -> bool:
        """The net compiles."""
        return not self.problems

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "ok": self.ok,
            "reached": self.reached,
            **{k: getattr(self, k) for k in ("operators", "problems", "notes")},
            "on_cpu": [dict(zip(COLUMNS, row)) for row in self.on_cpu],
            "asked": [dict(zip(ASKED, row)) for row in self.asked],
        }

    def __str__(self) -> str:
        types = ", ".join(f"{name} {n}" for name, n in sorted(self.operators.items(), key=lambda x: (-x[1], x[0])))
        lines = [f"{sum(self.operators.values())} operators of {len(self.operators)} types: {types}"]
        lines += [f"note: {n}" for n in self.notes]
        if self.on_cpu:
            lines += [f"operators that stay on the CPU: {len(self.on_cpu)}"]
            lines += [f"  {line}" for line in aligned([COLUMNS, *self.on_cpu])]
        if self.asked:
            lines += [f"operators that a library does: {sum(bool(row[2]) for row in self.asked)} of {len(self.asked)}"]
            lines += [f"  {line}" for line in aligned([ASKED, *self.asked])]
        lines += [f"problem: {p}" for p in self.problems]
        verdict = (
            "ready: the net compiles" if self.ok else f"{len(self.problems)} problems; reached stage: {self.reached}"
        )
        return "\n".join([*lines, verdict])


def readiness(
    predict_net: Source,
    init_net: Source | None,
    inputs: Mapping[str, TensorType],
    target: str,
    engine: Engine = DEFAULT,
) -> Readiness:
    """Check a net as far as it goes. Raises ``GraphcError`` only for files that are no nets, unknown targets and
    engines, and an engine on a target that has none."""
    machine = find(target)
    requests = engine_requests(engine, is_cuda(target))
    predict, init = read_net(predict_net), read_net(init_net) if init_net is not None else None
    if init is not None:
        require_order(predict, init)
    found = check(predict, init)
    report = Readiness(dict(found.operators), [str(p) for p in found.problems])
    if report.problems:
        return report
    try:
        graph = import_net(predict, init, dict(inputs))
        require_runnable(graph)
        assume_input_shapes(graph)
        report.reached, report.notes = "imported", list(graph.notes)
        optimise(graph, machine)
        report.reached = "optimised"
        open_inputs = [v.name for v in graph.inputs if (v.uses or v in graph.outputs) and not v.type.is_static]
        if open_inputs:
            serves_all = find(beside(target)) if is_cuda(target) else machine
            report.problems += [_open_problem(open_inputs), *_without_kernel(graph, library_for(serves_all))]
            return report
        if requests:
            asked = choose_engines(graph, library_for(machine), without_measuring(requests))
            report.asked = [_asked_row(one) for one in asked]
            if AUTO in requests.values():
                report.notes.append(
                    "auto: of what a library does, compiling keeps what it does in less time on the card"
                )
        if is_cuda(target):
            report.on_cpu = [_row(stay) for stay in place_devices(graph, library_for(machine))]
        Plan.build(graph, library_for(machine), 1, machine_code(library_for(machine), beside=beside(target)))
        report.reached = "scheduled"
    except GraphcError as error:
        report.problems += [f"{error.message}" + (f" (help: {error.help})" if error.help else "")]
        listed = report.reached == "optimised" or isinstance(error, UnsupportedError)
        report.problems += [line for line in error.excerpt.splitlines() if listed and line]
    return report


def _row(stay: Stay) -> tuple[str, str, str, str]:
    """A line of the table."""
    return (*_named(stay.node), stay.reason, stay.remedy)


def _asked_row(asked: Asked) -> tuple[str, str, str, str]:
    return (*_named(asked.node), asked.library, asked.reason)


def _named(node: Node) -> tuple[str, str]:
    """The operator as the net has it, and the blob that it computes."""
    origins = ", ".join(dict.fromkeys(o.op_type for o in node.location.origins)) or node.op
    return origins, node.results[0].name if node.results else ""


def _open_problem(names: list[str]) -> str:
    if len(names) == 1:
        return f"input '{names[0]}' has no known shape: give it with --input {names[0]}=DIMS"
    listed = ", ".join(f"'{n}'" for n in names)
    return f"{len(names)} inputs have no known shape; weights come with --init, shapes with --input NAME=DIMS: {listed}"


def _without_kernel(graph: Graph, library: TargetLibrary) -> list[str]:
    """The operator types that have no kernel for any types, each with the first place where it occurs."""
    found = {n.op: n for n in reversed(graph.nodes) if not (is_host(n) or library.knows(Call(n)))}
    return [f"{n.location}: {op} has no kernel on target '{library.target_name}'" for op, n in sorted(found.items())]
