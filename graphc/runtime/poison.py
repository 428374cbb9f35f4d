"""Runs in poisoned memory: what a schedule calls dead is filled with a pattern, and nothing may change.

A run like this, step by step through the same kernels, shows what addresses alone cannot: how far a kernel reads and
writes. Outputs that differ were computed from dead bytes, or by tasks that depend on others of their step; bytes that
change outside a task's buffers were written to by mistake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.memory_check import buffer_text, rounded
from graphc.ir.schedule import Address, Schedule, Step, Task
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
    """One run, step by step, and in each step one task after another, from the last to the first unless ``forwards``,
    because they must not depend on each other.

    outputs: in order, complete when ``steps`` is at its end. strays: writes to bytes that belong to no buffer of the
    task that wrote them.
    """

    def __init__(
        self,
        schedule: Schedule,
        make: MakeExecutor,
        threads: int,
        inputs: Sequence[np.ndarray],
        pattern: int,
        forwards: bool = False,
    ) -> None:
        self.schedule, self.pattern, self.forwards = schedule, pattern, forwards
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
                for task in range(len(step)) if self.forwards else reversed(range(len(step))):
                    self._run_task(k, number, task)
                number += 1
            yield k
        self.executor.require_accepted()

    def _poison(self, step: int) -> None:
        """Fill the bytes that hold nothing before this step, and the scratch memory."""
        held = [i for i, b in enumerate(self.schedule.buffers) if b.first < step <= b.last]
        for start, end in gaps(self.schedule, held):
            self.arena[start:end] = self.pattern
        self._scratch[:] = self.pattern

    def _run_task(self, step: int, number: int, k: int) -> None:
        """Run a task, and look whether it changed bytes outside the buffers that it names."""
        task = self.schedule.steps[step][k]
        ranges = gaps(self.schedule, named_buffers((task,)))
        before = [self.arena[start:end].copy() for start, end in ranges]
        self.executor.run_task(number, k)
        for (start, end), old in zip(ranges, before):
            if not np.array_equal(self.arena[start:end], old):
                at = start + int(np.flatnonzero(self.arena[start:end] != old)[0])
                self._stray(step, task, f"wrote to byte {at} of the arena, {self._owner(step, at)}")
                self.arena[start:end] = old
        for zone, where in ((self._memory[:RED_ZONE], "before"), (self._memory[-RED_ZONE:], "after")):
            if (zone != self.pattern).any():
                self._stray(step, task, f"wrote {where} the arena")
                zone[:] = self.pattern

    def _stray(self, step: int, task: Task, text: str) -> None:
        self.strays.append(PoisonFinding(self.pattern, step, f"{step_text((task,))} {text}"))

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
            step, why = _cause(partial(PoisonedRun, schedule, make, threads, inputs), pattern)
            names = ", ".join(f"'{name}'" for name in wrong)
            findings.append(PoisonFinding(pattern, step, f"{why}; what comes out different: {names}"))
    return findings


def _wrong(run: PoisonedRun, wanted: Results) -> list[str]:
    """The outputs and fetched blobs that are not what they were in a normal run."""
    outputs, fetched = wanted
    wrong = [p.name for p, a, b in zip(run.schedule.outputs, run.outputs, outputs) if a.tobytes() != b.tobytes()]
    return wrong + [name for name, array in fetched.items() if run.executor.fetch(name).tobytes() != array.tobytes()]


def _cause(run: Callable[..., PoisonedRun], pattern: int) -> tuple[int, str]:
    """The first step whose results depend on the order of its tasks, or else on the pattern; and what it does."""
    cases = [
        (run(pattern, forwards=True), run(pattern), "has tasks that depend on each other and write to"),
        (run(0), run(pattern), "computes from dead bytes what it leaves in"),
    ]
    for a, b, what in cases:
        found = _first_difference(a, b)
        if found:
            step, where = found
            return step, f"{step_text(a.schedule.steps[step])} {what} {where}"
    return len(cases[0][0].schedule.steps) - 1, "bytes of a result are not written, or dead at the end"


def _first_difference(a: PoisonedRun, b: PoisonedRun) -> tuple[int, str] | None:
    """The first step after which bytes that were computed differ, and where; both runs go side by side."""
    schedule = a.schedule
    with suppress(RunError):  # at the end, where nothing has been found
        for step, _ in zip(a.steps(), b.steps()):
            for number in sorted(named_buffers(schedule.steps[step])):
                buffer = schedule.buffers[number]
                part = slice(buffer.offset, buffer.offset + buffer.size)
                if _differ(a, b, a.arena[part], b.arena[part]):
                    return step, buffer_text(number, buffer)
            for port, x, y in zip(schedule.outputs, a.outputs, b.outputs):
                if _differ(a, b, x.reshape(-1).view(np.uint8), y.reshape(-1).view(np.uint8)):
                    return step, f"output '{port.name}'"
    return None


def _differ(a: PoisonedRun, b: PoisonedRun, x: np.ndarray, y: np.ndarray) -> bool:
    """Some byte differs, and is not simply one that neither run has written."""
    return bool(((x != y) & ~((x == a.pattern) & (y == b.pattern))).any())
