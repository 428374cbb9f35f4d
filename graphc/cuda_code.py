"""The machine code of a plan for a card: from the plan, the kernel cache, or the compiler, which needs no card."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
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
from graphc.ir import PlanError, RunError
from graphc.ir.schedule import KernelSpec, Schedule
from graphc.kernel_code import KernelCode, NoRoom, input_sizes, require_host_memory
from graphc.machine_code import MachineCode
from graphc.planning import PLANNING
from graphc.runtime.card import LESS_MEMORY, Card, CardMemory, Transfer
from graphc.runtime.card_array import CardArray, card_array
from graphc.runtime.card_executor import CardExecutor, PortLayout, read_array
from graphc.runtime.card_stream import CallerStream, caller_stream
from graphc.runtime.nvidia import NvidiaCard


class CudaCode(KernelCode):
    """Kernels of one CUDA target by name. objects: those that came with the plan and may be used.

    beside: the name of the CPU target that does what the card does not.
    card: where they run; the process's card ``number``, opened when something first runs, unless another is set.
    """

    ships = True

    def __init__(
        self,
        library: CudaLibrary,
        objects: dict[str, KernelObject] | None = None,
        beside: str = "native",
        number: int = 0,
    ) -> None:
        super().__init__(library, objects)
        self._beside_name, self._number = beside, number
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
                self._card = NvidiaCard(self._target.arch, self._target.serves, self._number)
            return self._card

    @card.setter
    def card(self, card: Card) -> None:
        self._card = card

    def on_card(self, number: int) -> CudaCode:
        """The same code for another card of the process; the machine code is shared."""
        assert isinstance(self.library, CudaLibrary)
        other = CudaCode(self.library, self.objects, self._beside_name, number)
        other.beside = self.beside
        return other

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
        return card_array(name, value, self.card.stream, partial(read_array, self.card))

    @contextmanager
    def following(self, stream: object) -> Iterator[CallerStream]:
        """By an event on the card; raises ``RunError`` for what is no stream of this card."""
        found = caller_stream(stream)
        self.card.follow(found)
        try:
            yield found
        except BaseException:
            with suppress(RunError):
                self.card.wait()
            raise

    def keep(self, arrays: Sequence[CardArray], stream: CallerStream | None) -> list[CardArray]:
        """Copies that stay, all at once: outputs of a run lie where the next run writes. They are made, and their
        memory is given back, in the order of the caller's stream."""
        places = [self.card.allocate(a.nbytes, stream) for a in arrays]
        self.card.copy([Transfer(a, place, 0) for a, place in zip(arrays, places)], stream)
        made, read = None if stream is None else stream.handle, partial(read_array, self.card)  # which keep no run
        return [
            replace(a, address=p.address, owner=p, read=read, stream=made, lend=partial(self.card.lend, p, made))
            for a, p in zip(arrays, places)
        ]

    def require_memory(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
        held: int,
        resident: Collection[int] = (),
    ) -> None:
        """Arena, inputs, outputs, and weights that are not there yet must fit into the card's free memory; what passes
        through pinned memory into the machine's."""
        ports = PortLayout.of(schedule, resident)
        made = sum(p.type.nbytes for k, p in enumerate(schedule.outputs) if k not in resident)
        require_host_memory(schedule, ports.returned + made)
        grows = schedule.arena_bytes > held
        weights = sum(a.nbytes for a in constants if id(a) not in self._constants)
        needed = ports.nbytes + weights + (schedule.arena_bytes if grows else 0)
        free = self.card.free_bytes() + (held if grows else 0)
        if needed > free:
            raise NoRoom(
                f"a run on inputs of these sizes ({input_sizes(schedule)}) needs {needed / 2**30:,.1f} GiB on "
                f"{self.card.name}, which has {free / 2**30:,.1f} GiB free",
                LESS_MEMORY,
            )

    def copy_seconds(self, nbytes: int) -> float:
        """The median of some copies, by the card's clock."""
        source, target = self.card.allocate(nbytes), self.card.allocate(nbytes)
        array = CardArray(source.address, (nbytes,), np.dtype(np.uint8), source, partial(read_array, self.card))
        return float(np.median(self.card.measure([Transfer(array, target, 0)], 20)))

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
