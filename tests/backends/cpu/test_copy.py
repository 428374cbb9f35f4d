"""Copies between layouts, halos, slices and element types, and the zeroing of halos."""

from __future__ import annotations

import numpy as np
import pytest
from harness import (
    Bound,
    Machine,
    Memory,
    Placement,
    bind_call,
    build_call,
    get,
    make_view,
    put,
    run_call,
    window_of,
)

from graphc.backends.cpu.kernels.copy import strided_copy
from graphc.ir.schedule import NO_HALO, Address, Choice, Task, View
from graphc.ir.types import PLAIN, DType, Layout, TensorType


def run(machine: Machine, task: Task, memory: Memory) -> None:
    """Unit by unit, in reverse order."""
    Bound(machine, [(task,)], [], [], memory, [], Choice("copy"), 0, 0).run("single")


def copy(
    machine: Machine, x: np.ndarray, layouts: tuple[Layout, Layout], halos: tuple, neighbours: tuple[int, int]
) -> None:
    memory, dtype = Memory(), DType.of(x.dtype)
    views = [make_view(memory, TensorType(dtype, x.shape, k), h, neighbours) for k, h in zip(layouts, halos)]
    memory.make()
    put(memory, views[0], x)
    before = memory.buffer.copy()
    run(machine, machine.library.copy_task(*views), memory)
    np.testing.assert_array_equal(get(memory, views[1]), x)
    window_of(memory, views[1])[...] = 0
    after = memory.buffer.copy()
    memory.buffer[...] = before
    window_of(memory, views[1])[...] = 0
    np.testing.assert_array_equal(after, memory.buffer, err_msg="written outside")


SHAPES = [(1, 3, 5, 7), (2, 16, 4, 4), (2, 33, 3, 20), (3, 5, 1, 1), (1, 24, 6, 1), (2, 17, 1, 19), (1, 1, 40, 40)]
HALOS = [(NO_HALO, NO_HALO), ((1, 2, 3, 4), NO_HALO), (NO_HALO, (2, 1, 0, 3)), ((1, 1, 1, 1), (1, 0, 2, 1))]


@pytest.mark.parametrize("neighbours", [(0, 0), (2, 1)])
@pytest.mark.parametrize("halos", HALOS)
@pytest.mark.parametrize("shape", SHAPES)
def test_layouts(machine, shape, halos, neighbours) -> None:
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    blocked = Layout(machine.target.lanes)
    for layouts in [(PLAIN, PLAIN), (PLAIN, blocked), (blocked, PLAIN), (blocked, blocked)]:
        copy(machine, x, layouts, halos, neighbours)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int16, np.int32, np.int64, np.float64, np.float16])
def test_element_types(machine, dtype) -> None:
    x = np.random.default_rng(6).integers(0, 2 if dtype is np.bool_ else 100, (2, 3, 5, 7)).astype(dtype)
    copy(machine, x, (PLAIN, PLAIN), ((1, 1, 1, 1), NO_HALO), (1, 0))
    copy(machine, x.reshape(6, 35), (PLAIN, PLAIN), (NO_HALO, NO_HALO), (0, 0))


@pytest.mark.parametrize("perm", [(1, 0), (0, 2, 1), (0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (2, 0, 1, 4, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_transposition(machine, perm, dtype) -> None:
    for shape in [(3, 5, 20, 33, 2), (17, 33, 1, 16, 5)]:
        x = np.random.default_rng(7).integers(0, 200, shape[: len(perm)]).astype(dtype)
        y = x.transpose(perm)
        memory = Memory()
        places = [Address("arena", memory.allocate(x.nbytes)) for _ in range(2)]
        memory.make()
        view = View(places[0], TensorType(DType.of(x.dtype), x.shape), tuple(s // x.itemsize for s in x.strides), True)
        window_of_any(memory, view, x.shape)[...] = x
        steps = [s // x.itemsize for s in y.strides]
        dense = [int(np.prod(y.shape[i + 1 :])) for i in range(y.ndim)]
        task = strided_copy(y.shape, tuple(dense), tuple(steps), (places[1], places[0]), x.itemsize, machine.target)
        run(machine, task, memory)
        target = View(places[1], view.type, tuple(dense), True)
        np.testing.assert_array_equal(window_of_any(memory, target, y.shape), y)


def window_of_any(memory: Memory, view: View, shape: tuple[int, ...]) -> np.ndarray:
    dtype = view.type.dtype.numpy
    return np.ndarray(shape, dtype, memory.buffer.data, view.address.offset)


@pytest.mark.parametrize("halo", [(1, 1, 1, 1), (0, 3, 2, 0), (2, 0, 0, 17), (3, 0, 0, 0)])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 33, 1, 1)])
def test_halo(machine, shape, halo) -> None:
    for layout in (PLAIN, Layout(machine.target.lanes)):
        memory = Memory()
        view = make_view(memory, TensorType(DType.FLOAT, shape, layout), halo, (1, 2))
        memory.make()
        before = memory.buffer.copy()
        run(machine, machine.library.halo_task(view, halo), memory)
        wide = window_of(memory, view, halo)
        inside = window_of(memory, view)
        assert np.isnan(inside).all()
        inside[...] = 0
        assert not wide.any()
        wide[...] = np.frombuffer(b"\xff" * 4, np.float32)[0]
        np.testing.assert_array_equal(before, memory.buffer)


@pytest.mark.parametrize(("axis", "tiles"), [(0, 37), (1, 2), (2, 5), (2, 1000)])
def test_tiles_are_one_task(machine, axis: int, tiles: int) -> None:
    """However many they are: a task for each of 2**31 tiles would have no end."""
    for slices, dtype in ((False, np.float32), (True, np.float32), (False, np.float64)):
        x = np.random.default_rng(3).standard_normal((3, 4, 2, 7)).astype(dtype)
        call = build_call("Tile", [x], target=machine.target, attrs={"tiles": tiles, "axis": axis})
        place = Placement(slices=slices)
        (got,) = run_call(machine, call, [x], place)
        np.testing.assert_array_equal(got, np.concatenate([x] * tiles, axis))
        assert [len(step) for step in bind_call(machine, call, [x], place).steps] == [1]
