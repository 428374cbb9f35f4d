"""Executors of several shapes in one memory."""

from __future__ import annotations

import threading

import numpy as np
from one_net import nets, operator

import graphc
from graphc import lane
from graphc.lane import Lane
from graphc.plan import Plan
from graphc.runtime.executor import aligned_zeros


def plan_of_two_layers() -> Plan:
    x, w = np.ones((2, 3), np.float32), np.full((3, 3), 2, np.float32)
    b = np.zeros(3, np.float32)
    ops = [operator("FC", "x w b", "y"), operator("FC", "y w b", "z")]
    return graphc.compile(*nets(ops, {"x": x}, "z", {"w": w, "b": b}), inputs={"x": x}, threads=1)


def test_shapes_share_the_memory_of_the_largest() -> None:
    plan = plan_of_two_layers()
    for rows in (2, 500, 3, 400, 2):
        np.testing.assert_array_equal(plan.run({"x": np.ones((rows, 3), np.float32)})["z"], np.full((rows, 3), 36))


def test_memory_grows_once_for_sizes_that_vary() -> None:
    schedule = plan_of_two_layers().schedules[0]
    seen = []

    def make(arena: np.ndarray, scratch: np.ndarray) -> object:
        seen.append(arena.nbytes)
        return type("Made", (), {})()

    memory = Lane(aligned_zeros)
    for key, nbytes in enumerate((1000, 900, 1100, 1200)):
        schedule.arena_bytes = nbytes
        memory.add(key, schedule, 1, make)  # type: ignore[arg-type]
    assert seen == [1000, 1000, 1375, 1375]
    assert memory.find(0) is None
    assert memory.find(2) is not None


def test_a_lane_keeps_so_many_executors() -> None:
    schedule = plan_of_two_layers().schedules[0]
    memory = Lane(aligned_zeros)
    for key in range(lane.MOST_EXECUTORS + 1):
        memory.add(key, schedule, 1, lambda arena, scratch: type("Made", (), {})())  # type: ignore[arg-type,return-value]
    assert memory.find(0) is None
    assert memory.find(1) is not None


def test_concurrent_runs_of_several_shapes() -> None:
    plan, wrong = plan_of_two_layers(), []

    def run(value: int) -> None:
        for rows in (1, 7, 300, 2) * 10:
            got = plan.run({"x": np.full((rows, 3), value, np.float32)})["z"]
            if not np.array_equal(got, np.full((rows, 3), 36 * value)):
                wrong.append(rows)

    threads = [threading.Thread(target=run, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
