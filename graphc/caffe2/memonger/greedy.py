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
    sizes = [largest(a) for a in assignments]
    for name, candidate in ranges_sorted:
        if name in placed:
            continue
        size = candidate.size or 0
        fitting = [i for i, a in enumerate(assignments) if is_compatible(candidate, a, ())]
        if fitting:
            best = min(fitting, key=lambda i: abs(sizes[i] - size))
            assignments[best].append((name, candidate))
            sizes[best] = max(sizes[best], size)
        else:
            assignments.append([(name, candidate)])
            sizes.append(size)
    return assignments
