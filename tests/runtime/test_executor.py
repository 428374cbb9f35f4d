"""The driver and the executor, on schedules made by hand: order of steps, threads, concurrent callers."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import driver
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.target import find
from graphc.backends.load import LoadedKernels
from graphc.ir import DType, PlanError, TensorType
from graphc.ir.schedule import Address, KernelSpec, Port, Schedule, Task
from graphc.runtime.executor import Executor

SIZE = 160
VALUES = TensorType(DType.FLOAT, (SIZE,))
ADD = KernelSpec.make("add_one")
SOURCE = f"""
def {ADD.name}(p, lo, hi, tid):
    x = ld(p, 0)
    y = ld(p, 1)
    for i in range(lo, hi):
        sts(y, i, lds(x, i) + f4(1.0))
"""


KEPT: list[LoadedKernels] = []
"""The workers of the process stay in the driver that they were started with: it must not be freed."""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> LoadedKernels:
    cache = KernelCache(tmp_path_factory.mktemp("kernels"))
    sources = {ADD.name: SOURCE, driver.NAME: driver.source()}
    loaded = LoadedKernels(compile_kernels(sources, find("native"), cache))
    KEPT.append(loaded)
    return loaded


def chain(steps: int, units: int = SIZE) -> Schedule:
    """x + 1, ``steps`` times, between two halves of the arena."""
    places = [Address("in"), *(Address("arena", (i % 2) * 1024) for i in range(steps - 1)), Address("out")]
    tasks = [(Task(ADD, (places[i], places[i + 1]), units),) for i in range(steps)]
    return Schedule("native", [Port("x", VALUES)], [Port("y", VALUES)], tasks, 2048, 0, [], [])


def executor(kernels: LoadedKernels, schedule: Schedule, threads: int) -> Executor:
    return Executor(schedule, kernels.addresses, kernels.addresses[driver.NAME], [], threads, kernels)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("steps", [1, 2, 201])
def test_steps_run_in_order_and_completely(kernels: LoadedKernels, threads: int, steps: int) -> None:
    e = executor(kernels, chain(steps), threads)
    for k in range(50):
        x = np.arange(SIZE, dtype=np.float32) + k
        np.testing.assert_array_equal(e.run([x])[0], x + steps)


def test_a_step_of_several_tasks_shares_its_units(kernels: LoadedKernels) -> None:
    half = SIZE // 2
    tasks = tuple(Task(ADD, (Address("in", 4 * half * k), Address("out", 4 * half * k)), half) for k in range(2))
    schedule = Schedule("native", [Port("x", VALUES)], [Port("y", VALUES)], [tasks], 0, 0, [], [])
    x = np.arange(SIZE, dtype=np.float32)
    np.testing.assert_array_equal(executor(kernels, schedule, 2).run([x])[0], x + 1)


def test_concurrent_callers_with_more_threads_than_cores(kernels: LoadedKernels) -> None:
    """Four callers, each asking for four threads: the team serves one, the others work alone; nobody waits for it."""
    wrong: list[int] = []

    def call(e: Executor, seed: int) -> None:
        x = np.full(SIZE, seed, np.float32)
        wrong.extend(seed for _ in range(300) if not np.array_equal(e.run([x])[0], x + 40))

    callers = [threading.Thread(target=call, args=(executor(kernels, chain(40), 4), i)) for i in range(4)]
    for c in callers:
        c.start()
    for c in callers:
        c.join(timeout=60)
    assert not any(c.is_alive() for c in callers)
    assert wrong == []


def test_single_steps_can_be_run(kernels: LoadedKernels) -> None:
    e = executor(kernels, chain(3), 2)
    x = np.zeros(SIZE, np.float32)
    e.run([x])
    e.run_step(1)
    np.testing.assert_array_equal(e.run([x])[0], x + 3)


def test_workers_leave_a_step_that_ran_by_itself(kernels: LoadedKernels) -> None:
    """Freeing an executor waits for workers that look at its job; none may stay there."""
    for _ in range(20):
        e = executor(kernels, chain(9), 2)
        e.run([np.zeros(SIZE, np.float32)])
        for i in range(9):
            e.run_step(i)
        freed = threading.Thread(target=e.__del__)
        freed.start()
        freed.join(timeout=10)
        assert not freed.is_alive()


def test_an_address_outside_the_arena_is_refused(kernels: LoadedKernels) -> None:
    schedule = chain(2)
    schedule.arena_bytes = 512
    schedule.steps[0] = (Task(ADD, (Address("in"), Address("arena", 4096)), SIZE),)
    with pytest.raises(PlanError, match="outside its arena"):
        executor(kernels, schedule, 1)


def test_damaged_cache_entries_are_compiled_again(tmp_path: Path) -> None:
    cache, target = KernelCache(tmp_path), find("native")
    sources = {ADD.name: SOURCE, driver.NAME: driver.source()}
    compile_kernels(sources, target, cache)
    for entry in tmp_path.rglob("*.o"):
        entry.write_bytes(entry.read_bytes()[:-7])
    again = compile_kernels(sources, target, cache)
    x = np.arange(SIZE, dtype=np.float32)
    np.testing.assert_array_equal(executor(LoadedKernels(again), chain(1), 1).run([x])[0], x + 1)
    assert compile_kernels(sources, target, cache)[ADD.name].code == again[ADD.name].code
