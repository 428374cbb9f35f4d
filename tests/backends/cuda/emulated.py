"""Schedules for a card, run by the emulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import simt
from simt_memory import DeviceMemory

from graphc.backends.cuda.library import CudaLibrary
from graphc.ir.schedule import Address, Schedule


def run_schedule(
    schedule: Schedule, constants: Sequence[np.ndarray], library: CudaLibrary, inputs: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Outputs of a schedule for arrays of its inputs, in memory that holds NaN where nothing was stored."""
    memory = DeviceMemory(
        (schedule.arena_bytes + sum(a.nbytes + 1024 for a in (*constants, *inputs))) // 256 * 256
        + sum(p.type.nbytes + 1024 for p in schedule.outputs) // 256 * 256
        + 65536
    )

    def upload(array: np.ndarray) -> int:
        address = memory.allocate(array.nbytes)
        memory.view(address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return address

    bases = {"arena": [memory.allocate(schedule.arena_bytes)]}
    bases["const"] = [upload(a) for a in constants]
    bases["in"] = [upload(a) for a in inputs]
    bases["out"] = [memory.allocate(p.type.nbytes) for p in schedule.outputs]

    def resolve(p: int | Address) -> int:
        if isinstance(p, int):
            return p
        return bases[p.space][0 if p.space == "arena" else p.index] + p.offset

    for step in schedule.steps:
        for task in step:
            spec = task.kernel
            params = [resolve(p) for p in task.params]
            simt.launch(memory, spec.name, library.source(spec), task.units, spec.int("threads"), params)
    found = []
    for p, address in zip(schedule.outputs, bases["out"]):
        dtype = p.type.dtype.numpy if p.type.dtype else np.dtype(np.float32)
        found.append(memory.view(address, p.type.nbytes).view(dtype).reshape(p.type.static_shape).copy())
    return found
