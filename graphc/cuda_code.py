"""The machine code of a plan for a card: from the plan, the kernel cache, or the compiler, which needs no card."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any
from weakref import finalize

import numpy as np

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import target as cpu
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cuda.compile import compile_kernels
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.load import KernelObject
from graphc.ir import PlanError
from graphc.ir.schedule import KernelSpec, Schedule
from graphc.kernel_code import KernelCode
from graphc.machine_code import MachineCode
from graphc.planning import PLANNING
from graphc.runtime.card import Card, CardMemory, Transfer
from graphc.runtime.card_array import CardArray, card_array
from graphc.runtime.card_executor import CardExecutor
from graphc.runtime.nvidia import NvidiaCard


class CudaCode(KernelCode):
    """Kernels of one CUDA target by name. objects: those that came with the plan and may be used.

    beside: the name of the CPU target that does what the card does not.
    card: where they run; the machine's first one, opened when something first runs, unless another is set.
    """

    ships = True

    def __init__(
        self, library: CudaLibrary, objects: dict[str, KernelObject] | None = None, beside: str = "native"
    ) -> None:
        super().__init__(library, objects)
        self._beside_name = beside
        self._target = library.target
        self._card: Card | None = None
        self._constants: dict[int, CardMemory] = {}
        self._cache = KernelCache.default()

    @cached_property
    def beside(self) -> MachineCode:
        """The machine code of the CPU, made on first use: most plans for cards have none."""
        return MachineCode(CpuLibrary(cpu.find(self._beside_name)))

    @property
    def card(self) -> Card:
        """The card; raises ``GraphcError`` where there is none that runs the target's kernels."""
        with PLANNING:
            if self._card is None:
                self._card = NvidiaCard(self._target.arch, self._target.serves)
            return self._card

    @card.setter
    def card(self, card: Card) -> None:
        self._card = card

    def load(self, specs: Sequence[KernelSpec], progress: Callable[[int, int], None] | None = None) -> None:
        """Have the machine code of these kernels in ``objects``; raises ``GraphcError`` without a compiler."""
        with PLANNING:
            missing = [s for s in specs if not s.library and s.name not in self.objects]
            if not missing:
                return
            sources = {s.name: (self.source(s), s.int("threads")) for s in missing}
            note = (lambda done, total, name: progress(done, total)) if progress else None
            made = compile_kernels(sources, self._target, self._cache, note)
            self.objects |= {name: cubin.pack() for name, cubin in made.items()}

    def cubins(self) -> list[Cubin]:
        """The machine code at hand, and what it takes of a multiprocessor; raises ``PlanError`` for anything else."""
        return [_cubin(o) for o in self.objects.values()]

    def memory(self, nbytes: int) -> CardMemory:
        """Memory of the card."""
        return self.card.allocate(nbytes)

    def executor(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
        memory: Sequence[Any],
        resident: Collection[int] = (),
    ) -> CardExecutor:
        """The schedule as one recorded sequence of launches on the card."""
        kernels = {s.name: _cubin(self.objects[s.name]).code for s in schedule.kernels if not s.library}
        arena = memory[0] if memory else self.card.allocate(schedule.arena_bytes)
        weights = [self._constant(a) for a in constants]
        return CardExecutor(schedule, kernels, self.card, constants, weights, arena, resident)

    def take(self, name: str, value: Any) -> CardArray:
        """An array in the card's memory, of graphc or another library, as an input; raises ``RunError``."""
        return card_array(name, value, self.card.stream, self._read)

    def keep(self, array: CardArray) -> CardArray:
        """A copy that stays: outputs of a run lie where the next run writes."""
        place = self.card.allocate(array.nbytes)
        self.card.record(())((Transfer(array, place, 0),))
        return CardArray(place.address, array.shape, array.dtype, place, self._read)

    def copy_seconds(self, nbytes: int) -> float:
        """The median of some copies, by the card's clock."""
        source, target = self.card.allocate(nbytes), self.card.allocate(nbytes)
        array = CardArray(source.address, (nbytes,), np.dtype(np.uint8), source, self._read)
        return float(np.median(self.card.measure([Transfer(array, target, 0)], 20)))

    def _read(self, array: CardArray) -> np.ndarray:
        return self.card.download(array.address, array.nbytes)

    def _constant(self, array: np.ndarray) -> CardMemory:
        """A weight in the card's memory, once for all executors, for as long as one of them holds the array."""
        if id(array) not in self._constants:
            place = self.card.allocate(array.nbytes)
            self.card.upload(place, array)
            self._constants[id(array)] = place
            finalize(array, self._constants.pop, id(array), None).atexit = False
        return self._constants[id(array)]


def _cubin(packed: KernelObject) -> Cubin:
    try:
        return Cubin.unpack(packed)
    except ValueError as error:
        raise PlanError(f"kernel {packed.symbol}: {error}", "the plan is damaged: compile the net again") from None
