"""dce: dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Call, Graph, Node, Trait
from graphc.passes.base import Pass, in_each_net
from graphc.passes.matching import traits_of


@dataclass(frozen=True)
class Dce(Pass):
    """Remove operators whose results nobody reads, and constants likewise.

    Handles the nets inside control flow; the gradient of a layer's input, which costs as much as that of its weights
    and is unread in the first layer of a net in training. Refuses operators with effects, and operators that hold a net
    with an effect; graph inputs and outputs stay, so do the other unread results of an operator that is alive.
    """

    requires: ClassVar[str] = "imported"

    def run(self, graph: Graph) -> bool:
        return in_each_net(graph, _sweep)


def has_effect(node: Node) -> bool:
    """The operator, or one inside it, must stay."""
    return Trait.EFFECT in traits_of(node) or any(has_effect(n) for g in node.subgraphs() for n in g.walk())


def gives_input_gradient(node: Node) -> bool:
    """The last result is the gradient of the input of a layer with weights, which may be left out."""
    ports, call = node.opdef.outputs, Call(node)
    biased = not (node.opdef.has_arg("no_bias") and call.arg("no_bias"))
    asked = len(node.results) == len(ports) - (not biased)
    return bool(ports) and ports[-1].name == "dX" and ports[-1].optional and asked


def _sweep(graph: Graph) -> bool:
    outputs = {id(v) for v in graph.outputs}
    changed = False
    for node in reversed(list(graph.nodes)):
        if any(r.uses or id(r) in outputs for r in node.results) or has_effect(node):
            if gives_input_gradient(node) and not node.results[-1].uses and id(node.results[-1]) not in outputs:
                node.results.pop()
                changed = True
            continue
        graph.erase(node)
        changed = True
    alive = [c for c in graph.constants if c.uses or id(c) in outputs]
    changed |= len(alive) < len(graph.constants)
    graph.constants[:] = alive
    return changed
