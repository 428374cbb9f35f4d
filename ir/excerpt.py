"""The lines of a graph's text around a node, for errors."""

from __future__ import annotations

from graphc.ir.graph import Graph, Node
from graphc.ir.printer import graph_lines

_WIDTH = 110


def excerpt(graph: Graph, node: Node, around: int = 2) -> str:
    """The numbered lines of the graph's text around a node, a line of carets under it."""
    lines = graph_lines(graph)
    at = next((i for i, (n, _) in enumerate(lines) if n is node), None)
    if at is None:
        return ""
    shown = []
    for i in range(max(0, at - around), min(len(lines), at + around + 1)):
        text = lines[i][1]
        text = text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
        gutter = f"{i + 1:4} | "
        shown.append(gutter + text)
        if i == at:
            indent = len(text) - len(text.lstrip())
            shown.append(" " * (len(gutter) + indent) + "^" * (len(text) - indent))
    return "\n".join(shown)
