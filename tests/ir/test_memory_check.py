"""The checker against brute force, against schedules worked out by hand, and on numbers that nobody should believe."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.ir import GraphcError, TensorType
from graphc.ir.memory_check import MemoryReport, check_memory, view_extent
from graphc.ir.memory_svg import MemoryPicture, memory_svg
from graphc.ir.schedule import (
    Address,
    Buffer,
    Check,
    ConstantSlot,
    KernelSpec,
    MemoryPlan,
    Param,
    Port,
    Schedule,
    Task,
    View,
)
from graphc.ir.schedule_text import parse_schedule, print_schedule

KERNEL = KernelSpec.make("k")
STEPS = 6
FLOATS = TensorType.parse("float[16]")


def step(*params: Param) -> tuple[Task, ...]:
    return (Task(KERNEL, params, 1, "blob"),)


def arena(buffers: list[Buffer], number: int, offset: int = 0) -> Address:
    return Address("arena", buffers[number].offset + offset, number)


def chain() -> Schedule:
    """in -> a -> b -> c -> out; a and c share 64 bytes, b lies above them. At steps 1 and 2 two of them live."""
    buffers = [Buffer(("a",), 0, 64, 0, 1), Buffer(("b",), 64, 60, 1, 2), Buffer(("c",), 0, 64, 2, 3)]
    a, b, c = (arena(buffers, i) for i in range(3))
    steps = [step(Address("in"), a), step(a, Address("const", 8), b), step(b, c), step(c, Address("out"))]
    memory = MemoryPlan(128, True, "by hand", 192)
    view = View(b, TensorType.parse("float[3,5]"), (5, 1))
    slots = [ConstantSlot("w", 0, 16)]
    return Schedule(
        "t", [Port("x", FLOATS)], [Port("y", FLOATS)], steps, 128, 0, slots, buffers, [], {"b": view}, memory
    )


def rules(schedule: Schedule, keep: tuple[str, ...] = ()) -> list[str]:
    return [v.rule for v in check_memory(schedule, keep).violations]


def test_a_schedule_by_hand() -> None:
    want = MemoryReport(128, (64, 128, 128, 64, 0), 128, 1, (0, 1), 192, 6, 1, (), ())
    assert check_memory(chain()) == want
    assert want.ok


def test_a_kept_blob() -> None:
    schedule = chain()
    assert rules(schedule, ("b",)) == ["kept"]
    schedule.buffers[1] = replace(schedule.buffers[1], last=4)
    assert rules(schedule, ("b",)) == []
    assert rules(schedule, ("nothing",))[:1] == ["kept"]


def test_what_is_said_names_buffers_values_and_steps() -> None:
    schedule = chain()
    schedule.buffers[0] = replace(schedule.buffers[0], last=2)
    (overlap,) = (v for v in check_memory(schedule).violations if v.rule == "overlap")
    assert str(overlap) == (
        "overlap: buffer 0 ('a'; bytes 0..64, steps 0..2) and buffer 2 ('c'; bytes 0..64, steps 2..3) "
        "share bytes at step 2"
    )
    schedule = chain()
    schedule.buffers[0] = replace(schedule.buffers[0], last=0)
    (late, *_) = check_memory(schedule).violations
    assert str(late) == (
        "lifetime: step 1, k of blob points to arena[0]+0, "
        "but buffer 0 ('a'; bytes 0..64, steps 0..0) does not live then"
    )


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ((Address("arena", 0, 3),), ["address"]),
        ((Address("arena", 64, 2),), ["address"]),
        ((Address("arena", -1, 2),), ["address"]),
        ((Address("const", 16),), ["address"]),
        ((Address("const", 0, 1),), ["address"]),
        ((Address("in", 60),), []),
        ((Address("in", 64),), ["address"]),
        ((Address("in", 0, -1),), ["address"]),
        ((Address("out", 0, 1),), ["address"]),
        ((Address("scratch"),), []),
        ((Address("scratch", 1),), ["address"]),
        ((Address("stride"),), []),
        ((Address("status"),), []),
        ((Address("status", 0, 1),), ["address"]),
        ((Address("elsewhere"),), ["address"]),
    ],
)
def test_addresses(params: tuple[Param, ...], wanted: list[str]) -> None:
    schedule = replace(chain(), checks=[Check("Op", ("bad",))])
    schedule.steps[3] += step(*params)
    assert rules(schedule) == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": -64},
        {"offset": 32},
        {"offset": 128},
        {"offset": 2**80},
        {"size": -1},
        {"size": 2**63},
        {"first": -1},
        {"first": 4, "last": 4},
        {"last": 5},
        {"last": 10**30},
        {"first": 2, "last": 1},
    ],
)
def test_buffers_that_nobody_should_believe(changes: dict[str, int]) -> None:
    schedule = chain()
    schedule.buffers[1] = replace(schedule.buffers[1], **changes)
    assert "buffer" in rules(schedule)


def test_numbers_without_limits() -> None:
    schedule = replace(chain(), arena_bytes=10**400, memory=MemoryPlan(128, False, "", 10**400))
    assert rules(schedule) == ["claim"]
    assert "claim" in rules(replace(chain(), arena_bytes=-64))


@pytest.mark.parametrize("units", [0, -1, 2**31, 2**70])
def test_units(units: int) -> None:
    schedule = chain()
    schedule.steps[1] = (replace(schedule.steps[1][0], units=units),)
    assert rules(schedule) == ["units"]


def test_ports_and_outputs() -> None:
    schedule = chain()
    schedule.outputs.append(Port("z", FLOATS))
    assert rules(schedule) == ["output"]
    schedule.outputs[1] = Port("z", TensorType.parse("float[0,4]"))
    assert rules(schedule) == []
    schedule.outputs[1] = Port("z", TensorType.parse("float[N,4]"))
    assert rules(schedule) == ["port"]


def test_a_buffer_of_no_bytes_shares_its_place() -> None:
    schedule = chain()
    schedule.buffers.append(Buffer(("empty",), 0, 0, 0, 3))
    schedule.steps[2] += step(Address("arena", 0, 3))
    assert rules(schedule) == []


def test_a_step_less_schedule() -> None:
    schedule = Schedule("t", [Port("x", FLOATS)], [], [], 0, 0, [], [])
    assert check_memory(schedule).ok
    assert rules(replace(schedule, buffers=[Buffer(("a",), 0, 0, 0, 0)])) == ["buffer"]


def test_a_bound_above_what_lives_needs_a_search() -> None:
    schedule = replace(chain(), arena_bytes=192)
    assert rules(schedule) == ["claim"], "the bound of 128 bytes is right, but 192 are not optimal"
    assert rules(replace(schedule, memory=replace(schedule.memory, optimal=False))) == []
    raised = replace(schedule.memory, lower_bound=192)
    assert rules(replace(schedule, memory=raised)) == ["claim"]
    assert rules(replace(schedule, memory=replace(raised, method="search, bound proven by search"))) == []
    beyond = replace(raised, lower_bound=256, method="search, bound proven by search", optimal=False)
    assert rules(replace(schedule, memory=beyond)) == ["claim"]


@pytest.mark.parametrize(
    ("view", "extent"),
    [
        (View(Address("arena", 64), TensorType.parse("float[3,5]"), (5, 1)), (64, 124)),
        (View(Address("arena", 64), TensorType.parse("float[3,0]"), (5, 1)), (64, 64)),
        (View(Address("arena", 100), TensorType.parse("uint8[3]"), (-10,)), (80, 101)),
        # 2 blocks of 8 channels, 2x2 pixels, with a border of one pixel: rows of 4 pixels, planes of 16
        (
            View(Address("arena"), TensorType.parse("float[1,9,2,2]{nchw8c}"), (256, 128, 32, 8)),
            (0, 4 * (128 + 32 + 16)),
        ),
    ],
)
def test_what_a_view_covers(view: View, extent: tuple[int, int]) -> None:
    assert view_extent(view) == extent


@pytest.mark.parametrize(
    "view",
    [
        View(Address("arena", 68, 1), TensorType.parse("float[3,5]"), (5, 1)),
        View(Address("arena", 64, 1), TensorType.parse("float[3,5]"), (2**70, 1)),
        View(Address("arena", 64, 1), TensorType.parse("float[3,5]"), (5,)),
        View(Address("arena", 64, 1), TensorType.parse("float[N,5]"), (5, 1)),
        View(Address("arena", 0, 0), TensorType.parse("float[3,5]"), (5, 1)),
        View(Address("out", 0, 0), TensorType.parse("float[3,5]"), (5, 1)),
        View(Address("arena", 64, 7), TensorType.parse("float[3,5]"), (5, 1)),
    ],
)
def test_views_of_other_bytes(view: View) -> None:
    assert rules(replace(chain(), views={"b": view})) == ["view"]


# ---- brute force -----------------------------------------------------------------------------------------------------

LIVES = st.tuples(st.integers(0, STEPS - 1), st.integers(0, STEPS)).filter(lambda life: life[0] <= life[1])
BUFFERS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200), LIVES), max_size=8)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(BUFFERS)
def test_overlaps_and_the_bound_by_brute_force(drawn: list[tuple[int, int, tuple[int, int]]]) -> None:
    buffers = [Buffer((f"b{i}",), 64 * at, size, *life) for i, (at, size, life) in enumerate(drawn)]
    owned = [
        [range(b.offset // 64, -(-(b.offset + b.size) // 64)) for b in buffers if b.first <= s <= b.last]
        for s in range(STEPS + 1)
    ]
    lines = [[line for owner in owners for line in owner] for owners in owned]
    report = check_memory(Schedule("t", [], [], [()] * STEPS, 2048, 0, [], buffers))
    assert report.live == tuple(64 * len(line) for line in lines)
    assert report.lower_bound == 64 * max(map(len, lines))
    assert report.held_longer == tuple(range(len(buffers))), "no task uses any of them"
    disjoint = all(len(set(line)) == len(line) for line in lines)
    assert ("overlap" in {v.rule for v in report.violations}) != disjoint


NUMBER = re.compile(r"(?<![\w\"])-?\d+")
EXTREMES = st.sampled_from(("0", "-1", "1", "7", "64", str(2**31), str(2**63), str(-(2**63)), str(10**400)))


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 10**6), EXTREMES, st.integers(0, 10**6), EXTREMES)
def test_any_number_may_be_anything(i: int, new: str, j: int, other: str) -> None:
    """Two numbers of the text are replaced. The checker answers, and what it passes has every address in its buffer."""
    text = print_schedule(chain())
    for at, value in ((i, new), (j, other)):
        found = list(NUMBER.finditer(text))
        m = found[at % len(found)]
        text = text[: m.start()] + value + text[m.end() :]
    try:
        schedule = parse_schedule(text)
    except GraphcError:
        return
    if check_memory(schedule).ok:
        memory_svg([MemoryPicture("fuzz", schedule, check_memory(schedule))])
        for k, tasks in enumerate(schedule.steps):
            for a in (p for t in tasks for p in t.params if isinstance(p, Address) and p.space == "arena"):
                b = schedule.buffers[a.index]
                assert b.first <= k <= b.last
                assert 0 <= b.offset <= a.offset < b.offset + max(b.size, 1)
                assert b.offset + b.size <= schedule.arena_bytes
