"""Executor: a schedule bound to buffers of its own, and the one native call that runs it."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from ctypes import addressof, c_char
from dataclasses import replace
from typing import NoReturn

import numpy as np

from graphc.backends.job import Job, job_words
from graphc.ir.bfloat16 import from_bfloat16
from graphc.ir.errors import PlanError, RunError
from graphc.ir.schedule import Address, Schedule, Step, View
from graphc.ir.types import DType
from graphc.runtime.team import TEAM, Native, native_function, yield_address

ALIGNMENT = 64


def aligned_zeros(nbytes: int, alignment: int = ALIGNMENT) -> np.ndarray:
    """``nbytes`` zero bytes that start at a multiple of ``alignment``."""
    raw = np.zeros(nbytes + alignment, np.uint8)
    skip = -raw.ctypes.data % alignment
    return raw[skip : skip + nbytes]


def _share(step: Step) -> int:
    """Into how many parts threads divide what is left of their units.

    Small parts balance units of different cost and threads of different speed; each costs up to half a microsecond, too
    much where equal units take a hundred together.
    """
    small = all(t.flops < 2e7 and t.nbytes < 8e6 for t in step)
    return 2 if len(step) == 1 and small else 8


def address_of(array: np.ndarray) -> int:
    """Where the elements begin; a fifth of the time that ``array.ctypes`` takes, which counts in small nets."""
    try:
        return addressof(c_char.from_buffer(array))  # type: ignore[arg-type]  # NumPy declares it from Python 3.12 on
    except (TypeError, ValueError):  # it is read-only, or empty
        return int(array.ctypes.data)


class Executor:
    """Runs one schedule in memory of its own; one call at a time (``Plan`` keeps one executor per concurrent caller).

    key: what its owner finds it by. addresses: kernel name -> machine code, which ``code`` keeps in memory. constants:
    in the order of the schedule's slots, aligned. memory: an arena and a scratch buffer that are large enough, in place
    of its own. Raises ``PlanError`` if a task points outside its buffers.

    ``number``: how many runs there were; operators that draw random numbers draw others in each.
    """

    def __init__(
        self,
        schedule: Schedule,
        addresses: Mapping[str, int],
        driver: int,
        constants: Sequence[np.ndarray],
        threads: int,
        code: object,
        memory: Sequence[np.ndarray] = (),
    ) -> None:
        self.code = code
        self.key: Hashable = None
        self.number = 0
        self.schedule, self.threads, self.constants = schedule, threads, constants
        needed = schedule.arena_bytes, schedule.scratch_bytes * threads
        buffers = memory or [aligned_zeros(n) for n in needed]
        self.arena, self.scratch = (buffer[:n] for buffer, n in zip(buffers, needed))
        self._status = np.zeros(len(schedule.checks), np.int64)
        self._accepted = self._status.tobytes()
        self._driver: Native = native_function(driver)
        self._block = aligned_zeros(8 * job_words(threads)).view(np.int64)
        self._numbers: list[int] = []
        self._ports: list[list[tuple[int, int]]] = [[] for _ in (*schedule.inputs, *schedule.outputs)]
        self._out_types = [
            (p.type.static_shape, p.type.dtype.numpy if p.type.dtype else np.float32) for p in schedule.outputs
        ]
        self._build(addresses)
        if threads > 1:
            TEAM.grow(threads - 1, driver, code)

    def __del__(self) -> None:
        if hasattr(self, "_block") and not sys.is_finalizing():
            TEAM.forget(self._block.ctypes.data)

    def _build(self, addresses: Mapping[str, int]) -> None:
        """Fill the tables that the driver walks."""
        steps = [s for s in self.schedule.steps if s]
        tasks = [t for s in steps for t in s]
        self._params = np.zeros(max(1, sum(len(t.params) for t in tasks)), np.int64)
        self._words = self._params.data
        self._steps = np.zeros((max(1, len(steps)), 3), np.int64)
        self._tasks = np.zeros((max(1, len(tasks)), 4), np.int64)
        at = number = 0
        for i, step in enumerate(steps):
            self._steps[i] = number, len(step), _share(step)
            before = 0
            for task in step:
                self._tasks[number] = addresses[task.kernel.name], self._params.ctypes.data + 8 * at, task.units, before
                for k, p in enumerate(task.params):
                    self._params[at + k] = self._resolve(p, at + k)
                before += task.units
                number, at = number + 1, at + len(task.params)
        self.n_steps = len(steps)
        block = self._block
        self._addresses = block.ctypes.data, block.ctypes.data + 8 * Job.IGNORED
        block[Job.N_STEPS] = len(steps)
        block[Job.STEPS] = self._steps.ctypes.data
        block[Job.TASKS] = self._tasks.ctypes.data
        block[Job.SLOTS] = self.threads
        block[Job.YIELD] = yield_address()

    def _resolve(self, param: int | Address, position: int) -> int:
        if isinstance(param, int):
            return param
        if param.space == "stride":
            return self.schedule.scratch_bytes
        if param.space == "run":
            self._numbers.append(position)
            return 0
        if param.space in ("in", "out"):
            self._ports[self._port(param)].append((position, param.offset))
            return 0
        if param.space == "status" and 0 <= param.index < len(self._status):
            return int(self._status.ctypes.data) + 8 * param.index
        section = self._section(param)
        if not 0 <= param.offset <= section.nbytes:
            raise PlanError(f"the schedule points outside its {param.space} ({param.offset} of {section.nbytes} bytes)")
        return int(section.ctypes.data) + param.offset

    def _port(self, address: Address) -> int:
        """The place of an input or output among the ports: inputs first."""
        n_inputs, n_outputs = len(self.schedule.inputs), len(self.schedule.outputs)
        if not 0 <= address.index < (n_inputs if address.space == "in" else n_outputs):
            raise PlanError(f"the schedule points into {address.space} {address.index}, which does not exist")
        return address.index + (n_inputs if address.space == "out" else 0)

    def _section(self, address: Address) -> np.ndarray:
        """The buffer that an address points into."""
        if address.space == "const" and 0 <= address.index < len(self.constants):
            return self.constants[address.index]
        if address.space not in ("arena", "scratch"):
            raise PlanError(f"the schedule points into {address.space} {address.index}, which does not exist")
        return self.arena if address.space == "arena" else self.scratch

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs for inputs of exactly the schedule's shapes and dtypes, C-contiguous and aligned."""
        outputs = self.bind(inputs)
        if self.n_steps:
            self._start()
        self.number += 1
        self.require_accepted()
        return outputs

    def bind(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Point the tasks to these inputs, and to new outputs, which it returns; nothing runs."""
        outputs = [np.empty(shape, dtype) for shape, dtype in self._out_types]
        params = self._words
        for array, patches in zip((*inputs, *outputs), self._ports):
            base = address_of(array)
            for position, offset in patches:
                params[position] = base + offset
        for position in self._numbers:
            params[position] = self.number
        return outputs

    def require_accepted(self) -> None:
        """Raise ``RunError`` if a kernel met data that it refused since this was last asked."""
        if self._status.tobytes() != self._accepted:
            self._refuse()

    def _refuse(self) -> NoReturn:
        """Raise the first error that a kernel reported, in the order of the net."""
        index = int(np.flatnonzero(self._status)[0])
        code, check = int(self._status[index]), self.schedule.checks[index]
        self._status[:] = 0
        raise RunError(check.message(code))

    def _start(self) -> None:
        block, ignored = self._addresses
        if self.threads > 1 and TEAM.lock.acquire(blocking=False):
            try:
                TEAM.wake(self.threads - 1)
                self._driver(ignored, ignored + 8, block, 0, TEAM.address, 0)
            finally:
                TEAM.lock.release()
        else:
            self._driver(ignored, ignored + 8, block, 0, 0, 0)

    def run_step(self, index: int) -> None:
        """Run one step by itself, on what is in the buffers; steps without tasks are not counted.

        The inputs and outputs that were bound last must still exist: steps read and write them.
        """
        self._start_only(self._steps[index])

    def run_task(self, index: int, number: int) -> None:
        """Run one task of a step by itself, as ``run_step`` does; not one without units."""
        at, _, share = self._steps[index]
        before, self._tasks[at + number, 3] = int(self._tasks[at + number, 3]), 0
        try:
            self._start_only(np.array([at + number, 1, share], np.int64))
        finally:
            self._tasks[at + number, 3] = before

    def _start_only(self, step: np.ndarray) -> None:
        """Run one row of the table of steps."""
        block = self._block
        block[Job.N_STEPS], block[Job.STEPS] = 1, step.ctypes.data
        try:
            self._start()
        finally:
            block[Job.N_STEPS], block[Job.STEPS] = self.n_steps, self._steps.ctypes.data

    def fetch(self, name: str) -> np.ndarray:
        """A copy of a kept blob after a run, in plain layout."""
        return read_view(self.arena, self.schedule.views[name])


def view_nbytes(view: View) -> int:
    """Bytes from the first element of a view to behind its last, gaps included; 0 where it has none."""
    shape, block = view.type.static_shape, view.type.layout.block
    if 0 in shape:
        return 0
    if len(shape) == 4 and block > 1:
        shape = (shape[0], -(-shape[1] // block), *shape[2:], block)
    steps = (*view.strides, 1)  # of the channels in a block
    itemsize = view.type.dtype.itemsize if view.type.dtype else 4
    return (1 + sum((n - 1) * s for n, s in zip(shape, steps))) * itemsize


def read_view(arena: np.ndarray, view: View) -> np.ndarray:
    """The logical elements of a view of the arena, copied to a plain array; those of bfloat16 as float32."""
    if view.type.dtype is DType.BFLOAT16:
        bits = replace(view, type=replace(view.type, dtype=DType.UINT16))
        return from_bfloat16(read_view(arena, bits))
    dtype = view.type.dtype.numpy if view.type.dtype else np.dtype(np.float32)
    shape, block = view.type.static_shape, view.type.layout.block
    flat = arena[view.address.offset :]
    flat = flat[: flat.size // dtype.itemsize * dtype.itemsize].view(dtype)
    steps = [s * dtype.itemsize for s in view.strides]
    if len(shape) != 4 or block == 1:
        return np.array(np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False))
    n, c, h, w = shape
    blocks = -(-c // block)
    split = np.lib.stride_tricks.as_strided(flat, (n, blocks, h, w, block), [*steps, dtype.itemsize], writeable=False)
    return np.ascontiguousarray(split.transpose(0, 1, 4, 2, 3).reshape(n, blocks * block, h, w)[:, :c])
