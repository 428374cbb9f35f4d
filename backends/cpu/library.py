"""The CPU's kernel library."""

from __future__ import annotations

from graphc.backends.cpu import kernels
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.library import RuleLibrary
from graphc.ir.schedule import Halo, Task, View


class CpuLibrary(RuleLibrary[CpuTarget]):
    """``ir.schedule.Library`` for one CPU target."""

    def __init__(self, target: CpuTarget) -> None:
        super().__init__(target, kernels.RULES, kernels.TEMPLATES)

    def halo_task(self, view: View, halo: Halo) -> Task:
        """Zero the halo of a 4-D value."""
        return kernels.halo_task(view, halo)

    def copy_task(self, source: View, target: View) -> Task:
        """Copy between views of one logical shape."""
        return kernels.copy_task(source, target, self.target)
