"""Where runs of rows begin: for lengths their sums before each, for sorted ids by a search for each run.

Lengths take two launches, in the first of which each thread adds up a stretch of them.
"""

from __future__ import annotations

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.rules import THREADS, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.segments import BAD_RUNS
from graphc.ir.schedule import Address, KernelSpec, Param, Step, Task, View

STRETCH, STRETCHES = 16, 1024
"""Lengths that a thread adds up at least, and the most threads that do."""


def emit_parts(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_parts``: the sum and the least of each stretch of lengths; and whether ids are in range."""
    s = Lines()
    with each_thread(s, spec, ("lengths", "runs", "stretch", "parts", "n"), "t", "n"):
        s("total, least = 0, 0")
        with s.block("for i in range(t * stretch, min((t + 1) * stretch, runs)):"):
            s("total = total + i64(ld_i4(lengths, i))")
            s("least = min(least, i64(ld_i4(lengths, i)))")
        s("st_i8(parts, 2 * t, total)")
        s("st_i8(parts, 2 * t + 1, least)")
    return s.text()


def emit_starts(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_starts``: where runs begin, and the end of the last; zeros where lengths are wrong."""
    s = Lines()
    with each_thread(s, spec, ("lengths", "runs", "stretch", "parts", "n", "count", "starts", "status"), "t", "n"):
        s("at, total, least = 0, 0, 0")
        with s.block("for j in range(n):"):
            s("part = i64(ld_i8(parts, 2 * j))")
            s("total = total + part")
            s("at = at + (part if j < t else 0)")
            s("least = min(least, i64(ld_i8(parts, 2 * j + 1)))")
        s("good = 0 if (least < 0) | (total != count) else 1")
        with s.block("if (t == 0) & (good == 0):"):
            s(f"fail(status, {BAD_RUNS})")
        with s.block("for i in range(t * stretch, min((t + 1) * stretch, runs)):"):
            s("st_i8(starts, i, at * good)")
            s("at = at + i64(ld_i4(lengths, i))")
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
    return 8 * (runs + 1 + 2 * STRETCHES)


def find_starts(kind: str, given: View, runs: int, count: int, workspace: Address, label: str) -> list[Step]:
    """The steps that write where each of the runs of ``count`` rows begins, and the last one ends, as int64.

    kind: what is given: ``lengths``, ``sorted`` ids, or ``unsorted`` ones, which are only checked.
    """
    ids, status = given.address, Address("status")
    if kind == "sorted":
        return [_step("segment_search", (ids, count, runs, workspace), runs + 1, label)]
    if kind == "unsorted":
        return [_step("segment_ids", (ids, count, runs, status), count, label)]
    stretch = max(STRETCH, -(-runs // STRETCHES))
    n = max(1, -(-runs // stretch))
    sums: tuple[Param, ...] = (ids, runs, stretch, workspace.plus(8 * (runs + 1)), n)
    return [
        _step("segment_parts", sums, n, label),
        _step("segment_starts", (*sums, count, workspace, status), n, label),
    ]


def _step(template: str, params: tuple[Param, ...], threads: int, label: str) -> Step:
    spec = KernelSpec.make(template, threads=THREADS)
    return (Task(spec, params, blocks_for(threads), label, threads, 8 * threads),)


TEMPLATES = (
    Template("segment_parts", emit_parts),
    Template("segment_starts", emit_starts),
    Template("segment_search", emit_search),
    Template("segment_ids", emit_ids),
)
