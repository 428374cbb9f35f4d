"""Proof that the memory of a schedule holds: a reader of schedules that knows nothing of how they are made.

It trusts no number of a schedule, takes from the tasks when each buffer is in use, and reports the busiest step, the
bound that no placement goes below, and everything that is wrong. ``docs/memory.md`` says what is proved, and what not.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from graphc.ir.errors import PlanError
from graphc.ir.library_call import read_call
from graphc.ir.library_extents import spans
from graphc.ir.schedule import Address, Buffer, Port, Schedule, Task, View
from graphc.ir.types import TensorType

ALIGNMENT = 64
"""Buffers start at multiples of this many bytes and own what is left of their last ones: kernels store vectors."""

LIMIT = 2**63
"""Sizes are signed 64-bit numbers."""

MOST_UNITS = 2**31
"""Units of a step: threads claim them by a word that holds the next one in half of its bits."""

NUMBERS = ("stride", "run")
"""Spaces that stand for a number, and lead nowhere."""

PROVEN = "proven"
"""In the method of a plan whose lower bound is above what lives: a search has excluded all smaller arenas. That is its
word, which is not proved again here."""

Uses = dict[int, tuple[int, int]]
"""Number of a buffer -> the first and the last step with a task that holds an address in it."""


@dataclass(frozen=True)
class Violation:
    """Something wrong. rule: which of those in docs/memory.md. text: names buffers, values and steps."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass(frozen=True)
class MemoryReport:
    """What was found in a schedule, in bytes, each buffer rounded up to a multiple of ``ALIGNMENT``.

    live: what lives at each step, and after the last one. lower_bound: the most of these; no placement goes below it.
    peak_step: the first step where it is reached. at_peak: the numbers of the buffers that live there, largest first.
    buffer_sum: what the buffers would take if none shared bytes with another. addresses, views: how many led into
    buffers. held_longer: buffers whose stated life begins before their first use, or ends after the last one although
    they are not kept. If there are violations, the rest describes a schedule that is not to be run.
    """

    arena: int
    live: tuple[int, ...]
    lower_bound: int
    peak_step: int
    at_peak: tuple[int, ...]
    buffer_sum: int
    addresses: int
    views: int
    held_longer: tuple[int, ...]
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.violations


def check_memory(
    schedule: Schedule, keep: Collection[str] = (), constants: Sequence[int] | None = None
) -> MemoryReport:
    """The report on a schedule. keep: the blobs that have to be there after the last step. constants: the bytes of
    those that the plan has, which have to be as the schedule says. Raises nothing."""
    proof = _Proof(schedule)
    proof.constants(constants)
    sane = [i for i, b in enumerate(schedule.buffers) if proof.buffer(i, b)]
    proof.overlaps(sane)
    uses = proof.addresses()
    proof.library_calls()
    proof.units()
    views = sum(proof.view(name, view) for name, view in schedule.views.items())
    proof.survivors(keep)
    live = live_bytes(schedule, sane)
    buffer_sum = sum(rounded(schedule.buffers[i].size) for i in sane)
    proof.claims(max(live), buffer_sum)
    peak_step = live.index(max(live))
    at_peak = [i for i in sane if schedule.buffers[i].first <= peak_step <= schedule.buffers[i].last]
    return MemoryReport(
        schedule.arena_bytes,
        live,
        live[peak_step],
        peak_step,
        tuple(sorted(at_peak, key=lambda i: (-schedule.buffers[i].size, i))),
        buffer_sum,
        proof.followed,
        views,
        tuple(i for i in sane if _held_longer(schedule, i, uses)),
        tuple(proof.found),
    )


