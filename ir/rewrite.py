"""Local rewriting: patterns, and the driver that applies them until nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from graphc.ir.errors import VerifyError
from graphc.ir.graph import Graph, Node


class Pattern(Protocol):
    """One rewrite. Its name is what reports and errors call it."""

    @property
    def name(self) -> str:
        """Short name, e.g. ``forward-identity``."""

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Rewrite around ``node``, which is in ``graph``, if the pattern fits; True exactly if something changed."""


@dataclass(frozen=True)
class Rule:
    """A pattern made of a name and a function."""

    name: str
    function: Callable[[Graph, Node], bool]

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """See ``Pattern``."""
        return self.function(graph, node)


@dataclass
class Changes:
    """What a driver did: how often each pattern changed something, over how many sweeps."""

    counts: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0

    def __bool__(self) -> bool:
        """Something changed."""
        return bool(self.counts)

    def __str__(self) -> str:
        done = ", ".join(f"{name} x {n}" for name, n in sorted(self.counts.items())) or "nothing changed"
        return f"{done} ({self.sweeps} sweeps)"


def walk_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph and all its sub-graphs, outer before inner."""
    yield graph
    for node in list(graph.nodes):
        for inner in node.subgraphs():
            yield from walk_graphs(inner)


def rewrite_greedily(graph: Graph, patterns: Sequence[Pattern], limit: int = 100, subgraphs: bool = True) -> Changes:
    """Apply patterns to every node, in order, until a whole sweep changes nothing.

    Sub-graphs are swept too unless ``subgraphs`` is False. limit: sweeps after which patterns that undo each other are
    taken for a defect: ``VerifyError`` names those that still change something.
    """
    changes = Changes()
    last: Counter[str] = Counter()
    while changes.sweeps < limit:
        changes.sweeps += 1
        last = Counter()
        for g in list(walk_graphs(graph)) if subgraphs else [graph]:
            last += _sweep(g, patterns)
        if not last:
            return changes
        changes.counts += last
    names = ", ".join(sorted(last))
    raise VerifyError(f"rewriting graph '{graph.name}' does not end after {limit} sweeps: {names} still change it")


def _sweep(graph: Graph, patterns: Sequence[Pattern]) -> Counter[str]:
    """One pass over the nodes; nodes that a rewrite erases are skipped, those that it makes wait for the next sweep."""
    counts: Counter[str] = Counter()
    for node in list(graph.nodes):
        for pattern in patterns:
            if node.graph is graph and pattern.rewrite(graph, node):
                counts[pattern.name] += 1
    return counts
