"""Which blobs share storage: assignments of live ranges, greedy or optimal, and their names."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from graphc.caffe2.memonger.greedy import compute_assignments_greedy
from graphc.caffe2.memonger.optimal import compute_assignments_dp
from graphc.caffe2.memonger.ranges import Assignment, LiveRange, NamedRange, get_updated_ranges
from graphc.caffe2.memonger.report import MemongerError, log


class AssignmentAlgorithm(enum.Enum):
    """How ``compute_assignments`` looks for assignments."""

    GREEDY = 0
    DYNAMIC_PROGRAMMING = 1


def compute_assignments(
    ranges: Mapping[str, LiveRange], static_blobs: Collection[str], algo: AssignmentAlgorithm
) -> list[Assignment]:
    """Assignments of all blobs; each static one is alone.

    GREEDY is fast and does well without sizes; DYNAMIC_PROGRAMMING is optimal, and slow on large nets. Raises
    ``MemongerError`` for another ``algo`` (Caffe2 returns the static blobs alone then).
    """
    if not isinstance(algo, AssignmentAlgorithm):
        known = ", ".join(str(a) for a in AssignmentAlgorithm)
        raise MemongerError(f"{algo!r} is no algorithm for assignments", f"give one of {known}")
    static = set(static_blobs)
    by_use = get_updated_ranges(sorted(ranges.items(), key=_last_use))
    shareable = [item for item in by_use if item[0] not in static]
    log.info("Total sharable blobs %d", len(shareable))
    greedy = algo is AssignmentAlgorithm.GREEDY
    found = compute_assignments_greedy(shareable) if greedy else compute_assignments_dp(shareable, [])
    return found + [[item] for item in by_use if item[0] in static]


def _last_use(item: NamedRange) -> tuple[bool, int]:
    """Blobs that nobody uses come last: as such a blob may be the last of an assignment, but has no successor."""
    used = item[1].used
    return used is None, used or 0


def compute_blob_assignments(assignments: Iterable[Assignment]) -> dict[str, str]:
    """The new name of each blob that shares: the name of the last blob of its assignment."""
    return {name: a[-1][0] for a in assignments if len(a) > 1 for name, _ in a}


def verify_assignments(assignments: Iterable[Assignment]) -> None:
    """Raise ``MemongerError`` where a blob of an assignment is defined before the one before it is used the last time.

    The ranges are those without None (``get_updated_ranges``).
    """
    for assignment in assignments:
        for (first, a), (second, b) in pairwise(assignment):
            if a.used is None or b.defined is None or a.used >= b.defined:
                raise MemongerError(
                    f"blobs '{first}' {tuple(a)} and '{second}' {tuple(b)} share storage and live at the same time",
                    "the order is (defined, used, size); assign them separately",
                )
