"""Runs in poisoned memory: what a schedule calls dead is filled with a pattern, and nothing may change.

A run like this, step by step through the same kernels, shows what addresses alone cannot: how far a kernel reads and
writes. Outputs that differ were computed from dead bytes; bytes that change outside a step's buffers were written to by
mistake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.memory_check import buffer_text, rounded
from graphc.ir.schedule import Address, Schedule, Step
from graphc.runtime.executor import Executor, aligned_zeros

PATTERNS = (0xFF, 0x7F, 0xFE)
"""Bytes that fill dead memory: as floats not a number, a huge one and a huge negative one; as integers -1, huge, small.
A maximum or a comparison hides the first from the outputs, but not all three."""

RED_ZONE = 4096
"""Bytes before and after the arena that no kernel may change."""

Memory = tuple[np.ndarray, np.ndarray]
"""An arena and a scratch buffer."""

Results = tuple[Sequence[np.ndarray], Mapping[str, np.ndarray]]
"""The outputs of a run, and the blobs fetched after it."""

MakeExecutor = Callable[[Memory], Executor]
"""A new executor for the schedule in question, in this memory."""


@dataclass(frozen=True)
class PoisonFinding:
    """Something that a poisoned run did. pattern: the byte that filled dead memory. step: of the schedule, the first
    where it was seen. text: what happened, naming tasks, buffers and values."""

    pattern: int
    step: int
    text: str

    def __str__(self) -> str:
        return f"pattern {self.pattern:#04x}, step {self.step}: {self.text}"


class PoisonedRun:
    """One run, step by step. outputs: in order, complete when ``steps`` is at its end. strays: writes to bytes that
    belong to no buffer of the step that wrote them."""

    def __init__(
        self, schedule: Schedule, make: MakeExecutor, threads: int, inputs: Sequence[np.ndarray], pattern: int
    ) -> None:
        self.schedule, self.pattern = schedule, pattern
        self._memory = aligned_zeros(schedule.arena_bytes + 2 * RED_ZONE)
        self._memory[:] = pattern
        self.arena = self._memory[RED_ZONE : RED_ZONE + schedule.arena_bytes]
        self._scratch = aligned_zeros(schedule.scratch_bytes * threads)
        self.executor = make((self._memory[RED_ZONE:], self._scratch))
        self._inputs = inputs
        self.outputs: list[np.ndarray] = []
        self.strays: list[PoisonFinding] = []

    def steps(self) -> Iterator[int]:
        """Run; after each step its number. Raises ``RunError`` where a kernel refuses what it met."""
        self.outputs = self.executor.bind(self._inputs)
        for output in self.outputs:
            output.reshape(-1).view(np.uint8)[:] = self.pattern
        number = 0
        for k, step in enumerate(self.schedule.steps):
            if step:
                self._poison(k)
                self._run_guarded(k, number)
                number += 1
            yield k
        self.executor.require_accepted()

    def _poison(self, step: int) -> None:
        """Fill the bytes that hold nothing before this step, and the scratch memory."""
        held = [i for i, b in enumerate(self.schedule.buffers) if b.first < step <= b.last]
        for start, end in gaps(self.schedule, held):
            self.arena[start:end] = self.pattern
        self._scratch[:] = self.pattern

    def _run_guarded(self, step: int, number: int) -> None:
        """Run a step, and look whether it changed bytes outside the buffers that its tasks name."""
        ranges = gaps(self.schedule, named_buffers(self.schedule.steps[step]))
        before = [self.arena[start:end].copy() for start, end in ranges]
        self.executor.run_step(number)
        for (start, end), old in zip(ranges, before):
            if not np.array_equal(self.arena[start:end], old):
                at = start + int(np.flatnonzero(self.arena[start:end] != old)[0])
                self._stray(step, f"wrote to byte {at} of the arena, {self._owner(step, at)}")
                self.arena[start:end] = old
        for zone, where in ((self._memory[:RED_ZONE], "before"), (self._memory[-RED_ZONE:], "after")):
            if (zone != self.pattern).any():
                self._stray(step, f"wrote {where} the arena")
                zone[:] = self.pattern

    def _stray(self, step: int, text: str) -> None:
        self.strays.append(PoisonFinding(self.pattern, step, f"{step_text(self.schedule.steps[step])} {text}"))

    def _owner(self, step: int, at: int) -> str:
        for i, b in enumerate(self.schedule.buffers):
            if b.first <= step <= b.last and b.offset <= at < b.offset + rounded(b.size):
                return f"in {buffer_text(i, b)}, of which it holds no address"
        return "where no buffer lives"


def named_buffers(step: Step) -> set[int]:
    """The numbers of the buffers in which the tasks of a step hold addresses."""
    return {p.index for t in step for p in t.params if isinstance(p, Address) and p.space == "arena"}


def gaps(schedule: Schedule, numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The bytes of the arena outside these buffers, as ranges [start, end)."""
    found, at = [], 0
    buffers = [schedule.buffers[i] for i in numbers]
    taken = sorted((b.offset, b.offset + rounded(b.size)) for b in buffers)
    for start, end in [*taken, (schedule.arena_bytes, schedule.arena_bytes)]:
        if start > at:
            found.append((at, start))
        at = max(at, end)
    return found


