"""dce: dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Trait
from graphc.passes.base import Pass, in_each_net
from graphc.passes.matching import traits_of


@dataclass(frozen=True)
class Dce(Pass):
    """Remove operators whose results nobody reads, and constants likewise.

    Handles the nets inside control flow. Refuses operators with effects, and operators that hold a net with an effect;
    graph inputs and outputs stay, so do the unread results of an operator that is alive.
    """

    requires: ClassVar[str] = "imported"

    def run(self, graph: Graph) -> bool:
        return in_each_net(graph, _sweep)


def has_effect(node: Node) -> bool:
    """The operator, or one inside it, must stay."""
    return Trait.EFFECT in traits_of(node) or any(has_effect(n) for g in node.subgraphs() for n in g.walk())


def _sweep(graph: Graph) -> bool:
    outputs = {id(v) for v in graph.outputs}
    changed = False
    for node in reversed(list(graph.nodes)):
        if any(r.uses or id(r) in outputs for r in node.results) or has_effect(node):
            continue
        graph.erase(node)
        changed = True
    alive = [c for c in graph.constants if c.uses or id(c) in outputs]
    changed |= len(alive) < len(graph.constants)
    graph.constants[:] = alive
    return changed
