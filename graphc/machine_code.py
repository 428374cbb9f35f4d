"""The machine code of a plan for a CPU: from its own objects, the kernel cache, or the compiler; loaded once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import driver
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.load import KernelObject, LoadedKernels
from graphc.ir.schedule import KernelSpec, Schedule
from graphc.kernel_code import KernelCode, require_host_memory
from graphc.planning import PLANNING
from graphc.runtime.executor import Executor, aligned_zeros

_DRIVERS: dict[str, LoadedKernels] = {}
"""The driver of each target. Worker threads are in its code all their life, so it is never freed."""


class MachineCode(KernelCode):
    """Kernels of one CPU target by name, in this process. native: objects that came with the plan."""

    def __init__(self, library: CpuLibrary, native: dict[str, KernelObject] | None = None) -> None:
        super().__init__(library, native)
        self._target = library.target
        self.addresses: dict[str, int] = {}
        self._loaded: list[LoadedKernels] = []
        self._cache = KernelCache.default()

    def load(self, specs: Sequence[KernelSpec], progress: Callable[[int, int], None] | None = None) -> None:
        """Have these kernels in ``addresses``, and the driver."""
        target = self.library.target_name
        with PLANNING:
            sources = {s.name: self.source(s) for s in specs if s.name not in self.addresses}
            if target not in _DRIVERS:
                sources[driver.NAME] = driver.source()
            if not sources:
                return
            objects = {n: self.objects[n] for n in sources if n in self.objects}
            rest = {n: s for n, s in sources.items() if n not in objects}
            note = (lambda done, total, name: progress(done, total)) if progress else None
            objects |= compile_kernels(rest, self._target, self._cache, note)
            self.objects |= objects
            if driver.NAME in objects:
                _DRIVERS[target] = LoadedKernels({driver.NAME: objects.pop(driver.NAME)})
            loaded = LoadedKernels(objects)
            self._loaded.append(loaded)
            self.addresses |= loaded.addresses

    def memory(self, nbytes: int) -> np.ndarray:
        """Zero bytes that begin at a cache line."""
        return aligned_zeros(nbytes)

    def require_memory(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
        held: int,
        resident: Collection[int] = (),
    ) -> None:
        """Arena, scratch memory and outputs must fit into the machine's memory."""
        outputs = sum(p.type.nbytes for p in schedule.outputs)
        require_host_memory(schedule, schedule.arena_bytes + schedule.scratch_bytes * threads + outputs)

    def executor(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
        memory: Sequence[np.ndarray],
        resident: Collection[int] = (),
    ) -> Executor:
        """The schedule with the native driver."""
        return Executor(schedule, self.addresses, self.driver, constants, threads, self.alive, memory)

    @property
    def driver(self) -> int:
        """The address of the driver, after ``load``."""
        return _DRIVERS[self.library.target_name].addresses[driver.NAME]

    @property
    def alive(self) -> tuple[LoadedKernels, ...]:
        """What has to stay in memory while something runs."""
        return (_DRIVERS[self.library.target_name], *self._loaded)
