"""fuse_elementwise: chains and trees of pointwise operators become one pass over the elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir import Graph, Location, Node, Value
from graphc.passes.base import Pass, in_each_net
from graphc.passes.bodies import escapes, inline, is_fusable, size
from graphc.passes.variants import Variants


@dataclass(frozen=True)
class FuseElementwise(Pass):
    """Replace connected pointwise operators that give the same float shape by one g.pointwise.

    Handles chains, trees and diamonds whose inner results nobody else reads, operands that broadcast per channel (the
    dimension 1 or the last) or from one element, and g.pointwise made earlier. Refuses operators whose operands
    broadcast in another way, other types than float, shapes with unknown dimensions, results that are read outside,
    and groups of more than ``limit`` operators. An operator that stands alone stays as it is.
    """

    limit: int = 32

    def run(self, graph: Graph) -> bool:
        changed = in_each_net(graph, self._fuse)
        if changed:
            graph.stage = "optimised"
        return changed

    def _fuse(self, graph: Graph) -> bool:
        groups = [g for g in _groups(graph, self.limit) if len(g) > 1]
        for group in groups:
            _replace(graph, group)
        return bool(groups)


def _groups(graph: Graph, limit: int) -> list[list[Node]]:
    """Groups in order of their nodes; the last node of each gives the only result that is read outside."""
    joined: dict[Node, list[Node]] = {}
    variants = Variants(graph)
    for node in reversed(graph.nodes):
        if not _is_member(node, variants):
            continue
        group = joined.get(next(iter(node.results[0].users), node))
        if group is None or not _joins(graph, node, group, limit):
            group = []
        group.insert(0, node)
        joined[node] = group
    return list({id(g): g for g in reversed(joined.values())}.values())


def _joins(graph: Graph, node: Node, group: Sequence[Node], limit: int) -> bool:
    result = node.results[0]
    return (
        result.type.shape == group[-1].results[0].type.shape
        and sum(map(size, group)) + size(node) <= limit
        and not escapes(graph, result, set(group))
    )


def _is_member(node: Node, variants: Variants) -> bool:
    if not is_fusable(node):
        return False
    kinds = zip(variants.operand_kinds(node, 1), variants.operand_kinds(node, -1)) if node.results[0].type.shape else ()
    spread = [first if first != "other" else last for first, last in kinds]
    return "full" in spread and "other" not in spread


def _replace(graph: Graph, group: Sequence[Node]) -> None:
    """Put one g.pointwise in the place of the last node of ``group``."""
    last = group[-1]
    body = Graph("body", "typed")
    operands: list[Value] = []
    env: dict[Value, Value] = {}
    for node in group:
        local = dict(env)
        for v in node.operands:
            assert v is not None
            if v not in local:
                local[v] = body.add_input(v.type, v.name)
                operands.append(v)
                if v.type.shape == last.results[0].type.shape:
                    env[v] = local[v]
        env[node.results[0]] = inline(node, body, local)
    result = env[last.results[0]]
    body.add_output(result)
    fused = Node("g.pointwise", list(operands), [Value(last.results[0].type, last.results[0].name)], {"body": body})
    fused.location = Location().join(*(n.location for n in group))
    fused.device = last.device
    graph.insert_before(last, fused)
    graph.replace(last.results[0], fused.results[0])
    for node in reversed(group):
        graph.erase(node)
