"""The CPU's kernel library: which rules serve an operator, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from graphc.backends.cpu import kernels
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.ir import LoweringError
from graphc.ir.opdef import Call, Trait
from graphc.ir.schedule import Address, Choice, Halo, KernelSpec, Needs, Step, Task, View

REMEDY = "graphc.ir.evaluate runs the graph in NumPy, slowly; please report the net"


BY_TRAIT = {Trait.POINTWISE: "*pointwise*", Trait.VIEW: "*view*", Trait.IDENTITY: "*identity*"}
"""Rules under these names serve every operator that has the trait."""


class CpuLibrary:
    """``ir.schedule.Library`` for one CPU target."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    @property
    def target_name(self) -> str:
        """Name of the target, e.g. ``avx512_vnni``."""
        return self.target.name

    @cached_property
    def _rules(self) -> dict[str, list[Rule]]:
        table: dict[str, list[Rule]] = {}
        for rule in kernels.RULES:
            for op in rule.ops:
                table.setdefault(op, []).append(rule)
        return table

    @cached_property
    def _by_name(self) -> dict[str, Rule]:
        return {rule.name: rule for rule in kernels.RULES}

    @cached_property
    def _templates(self) -> dict[str, Template]:
        return {t.name: t for t in kernels.TEMPLATES}

    def choose(self, call: Call) -> Choice:
        """The applicable rule with the lowest predicted cost; raises ``LoweringError``."""
        rules = self._rules_for(call)
        choices = [c for rule in rules if (c := rule.choose(call, self.target)) is not None]
        if not choices:
            raise LoweringError(self._refusal(call, bool(rules)), REMEDY)
        return min(choices, key=lambda c: c.cost)

    def _rules_for(self, call: Call) -> list[Rule]:
        keys = [key for trait, key in BY_TRAIT.items() if trait in call.opdef.traits_of(call)]
        keys += ["*loop*"] if call.opdef.loop is not None else []
        return [rule for key in (call.node.op, *keys) for rule in self._rules.get(key, [])]

    def knows(self, call: Call) -> bool:
        """Some rule serves the operator, for some types and arguments."""
        return bool(self._rules_for(call))

    def _refusal(self, call: Call, known: bool) -> str:
        node = call.node
        types = ", ".join(str(v.type) if v is not None else "-" for v in node.operands)
        blobs = ", ".join(f"'{r.name}'" for r in node.results)
        reason = "has no kernel for these types and arguments" if known else "has no kernel"
        return f"{node.location}: {node.op}({types}) -> {blobs} {reason} on target '{self.target.name}'"

    def needs(self, call: Call, choice: Choice) -> Needs:
        """What the choice asks of memory."""
        return self._by_name[choice.rule].needs(call, choice, self.target)

    def bind(
        self, call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address
    ) -> list[Step]:
        """The steps of a call."""
        return self._by_name[choice.rule].bind(call, choice, ins, outs, workspace, self.target)

    def halo_task(self, view: View, halo: Halo) -> Task:
        """Zero the halo of a 4-D value."""
        return kernels.halo_task(view, halo)

    def copy_task(self, source: View, target: View) -> Task:
        """Copy between views of one logical shape."""
        return kernels.copy_task(source, target, self.target)

    def source(self, spec: KernelSpec) -> str:
        """The generated source of a kernel."""
        return self._templates[spec.template].emit(spec, self.target)
