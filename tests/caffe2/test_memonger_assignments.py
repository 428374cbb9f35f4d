"""Live ranges and who shares with whom, by hand and against all partitions of few blobs."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator

import pytest
from memonger_nets import net

from graphc.caffe2 import memonger
from graphc.caffe2.memonger import AssignmentAlgorithm, LiveRange
from graphc.caffe2.memonger.ranges import Assignment, NamedRange
from graphc.ir import GraphcError

OPS = net(
    """
    FC x w b -> y
    Relu y -> y
    Sum x y -> z
    Copy z -> out
    """
).op


def test_ranges() -> None:
    sizes = {"x": 1, "w": 2, "b": 3, "y": 4, "z": 5, "out": 6}
    assert memonger.compute_ranges(OPS, sizes) == {
        "x": LiveRange(None, 2, 1),
        "w": LiveRange(None, 0, 2),
        "b": LiveRange(None, 0, 3),
        "y": LiveRange(0, 2, 4),
        "z": LiveRange(2, 3, 5),
        "out": LiveRange(3, None, 6),
    }


def test_ranges_without_sizes(caplog: pytest.LogCaptureFixture) -> None:
    assert memonger.compute_ranges(OPS)["y"] == LiveRange(0, 2, None)
    assert "Provide blob sizes" in caplog.text


def test_a_blob_without_size() -> None:
    with pytest.raises(KeyError, match="blob 'w' has no entry") as caught:
        memonger.compute_ranges(OPS, {"x": 1})
    assert isinstance(caught.value, GraphcError)


def test_a_blob_that_is_written_again_lives_until_then() -> None:
    ops = net("Copy x -> a\nCopy a -> b\nCopy x -> c\nCopy x -> a").op
    assert memonger.compute_ranges(ops)["a"] == LiveRange(0, 3, None)


def test_updated_ranges() -> None:
    ranges = [("a", LiveRange(None, 3, 10)), ("b", LiveRange(2, None, None)), ("c", LiveRange(0, 1, 0))]
    assert memonger.get_updated_ranges(ranges) == [
        ("a", LiveRange(-1, 3, 10)),
        ("b", LiveRange(2, 4, 1)),
        ("c", LiveRange(0, 1, 0)),
    ]
    assert memonger.get_updated_ranges(ranges, max_live=9)[1] == ("b", LiveRange(2, 9, 1))
    assert memonger.get_updated_ranges([]) == []


def test_compatible() -> None:
    candidate, assignment = LiveRange(4, 5, 1), [("a", LiveRange(0, 9, 1)), ("b", LiveRange(1, 3, 1))]
    assert memonger.is_compatible(candidate, assignment, [])
    assert not memonger.is_compatible(candidate, assignment, ["b"])
    assert not memonger.is_compatible(LiveRange(3, 5, 1), assignment, []), "in use in the same operator"
    assert not memonger.is_compatible(LiveRange(None, 5, 1), assignment, [])
    assert not memonger.is_compatible(candidate, [("a", LiveRange(None, 3, 1))], [])
    assert not memonger.is_compatible(candidate, [("a", LiveRange(0, None, 1))], [])


FOUR = [
    ("b1", LiveRange(1, 3, 10)),
    ("b2", LiveRange(3, 4, 1)),
    ("b3", LiveRange(5, 6, 1)),
    ("b4", LiveRange(5, 7, 10)),
]


def test_greedy_takes_what_is_closest_in_size() -> None:
    found = memonger.compute_assignments_greedy(FOUR)
    assert found == [[FOUR[0], FOUR[3]], [FOUR[1], FOUR[2]]]
    assert memonger.get_memory_usage(found) == 11
    assert memonger.compute_blob_assignments(found) == {"b1": "b4", "b4": "b4", "b2": "b3", "b3": "b3"}


def test_greedy_goes_on_from_what_is_given() -> None:
    start = [[FOUR[0]]]
    assert memonger.compute_assignments_greedy(FOUR, start) is start
    assert start == [[FOUR[0], FOUR[3]], [FOUR[1], FOUR[2]]]


def test_optimal() -> None:
    assert memonger.get_memory_usage(memonger.compute_assignments_dp(FOUR, None)) == 11
    three = [("b1", LiveRange(1, 2, 10)), ("b2", LiveRange(4, 6, 1)), ("b3", LiveRange(5, 6, 10))]
    assert memonger.get_memory_usage(memonger.compute_assignments_dp(three, [])) == 11
    assert memonger.compute_assignments_dp([], None) == []


def test_optimal_is_better_than_greedy() -> None:
    """Greedy puts ``c`` into the 5 of ``b``, the closer one, which leaves the 8 of ``a`` for the 4 of ``d``."""
    ranges = [
        ("a", LiveRange(0, 1, 8)),
        ("b", LiveRange(0, 1, 5)),
        ("c", LiveRange(2, 3, 6)),
        ("d", LiveRange(3, 4, 4)),
    ]
    assert memonger.get_memory_usage(memonger.compute_assignments_greedy(ranges)) == 14
    counter = [0]
    best = memonger.compute_assignments_dp(ranges, None, counter)
    assert memonger.get_memory_usage(best) == 13
    assert counter[0] > 0


def test_optimal_leaves_the_start_alone() -> None:
    start: list[Assignment] = [[("s", LiveRange(0, 2, 7))]]
    best = memonger.compute_assignments_dp([("t", LiveRange(3, 4, 9))], start)
    assert best == [[("s", LiveRange(0, 2, 7)), ("t", LiveRange(3, 4, 9))]]
    assert len(start[0]) == 1


def partitions(items: list[NamedRange]) -> Iterator[list[Assignment]]:
    """All ways to put the blobs, in order of definition, behind each other where they fit, or alone."""
    if not items:
        yield []
        return
    for rest in partitions(items[:-1]):
        for i, assignment in enumerate(rest):
            if memonger.is_compatible(items[-1][1], assignment, ()):
                yield [*rest[:i], [*assignment, items[-1]], *rest[i + 1 :]]
        yield [*rest, [items[-1]]]


def live_bytes(ranges: list[NamedRange]) -> int:
    """Most bytes that are needed at one time."""
    return max(sum(r.size or 0 for _, r in ranges if r.defined <= t <= r.used) for t in range(20))  # type: ignore


@pytest.mark.parametrize("seed", range(40))
def test_optimal_against_all_partitions(seed: int) -> None:
    r = random.Random(seed)
    ranges = []
    for i in range(r.randint(1, 7)):
        begin = r.randint(0, 8)
        ranges.append((f"b{i}", LiveRange(begin, begin + r.randint(0, 4), r.randint(1, 9))))
    by_use = sorted(ranges, key=lambda b: b[1].used or 0)
    best = memonger.compute_assignments_dp(by_use, None)
    memonger.verify_assignments(best)
    assert sorted(itertools.chain(*best)) == sorted(ranges)
    in_order = sorted(ranges, key=lambda b: b[1].defined or 0)
    least = min(memonger.get_memory_usage(p) for p in partitions(in_order))
    greedy = memonger.get_memory_usage(memonger.compute_assignments_greedy(by_use))
    assert greedy >= memonger.get_memory_usage(best) == least >= live_bytes(ranges)


def test_work_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    r = random.Random(0)
    ranges = [(f"b{i}", LiveRange(b := r.randint(0, 60), b + r.randint(0, 30), r.randint(1, 999))) for i in range(40)]
    best = memonger.compute_assignments_dp(ranges, None)
    memonger.verify_assignments(best)
    greedy = memonger.compute_assignments_greedy(sorted(ranges, key=lambda b: b[1].used or 0))
    assert memonger.get_memory_usage(best) <= memonger.get_memory_usage(greedy)
    assert "may need more than the least memory" in caplog.text


@pytest.mark.parametrize("algo", list(AssignmentAlgorithm))
def test_static_blobs_are_alone(algo: AssignmentAlgorithm) -> None:
    ranges = {"a": LiveRange(0, 1, 1), "s": LiveRange(2, 3, 1), "b": LiveRange(4, None, 1)}
    found = memonger.compute_assignments(ranges, ["s"], algo)
    assert [[name for name, _ in a] for a in found] == [["a", "b"], ["s"]]
    assert memonger.compute_blob_assignments(found) == {"a": "b", "b": "b"}


@pytest.mark.parametrize("algo", ["GREEDY", "greedy", 0, None, "bogus"])
def test_another_algorithm_is_refused(algo: object) -> None:
    with pytest.raises(memonger.MemongerError, match="is no algorithm") as caught:
        memonger.compute_assignments({"a": LiveRange(0, 1, 1)}, [], algo)  # type: ignore[arg-type]
    assert isinstance(caught.value, AssertionError | ValueError)
    assert "AssignmentAlgorithm.GREEDY" in caught.value.help


def test_verify_assignments() -> None:
    memonger.verify_assignments([[("a", LiveRange(0, 1, 1)), ("b", LiveRange(2, 3, 1))]])
    with pytest.raises(AssertionError, match=r"'a' .* and 'b'"):
        memonger.verify_assignments([[("a", LiveRange(0, 2, 1)), ("b", LiveRange(2, 3, 1))]])


def test_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "memonger")
    memonger.compute_assignments({"a": LiveRange(0, 1, 1)}, [], AssignmentAlgorithm.GREEDY)
    assert "Total sharable blobs 1" in caplog.text
