"""The schedule of a graph in little memory: the order of its nodes, and what is computed twice to keep to a limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Graph, LoweringError, Node
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Choice, Library, Schedule
from graphc.passes.lower import lower, place_values
from graphc.passes.memory.order import best_order
from graphc.passes.memory.places import Places
from graphc.passes.memory.problem import order_problem
from graphc.passes.memory.rematerialize import Rematerialization
from graphc.passes.sizes import require_sizes

SHOWN = 8
"""Buffers at the peak that an error names."""
WORTH = 0.95
"""Steps that run side by side are given up for an arena of so many times the size."""

SEARCHED = 200_000
"""Partial solutions that the search for offsets looks at where greedy ones miss the lower bound."""
CLOSE = 1.01
"""An arena within so many times the lower bound is not worth the seconds that the search takes to load."""

Bound = tuple[Schedule, list[np.ndarray]]


def plan(graph: Graph, library: Library, choices: dict[Node, Choice], limit: int | None = None) -> Bound:
    """The schedule of an optimised graph with static types, and its constants; the nodes stand in its order afterwards.

    choices: of all nodes. limit: bytes of the arena that must do; to get there, nodes may be added to the graph and to
    the choices that compute values again. Raises ``LoweringError``, which names the buffers at the peak where no plan
    stays below the limit.
    """
    require_sizes(graph)
    bound = _ordered(graph, library, choices)
    if bound[0].arena_bytes > bound[0].memory.lower_bound * CLOSE:
        bound = lower(graph, library, choices, order=bound[0].memory.order, nodes=SEARCHED)
    if limit is None or bound[0].arena_bytes <= limit:
        return bound
    return _Fit(graph, library, choices, limit, bound).run()


def _ordered(graph: Graph, library: Library, choices: dict[Node, Choice]) -> Bound:
    """The schedule in the given order of the nodes, or in one with a smaller arena."""
    places = place_values(graph, library, choices)
    problem, _ = order_problem(graph, places)
    found = best_order(problem)
    told = found.method + (", no order has a lower peak" if found.exact else "")
    given = graph.nodes
    if found.nodes == tuple(range(len(given))):
        return lower(graph, library, choices, order=told, places=places)
    as_given = lower(graph, library, choices, places=places)
    graph.nodes = [given[i] for i in found.nodes]
    other = lower(graph, library, choices, order=told)
    if _is_better(other[0], as_given[0]):
        return other
    graph.nodes = given
    return as_given


def _is_better(a: Schedule, b: Schedule) -> bool:
    """A smaller arena; if fewer tasks run side by side, a clearly smaller one."""
    return a.arena_bytes < b.arena_bytes * (1 if len(a.steps) <= len(b.steps) else WORTH)


@dataclass
class _Fit:
    """The way to an arena below a limit. It is the same for every limit, and ends at the first state that is small
    enough: what an error says can be reached, is."""

    graph: Graph
    library: Library
    choices: dict[Node, Choice]
    limit: int
    best: Bound

    def run(self) -> Bound:
        """Let one task run at a time, then forget more and more values."""
        repeats = Rematerialization(self.graph, self.choices)
        places = place_values(self.graph, self.library, self.choices)
        problem, storages = order_problem(self.graph, places)
        # the model looks at whole nodes and may say more than the arena needs
        ratio = problem.peak(range(len(self.graph.nodes))) / max(1, self.best[0].arena_bytes)
        more = True
        while more:
            if problem.peak(range(len(self.graph.nodes))) <= self.limit * ratio and self.try_it(places):
                return self.best
            more = repeats.relieve(problem, storages)
            places = place_values(self.graph, self.library, self.choices, known=places.needs)
            problem, storages = order_problem(self.graph, places)
        if self.try_it(places):
            return self.best
        raise self.refusal()

    def try_it(self, places: Places) -> bool:
        """Lower the graph as it is; whether that is below the limit."""
        order = self.best[0].memory.order
        alone = lower(self.graph, self.library, self.choices, order=order, places=places, beside=False)
        if alone[0].memory.lower_bound <= self.limit < alone[0].arena_bytes:
            alone = lower(self.graph, self.library, self.choices, order=order, beside=False, nodes=SEARCHED)
        if alone[0].arena_bytes < self.best[0].arena_bytes:
            self.best = alone
        if alone[0].arena_bytes > self.limit:
            return False
        beside = lower(self.graph, self.library, self.choices, order=order)
        self.best = beside if beside[0].arena_bytes <= self.limit else alone
        return True

    def refusal(self) -> LoweringError:
        """Why there is no plan: what lives at the peak of the smallest one."""
        schedule = self.best[0]
        report = check_memory(schedule)
        step = report.peak_step
        live = [schedule.buffers[i] for i in report.at_peak]
        named = ", ".join(f"'{b.names[0]}' {b.size:,}" for b in live[:SHOWN])
        rest = f" and {len(live) - SHOWN} more" if len(live) > SHOWN else ""
        tasks = ", ".join(dict.fromkeys(f"'{t.label or t.kernel.template}'" for t in schedule.steps[step]))
        return LoweringError(
            f"no plan was found whose arena has at most {self.limit:,} bytes: step {step}, which computes {tasks}, "
            f"needs these at one time (bytes): {named}{rest}",
            f"the smallest arena that was found has {schedule.arena_bytes:,} bytes: --max-memory "
            f"{schedule.arena_bytes}, or use a smaller batch or smaller images",
        )
