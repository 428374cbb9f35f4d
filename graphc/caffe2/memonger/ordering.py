"""Orders of a net's operators: the graph of what waits for what, and two ways through it.

The graph is a ``networkx.DiGraph`` as in Caffe2, so that scripts can look at it and bring an order of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from graphc.caffe2.memonger.order import dependencies, keeps_its_turn
from graphc.frontends.netdef.schema import Message
from graphc.ir import GraphcError

try:
    import networkx
except ImportError:
    networkx = None

Graph = Any
"""A ``networkx.DiGraph`` with an operator's position as node, or any object with its methods."""


def compute_interference_graph(ops: Sequence[Message]) -> Graph:
    """The graph with an edge from each operator to the later ones that have to wait for it.

    A node has the operator as ``op``, an edge has the blobs concerned as ``deps``. Edges go from each writer of a blob
    to all later readers, as in Caffe2, and besides from readers to the next writer, from writer to writer, and along
    the operators with effects or random numbers; without those an order could change what the net computes. Raises
    ``GraphcError`` where networkx is not installed.
    """
    if networkx is None:
        raise GraphcError("the graph of a net's operators needs networkx", "install it: pip install 'graphc[caffe2]'")
    graph = networkx.DiGraph()
    for i, op in enumerate(ops):
        graph.add_node(i, op=op)
    writers: dict[str, list[int]] = {}
    turn: int | None = None
    for i, (op, waits) in enumerate(zip(ops, dependencies(ops))):
        edges = {parent: set(blobs) for parent, blobs in waits.items()}
        for blob in op.input:
            for writer in writers.get(blob, ()):
                edges.setdefault(writer, set()).add(blob)
        if keeps_its_turn(op):
            if turn is not None:
                edges.setdefault(turn, set())
            turn = i
        for parent in sorted(edges):
            graph.add_edge(parent, i, deps=edges[parent])
        for blob in op.output:
            writers.setdefault(blob, []).append(i)
    return graph


def topological_sort_traversal(g: Graph) -> list[int]:
    """The nodes in an order that keeps the edges: of those that wait for nothing the last one to become so is next.

    The order that networkx gave when Caffe2 was current (2.0), of which later versions differ.
    """
    waiting = {node: len(list(g.predecessors(node))) for node in g}
    ready = [node for node in g if not waiting[node]]
    order = []
    while ready:
        order.append(ready.pop())
        for child in g.successors(order[-1]):
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return order


def _by_level(g: Graph) -> list[int]:
    """The nodes in an order that keeps the edges, level by level: first the sources, then what they set free ..."""
    waiting = {node: len(list(g.predecessors(node))) for node in g}
    order = [node for node in g if not waiting[node]]
    for node in order:
        for child in g.successors(node):
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    return order


def topological_sort_traversal_longest_path(g: Graph) -> list[int]:
    """The nodes in an order that keeps the edges and shortens the lives of blobs.

    The operators that wait for nothing could come in any order. One whose way to the end of the net is long comes
    before one whose way is short, those whose ways meet early come together, and none comes before it has to:
    whatever is ready and waits for something goes first.
    """
    rank = {node: i for i, node in enumerate(_sources_by_path(g))}
    waiting = {node: len(list(g.predecessors(node))) for node in g}
    ready = [(rank.get(node, -1), node) for node in g if not waiting[node]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for child in g.successors(node):
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, (-1, child))
    return order


def _sources_by_path(g: Graph) -> list[int]:
    """The sources in the order in which a tree is walked: each node hangs on the next of its longest way to the end,
    branches that are longer from a source come first.
    """
    order = _by_level(g)
    to_end: dict[int, int] = {}
    for node in reversed(order):
        to_end[node] = 1 + max((to_end[child] for child in g.successors(node)), default=0)
    branches: dict[int | None, list[int]] = {}
    height: dict[int, int] = {}
    for node in order:
        is_source = not list(g.predecessors(node))
        if not is_source and node not in height:
            continue  # no source's longest way leads through it
        height.setdefault(node, 0)
        following: int | None = max(g.successors(node), key=lambda child: (to_end[int(child)], -child), default=None)
        branches.setdefault(following, []).append(node)
        if following is not None:
            height[following] = max(height.get(following, 0), height[node] + 1)
    return _leaves(branches, height)


def _leaves(branches: dict[int | None, list[int]], height: dict[int, int]) -> list[int]:
    """The leaves of a tree, its higher branches first; ``branches[None]`` hang on its root."""
    found = []
    stack: list[int | None] = [None]
    while stack:
        node = stack.pop()
        below = branches.get(node, [])
        if node is not None and not below:
            found.append(node)
        higher_last: list[int] = sorted(below, key=lambda child: (height[child], -child))
        stack += higher_last
    return found
