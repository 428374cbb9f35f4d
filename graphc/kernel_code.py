"""What a plan asks of the machine code of its target: to have kernels, and to run schedules with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.load import KernelObject
from graphc.ir import PlanError, RunError
from graphc.ir.schedule import KernelSpec, Schedule
from graphc.runtime.card_array import CardArray
from graphc.runtime.card_stream import CallerStream

TargetLibrary = CpuLibrary | CudaLibrary


class Memory(Protocol):
    """A piece of memory where a target's kernels run."""

    @property
    def nbytes(self) -> int:
        """Its size."""


class Runner(Protocol):
    """A schedule in memory of its own; one run at a time. key: what its owner finds it by."""

    key: Hashable
    schedule: Schedule
    constants: Sequence[np.ndarray]

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Outputs for inputs of exactly the schedule's shapes and dtypes, C-contiguous and aligned; ``Array``s."""

    def fetch(self, name: str) -> np.ndarray:
        """A copy of a kept blob after a run, in plain layout."""


class NoRoom(RunError):
    """A run needs more memory than there is."""


def require_host_memory(schedule: Schedule, needed: int) -> None:
    """Refuse buffers that this machine does not have: the system would grant them and kill the process later."""
    if hasattr(os, "sysconf") and needed > (have := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise NoRoom(
            f"a run on inputs of these sizes ({input_sizes(schedule)}) needs {needed / 2**30:,.1f} GiB of memory, "
            f"this machine has {have / 2**30:,.1f} GiB",
            "use a smaller batch or smaller images",
        )


def input_sizes(schedule: Schedule) -> str:
    """The types of a schedule's inputs, for messages."""
    return ", ".join(f"'{p.name}': {p.type}" for p in schedule.inputs)


class KernelCode:
    """Kernels of one target by name, in this process. objects: machine code that came with the plan, or was made.

    ships: plans hold the machine code without being asked, because where they run there may be no compiler.
    """

    ships = False

    def __init__(self, library: TargetLibrary, objects: dict[str, KernelObject] | None = None) -> None:
        self.library = library
        self.objects = objects or {}

    def source(self, spec: KernelSpec) -> str:
        """The generated source of a kernel; raises ``PlanError`` for a specification that this graphc does not know."""
        try:
            return self.library.source(spec)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"this graphc cannot generate the plan's kernel {spec}: {type(error).__name__} {error}",
                "the plan is damaged or was written by another version: compile the net again",
            ) from error

    @property
    def beside(self) -> KernelCode:
        """Machine code for what runs on the CPU in a plan for a card; for a CPU this one."""
        return self

    def take(self, name: str, value: Any) -> CardArray:
        """An input that is in a card's memory; raises ``RunError`` where the kernels run on a CPU."""
        raise RunError(
            f"input '{name}' is in the memory of a card, the plan runs on '{self.library.target_name}'",
            "copy it: tensor.cpu().numpy(), cupy.asnumpy(array); or compile the net for the card",
        )

    def following(self, stream: object) -> AbstractContextManager[CallerStream]:
        """Have what runs inside wait for the work that a caller's stream on the card has now; where that raises,
        nothing reads the caller's memory any more."""
        raise RunError(
            f"a stream of a card was given, the plan runs on '{self.library.target_name}'",
            "leave stream= out, or compile the net for the card",
        )

    def keep(self, arrays: Sequence[CardArray], stream: CallerStream | None) -> list[CardArray]:
        """Copies of outputs on a card that later runs do not overwrite, and the end of the run: it is waited for, or
        the caller's stream waits."""
        raise NotImplementedError

    def require_memory(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
        held: int,
        resident: Collection[int] = (),
    ) -> None:
        """Raise ``NoRoom`` where there is not the memory that a new executor takes.

        held: bytes of the arena that it may have, or that is given back for a larger one. resident: as ``executor``
        takes it.
        """
        raise NotImplementedError

    def copy_seconds(self, nbytes: int) -> float:
        """How long a copy of so many bytes within a card's memory takes."""
        raise NotImplementedError

    def load(self, specs: Sequence[KernelSpec], progress: Callable[[int, int], None] | None = None) -> None:
        """Have the machine code of these kernels."""
        raise NotImplementedError

    def memory(self, nbytes: int) -> Any:
        """A ``Memory`` for the arena or the scratch of some executors, one of which runs at a time."""
        raise NotImplementedError

    def executor(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
        memory: Sequence[Any],
        resident: Collection[int] = (),
    ) -> Runner:
        """A runner of a schedule whose kernels are loaded; memory: an arena and scratch, unless it makes its own.

        resident: outputs that stay where the kernels run, which makes a difference on a card.
        """
        raise NotImplementedError