def step_text(step: Step) -> str:
    """How messages name a step: its kernels and what they are for."""
    return " + ".join(dict.fromkeys(f"{t.kernel.template} {t.label}".strip() for t in step))


def poison_check(
    schedule: Schedule,
    make: MakeExecutor,
    threads: int,
    inputs: Sequence[np.ndarray],
    wanted: Results,
    patterns: Sequence[int] = PATTERNS,
) -> list[PoisonFinding]:
    """Run with each pattern; what was seen besides the results of a normal run, bit by bit.

    make: a new executor of the schedule for that number of threads. wanted: the outputs of a normal run, and the blobs
    fetched from it, which the schedule has to keep. The schedule has to pass ``check_memory``.
    """
    findings = []
    for pattern in patterns:
        mine = [a.copy() for a in inputs]
        run = PoisonedRun(schedule, make, threads, mine, pattern)
        try:
            deque(run.steps(), maxlen=0)
        except RunError as error:
            last = len(schedule.steps) - 1
            findings.append(PoisonFinding(pattern, last, f"data is refused that a normal run accepts: {error.message}"))
            continue
        findings += run.strays
        changed = [p.name for p, a, b in zip(schedule.inputs, inputs, mine) if a.tobytes() != b.tobytes()]
        if changed:
            findings.append(PoisonFinding(pattern, 0, f"some step writes to the inputs {', '.join(changed)}"))
        wrong = _wrong(run, wanted)
        if wrong:
            clean, poisoned = (PoisonedRun(schedule, make, threads, inputs, p) for p in (0, pattern))
            findings.append(_first_difference(clean, poisoned, ", ".join(f"'{name}'" for name in wrong)))
    return findings


def _wrong(run: PoisonedRun, wanted: Results) -> list[str]:
    """The outputs and fetched blobs that are not what they were in a normal run."""
    outputs, fetched = wanted
    wrong = [p.name for p, a, b in zip(run.schedule.outputs, run.outputs, outputs) if a.tobytes() != b.tobytes()]
    return wrong + [name for name, array in fetched.items() if run.executor.fetch(name).tobytes() != array.tobytes()]


def _first_difference(clean: PoisonedRun, poisoned: PoisonedRun, names: str) -> PoisonFinding:
    """The first step whose results depend on the pattern, both runs in lockstep."""
    schedule = clean.schedule
    for step, _ in zip(clean.steps(), poisoned.steps()):
        for number in sorted(named_buffers(schedule.steps[step])):
            b = schedule.buffers[number]
            part = slice(b.offset, b.offset + b.size)
            if _computed_from_poison(clean, poisoned, clean.arena[part], poisoned.arena[part]):
                return PoisonFinding(poisoned.pattern, step, _told(schedule, step, buffer_text(number, b), names))
        for k, (x, y) in enumerate(zip(clean.outputs, poisoned.outputs)):
            if _computed_from_poison(clean, poisoned, *(a.reshape(-1).view(np.uint8) for a in (x, y))):
                return PoisonFinding(poisoned.pattern, step, _told(schedule, step, f"output {k}", names))
    last = len(schedule.steps) - 1
    return PoisonFinding(poisoned.pattern, last, f"bytes of {names} are never written")


def _computed_from_poison(clean: PoisonedRun, poisoned: PoisonedRun, a: np.ndarray, b: np.ndarray) -> bool:
    """Some byte differs and is not simply one that neither run has written."""
    unwritten = (a == clean.pattern) & (b == poisoned.pattern)
    return bool(((a != b) & ~unwritten).any())


def _told(schedule: Schedule, step: int, where: str, names: str) -> str:
    what = step_text(schedule.steps[step])
    return f"{what} computes from dead bytes what it leaves in {where}; what comes out different: {names}"
