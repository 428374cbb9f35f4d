"""What a user asks of single operators, by the blob that they compute or by their name: their precision."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

from graphc.ir import Graph, GraphcError, Node

FLOAT = "float"
"""What keeps an operator out; to ask for it can always be met."""
FUSED = "operators that are fused go by the last one's blob; graphc dump lists the blobs"


class Requests:
    """What is asked for. met: the names by which an operator was asked for a precision, and has it."""

    def __init__(self, default: str, text: str, kinds: Sequence[str]) -> None:
        """default: for all that are not named. text: ``name:kind;...``. Raises ``GraphcError`` for other kinds."""
        pairs = [r.rpartition(":") for r in text.split(";") if r]
        self.default, self.by_name = default, {name: kind for name, _, kind in pairs}
        self.met: set[str] = set()
        for kind in (default, *self.by_name.values()):
            if kind not in kinds:
                raise GraphcError(f"'{kind}' is no precision", f"precisions: {', '.join(kinds)}")

    def take(self, node: Node) -> str:
        """The precision of a node that can have any; its request is met."""
        for name in _names(node):
            if name in self.by_name:
                self.met.add(name)
                return self.by_name[name]
        return self.default

    def names(self, node: Node) -> bool:
        """The node itself is asked for a precision."""
        return any(name in self.by_name for name in _names(node))

    def require_met(self, graph: Graph, refusal: Callable[[Node, str, str], GraphcError | None]) -> None:
        """Raise ``GraphcError`` for the first request that names no operator, or that none has taken.

        refusal(node, name, kind): why the operator of that name does not have the precision; None if it has.
        """
        known: dict[str, Node] = {}
        for node in graph.walk():
            for name in _names(node):
                known.setdefault(name, node)
        for name, kind in self.by_name.items():
            if name not in known:
                near = ", ".join(difflib.get_close_matches(name, known, 3))
                raise GraphcError(
                    f"a precision is requested for '{name}', which no operator computes",
                    f"near names: {near}; {FUSED}" if near else FUSED,
                )
            error = refusal(known[name], name, kind) if name not in self.met and kind != FLOAT else None
            if error is not None:
                raise error


def _names(node: Node) -> Iterator[str]:
    """The blobs that a node computes, and the names of the operators of the net that it stands for."""
    yield from (r.name for r in node.results)
    yield from (origin.name for origin in node.location.origins if origin.name)
