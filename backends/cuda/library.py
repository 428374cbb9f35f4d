"""CUDA's kernel library."""

from __future__ import annotations

from graphc.backends.cuda import kernels
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.library import RuleLibrary
from graphc.ir import LoweringError
from graphc.ir.schedule import Halo, Task, View


class CudaLibrary(RuleLibrary[CudaTarget]):
    """``ir.schedule.Library`` for one CUDA target."""

    def __init__(self, target: CudaTarget) -> None:
        super().__init__(target, kernels.RULES, kernels.TEMPLATES)

    def halo_task(self, view: View, halo: Halo) -> Task:
        """No kernel asks for a border: each looks where its image ends."""
        raise LoweringError(f"a kernel for {self.target_name} asked for the border {halo}")

    def copy_task(self, source: View, target: View) -> Task:
        """Copy between views of one logical shape."""
        return kernels.copy.copy_task(source, target)