def rounded(size: int) -> int:
    """Bytes that a buffer of ``size`` bytes owns."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def live_bytes(schedule: Schedule, numbers: Sequence[int]) -> tuple[int, ...]:
    """What these buffers take while each step runs, and after the last one."""
    change = [0] * (len(schedule.steps) + 2)
    for b in (schedule.buffers[i] for i in numbers):
        change[b.first] += rounded(b.size)
        change[b.last + 1] -= rounded(b.size)
    live, now = [], 0
    for difference in change[:-1]:
        now += difference
        live.append(now)
    return tuple(live)


def view_extent(view: View) -> tuple[int, int]:
    """The bytes of its space [start, end) that a view covers, gaps included; raises ``ValueError`` for an open shape
    or for strides of another rank."""
    shape, itemsize, block = list(view.type.static_shape), _itemsize(view.type), 1
    if len(shape) == 4:
        block = view.type.layout.block
        shape[1] = -(-shape[1] // block)
    if len(shape) != len(view.strides):
        raise ValueError(f"{len(view.strides)} strides for {len(shape)} dimensions")
    if 0 in shape:
        return view.address.offset, view.address.offset
    reach = [(n - 1) * stride for n, stride in zip(shape, view.strides)]
    start = view.address.offset + itemsize * sum(r for r in reach if r < 0)
    return start, view.address.offset + itemsize * (sum(r for r in reach if r > 0) + block)


def buffer_text(number: int, b: Buffer) -> str:
    """How messages name a buffer: number, values, bytes, steps."""
    names = ", ".join(repr(n) for n in b.names[:3]) + (", ..." if len(b.names) > 3 else "")
    return f"buffer {number} ({names}; bytes {b.offset}..{b.offset + b.size}, steps {b.first}..{b.last})"


def _itemsize(type: TensorType) -> int:
    return type.dtype.itemsize if type.dtype else 4


def _inside(offset: int, size: int) -> bool:
    """An address ``offset`` bytes into a piece of ``size`` bytes; one of no bytes has the address of its start."""
    return 0 <= offset < max(size, 1)


def _held_longer(schedule: Schedule, number: int, uses: Uses) -> bool:
    b = schedule.buffers[number]
    if number not in uses:
        return True
    first, last = uses[number]
    return b.first < first or (b.last > last and b.last != len(schedule.steps))


class _Proof:
    """The rules, one a method; each adds what is wrong to ``found``."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.found: list[Violation] = []
        self.followed = 0
        self.pieces = {
            "const": [c.nbytes for c in schedule.constants],
            "in": [self.port(p, "input") for p in schedule.inputs],
            "out": [self.port(p, "output") for p in schedule.outputs],
            "status": [1 for _ in schedule.checks],
            "scratch": [schedule.scratch_bytes],
        }

    def wrong(self, rule: str, text: str) -> None:
        """Note a violation."""
        self.found.append(Violation(rule, text))

    def port(self, port: Port, what: str) -> int:
        """Its bytes; its size is known."""
        if port.type.is_static:
            return port.type.nbytes
        self.wrong("port", f"the size of {what} '{port.name}' : {port.type} is open")
        return 0

    def constants(self, sizes: Sequence[int] | None) -> None:
        """Those that are there are as large as the schedule says."""
        if sizes is not None and list(sizes) != self.pieces["const"]:
            said = self.pieces["const"][:5]
            self.wrong("constants", f"the schedule has constants of {said} bytes, the plan of {list(sizes)[:5]}")

    # ---- buffers -----------------------------------------------------------------------------------------------------

    def buffer(self, number: int, b: Buffer) -> bool:
        """Its bytes are in the arena, its steps in the schedule."""
        end, steps = self.schedule.arena_bytes, len(self.schedule.steps)
        problems = []
        if b.size < 0 or b.offset < 0 or b.offset + rounded(b.size) > end:
            problems.append(f"does not lie in the arena, bytes 0..{end}")
        if b.offset % ALIGNMENT:
            problems.append(f"does not start at a multiple of {ALIGNMENT}")
        if not 0 <= b.first <= b.last <= steps or b.first == steps:
            problems.append(f"does not live within the steps 0..{steps - 1}, or to the end, {steps}")
        for problem in problems:
            self.wrong("buffer", f"{buffer_text(number, b)} {problem}")
        return not problems

    def overlaps(self, numbers: Sequence[int]) -> None:
        """No two buffers that live at one step share a byte: a sweep over the steps with the live ones in order of
        their offsets, where neighbours would be the first to overlap."""
        births = sorted((self.schedule.buffers[i].first, i) for i in numbers if self.schedule.buffers[i].size)
        deaths = sorted((self.schedule.buffers[i].last, i) for _, i in births)
        live: list[tuple[int, int]] = []
        dead = 0
        for step, i in births:
            while deaths[dead][0] < step:
                self.remove(live, deaths[dead][1])
                dead += 1
            other = self.neighbour(live, i)
            if other is None:
                insort(live, (self.schedule.buffers[i].offset, i))
            else:
                a, b = sorted((i, other))
                texts = [buffer_text(n, self.schedule.buffers[n]) for n in (a, b)]
                self.wrong("overlap", f"{texts[0]} and {texts[1]} share bytes at step {step}")

    def remove(self, live: list[tuple[int, int]], number: int) -> None:
        """Take a buffer from the live ones; one that overlapped was never among them."""
        key = (self.schedule.buffers[number].offset, number)
        at = bisect_left(live, key)
        if live[at : at + 1] == [key]:
            del live[at]

    def neighbour(self, live: Sequence[tuple[int, int]], number: int) -> int | None:
        """A live buffer that shares bytes with this one; the live ones do not overlap each other."""
        b = self.schedule.buffers[number]
        at = bisect_left(live, (b.offset, -1))
        for _, other in live[max(at - 1, 0) : at + 1]:
            c = self.schedule.buffers[other]
            if c.offset < b.offset + rounded(b.size) and b.offset < c.offset + rounded(c.size):
                return other
        return None

    # ---- addresses ---------------------------------------------------------------------------------------------------

    def addresses(self) -> Uses:
        """Every address of every task leads to where something is at that step; in which steps each buffer is used."""
        uses: Uses = {}
        for step, task, address in _addresses(self.schedule):
            if address.space == "arena":
                self.arena_address(step, task, address)
                first, _ = uses.get(address.index, (step, step))
                uses[address.index] = first, step
            elif address.space not in NUMBERS and not self.reachable(address):
                where = f"{address.space}[{address.index}]{address.offset:+d}"
                self.wrong("address", f"{_task_text(step, task)} points to {where}, which does not exist")
        return uses

    def units(self) -> None:
        """Every task has work, and no more than the word in which threads count the units of a step can hold."""
        for step, tasks in enumerate(self.schedule.steps):
            for task in tasks:
                if task.units < 1:
                    self.wrong("units", f"{_task_text(step, task)} has {task.units} units")
            if sum(task.units for task in tasks) >= MOST_UNITS:
                self.wrong("units", f"step {step} has {MOST_UNITS} units or more")

    def arena_address(self, step: int, task: Task, address: Address) -> None:
        """It lies in the buffer that it names, and the buffer lives at this step."""
        self.followed += 1
        who = f"{_task_text(step, task)} points to arena[{address.index}]{address.offset:+d}"
        if not 0 <= address.index < len(self.schedule.buffers):
            self.wrong("address", f"{who}, but there is no buffer {address.index}")
            return
        b = self.schedule.buffers[address.index]
        if not _inside(address.offset - b.offset, b.size):
            self.wrong("address", f"{who}, which is not in {buffer_text(address.index, b)}")
        if not b.first <= step <= b.last:
            self.wrong("lifetime", f"{who}, but {buffer_text(address.index, b)} does not live then")

    def library_calls(self) -> None:
        """All that a library is told to read and to write lies in the piece of memory that the address leads into."""
        for step, tasks in enumerate(self.schedule.steps):
            for task in tasks:
                if task.kernel.library:
                    self.library_call(_task_text(step, task), task)

    def library_call(self, who: str, task: Task) -> None:
        """Shapes and strides of a call agree, and do not lead out of its operands; an address that leads nowhere is
        told elsewhere."""
        try:
            found = spans(read_call(task.kernel, task.params))
        except PlanError as error:
            self.wrong("library", f"{who}: {error.message}")
            return
        for span in found:
            start, size = self.piece(span.place)
            end = span.place.offset - start + span.nbytes
            if size is not None and end > size:
                where = f"{span.place.space}[{span.place.index}]"
                self.wrong("library", f"{who}: the {span.name} ends at byte {end} of {where}, which has {size}")

    def piece(self, a: Address) -> tuple[int, int | None]:
        """Where the buffer, weight or port begins that an address leads into, and its bytes, None if there is none."""
        if a.space == "arena":
            b = self.schedule.buffers[a.index] if 0 <= a.index < len(self.schedule.buffers) else None
            return (b.offset, b.size) if b else (0, None)
        pieces = self.pieces.get(a.space, [])
        return 0, pieces[a.index] if 0 <= a.index < len(pieces) else None

    def reachable(self, a: Address) -> bool:
        """An address outside the arena is one of memory that is there at any time."""
        pieces = self.pieces.get(a.space, [])
        return 0 <= a.index < len(pieces) and _inside(a.offset, pieces[a.index])

    def view(self, name: str, view: View) -> bool:
        """All bytes of a fetchable blob lie in the buffer that it names, and that has it."""
        address, buffers = view.address, self.schedule.buffers
        if address.space != "arena" or not 0 <= address.index < len(buffers):
            self.wrong("view", f"blob {name!r} lies in no buffer")
            return False
        b = buffers[address.index]
        try:
            start, end = view_extent(view)
        except ValueError as error:
            self.wrong("view", f"blob {name!r} has no extent: {error}")
            return False
        if start < b.offset or end > b.offset + b.size or name not in b.names:
            whose = buffer_text(address.index, b)
            self.wrong("view", f"blob {name!r} covers bytes {start}..{end}, which are not its own in {whose}")
            return False
        return True

    # ---- the end, and what is claimed --------------------------------------------------------------------------------

    def survivors(self, keep: Collection[str]) -> None:
        """Some task holds an address of every output, and the kept blobs live to the end."""
        s = self.schedule
        named = {a.index for _, _, a in _addresses(s) if a.space == "out"}
        for k, (port, nbytes) in enumerate(zip(s.outputs, self.pieces["out"])):
            if nbytes and k not in named:
                self.wrong("output", f"no task holds an address of output {k}, '{port.name}'")
        for name in sorted(keep):
            view = s.views.get(name)
            if view is None:
                self.wrong("kept", f"blob {name!r} is to be kept and lies nowhere")
            elif 0 <= view.address.index < len(s.buffers) and s.buffers[view.address.index].last != len(s.steps):
                whose = buffer_text(view.address.index, s.buffers[view.address.index])
                self.wrong("kept", f"blob {name!r} is to be kept to the end, {len(s.steps)}, and lies in {whose}")

    def claims(self, bound: int, buffer_sum: int) -> None:
        """What the schedule says of its memory is so, as far as that can be computed."""
        said, arena = self.schedule.memory, self.schedule.arena_bytes
        if not 0 <= arena < LIMIT or not said.unshared < LIMIT:
            self.wrong("claim", f"an arena of {arena} bytes, {said.unshared} without sharing: no machine has these")
        raised = PROVEN in said.method and bound < said.lower_bound <= arena
        if said.lower_bound != bound and not raised:
            self.wrong("claim", f"the lower bound is said to be {said.lower_bound} bytes, the buffers give {bound}")
        if said.optimal and arena != said.lower_bound:
            self.wrong("claim", f"{arena} bytes are said to be optimal, with a lower bound of {said.lower_bound}")
        if said.unshared < buffer_sum:
            self.wrong("claim", f"without sharing it would be {said.unshared} bytes, the buffers have {buffer_sum}")


def _addresses(schedule: Schedule) -> Iterator[tuple[int, Task, Address]]:
    """Every address that a task holds, with its step."""
    for step, tasks in enumerate(schedule.steps):
        for task in tasks:
            for param in task.params:
                if isinstance(param, Address):
                    yield step, task, param


def _task_text(step: int, task: Task) -> str:
    return f"step {step}, {task.kernel.template}" + (f" of {task.label}" if task.label else "")
