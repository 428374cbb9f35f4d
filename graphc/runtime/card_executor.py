"""CardExecutor: a schedule as one recorded sequence of copies and launches on a card, and the one call that runs it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from graphc.ir.errors import PlanError, RunError
from graphc.ir.library_call import read_call
from graphc.ir.schedule import Address, Port, Schedule, Task
from graphc.runtime.card import Array, Card, CardMemory, Launch, Move, Replay, Request, Transfer, Work
from graphc.runtime.card_array import CardArray
from graphc.runtime.executor import read_view, view_nbytes

ALIGNMENT = 256


@dataclass(frozen=True)
class CardTimes:
    """Seconds by the card's clock. whole: of all launches, for each repetition. tasks: the median of each by itself."""

    whole: list[float]
    tasks: list[tuple[Task, float]]


@dataclass(frozen=True)
class PortLayout:
    """Where ports begin in their piece of ``nbytes`` bytes: inputs, status words (begin and end), outputs that are
    copied back, outputs that stay. returned: bytes up to the end of what is copied back, which pinned memory has."""

    inputs: list[int]
    status: tuple[int, int]
    outputs: dict[int, int]
    returned: int
    nbytes: int

    @staticmethod
    def of(schedule: Schedule, resident: Collection[int]) -> PortLayout:
        """The layout for a schedule of which some outputs stay on the card."""
        ins, outs = schedule.inputs, schedule.outputs
        order = sorted(range(len(outs)), key=lambda k: k in resident)
        sizes = [p.type.nbytes for p in ins] + [8 * len(schedule.checks)] + [outs[k].type.nbytes for k in order]
        starts, total = _layout(sizes)
        n = len(ins)
        status = starts[n], starts[n] + sizes[n]
        ends = [start + size for k, start, size in zip(order, starts[n + 1 :], sizes[n + 1 :]) if k not in resident]
        return PortLayout(starts[:n], status, dict(zip(order, starts[n + 1 :])), max([status[1], *ends]), total)


