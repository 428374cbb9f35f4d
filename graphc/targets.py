"""The targets by name: instruction sets of this machine's CPU, and cards, and what belongs to each.

``cuda:sm_90a+avx2`` is a card with the CPU that does what the card does not; without a plus this machine's.
"""

from __future__ import annotations

from graphc.backends.cpu import target as cpu
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.cuda import target as cuda
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.load import KernelObject
from graphc.cuda_code import CudaCode
from graphc.kernel_code import KernelCode, TargetLibrary
from graphc.machine_code import MachineCode

Target = CpuTarget | CudaTarget


def find(name: str) -> Target:
    """The target called ``name`` (``native``, ``avx2``, ``cuda:sm_90a``, ``cuda:sm_90a+avx2`` ...), a card without the
    CPU beside it; raises ``GraphcError``."""
    return cuda.find(name.partition("+")[0]) if cuda.is_cuda(name) else cpu.find(name)


def beside(name: str) -> str:
    """The CPU of a target called ``name``: what stands behind the plus, else this machine's."""
    return name.partition("+")[2] or "native"


def library_for(target: Target) -> TargetLibrary:
    """The kernels of a target."""
    return CudaLibrary(target) if isinstance(target, CudaTarget) else CpuLibrary(target)


def machine_code(
    library: TargetLibrary, objects: dict[str, KernelObject] | None = None, beside: str = "native"
) -> KernelCode:
    """The machine code of a target; objects: what came with a plan and may be used; beside: the CPU of a card."""
    return CudaCode(library, objects, beside) if isinstance(library, CudaLibrary) else MachineCode(library, objects)
