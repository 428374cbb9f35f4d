"""Rematerialisation: a value that waits long for a late reader is forgotten, and computed again right before it.

A graph becomes a graph that computes the same with less memory and more work. Each round looks at the step with the
most live bytes and forgets, of the values that only wait there, those that cost least to compute for the bytes that
they free, with what has to be computed again to compute them (Chen et al., "Training deep nets with sublinear memory
cost", 2016, has the idea for chains; here the graph may be any).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.ir import Graph, Node, Trait, Value
from graphc.ir.graph import clone_attr
from graphc.ir.opdef import Call
from graphc.ir.schedule import Choice
from graphc.passes.memory.places import is_pointwise
from graphc.passes.memory.problem import Problem, Storages

FIXED = Trait.EFFECT | Trait.RANDOM | Trait.HOST
"""A node with one of these traits is never computed again."""
RELIEF = 0.95
"""Each round takes so many of the peak's bytes as its goal."""
MOST_NODES = 24
"""Nodes that are computed again for one value, at most."""
BYTES_PER_NS = 10
"""What an operator costs at least: its results have to be written."""
SMALL = 16
"""An operand by so many times smaller than the value is kept instead of computed again."""


@dataclass
class _Recipe:
    """How a value comes back: the nodes to compute again, operands first; bytes that live longer for it; their cost."""

    nodes: list[Node] = field(default_factory=list)
    kept: int = 0
    cost: float = 0.0
    room: int = 0
    """Bytes of the results besides the value."""


class Rematerialization:
    """Changes a graph and the choices for its nodes, round by round; one graph at a time."""

    def __init__(self, graph: Graph, choices: dict[Node, Choice]) -> None:
        self.graph, self.choices = graph, choices
        self._twin: dict[Value, Value] = {}
        self._again: set[Node] = set()
        self._outputs = set(graph.outputs)

    def relieve(self, problem: Problem, storages: Storages) -> bool:
        """Forget values at the peak of the graph's order; False if none is left that would lower it.

        problem, storages: of the graph as it is now.
        """
        profile = problem.profile(range(len(self.graph.nodes)))
        peak = max(profile, default=0)
        return peak > 0 and _Round(self, problem, storages, profile, profile.index(peak)).run()


