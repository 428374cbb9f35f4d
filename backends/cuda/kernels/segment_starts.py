"""Where runs of rows begin: for lengths their sums before each, for sorted ids by a search for each run.

Lengths take two launches, in the first of which each thread adds up a stretch of them. The same sums give the sizes of
results (``length_sizes.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.rules import THREADS, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.segments import BAD_RUNS
from graphc.ir.schedule import Address, KernelSpec, Param, Step, Task, View

STRETCH, STRETCHES = 16, 1024
"""Lengths that a thread adds up at least, and the most threads that do."""
MOST = 2**31 - 1
"""The largest length."""
PARTS: tuple[str, ...] = ("lengths", "runs", "clip", "stretch", "parts", "n")
"""Parameters of what adds up stretches. clip: the most that counts of a length. parts: sum, least and most of each."""
BOUNDS: tuple[str, ...] = ("low", "high", "longest")
"""Parameters: between what the sum of all lengths is, and how long a run may be, for the lengths to be good."""


@dataclass(frozen=True)
class Lengths:
    """Lengths in the card's memory and what they have to be (``BOUNDS``); none may be negative."""

    address: Address
    runs: int
    low: int = 0
    high: int = MOST
    clip: int = MOST
    longest: int = MOST

    def bounds(self) -> tuple[int, int, int]:
        """The values of ``BOUNDS``."""
        return self.low, self.high, self.longest

    @property
    def stretch(self) -> int:
        """How many a thread adds up."""
        return max(STRETCH, -(-self.runs // STRETCHES))

    @property
    def threads(self) -> int:
        """How many threads add up."""
        return max(1, -(-self.runs // self.stretch))

    def parts(self, parts: Address) -> tuple[Param, ...]:
        """The values of ``PARTS``; parts: where the sums go."""
        return self.address, self.runs, self.clip, self.stretch, parts, self.threads


def emit_parts(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_parts``: the sum, the least and the most of each stretch of lengths."""
    s = Lines()
    with each_thread(s, spec, PARTS, "t", "n"):
        s("total, least, most = 0, 0, 0")
        with s.block("for i in range(t * stretch, min((t + 1) * stretch, runs)):"):
            s("length = min(i64(ld_i4(lengths, i)), clip)")
            s("total, least, most = total + length, min(least, length), max(most, length)")
        for k, name in enumerate(("total", "least", "most")):
            s(f"st_i8(parts, 3 * t + {k}, {name})")
    return s.text()


def add_parts(s: Lines) -> None:
    """Code that sets ``total``, ``most`` of all lengths, ``at``, their sum before stretch t, and ``good``, 0 or 1."""
    s("at, total, least, most = 0, 0, 0, 0")
    with s.block("for j in range(n):"):
        s("part = i64(ld_i8(parts, 3 * j))")
        s("total = total + part")
        s("at = at + (part if j < t else 0)")
        s("least = min(least, i64(ld_i8(parts, 3 * j + 1)))")
        s("most = max(most, i64(ld_i8(parts, 3 * j + 2)))")
    s("good = 0 if (least < 0) | (total < low) | (total > high) | (most > longest) else 1")
    with s.block("if (t == 0) & (good == 0):"):
        s(f"fail(status, {BAD_RUNS})")


def emit_starts(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_starts``: where runs begin, and the end of the last; zeros where lengths are wrong."""
    s = Lines()
    with each_thread(s, spec, (*PARTS, *BOUNDS, "starts", "status"), "t", "n"):
        add_parts(s)
        with s.block("for i in range(t * stretch, min((t + 1) * stretch, runs)):"):
            s("st_i8(starts, i, at * good)")
            s("at = at + min(i64(ld_i4(lengths, i)), clip)")
        with s.block("if t == 0:"):
            s("st_i8(starts, runs, total * good)")
    return s.text()


def emit_search(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_search``: for each run, and the one after the last, the first of sorted ids not below it."""
    s = Lines()
    with s.block(f"def {spec.name}(ids, count, runs, starts):"):
        s(f"t = i64(block()) * {spec.int('threads')} + thread()")
        with s.block("if t <= runs:"):
            s("low, high = 0, count")
            with s.block("while low < high:"):
                s("middle = (low + high) >> 1")
                with s.block("if ld_i4(ids, middle) < t:"):
                    s("low = middle + 1")
                with s.block("else:"):
                    s("high = middle")
            s("st_i8(starts, t, low)")
    return s.text()


def emit_ids(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_ids``: an error where one of unsorted ids is that of no run."""
    s = Lines()
    with (
        each_thread(s, spec, ("ids", "count", "runs", "status"), "t", "count"),
        s.block("if (ld_i4(ids, t) < 0) | (ld_i4(ids, t) >= runs):"),
    ):
        s(f"fail(status, {BAD_RUNS})")
    return s.text()


def room(runs: int) -> int:
    """Bytes of workspace."""
    return 8 * (runs + 1 + 3 * STRETCHES)


def find_starts(kind: str, given: View, runs: int, count: int, workspace: Address, label: str) -> list[Step]:
    """The steps that write where each of the runs of ``count`` rows begins, and the last one ends, as int64.

    kind: what is given: ``lengths``, ``sorted`` ids, or ``unsorted`` ones, which are only checked.
    """
    ids, status = given.address, Address("status")
    if kind == "sorted":
        return [_step("segment_search", (ids, count, runs, workspace), runs + 1, label)]
    if kind == "unsorted":
        return [_step("segment_ids", (ids, count, runs, status), count, label)]
    return starts_of(Lengths(ids, runs, count, count), workspace, label)


def starts_of(lengths: Lengths, workspace: Address, label: str) -> list[Step]:
    """The same for lengths; zeros and an error where they are wrong."""
    parts = workspace.plus(8 * (lengths.runs + 1))
    starts = (*lengths.parts(parts), *lengths.bounds(), workspace, Address("status"))
    return [parts_step(lengths, parts, label), _step("segment_starts", starts, lengths.threads, label)]


def parts_step(lengths: Lengths, parts: Address, label: str) -> Step:
    """The step that adds up stretches."""
    return _step("segment_parts", lengths.parts(parts), lengths.threads, label)


def _step(template: str, params: tuple[Param, ...], threads: int, label: str) -> Step:
    spec = KernelSpec.make(template, threads=THREADS)
    return (Task(spec, params, blocks_for(threads), label, threads, 8 * threads),)


TEMPLATES = (
    Template("segment_parts", emit_parts),
    Template("segment_starts", emit_starts),
    Template("segment_search", emit_search),
    Template("segment_ids", emit_ids),
)
