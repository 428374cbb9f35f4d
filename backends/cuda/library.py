"""CUDA's kernel library."""

from __future__ import annotations

from graphc.backends.cuda import kernels
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.library import RuleLibrary
from graphc.backends.products import OPERATORS
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.schedule import Halo, Task, View


class CudaLibrary(RuleLibrary[CudaTarget]):
    """``ir.schedule.Library`` for one CUDA target."""

    def __init__(self, target: CudaTarget) -> None:
        super().__init__(target, kernels.RULES, kernels.TEMPLATES)

    def halo_task(self, view: View, halo: Halo) -> Task:
        """No kernel asks for a border: each looks where its image ends."""
        raise LoweringError(f"a kernel for {self.target_name} asked for the border {halo}")

    def why_no_library(self, call: Call) -> str:
        """Why cuDNN and cublasLt do not do a call."""
        refused = {
            **dict.fromkeys(kernels.library_conv.OPS, kernels.library_conv.refused),
            **dict.fromkeys(OPERATORS, kernels.library_product.refused),
        }.get(call.node.op)
        return refused(call) if refused else "cuDNN and cublasLt are not asked for this operator"

    def copy_task(self, source: View, target: View) -> Task:
        """Copy between views of one logical shape."""
        return kernels.copy.copy_task(source, target)
