"""Parts of graphs, and patterns to find them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.caffe2.nomnigraph.graph import Edge, Graph, Node
from graphc.caffe2.nomnigraph.values import NeuralNetData, NeuralNetOperator


class NNSubgraph:
    """Some nodes of a graph, and edges between them."""

    def __init__(self) -> None:
        self._nodes: dict[Node, None] = {}
        self._edges: list[Edge] = []

    def addNode(self, node: Node) -> None:
        """Add a node."""
        self._nodes[node] = None

    def removeNode(self, node: Node) -> None:
        """Take away a node."""
        self._nodes.pop(node, None)

    def hasNode(self, node: Node) -> bool:
        """The node is one of them."""
        return node in self._nodes

    def induceEdges(self) -> None:
        """Take all edges between the nodes."""
        self._edges = [edge for node in self._nodes for edge in node._out if edge.head() in self._nodes]

    @property
    def nodes(self) -> list[Node]:
        """The nodes."""
        return list(self._nodes)

    @property
    def edges(self) -> list[Edge]:
        """The edges."""
        return self._edges

    def __len__(self) -> int:
        return len(self._nodes)

    def __str__(self) -> str:
        return "\n".join(["digraph G {", *(f'  "{node.name}";' for node in self._nodes), "}"])


class _Condition:
    """What a node of a pattern stands for. strict: the nodes after it are those of the pattern and no others."""

    def __init__(self, name: str, fits: Callable[[Node], bool], strict: bool) -> None:
        self._name, self.fits, self.strict = name, fits, strict

    def getName(self) -> str:
        return self._name


class NNMatchGraph(Graph):
    """A pattern: operators of some type, any tensor, or with None any node."""

    def createNode(self, value: Any = None, strict: bool = False) -> Node:
        """Add a node. strict: what comes after it has to be in the pattern, and nothing else; else it may be anything.

        Raises ``TypeError``.
        """
        if isinstance(value, NeuralNetOperator):
            name = value.getName()
            condition = _Condition(name, lambda node: node.isOperator() and node.name == name, strict)
        elif isinstance(value, NeuralNetData):
            condition = _Condition(value.getName(), Node.isTensor, strict)
        elif value is None:
            condition = _Condition("any", lambda node: True, strict)
        else:
            raise TypeError(f"a pattern holds operators and tensors, not {type(value).__name__}")
        node = Node(condition)
        self._nodes.append(node)
        return node

    def __len__(self) -> int:
        return len(self._nodes)


def matchSubgraph(node: Node, pattern: NNMatchGraph) -> NNSubgraph:
    """The part of a graph that begins at a node and fits a pattern, which begins where nothing leads to; else empty."""
    found = NNSubgraph()
    starts = [n for n in pattern.getMutableNodes() if not n._in]
    if starts and _fits(node, starts[0], found):
        found.induceEdges()
        return found
    return NNSubgraph()


def _fits(node: Node, wanted: Node, found: NNSubgraph) -> bool:
    condition = wanted._value
    if not condition.fits(node):
        return False
    found.addNode(node)
    after, wanted_after = node.getOutputs(), wanted.getOutputs()
    if not condition.strict and not wanted_after:
        return True
    if len(after) != len(wanted_after) if condition.strict else len(after) < len(wanted_after):
        return False
    return all(_fits(a, b, found) for a, b in zip(after, wanted_after))
