"""cse: common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Trait, Value
from graphc.ir.attrs import Attr
from graphc.passes.base import Pass, in_each_net
from graphc.passes.matching import traits_of


@dataclass(frozen=True)
class Cse(Pass):
    """Let equal calls, same operator on the same operands with the same arguments, be one call.

    Handles constants that reference the same storage too. Refuses operators with effects or randomness, and calls that
    hold a graph. Arguments are compared exactly: 1 is not 1.0, 0.0 is not -0.0, NaN is NaN.
    """

    requires: ClassVar[str] = "imported"

    def run(self, graph: Graph) -> bool:
        constants = in_each_net(graph, _merge_constants)
        return in_each_net(graph, _merge_nodes) or constants


def _merge_constants(graph: Graph) -> bool:
    seen: dict[Hashable, Value] = {}
    changed = False
    for value in list(graph.constants):
        if value.data is None:
            continue
        first = seen.setdefault((id(value.data), value.type), value)
        if first is not value:
            graph.replace(value, first)
            graph.constants.remove(value)
            changed = True
    return changed


def _merge_nodes(graph: Graph) -> bool:
    seen: dict[Hashable, Node] = {}
    changed = False
    for node in list(graph.nodes):
        if node.subgraphs() or traits_of(node) & (Trait.EFFECT | Trait.RANDOM):
            continue
        first = seen.setdefault(_key(node), node)
        if first is node:
            continue
        for old, new in zip(node.results, first.results):
            graph.replace(old, new)
        first.location = first.location.join(node.location)
        graph.erase(node)
        changed = True
    return changed


def _key(node: Node) -> Hashable:
    operands = tuple(None if v is None else id(v) for v in node.operands)
    attrs = tuple(sorted((k, _attr_key(v)) for k, v in node.attrs.items()))
    return node.op, operands, attrs, len(node.results), node.engine, node.device


def _attr_key(value: Attr) -> str:
    """``repr`` tells 1 from 1.0 and 0.0 from -0.0, and is equal for NaN."""
    return repr(value)
