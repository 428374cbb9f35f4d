"""The ordering problem: nodes by number, the storages that they touch, and what must come before what.

A model of the arena that is fast to evaluate for any order. It looks at whole nodes; the schedule, which lowering
makes, knows the steps inside them and may need less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.ir import Graph, Node, Trait, Value
from graphc.ir.opdef import Call
from graphc.ir.schedule import Halo
from graphc.passes.memory.allocation import align
from graphc.passes.memory.places import Places, Storage

SEQUENTIAL = Trait.EFFECT | Trait.RANDOM
"""Nodes with these traits keep their order among each other."""


@dataclass(frozen=True)
class Problem:
    """What an order of nodes 0, 1, ... needs of the arena.

    sizes: bytes by storage, which lives from the first node that touches it to the last. touches: storages by node.
    work: bytes that a node needs while it runs. before: the nodes that a node comes after. reuse: by node, pairs of a
    storage that it may overwrite if nobody touches it later, and the storage that then takes no room of its own.
    """

    sizes: tuple[int, ...]
    touches: tuple[tuple[int, ...], ...]
    work: tuple[int, ...]
    before: tuple[tuple[int, ...], ...]
    reuse: tuple[tuple[tuple[int, int], ...], ...]

    def profile(self, order: Sequence[int]) -> list[int]:
        """The bytes that live while each node of the order runs."""
        last: dict[int, int] = {}
        for at, node in enumerate(order):
            last.update(dict.fromkeys(self.touches[node], at))
        live, found = 0, []
        seen: set[int] = set()
        for at, node in enumerate(order):
            new = [s for s in self.touches[node] if s not in seen]
            seen.update(new)
            live += sum(self.sizes[s] for s in new)
            saved = max((self.sizes[b] for a, b in self.reuse[node] if last[a] == at and b in new), default=0)
            found.append(live + self.work[node] - saved)
            live -= sum(self.sizes[s] for s in self.touches[node] if last[s] == at)
        return found

    def peak(self, order: Sequence[int]) -> int:
        """The most bytes that live at one time."""
        return max(self.profile(order), default=0)


Storages = Mapping[Value, int]
"""The number of the storage of each value of the arena."""


def order_problem(graph: Graph, places: Places) -> tuple[Problem, Storages]:
    """The ordering problem of a graph whose values have places; node i is ``graph.nodes[i]``."""
    model = _Model(graph, places)
    for i, node in enumerate(graph.nodes):
        model.add(i, node)
    for node, value in places.chances:
        a, b = model.storage_of(value), model.storage_of(node.results[0])
        if a is not None and b is not None:
            model.reuse[model.number[node]].append((a, b))
    problem = Problem(
        tuple(model.sizes),
        tuple(tuple(t) for t in model.touches),
        tuple(align(places.needs[n].workspace) for n in graph.nodes),
        tuple(tuple(sorted(b)) for b in model.before),
        tuple(tuple(r) for r in model.reuse),
    )
    of_value = {v: s for n in graph.nodes for v in n.results if (s := model.storage_of(v)) is not None}
    return problem, of_value


class _Model:
    def __init__(self, graph: Graph, places: Places) -> None:
        n = len(graph.nodes)
        self.places = places
        self.number = {node: i for i, node in enumerate(graph.nodes)}
        self.sizes: list[int] = []
        self.touches: list[dict[int, None]] = [{} for _ in range(n)]
        self.before: list[set[int]] = [set() for _ in range(n)]
        self.reuse: list[list[tuple[int, int]]] = [[] for _ in range(n)]
        self._storages: dict[object, int] = {}
        self._sequential = -1

    def add(self, i: int, node: Node) -> None:
        """Enter what a node touches and what it comes after."""
        for k, value in enumerate(node.operands):
            if value is None or value.is_constant:
                continue
            if value.producer is not None:
                self.before[i].add(self.number[value.producer])
            self._touch(i, self.storage_of(value))
            halo = None if (node, k) in self.places.elided else self.places.copy_halo(node, k)
            if halo is not None:
                self._touch(i, self._copy(value, halo))
        for r in node.results:
            self._touch(i, self.storage_of(r))
        if node.opdef.errors or node.opdef.traits_of(Call(node)) & SEQUENTIAL:
            if self._sequential >= 0:
                self.before[i].add(self._sequential)
            self._sequential = i

    def storage_of(self, value: Value) -> int | None:
        """The number of the storage of a value of the arena."""
        place = self.places.places[value]
        if place.storage.space != "arena":
            return None
        return self._number((place.storage, place.part), place.storage.size())

    def _copy(self, value: Value, halo: Halo) -> int:
        return self._number((value, halo), Storage("arena", value.type, halo=halo).size())

    def _number(self, key: object, size: int) -> int:
        if key not in self._storages:
            self._storages[key] = len(self.sizes)
            self.sizes.append(align(size))
        return self._storages[key]

    def _touch(self, i: int, storage: int | None) -> None:
        if storage is not None:
            self.touches[i][storage] = None
