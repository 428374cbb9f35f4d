"""CardExecutor: a schedule as one recorded sequence of copies and launches on a card, and the one call that runs it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from graphc.ir.errors import PlanError, RunError
from graphc.ir.schedule import Address, Port, Schedule, Task
from graphc.runtime.card import Card, CardMemory, Launch, Move, Work
from graphc.runtime.executor import read_view

ALIGNMENT = 256


class CardExecutor:
    """Runs one schedule; one call at a time.

    Inputs, the words that tell of refused data, and outputs lie in one piece of the card's memory and in pinned memory
    of the same layout, so that a run is a copy there, the launches in the order of the steps, and a copy back.

    key: what its owner finds it by. kernels: machine code by name. constants: on the host, weights: on the card, in the
    order of the schedule's slots. arena: large enough for the schedule. Raises ``PlanError`` if a task points outside
    its buffers.
    """

    def __init__(
        self,
        schedule: Schedule,
        kernels: Mapping[str, bytes],
        card: Card,
        constants: Sequence[np.ndarray],
        weights: Sequence[CardMemory],
        arena: CardMemory,
    ) -> None:
        self.key: Hashable = None
        self.schedule, self.constants, self.card = schedule, constants, card
        self._weights, self._arena = weights, arena
        sizes = [p.type.nbytes for p in schedule.inputs]
        sizes += [8 * len(schedule.checks), *(p.type.nbytes for p in schedule.outputs)]
        self._starts, total = _layout(sizes)
        self._ports, self._pinned = card.allocate(total), card.pinned(total)
        n = len(schedule.inputs)
        self._inputs = [self._array(p, at) for p, at in zip(schedule.inputs, self._starts)]
        self._status = self._pinned[self._starts[n] :][: sizes[n]].view(np.int64)
        self._outputs = [self._array(p, at) for p, at in zip(schedule.outputs, self._starts[n + 1 :])]
        loaded = {name: card.load(name, code) for name, code in kernels.items()}
        work: list[Work] = [Move(self._ports, self._pinned, 0, self._starts[n] + sizes[n], to_card=True)]
        work += [self._launch(t, loaded) for step in schedule.steps for t in step if t.units]
        work += [Move(self._ports, self._pinned, self._starts[n], total, to_card=False)]
        self._replay = card.record(work)

    def _array(self, port: Port, start: int) -> np.ndarray:
        """The pinned bytes of a port as an array."""
        dtype = port.type.dtype.numpy if port.type.dtype else np.dtype(np.float32)
        return self._pinned[start : start + port.type.nbytes].view(dtype).reshape(port.type.static_shape)

    def _launch(self, task: Task, loaded: Mapping[str, object]) -> Launch:
        params = tuple(p if isinstance(p, int) else self._resolve(p) for p in task.params)
        return Launch(loaded[task.kernel.name], task.units, task.kernel.int("threads"), params)

    def _resolve(self, a: Address) -> int:
        n = len(self.schedule.inputs)
        if a.space in ("in", "out", "status"):
            limit = {"in": n, "out": len(self._outputs), "status": len(self.schedule.checks)}[a.space]
            if not 0 <= a.index < limit:
                raise PlanError(f"the schedule points into {a.space} {a.index}, which does not exist")
            if a.space == "status":
                return self._ports.address + self._starts[n] + 8 * a.index
            return self._ports.address + self._starts[a.index + (n + 1 if a.space == "out" else 0)] + a.offset
        section = self._section(a)
        if not 0 <= a.offset <= section.nbytes:
            raise PlanError(f"the schedule points outside its {a.space} ({a.offset} of {section.nbytes} bytes)")
        return section.address + a.offset

    def _section(self, a: Address) -> CardMemory:
        """The piece of memory that an address points into."""
        if a.space == "arena":
            return self._arena
        if a.space == "const" and 0 <= a.index < len(self._weights):
            return self._weights[a.index]
        raise PlanError(f"the schedule points into {a.space} {a.index}, which does not exist")

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs for inputs of exactly the schedule's shapes and dtypes."""
        for place, array in zip(self._inputs, inputs):
            place[...] = array
        self._status[:] = 0
        self._replay()
        if self._status.any():
            index = int(np.flatnonzero(self._status)[0])
            raise RunError(self.schedule.checks[index].message(int(self._status[index])))
        return [place.copy() for place in self._outputs]

    def fetch(self, name: str) -> np.ndarray:
        """A copy of a kept blob after a run."""
        return read_view(self.card.download(self._arena, self.schedule.arena_bytes), self.schedule.views[name])


def _layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where pieces of these sizes begin, and where the last one ends."""
    starts, end = [], 0
    for size in sizes:
        starts.append(-(-end // ALIGNMENT) * ALIGNMENT)
        end = starts[-1] + size
    return starts, end
