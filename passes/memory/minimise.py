"""The least height by a row of decisions: first the bound itself, then halfway between what is proved and reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphc.passes.memory.allocation import Integers
from graphc.passes.memory.exact import Budget, Problem

WANTED_NODES = 1_000_000
"""For the first try at a wanted capacity; what fits at all is mostly found within a tenth of it."""

FIRST_NODES = 50_000
"""For each decision of the first round; four times as many in each later one."""

PATIENCE = 200_000
"""Nodes that are spent on less than the wanted capacity once that is met."""

Report = Callable[[int, int], None]
"""Called with the height reached and the bound proved, whenever the search takes a new aim."""


def minimise(
    problem: Problem, offsets: Integers, bound: int, wanted: int | None, budget: Budget, report: Report | None = None
) -> tuple[Integers, int]:
    """The lowest offsets found, and a proven bound, from some offsets and a known bound in bytes.

    wanted: a capacity that is to be met before a still lower height is tried for a short while.
    """
    work = _Descent(problem, offsets, bound, budget, report)
    if wanted is not None and bound <= wanted < work.height:
        work.decide(wanted, WANTED_NODES)
        work.descend(wanted)
        work.budget = budget.share(PATIENCE)
    work.descend(0)
    budget.spent = work.budget.spent
    return work.offsets, work.bound


@dataclass
class _Descent:
    problem: Problem
    offsets: Integers
    bound: int
    budget: Budget
    report: Report | None

    @property
    def height(self) -> int:
        return self.problem.height(self.offsets)

    def descend(self, enough: int) -> None:
        """Close the gap between a height that is enough, or the bound if that is higher, and the offsets' height."""
        nodes, hopeless = FIRST_NODES, 0  # below ``hopeless``, decisions of this round were cut short
        while self.height > (aim := max(self.bound, enough)) and self.budget.left:
            if hopeless > aim:
                aim = (hopeless + self.height - 1) // 2
            if not self.decide(aim, nodes):
                hopeless = self.problem.next_above(aim)
            if hopeless >= self.height:
                hopeless, nodes = 0, nodes * 4

    def decide(self, capacity: int, nodes: int) -> bool:
        """Whether this capacity was met; raises the bound where none can meet it."""
        if self.report:
            self.report(self.height, self.bound)
        found = self.problem.decide(capacity, self.budget, nodes)
        if isinstance(found, np.ndarray):
            self.offsets = found
        elif found is False:
            self.bound = max(self.bound, self.problem.next_above(capacity))
        return isinstance(found, np.ndarray)
