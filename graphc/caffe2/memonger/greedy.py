"""Assignments of live ranges by best fit."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.caffe2.memonger.ranges import Assignment, NamedRange, is_compatible, largest


def compute_assignments_greedy(
    ranges_sorted: Sequence[NamedRange], init_assignments: list[Assignment] | None = None
) -> list[Assignment]:
    """Put each blob, in the order given, behind the assignment closest to it in size, or into a new one.

    ``init_assignments`` is extended in place where it is given; blobs in it are skipped.
    """
    assignments = init_assignments or []
    placed = {name for a in assignments for name, _ in a}
    for name, candidate in ranges_sorted:
        if name in placed:
            continue
        fitting = [a for a in assignments if is_compatible(candidate, a, ())]
        if fitting:
            size = candidate.size or 0
            min(fitting, key=lambda a: abs(largest(a) - size)).append((name, candidate))
        else:
            assignments.append([(name, candidate)])
    return assignments
