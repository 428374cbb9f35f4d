"""Copies between devices: what passes that decide about devices share."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph, Node, Value
from graphc.ir.device import CARD, COPIES


def insert_copies(graph: Graph, on_card: Callable[[Node], bool]) -> bool:
    """Put a copy operator where a value goes from one device to the other; True iff there is such a value.

    All readers on the other device share one copy, which stands before the first of them. Inputs, outputs and weights
    of the graph are wherever they are needed.
    """
    position = {node: k for k, node in enumerate(graph.nodes)}
    nodes = [node for node in graph.nodes if node.op not in COPIES]
    values = [(r, on_card(node)) for node in nodes for r in node.results]
    crossing = [(v, card, far) for v, card in values if (far := _readers(v, not card, on_card))]
    for value, card, uses in crossing:
        op = COPIES[1] if card else COPIES[0]
        first = min((node for node, _ in uses), key=position.__getitem__)
        producer = value.producer
        assert producer is not None
        copy = Node(op, [value], [Value(value.type, value.name)], location=producer.location, device=CARD)
        graph.insert_before(first, copy)
        for node, i in uses:
            node.set_operand(i, copy.results[0])
    if crossing:
        graph.stage = "optimised"
    return bool(crossing)


def _readers(value: Value, card: bool, on_card: Callable[[Node], bool]) -> list[tuple[Node, int]]:
    """The operand slots on one of the devices that read the value as it is."""
    return [(node, i) for node, i in value.uses if node.op not in COPIES and on_card(node) == card]


def remove_copies(graph: Graph) -> None:
    """Take all copy operators out again."""
    for node in [n for n in graph.nodes if n.op in COPIES]:
        source = node.operands[0]
        assert source is not None
        graph.replace(node.results[0], source)
        graph.erase(node)
