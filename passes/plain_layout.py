"""Take single operators of a graph for a card out of a blocked layout again."""

from __future__ import annotations

from dataclasses import replace

from graphc.ir import PLAIN, Graph, Layout, Node, Value
from graphc.ir.device import CARD
from graphc.passes.assign_layout import set_layout


def is_blocked(node: Node) -> bool:
    """An operand or a result lies in blocks of channels."""
    return any(v is not None and v.type.layout != PLAIN for v in (*node.operands, *node.results))


def make_plain(graph: Graph, node: Node) -> None:
    """Have a node read and write plain values, with ``g.reorder`` on the card before and behind it."""
    for i, value in enumerate(node.operands):
        if value is not None and value.type.layout != PLAIN:
            node.set_operand(i, _plain(graph, value, node))
            _erase_unread(graph, value.producer)
    result, layout = node.results[0], node.results[0].type.layout
    set_layout(node, PLAIN)
    plain = [user for user in result.users if user.op == "g.reorder" and user.results[0].type.layout == PLAIN]
    uses = [(user, i) for user, i in result.uses if user not in plain]
    if layout != PLAIN and uses:
        behind = graph.insert_before(min((n for n, _ in uses), key=graph.nodes.index), _reorder(result, layout, node))
        for user, i in uses:
            user.set_operand(i, behind.results[0])
    for user in plain:
        graph.replace(user.results[0], result)
        graph.erase(user)


def _plain(graph: Graph, value: Value, before: Node) -> Value:
    """A blocked value in plain layout: what it was made from, or the ``g.reorder`` of it."""
    made = value.producer
    source = made.operands[0] if made is not None and made.op == "g.reorder" else None
    if source is not None and source.type == replace(value.type, layout=PLAIN):
        return source
    return graph.insert_before(before, _reorder(value, PLAIN, before)).results[0]


def _erase_unread(graph: Graph, node: Node | None) -> None:
    if node is not None and node.op == "g.reorder" and not node.results[0].uses:
        graph.erase(node)


def _reorder(value: Value, layout: Layout, like: Node) -> Node:
    result = Value(replace(value.type, layout=layout), value.name)
    return Node("g.reorder", [value], [result], {"layout": layout.text.encode()}, like.location, device=CARD)