class _Round:
    """The values that wait at one position of the order, and what forgetting them gains."""

    def __init__(
        self, work: Rematerialization, problem: Problem, storages: Storages, profile: list[int], at: int
    ) -> None:
        self.work, self.problem, self.profile, self.at = work, problem, profile, at
        self.position: dict[Node, float] = {node: i for i, node in enumerate(work.graph.nodes)}
        self.storages = storages
        self.peak = profile[at]

    def run(self) -> bool:
        """Forget the best values until the goal is met; whether any was."""
        excess = self.peak - RELIEF * self.peak
        rated: list[tuple[float, int, list[Value], int]] = []
        for values, size in self.waiting():
            recipe = self.recipe(values)
            if recipe is not None and size > recipe.kept:
                rated.append((recipe.cost / (size - recipe.kept), len(rated), values, size))
        freed = 0
        for _, _, values, size in sorted(rated):
            recipe = self.recipe(values)  # what was forgotten meanwhile is no longer at hand
            if recipe is None or size <= recipe.kept:
                continue
            self.forget(values, recipe)
            freed += size - recipe.kept
            if freed >= excess:
                break
        if freed:
            self.reorder()
        return freed > 0

    def waiting(self) -> list[tuple[list[Value], int]]:
        """The storages that live at the position and are not touched there: the values in them that are read later."""
        touched = set(self.problem.touches[self.at])
        found: dict[int, list[Value]] = {}
        for value, storage in self.storages.items():
            producer = value.producer
            if storage in touched or producer is None or self.position[producer] >= self.at:
                continue
            if self.late(value):
                found.setdefault(storage, []).append(value)
        return [(v, self.problem.sizes[s]) for s, v in found.items() if self.problem.sizes[s] and not self.known(v)]

    def known(self, values: list[Value]) -> bool:
        """Some of these are computed twice already, or have to be there at the end."""
        work = self.work
        return any(v in work._twin or v in work._outputs or v.producer in work._again for v in values)

    def late(self, value: Value) -> list[Node]:
        """The readers after the position."""
        return [n for n in value.users if self.position[n] > self.at]

    def recipe(self, values: list[Value]) -> _Recipe | None:
        """How to compute values again before their first late reader; None where that cannot be."""
        first = min((self.position[n] for v in values for n in self.late(v)), default=-1.0)
        if first < 0:
            return None
        found = _Recipe()
        size = sum(v.type.nbytes for v in values)
        for value in values:
            if not self.add(value, first, size, found):
                return None
        found.room -= size
        if self.profile[int(first)] + found.room > self.peak:
            return None
        return found

    def add(self, value: Value, first: float, size: int, recipe: _Recipe) -> bool:
        """Add the producer of a value to a recipe, after what it needs; False, and nothing added, if that cannot be."""
        node = value.producer
        if node is None or not is_repeatable(node) or len(recipe.nodes) >= MOST_NODES:
            return False
        if node in recipe.nodes:
            return True
        for u in node.operands:
            if u is None or self.is_at_hand(u, first):
                continue
            large = u.type.nbytes * SMALL > size
            if not (large and self.add(u, first, size, recipe)):
                recipe.kept += 0 if self.late(u) else u.type.nbytes
        overwrites = is_pointwise(node) and any(u is not None and u.producer in recipe.nodes for u in node.operands)
        nbytes = sum(r.type.nbytes for r in node.results)
        recipe.nodes.append(node)
        recipe.cost += max(self.work.choices[node].cost, nbytes / BYTES_PER_NS)
        recipe.room += 0 if overwrites else nbytes
        return True

    def is_at_hand(self, value: Value, first: float) -> bool:
        """The value, or its twin, can be read at a later position without living longer for it."""
        if value.producer is None or value in self.work._outputs or value in self.work._twin:
            return True
        return any(self.position[n] >= first for n in value.users)

    def forget(self, values: list[Value], recipe: _Recipe) -> None:
        """Let the late readers of values read what is computed again right before them."""
        work = self.work
        first = min(self.position[n] for v in values for n in self.late(v))
        readers = {v: [(n, i) for n, i in v.uses if self.position[n] > self.at] for v in values}
        for node in recipe.nodes:
            operands = [None if u is None else work._twin.get(u, u) for u in node.operands]
            results = [Value(r.type, r.name) for r in node.results]
            attrs = {name: clone_attr(a) for name, a in node.attrs.items()}
            twin = Node(node.op, operands, results, attrs, node.location, node.engine, node.device, work.graph)
            work.choices[twin] = replace(work.choices[node], again=True)
            work._again.add(twin)
            work._twin.update(zip(node.results, results))
            self.hoist(twin, first)
        for value, uses in readers.items():
            for node, i in uses:
                node.set_operand(i, work._twin[value])
        for node in reversed(recipe.nodes):
            self.drop_unread(node)

    def hoist(self, node: Node, first: float) -> None:
        """A repeated node runs no later than ``first``, and so do those that it needs."""
        if node in self.position and self.position[node] <= first:
            return
        self.position[node] = first
        for u in node.operands:
            if u is not None and u.producer in self.work._again:
                self.hoist(u.producer, first)

    def drop_unread(self, node: Node) -> None:
        """Remove a node whose results all have only late readers: it was not repeated but moved."""
        if any(r.uses or r in self.work._outputs for r in node.results):
            return
        twin = self.work._twin[node.results[0]].producer
        assert twin is not None
        self.work.choices[twin].again = False
        node.set_operands([])
        del self.work.choices[node]
        self.work.graph.nodes.remove(node)
        node.graph = None

    def reorder(self) -> None:
        """Put every repeated node right before its first reader; the others stay in their order."""
        order: dict[Node, None] = {}

        def visit(node: Node) -> None:
            for u in node.operands:
                if u is not None and u.producer in self.work._again and u.producer not in order:
                    visit(u.producer)
            order[node] = None

        for node in self.work.graph.nodes:
            if node not in self.work._again:
                visit(node)
        self.work.graph.nodes = list(order)


def is_repeatable(node: Node) -> bool:
    """Computing the node again gives the same, and nothing else happens."""
    return not node.opdef.errors and not node.opdef.traits_of(Call(node)) & FIXED
