"""Calls of libraries stay inside their memory: what a plan says of them is proved before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_libraries import CALL, X, on_card, plan_of

import graphc
from graphc.cli.app import graphc as command
from graphc.ir.library_call import PRODUCT, LibraryCall, Operand, read_call
from graphc.ir.library_extents import spans
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Address, Param, Schedule, Task

ITEMS = {"f4": 4, "f2": 2, "bf": 2, "tf": 4}


def library_tasks(schedule: Schedule) -> Iterator[tuple[int, Task]]:
    """The tasks of a schedule that are alone in their step and that libraries do, with the step."""
    for number, step in enumerate(schedule.steps):
        if step[0].kernel.library:
            (task,) = step
            yield number, task


def altered(schedule: Schedule, step: int, params: tuple[Param, ...]) -> Schedule:
    steps = list(schedule.steps)
    steps[step] = (replace(steps[step][0], params=params),)
    return replace(schedule, steps=steps)


def size_of(schedule: Schedule, a: Address) -> tuple[int, int]:
    """Where the piece begins that an address leads into, and its bytes."""
    if a.space == "arena":
        return schedule.buffers[a.index].offset, schedule.buffers[a.index].size
    nbytes = {
        "const": [c.nbytes for c in schedule.constants],
        "in": [p.type.nbytes for p in schedule.inputs],
        "out": [p.type.nbytes for p in schedule.outputs],
    }
    return 0, nbytes[a.space][a.index]


def stays_inside(schedule: Schedule, o: Operand) -> bool:
    """Element by element."""
    assert isinstance(o.place, Address)
    start, size = size_of(schedule, o.place)
    at = [sum(i * s for i, s in zip(index, o.strides)) * ITEMS[o.kind] for index in product(*map(range, o.shape))]
    first, last = o.place.offset - start + min(at), o.place.offset - start + max(at) + ITEMS[o.kind]
    return 0 <= first <= last <= size


def as_told(call: LibraryCall) -> LibraryCall:
    """cublasLt is told of lines of elements side by side, and of one distance between lines that is no less."""
    if call.window:
        return call

    def lines(o: Operand) -> Operand:
        (_, rows, columns), (distance, row, column) = o.shape, o.strides
        turned = column != 1 and columns != 1
        strides = (distance, 1, max(column, rows)) if turned else (distance, max(row, columns), 1)
        return replace(o, strides=strides)

    return replace(call, x=lines(call.x), w=lines(call.w), y=lines(call.y))


def test_a_number_that_is_another_one_never_leads_outside() -> None:
    """Every number of every call, larger and smaller: refused, or all elements lie where they may."""
    (schedule,) = plan_of(engine="CUDNN").schedules
    assert check_memory(schedule).ok
    tried = refused = 0
    for step, task in library_tasks(schedule):
        for k, param in enumerate(task.params):
            others = [param + d for d in (-4, -1, 1, 7, 1 << 20)] if isinstance(param, int) else [4096]
            others += [param.plus(1 << 14), Address("const", 0)] if isinstance(param, Address) else [0]
            for other in others:
                forged = altered(schedule, step, (*task.params[:k], other, *task.params[k + 1 :]))
                found = check_memory(forged).violations
                tried, refused = tried + 1, refused + bool(found)
                if not found:
                    call = as_told(read_call(task.kernel, forged.steps[step][0].params))
                    assert all(stays_inside(schedule, o) for o in call.operands), (task.label, k, other)
                    assert isinstance(call.workspace, Address)
                    start, size = size_of(schedule, call.workspace)
                    assert call.workspace.offset - start + call.room <= size
    assert refused > 0.75 * tried > 300


@pytest.mark.parametrize("operand", ["x", "w", "bias", "y"])
def test_each_operand_is_followed_to_its_end(operand: str) -> None:
    """What begins inside, and agrees with the others, but ends outside."""
    (schedule,) = plan_of(engine="CUDNN").schedules
    for step, task in library_tasks(schedule):
        call = read_call(task.kernel, task.params)
        o = getattr(call, operand)
        if o is not None:
            forged = altered(schedule, step, replace(call, **{operand: moved(schedule, o)}).task("", 0, 0).params)
            (found,) = check_memory(forged).violations
            name = {"x": "input", "w": "weights", "y": "result"}.get(operand, operand)
            assert found.rule == "library"
            assert f"of {task.label}: the {name} ends at byte" in found.text


MATRICES = LibraryCall(
    PRODUCT,
    Operand("f2", (2, 4, 3), (12, 3, 1), Address("in")),
    Operand("f2", (2, 3, 5), (15, 1, 3), Address("const")),
    Operand("f4", (5,), (1,), Address("const", index=1)),
    Operand("f4", (2, 4, 5), (20, 5, 1), Address("out")),
    False,
    (),
    Address("arena"),
    1 << 10,
)


def test_spans_of_a_product() -> None:
    assert [s.nbytes for s in spans(MATRICES)] == [2 * 24, 2 * 30, 4 * 5, 4 * 40, 1 << 10]
    apart = replace(MATRICES, x=replace(MATRICES.x, strides=(0, 8, 1)), y=replace(MATRICES.y, strides=(50, 9, 1)))
    assert [s.nbytes for s in spans(apart)] == [2 * 27, 2 * 30, 4 * 5, 4 * (50 + 27 + 5), 1 << 10]


@pytest.mark.parametrize(
    ("operand", "changes"),
    [
        ("x", {"strides": (12, 2, 1)}),  # rows that overlap, of which cublasLt would not know
        ("x", {"strides": (12, 1, 1)}),
        ("x", {"strides": (24, 6, 2)}),
        ("x", {"strides": (-12, 3, 1)}),
        ("x", {"shape": (2, 4, 4), "strides": (16, 4, 1)}),
        ("x", {"kind": "f4"}),
        ("w", {"shape": (1, 3, 5)}),
        ("w", {"strides": (15, 1, 2)}),
        ("y", {"strides": (20, 1, 4)}),
        ("y", {"place": Address("const")}),
        ("y", {"place": 64}),
        ("y", {"shape": (2, 5, 5), "strides": (25, 5, 1)}),
        ("bias", {"kind": "f2"}),
        ("bias", {"shape": (4,)}),
        ("bias", {"strides": (2,)}),
    ],
)
def test_products_that_do_not_agree(operand: str, changes: dict[str, Any]) -> None:
    wrong = replace(MATRICES, **{operand: replace(getattr(MATRICES, operand), **changes)})
    with pytest.raises(graphc.PlanError, match="does not agree with itself"):
        spans(wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"w": replace(CALL.w, shape=(4, 3, 3, 3))},
        {"w": replace(CALL.w, shape=(3, 1, 3, 3)), "y": replace(CALL.y, shape=(1, 3, 3, 3)), "bias": None},
        {"window": (1, 1, 1, 1, 0, 0, 1, 0)},
        {"window": (0, 1, 1, 1, 0, 0, 0, 0)},
        {"window": (1, 1, 1, 1, -1, 0, 1, 0)},
        {"window": (1, 1, 3, 1, 0, 0, 0, 0)},
        {"x": replace(CALL.x, shape=(2, 2, 5, 5))},
        {"bias": replace(CALL.bias, shape=(5,))},
        {"bias": replace(CALL.bias, strides=(2,))},
    ],
)
def test_convolutions_that_do_not_agree(changes: dict[str, Any]) -> None:
    with pytest.raises(graphc.PlanError, match="does not agree with itself"):
        spans(replace(at_addresses(CALL), **{k: at_addresses(v) for k, v in changes.items()}))


def at_addresses(thing: Any) -> Any:
    """A call or operand at the beginning of its space."""
    if isinstance(thing, Operand):
        return replace(thing, place=Address("arena"))
    if isinstance(thing, LibraryCall):
        places = {name: at_addresses(getattr(thing, name)) for name in ("x", "w", "bias", "y")}
        return replace(thing, workspace=Address("arena"), **places)
    return thing


def test_spans_of_a_convolution() -> None:
    assert [s.nbytes for s in spans(at_addresses(CALL))] == [4 * 50, 4 * 72, 4 * 4, 4 * 36, 1 << 20]


def test_a_workspace_is_in_the_arena_and_has_room() -> None:
    for wrong in (replace(MATRICES, workspace=Address("const")), replace(MATRICES, room=255)):
        with pytest.raises(graphc.PlanError, match="does not agree with itself"):
            spans(wrong)


def moved(schedule: Schedule, o: Operand) -> Operand:
    """To the last element of its piece of memory but one."""
    start, size = size_of(schedule, o.place)
    return replace(o, place=replace(o.place, offset=start + size - 8))


def test_an_altered_plan_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(engine="CUDNN")
    on_card(plan, monkeypatch)
    (schedule,) = plan.schedules
    step, task = next(library_tasks(schedule))
    call = read_call(task.kernel, task.params)
    larger = [replace(o, shape=(64, *o.shape[1:])) for o in (call.x, call.y)]
    schedule.steps[step] = (replace(task, params=replace(call, x=larger[0], y=larger[1]).task("", 0, 0).params),)
    path = str(tmp_path / "net.pkl")
    plan.save(path)
    loaded = graphc.load(path)
    on_card(loaded, monkeypatch)
    with pytest.raises(graphc.PlanError, match=r"step 0, cudnn of r: the input ends at byte 86016 of in\[0\]"):
        loaded.run({"x": X})
    checked = CliRunner().invoke(command, ["check-memory", path])
    assert checked.exit_code == 1
    assert "library: step 0, cudnn of r: the result ends at byte" in checked.output


def test_calls_for_other_sizes_are_proved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made from choices, which may be from a file, too."""
    plan = plan_of(engine="CUDNN")
    on_card(plan, monkeypatch)
    (segment,) = plan.segments
    choice = next(c for c in segment.choices.values() if c.rule == "library_product")
    choice.packed[2] = np.zeros(1, np.float32)
    with pytest.raises(graphc.PlanError, match="cublaslt of y: the bias ends at byte"):
        plan.run({"x": X[:1]})
