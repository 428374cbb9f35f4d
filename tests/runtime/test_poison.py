"""Poisoned runs of schedules made by hand: sound ones give the same, and every kind of defect is seen where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import driver
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.target import find
from graphc.backends.load import LoadedKernels
from graphc.ir import DType, TensorType
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Address, Buffer, Check, KernelSpec, MemoryPlan, Port, Schedule, Task, View
from graphc.runtime.executor import Executor
from graphc.runtime.poison import PATTERNS, PoisonFinding, poison_check

SIZE = 64
NBYTES = 4 * SIZE
VALUES = TensorType(DType.FLOAT, (SIZE,))
ADD, REFUSE = KernelSpec.make("add_one"), KernelSpec.make("refuse_large")
SOURCES = {
    ADD.name: f"""
def {ADD.name}(p, lo, hi, tid):
    x = ld(p, 0)
    y = ld(p, 1)
    for i in range(lo, hi):
        sts(y, i, lds(x, i) + f4(1.0))
""",
    REFUSE.name: f"""
def {REFUSE.name}(p, lo, hi, tid):
    for i in range(lo, hi):
        if lds(ld(p, 0), i) > f4(1e6):
            astore(ld(p, 1), 1)
""",
}
X = np.arange(SIZE, dtype=np.float32)

KEPT: list[LoadedKernels] = []
"""The workers of the process stay in the driver that they were started with: it must not be freed."""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> LoadedKernels:
    cache = KernelCache(tmp_path_factory.mktemp("kernels"))
    loaded = LoadedKernels(compile_kernels({**SOURCES, driver.NAME: driver.source()}, find("native"), cache))
    KEPT.append(loaded)
    return loaded


def place(number: int, offset: int) -> Address:
    return Address("arena", offset, number)


def chain() -> Schedule:
    """in -> a -> b -> c -> out, each 1 more; a and c share bytes."""
    lives = [("a", 0, 0, 1), ("b", NBYTES, 1, 2), ("c", 0, 2, 3)]
    buffers = [Buffer((name,), offset, NBYTES, first, last) for name, offset, first, last in lives]
    places = [Address("in"), *(place(i, b.offset) for i, b in enumerate(buffers)), Address("out")]
    steps = [(Task(ADD, (places[i], places[i + 1]), SIZE, f"add {i}"),) for i in range(4)]
    memory = MemoryPlan(2 * NBYTES, True, "by hand", 3 * NBYTES)
    return Schedule(
        "native", [Port("x", VALUES)], [Port("y", VALUES)], steps, 2 * NBYTES, 64, [], buffers, memory=memory
    )


def try_out(
    kernels: LoadedKernels, schedule: Schedule, threads: int = 1, fetch: tuple[str, ...] = ()
) -> list[PoisonFinding]:
    """What a normal run gives, against runs in poisoned memory."""

    def make(memory: tuple[np.ndarray, ...] = ()) -> Executor:
        return Executor(schedule, kernels.addresses, kernels.addresses[driver.NAME], [], threads, kernels, memory)

    normal = make()
    outputs = normal.run([X])
    return poison_check(schedule, make, threads, [X], (outputs, {name: normal.fetch(name) for name in fetch}))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sound_schedule(kernels: LoadedKernels, threads: int) -> None:
    schedule = chain()
    assert check_memory(schedule).ok
    assert try_out(kernels, schedule, threads) == []
    schedule.steps.insert(2, ())
    later = [replace(b, first=b.first + (b.first >= 2), last=b.last + (b.last >= 2)) for b in schedule.buffers]
    assert try_out(kernels, replace(schedule, buffers=later), threads) == [], (
        "a step without tasks counts, and does nothing"
    )


def test_a_life_that_ends_early(kernels: LoadedKernels) -> None:
    """Step 2 reads b, which is said to be dead after step 1: its bytes are filled, and c and the output differ."""
    schedule = chain()
    schedule.buffers[1] = replace(schedule.buffers[1], last=1)
    found = try_out(kernels, schedule)
    assert [f.pattern for f in found] == list(PATTERNS)
    assert {f.step for f in found} == {2}
    assert "add_one add 2 computes from dead bytes" in found[0].text
    assert "buffer 2 ('c';" in found[0].text
    assert "'y'" in found[0].text


def test_a_first_use_that_reads(kernels: LoadedKernels) -> None:
    """Step 1 reads memory that nothing wrote: another buffer lives where a was meant. Addresses alone look well."""
    schedule = chain()
    schedule.buffers.append(Buffer(("d",), 2 * NBYTES, NBYTES, 1, 1))
    schedule.steps[1] = (Task(ADD, (place(3, 2 * NBYTES), place(1, NBYTES)), SIZE, "add 1"),)
    schedule = replace(schedule, arena_bytes=3 * NBYTES, memory=MemoryPlan(3 * NBYTES, True, "by hand", 4 * NBYTES))
    schedule.buffers[0] = replace(schedule.buffers[0], last=1)
    assert check_memory(schedule).ok
    found = try_out(kernels, schedule)
    assert {f.step for f in found} == {1}


def test_a_kernel_that_writes_too_far(kernels: LoadedKernels) -> None:
    """Step 1 writes beyond b, the end of the arena; then step 3, whose task names c alone, beyond c, where b was."""
    schedule = chain()
    schedule.steps[1] = (Task(ADD, (place(0, 0), place(1, NBYTES + 16)), SIZE, "add 1"),)
    behind = [f for f in try_out(kernels, schedule) if "after the arena" in f.text]
    assert [f.step for f in behind] == [1] * len(PATTERNS)
    schedule = chain()
    schedule.steps[3] = (Task(ADD, (place(2, 0), place(2, 16)), SIZE, "add 3"), *schedule.steps[3])
    found = [f.text for f in try_out(kernels, schedule) if "wrote to byte" in f.text]
    assert found[0].endswith(f"wrote to byte {NBYTES} of the arena, where no buffer lives")
    schedule.buffers[1] = replace(schedule.buffers[1], last=4)
    found = [f.text for f in try_out(kernels, schedule) if "wrote to byte" in f.text]
    assert "of the arena, in buffer 1 ('b';" in found[0]


def test_tasks_of_a_step_that_depend_on_each_other(kernels: LoadedKernels) -> None:
    """In one thread they run in order and nothing shows; each by itself, from the last to the first, it does."""
    schedule = chain()
    first, second, *rest = schedule.steps
    lives = [(0, 0), (0, 1), (1, 2)]
    buffers = [replace(b, first=f, last=n) for b, (f, n) in zip(schedule.buffers, lives)]
    schedule = replace(schedule, steps=[first + second, *rest], buffers=buffers)
    assert check_memory(schedule).ok
    found = try_out(kernels, schedule)
    assert [f.step for f in found] == [0] * len(PATTERNS)
    assert "tasks that depend on each other and write to buffer 1 ('b';" in found[0].text


def test_an_output_that_nobody_writes(kernels: LoadedKernels) -> None:
    schedule = chain()
    schedule.steps[3] = (replace(schedule.steps[3][0], units=SIZE - 1),)
    found = try_out(kernels, schedule)
    assert {f.text for f in found} == {
        "bytes of a result are not written, or dead at the end; what comes out different: 'y'"
    }
    assert len(found) >= len(PATTERNS) - 1, "memory that a normal run finds may hold one of the patterns"


def test_an_input_that_is_overwritten(kernels: LoadedKernels) -> None:
    schedule = chain()
    schedule.steps[3] += (Task(ADD, (Address("in"), Address("in")), SIZE, "again"),)
    before = X.copy()
    try:
        assert "some step writes to the inputs x" in {f.text for f in try_out(kernels, schedule)}
    finally:
        X[:] = before


def test_data_that_is_refused_only_where_it_is_poison(kernels: LoadedKernels) -> None:
    schedule = replace(chain(), checks=[Check("Operator", ("a value is too large",))])
    schedule.steps[3] += (Task(REFUSE, (place(1, NBYTES), Address("status")), SIZE),)
    found = try_out(kernels, schedule)
    assert [f.text for f in found] == ["data is refused that a normal run accepts: Operator: a value is too large"]


def test_a_kept_blob_that_dies(kernels: LoadedKernels) -> None:
    schedule = chain()
    schedule.views["b"] = View(place(1, NBYTES), VALUES, (1,))
    schedule.buffers[1] = replace(schedule.buffers[1], last=4)
    assert try_out(kernels, schedule, fetch=("b",)) == []
    schedule.buffers[1] = replace(schedule.buffers[1], last=2)
    assert len(try_out(kernels, schedule, fetch=("b",))) == len(PATTERNS)
