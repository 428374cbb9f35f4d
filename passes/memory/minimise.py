"""The least height by a row of decisions: first the bound itself, then halfway between what is proved and reached."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.passes.memory.allocation import Integers
from graphc.passes.memory.exact import Budget, Problem

FIRST_NODES = 50_000
"""For each decision of the first round; four times as many in each later one."""

PATIENCE = 200_000
"""Nodes that are spent on less than the wanted capacity once that is met, unless meeting it took more."""

Report = Callable[[int, int], None]
"""Called with the height reached and the bound proved, whenever the search takes a new aim."""


def minimise(
    problem: Problem, offsets: Integers, bound: int, wanted: int | None, budget: Budget, report: Report | None = None
) -> tuple[Integers, int]:
    """The lowest offsets found, and a proven bound, from some offsets and a known bound in bytes.

    wanted: a capacity that is to be met before a still lower height is tried for a short while.
    """
    height = problem.height(offsets)
    if wanted is not None and bound <= wanted < height:
        found = problem.decide(wanted, budget, budget.nodes)
        if found is None:
            return offsets, bound
        if found is False:
            bound = problem.next_above(wanted)
        else:
            offsets, height = found, problem.height(found)
        budget.nodes = min(budget.nodes, budget.spent + max(budget.spent, PATIENCE))
    return _close(problem, offsets, bound, budget, report)


def _close(
    problem: Problem, offsets: Integers, bound: int, budget: Budget, report: Report | None
) -> tuple[Integers, int]:
    """Close the gap between the bound and the offsets' height."""
    height, nodes = problem.height(offsets), FIRST_NODES
    hopeless = bound  # below this, decisions were cut short in this round
    while height > bound and budget.left:
        if report:
            report(height, bound)
        aim = bound if hopeless == bound else (hopeless + height - 1) // 2
        found = problem.decide(aim, budget, nodes)
        if isinstance(found, np.ndarray):
            offsets, height = found, problem.height(found)
        else:
            hopeless = problem.next_above(aim)
            bound = hopeless if found is False else bound
        if hopeless >= height:
            hopeless, nodes = bound, nodes * 4
    return offsets, bound
