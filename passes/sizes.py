"""Sizes that can be lowered: every value has a known shape that some machine could hold."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir import Graph, LoweringError, Node, Value

MOST_BYTES = 1 << 40
"""Of one value. It keeps every address inside a schedule far from the end of int64."""


def require_sizes(graph: Graph) -> None:
    """Raise ``LoweringError`` that lists every value that cannot be lowered because of its size, with its operator."""
    problems = [p for v, node in _values(graph) if (p := _problem(v, node))]
    if problems:
        first, remedy = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LoweringError(first + more, remedy, "\n".join(text for text, _ in problems[1:20]))


def _values(graph: Graph) -> Iterator[tuple[Value, Node | None]]:
    yield from ((v, None) for v in graph.inputs if v.uses or v in graph.outputs)
    yield from ((v, node) for node in graph.nodes for v in node.results)


def _problem(value: Value, node: Node | None) -> tuple[str, str] | None:
    """What is wrong with a value's size, and the remedy."""
    where = f"{node.location}: {node.op} -> '{value.name}'" if node else f"input '{value.name}'"
    if not value.type.is_static:
        remedy = (
            "give the shapes of all inputs, and begin the pipeline with infer_types; where the shape depends on data"
        )
        return f"{where}: its shape is not known before a run ({value.type})", f"{remedy}, cut the net before it"
    if any(d < 0 for d in value.type.static_shape):
        return f"{where}: its size is negative ({value.type})", "give larger inputs"
    if value.type.nbytes > MOST_BYTES:
        needs = f"{value.type.nbytes / 2**30:,.0f} GiB"
        return (
            f"{where}: it would need {needs} ({value.type})",
            "give smaller inputs, or check the operator's arguments",
        )
    return None
