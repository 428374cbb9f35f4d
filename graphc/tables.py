"""Tables for people, such as what operators cost. Those that follow a text start every line with ``//``, a comment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.ir import Graph, Value
from graphc.ir.summary import node_flops, type_bytes


def count(n: float | None, unit: str = "") -> str:
    """``1.2 k``, ``3.4 M``, or ``?``."""
    if n is None:
        return "?"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= factor:
            return f"{n / factor:.1f} {prefix}{unit}"
    return f"{n:.0f} {unit}"


def _live_bytes(graph: Graph) -> list[int | None]:
    """Bytes of the values alive while each node runs, weights left out; None where a shape is open."""
    last: dict[Value, int] = {}
    for i, node in enumerate(graph.nodes):
        for v in node.operands:
            if v is not None and not v.is_constant:
                last[v] = i
    for v in graph.outputs:
        last[v] = len(graph.nodes)
    alive = [v for v in graph.inputs if v in last]
    totals: list[int | None] = []
    for i, node in enumerate(graph.nodes):
        alive += node.results
        sizes = [type_bytes(v.type) for v in alive]
        totals.append(None if None in sizes else sum(s for s in sizes if s is not None))
        alive = [v for v in alive if last.get(v, -1) > i]
    return totals


def graph_table(graph: Graph) -> str:
    """Per operator: blob, type, bytes of its results, FLOPs, live memory; then the totals."""
    live = _live_bytes(graph)
    rows = [("operator", "result", "type", "bytes", "FLOPs", "live memory")]
    for node, alive in zip(graph.nodes, live):
        first = node.results[0] if node.results else None
        size = sum(type_bytes(r.type) or 0 for r in node.results)
        name, kind = (first.name, str(first.type)) if first else ("", "")
        rows.append((node.op, name, kind, count(size, "B"), count(node_flops(node)), count(alive, "B")))
    weights = sum(type_bytes(v.type) or 0 for v in graph.constants)
    flops = sum(node_flops(n) or 0 for n in graph.nodes)
    peak = max((a for a in live if a is not None), default=None)
    total = f"weights {count(weights, 'B')}, {count(flops, 'FLOP')}, peak of live values {count(peak, 'B')}"
    return commented([*aligned(rows), total])


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with the columns of a table below each other."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]


def printable(text: str) -> str:
    """A line for a terminal: characters that control it, and those that no encoding has, become U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def commented(lines: Iterable[str]) -> str:
    """Lines as comments of the text formats."""
    return "\n".join(f"// {printable(line)}".rstrip() for line in lines)
