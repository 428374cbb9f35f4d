"""The targets by name: instruction sets of this machine's CPU, and cards, and what belongs to each.

``cuda:sm_90a+avx2`` is a card with the CPU that does what the card does not; without a plus this machine's.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.backends.cpu import target as cpu
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.cuda import target as cuda
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tuning import UNTUNED, Tuning
from graphc.backends.load import KernelObject
from graphc.cuda_code import CudaCode
from graphc.ir import GraphcError
from graphc.kernel_code import KernelCode, TargetLibrary
from graphc.machine_code import MachineCode
from graphc.tuning_file import TuningFile, read_tuning

Target = CpuTarget | CudaTarget


def find(name: str) -> Target:
    """The target called ``name`` (``native``, ``avx2``, ``cuda:sm_90a``, ``cuda:sm_90a+avx2`` ...), a card without the
    CPU beside it; raises ``GraphcError``, also for that CPU."""
    if not cuda.is_cuda(name):
        return cpu.find(name)
    card, plus, host = name.partition("+")
    if plus:
        cpu.find(host)  # whether the net has work for it or not
    return cuda.find(card)


def with_tuning(target: Target, tuning: TuningFile) -> CudaTarget:
    """A card with a table of tilings; raises ``GraphcError`` for a CPU, and for a table that is not for the target."""
    if not isinstance(target, CudaTarget):
        raise GraphcError(f"a table of tilings is of cards, the target is '{target.name}'", "give a card: --target")
    return replace(target, tuning=read_tuning(tuning, target))


def beside(name: str) -> str:
    """The CPU of a target called ``name``: what stands behind the plus, else this machine's."""
    return name.partition("+")[2] or "native"


def stored_target(name: str, tuning: str) -> Target:
    """The target of a plan, with the text of its table of tilings, which is empty where it has none."""
    return with_tuning(find(name), Tuning.parse(tuning)) if tuning else find(name)


def tuning_text(library: TargetLibrary) -> str:
    """The text of the table of tilings that a library goes by, empty where it has none."""
    tuning = library.target.tuning if isinstance(library, CudaLibrary) else UNTUNED
    return str(tuning) if tuning.entries else ""


def library_for(target: Target) -> TargetLibrary:
    """The kernels of a target."""
    return CudaLibrary(target) if isinstance(target, CudaTarget) else CpuLibrary(target)


def machine_code(
    library: TargetLibrary, objects: dict[str, KernelObject] | None = None, beside: str = "native"
) -> KernelCode:
    """The machine code of a target; objects: what came with a plan and may be used; beside: the CPU of a card."""
    return CudaCode(library, objects, beside) if isinstance(library, CudaLibrary) else MachineCode(library, objects)