class CardExecutor:
    """Runs one schedule; one call at a time.

    Inputs, the words that tell of refused data, and outputs lie in one piece of the card's memory and in pinned memory
    of the same layout, so that a run is a copy there, the launches in the order of the steps, and a copy back. An input
    that is on the card already is copied within its memory instead, and outputs that are ``resident`` are not copied
    back: they are valid until the next run. A run of which nothing comes back is not waited for.

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
        resident: Collection[int] = (),
    ) -> None:
        self.key: Hashable = None
        self.schedule, self.constants, self.card = schedule, constants, card
        self._weights, self._arena, self._resident = weights, arena, frozenset(resident)
        self._place_ports()
        loaded = {name: card.load(name, code) for name, code in kernels.items()}
        self._tasks = [t for step in schedule.steps for t in step if t.units]
        self._launches = [self._launch(t, loaded) for t in self._tasks]
        self._replays: dict[frozenset[int], Replay] = {}
        self._runs_on = False

    def __del__(self) -> None:
        if getattr(self, "_runs_on", False) and not sys.is_finalizing():
            with suppress(RunError):  # which the next run tells
                self._finish()

    def _finish(self) -> None:
        """Wait for a run that was not waited for: it reads the pinned memory."""
        self._runs_on = False
        self.card.wait()

    def _place_ports(self) -> None:
        """Have memory for the ports."""
        ports = PortLayout.of(self.schedule, self._resident)
        self._in_starts, self._out_starts, self._returned = ports.inputs, ports.outputs, ports.returned
        self._status_start, self._status_stop = ports.status
        self._ports, self._pinned = self.card.allocate(ports.nbytes), self.card.pinned(ports.returned)
        self._status = self._pinned[self._status_start : self._status_stop].view(np.int64)

    def _host(self, port: Port, start: int) -> np.ndarray:
        """The pinned bytes of a port as an array."""
        return self._pinned[start : start + port.type.nbytes].view(_dtype(port)).reshape(port.type.static_shape)

    def _launch(self, task: Task, loaded: Mapping[str, object]) -> Launch | Request:
        params = tuple(p if isinstance(p, int) else self._resolve(p) for p in task.params)
        if task.kernel.library:
            return self.card.prepare(read_call(task.kernel, params), task.label)
        kernel = task.kernel
        return Launch(loaded[kernel.name], task.units, kernel.int("threads"), params, task.label, kernel.shared)

    def _resolve(self, a: Address) -> int:
        if a.space in ("in", "out", "status"):
            count = {"in": len(self._in_starts), "out": len(self._out_starts), "status": len(self.schedule.checks)}
            if not 0 <= a.index < count[a.space]:
                raise PlanError(f"the schedule points into {a.space} {a.index}, which does not exist")
            if a.space == "status":
                return self._ports.address + self._status_start + 8 * a.index
            return self._ports.address + (self._in_starts if a.space == "in" else self._out_starts)[a.index] + a.offset
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

    def _replay(self, given: frozenset[int]) -> Replay:
        """The recorded run for inputs of which these are on the card."""
        if given not in self._replays:
            moves = [(s, s + p.type.nbytes) for s, p in zip(self._in_starts, self.schedule.inputs)]
            moves = [span for i, span in enumerate(moves) if i not in given] + [(self._status_start, self._status_stop)]
            work: list[Work] = [Move(self._ports, self._pinned, *span, to_card=True) for span in _joined(moves)]
            work += self._launches
            if self._returned > self._status_start:
                work += [Move(self._ports, self._pinned, self._status_start, self._returned, to_card=False)]
            self._replays[given] = self.card.record(work)
        return self._replays[given]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for inputs of exactly the schedule's shapes and dtypes; the resident ones on the card."""
        if self._runs_on:
            self._finish()
        first = []
        for port, start, array in zip(self.schedule.inputs, self._in_starts, inputs):
            if isinstance(array, CardArray):
                self.card.require_here(array, port.name)
                first.append(Transfer(array, self._ports, start))
            else:
                self._host(port, start)[...] = array
        self._status[:] = 0
        given = frozenset(i for i, array in enumerate(inputs) if isinstance(array, CardArray))
        wait = self._returned > self._status_start
        replay = self._replay(given)
        self._runs_on = True  # also where an interrupt ends the wait
        replay(first, wait)
        self._runs_on = not wait
        if self._status.any():
            index = int(np.flatnonzero(self._status)[0])
            raise RunError(self.schedule.checks[index].message(int(self._status[index])))
        return [self._output(k, port) for k, port in enumerate(self.schedule.outputs)]

    def measure(self, repeats: int, each: bool) -> CardTimes:
        """How long the launches take, without copies of inputs and outputs; each: also one by one."""
        whole = self.card.measure(self._launches, repeats)
        single = [(t, self.card.measure([launch], repeats)) for t, launch in zip(self._tasks, self._launches) if each]
        return CardTimes(whole, [(task, float(np.median(times))) for task, times in single])

    def measure_blob(self, blob: str, times: int, repeats: int) -> list[float]:
        """How long the launches take that compute a blob, done several times in one recorded sequence."""
        launches = [launch for task, launch in zip(self._tasks, self._launches) if task.label == blob]
        return self.card.measure(launches * times, repeats)

    def _output(self, k: int, port: Port) -> Array:
        start = self._out_starts[k]
        if k not in self._resident:
            return np.array(self._host(port, start))
        place = self._ports.address + start
        shape, dtype = port.type.static_shape, np.dtype(_dtype(port))
        return CardArray(place, shape, dtype, self._ports, partial(read_array, self.card), card=self.card.number)

    def fetch(self, name: str) -> np.ndarray:
        """A copy of a kept blob after a run."""
        view = self.schedule.views[name]
        place = view.address
        span = min(view_nbytes(view), self.schedule.arena_bytes - place.offset)
        found = self.card.download(self._arena.address + place.offset, span)
        return read_view(found, replace(view, address=replace(place, offset=0)))


def read_array(card: Card, array: CardArray) -> np.ndarray:
    """The bytes of an array on a card, behind the work of the stream that makes them."""
    return card.download(array.address, array.nbytes, array.stream)


def _dtype(port: Port) -> np.dtype:
    return np.dtype(port.type.dtype.numpy if port.type.dtype else np.float32)


def _layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where pieces of these sizes begin, and where the last one ends."""
    starts, end = [], 0
    for size in sizes:
        starts.append(-(-end // ALIGNMENT) * ALIGNMENT)
        end = starts[-1] + size
    return starts, end


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of bytes in rising order, those joined with nothing but alignment in between; empty ones are left out."""
    found: list[tuple[int, int]] = []
    for start, stop in spans:
        if stop == start:
            continue
        if found and start - found[-1][1] < ALIGNMENT:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found
