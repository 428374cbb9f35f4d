"""The machine code of a plan: from its own objects, the kernel cache, or the compiler; loaded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import driver
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.load import KernelObject, LoadedKernels
from graphc.ir import PlanError
from graphc.ir.schedule import KernelSpec
from graphc.planning import PLANNING

_DRIVERS: dict[str, LoadedKernels] = {}
"""The driver of each target. Worker threads are in its code all their life, so it is never freed."""


class MachineCode:
    """Kernels of one target by name, in this process. native: objects that came with the plan."""

    def __init__(self, library: CpuLibrary, native: dict[str, KernelObject] | None = None) -> None:
        self.library = library
        self.objects = native or {}
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
            objects |= compile_kernels(rest, self.library.target, self._cache, note)
            self.objects |= objects
            if driver.NAME in objects:
                _DRIVERS[target] = LoadedKernels({driver.NAME: objects.pop(driver.NAME)})
            loaded = LoadedKernels(objects)
            self._loaded.append(loaded)
            self.addresses |= loaded.addresses

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
    def driver(self) -> int:
        """The address of the driver, after ``load``."""
        return _DRIVERS[self.library.target_name].addresses[driver.NAME]

    @property
    def alive(self) -> tuple[LoadedKernels, ...]:
        """What has to stay in memory while something runs."""
        return (_DRIVERS[self.library.target_name], *self._loaded)
