"""The kernel library of a target: which rules serve an operator, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from graphc.backends.rules import Rule, Template
from graphc.ir import LoweringError
from graphc.ir.opdef import Call, Trait
from graphc.ir.precision import PRECISION
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, View

REMEDY = "graphc.ir.evaluate runs the graph in NumPy, slowly; please report the net"


BY_TRAIT = {Trait.POINTWISE: "*pointwise*", Trait.VIEW: "*view*", Trait.IDENTITY: "*identity*"}
"""Rules under these names serve every operator that has the trait."""


class Named(Protocol):
    """A description of a target has a name."""

    @property
    def name(self) -> str:
        """Text form, stored in plans."""


T = TypeVar("T", bound=Named)


class RuleLibrary(Generic[T]):
    """All of ``ir.schedule.Library`` that rules and templates give; a target adds ``halo_task`` and ``copy_task``."""

    def __init__(self, target: T, rules: Sequence[Rule[T]], templates: Sequence[Template[T]]) -> None:
        self.target, self._all_rules = target, rules
        self._templates = {t.name: t for t in templates}

    @property
    def target_name(self) -> str:
        """Name of the target, e.g. ``avx512_vnni``."""
        return self.target.name

    @cached_property
    def _rules(self) -> dict[str, list[Rule[T]]]:
        table: dict[str, list[Rule[T]]] = {}
        for rule in self._all_rules:
            for op in rule.ops:
                table.setdefault(op, []).append(rule)
        return table

    @cached_property
    def _by_name(self) -> dict[str, Rule[T]]:
        return {rule.name: rule for rule in self._all_rules}

    def choose(self, call: Call) -> Choice:
        """The applicable rule with the lowest predicted cost; raises ``LoweringError``."""
        rules = self._rules_for(call)
        for last in (False, True):
            choices = [c for r in rules if r.last is last and (c := r.choose(call, self.target)) is not None]
            if choices:
                return min(choices, key=lambda c: c.cost)
        raise LoweringError(self._refusal(call, bool(rules)), REMEDY)

    def _rules_for(self, call: Call) -> list[Rule[T]]:
        keys = [key for trait, key in BY_TRAIT.items() if trait in call.opdef.traits_of(call)]
        keys += ["*loop*"] if call.opdef.loop is not None else []
        rules = [rule for key in (call.node.op, *keys) for rule in self._rules.get(key, [])]
        return [rule for rule in rules if rule.half] if PRECISION in call.node.attrs else rules

    def knows(self, call: Call) -> bool:
        """Some rule serves the operator, for some types and arguments."""
        return bool(self._rules_for(call))

    def why_not(self, call: Call) -> str:
        """Why no rule serves a call, where one says so; else nothing."""
        told = (rule.why_not(call, self.target) for rule in self._rules_for(call) if rule.why_not is not None)
        return next((reason for reason in told if reason), "")

    def why_no_library(self, call: Call) -> str:
        """Why no vendor's library does a call that one is asked for."""
        return f"no library is asked for operators on {self.target.name}"

    def _refusal(self, call: Call, known: bool) -> str:
        node = call.node
        types = ", ".join(str(v.type) if v is not None else "-" for v in node.operands)
        blobs = ", ".join(f"'{r.name}'" for r in node.results)
        reason = "has no kernel for these types and arguments" if known else "has no kernel"
        text = f"{node.location}: {node.op}({types}) -> {blobs} {reason} on target '{self.target.name}'"
        why = self.why_not(call)
        return f"{text}: {why}" if why else text

    def needs(self, call: Call, choice: Choice) -> Needs:
        """What the choice asks of memory."""
        return self._by_name[choice.rule].needs(call, choice, self.target)

    def bind(
        self, call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address
    ) -> list[Step]:
        """The steps of a call."""
        return self._by_name[choice.rule].bind(call, choice, ins, outs, workspace, self.target)

    def source(self, spec: KernelSpec) -> str:
        """The generated source of a kernel."""
        return self._templates[spec.template].emit(spec, self.target)
