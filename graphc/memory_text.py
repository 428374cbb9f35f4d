"""The memory of plans as text for people: what was proved, what was tried, what lies where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.ir.memory_check import MemoryReport
from graphc.ir.memory_svg import kind, size_text
from graphc.ir.schedule import MemoryPlan, Schedule
from graphc.memory import PlanMemory, PoisonResult, SegmentMemory
from graphc.runtime.poison import PATTERNS, step_text
from graphc.tables import aligned, count

MOST_VIOLATIONS = 20
"""Lines of what is wrong; the rest is counted."""

MOST_TENSORS = 8
"""Buffers named at the peak; the rest is summed up."""


def memory_lines(memory: PlanMemory) -> Iterator[str]:
    """The proof of every schedule as a table, what lives at the peaks, and everything that is wrong."""
    rows = [("segment", "inputs", "steps", "buffers", "addresses", "arena", "lower bound", "without sharing", "proof")]
    yield from aligned([*rows, *map(_row, memory.schedules)])
    for s in memory.schedules:
        yield from _violations(s) if s.report.violations else [_peak(s)]
    yield from memory_notes(memory)
    yield "the memory is sound" if memory.ok else "the memory is NOT sound: do not run this plan"


def memory_notes(memory: PlanMemory) -> Iterator[str]:
    """What of a plan has no schedule, or none yet."""
    if memory.unbound:
        yield f"not proved before a run, because their sizes depend on data: segments {', '.join(memory.unbound)}"
    if memory.python:
        yield f"outside the arena, because they run in Python: {', '.join(memory.python)}"


def poison_lines(results: Sequence[PoisonResult]) -> Iterator[str]:
    """What runs in poisoned memory have shown."""
    for r in results:
        where = f"poisoned: segment {r.segment}, {r.sizes}, {r.steps} steps, threads: {r.threads}"
        if not r.findings:
            patterns = " ".join(f"{p:#04x}" for p in PATTERNS)
            yield f"{where}: results equal bit for bit, patterns {patterns}"
        for finding in r.findings[:MOST_VIOLATIONS]:
            yield f"{where}: {finding}"


def memory_table(schedule: Schedule, report: MemoryReport) -> Iterator[str]:
    """Per buffer: its number, kind, bytes, offset, first and last step, values and reasons; then the totals."""
    rows = [("buffer", "kind", "bytes", "offset", "steps", "values", "because")]
    order = sorted(range(len(schedule.buffers)), key=lambda i: (schedule.buffers[i].first, schedule.buffers[i].offset))
    for i in order:
        b = schedule.buffers[i]
        names, reasons = ", ".join(dict.fromkeys(b.names)), "; ".join(b.reasons)
        life = f"{b.first}-{b.last}"
        rows.append((str(i), kind(schedule, b), str(b.size), str(b.offset), life, names[:60], reasons[:80]))
    yield from aligned(rows)
    yield totals_text(schedule, report)
    yield from _recomputed(schedule.memory)
    yield peak_text(schedule, report)


def totals_text(schedule: Schedule, report: MemoryReport) -> str:
    """The arena beside the bound that no placement goes below, and beside what it would be without sharing."""
    m, arena = schedule.memory, report.arena
    if arena == report.lower_bound:
        beside = "equal to the lower bound"
    elif m.optimal:
        beside = f"where {report.lower_bound} live at the busiest step, but a search has excluded all below"
    else:
        beside = f"{arena / max(m.lower_bound, 1) - 1:.1%} above the lower bound of {m.lower_bound}"
    shared = f"; without sharing {m.unshared} bytes, {m.unshared / arena:.1f} times as much" if arena else ""
    how = f"; offsets: {m.method}; order: {m.order}" if m.method else ""
    return f"arena {arena} bytes, {beside}{shared}{how}"


def _recomputed(m: MemoryPlan) -> Iterator[str]:
    if m.recomputed:
        cost = f"{count(m.recomputed_flops, 'FLOP')} and {size_text(m.recomputed_bytes)} of memory traffic"
        yield f"computed twice, for {cost}: {', '.join(m.recomputed)}"


def peak_text(schedule: Schedule, report: MemoryReport) -> str:
    """The busiest step and what lives there, largest first."""
    if not report.at_peak:
        return "at the peak: nothing"
    step = f"step {report.peak_step}"
    if report.peak_step < len(schedule.steps):
        step += f" ({step_text(schedule.steps[report.peak_step])[:80]})"
    buffers = [schedule.buffers[i] for i in report.at_peak]
    told = [f"{b.names[0] if b.names else '?'} {size_text(b.size)}" for b in buffers[:MOST_TENSORS]]
    rest = buffers[MOST_TENSORS:]
    told += [f"{len(rest)} more of {size_text(sum(b.size for b in rest))}"] if rest else []
    return f"at the peak, {step}: {', '.join(told)}"


def _row(s: SegmentMemory) -> tuple[str, ...]:
    r, sizes = s.report, s.sizes + (f", keeping {', '.join(s.keep)}" if s.keep else "")
    verdict = "holds" if r.ok else f"{len(r.violations)} violations"
    if r.ok and s.schedule.memory.optimal:
        verdict += ", optimal" if r.arena == r.lower_bound else ", minimal by search"
    numbers = (len(s.schedule.steps), len(s.schedule.buffers), r.addresses)
    memory = (r.arena, r.lower_bound, s.schedule.memory.unshared)
    return (s.segment, sizes[:60], *map(str, numbers), *(size_text(n) for n in memory), verdict)


def _peak(s: SegmentMemory) -> str:
    return f"segment {s.segment}, {peak_text(s.schedule, s.report)}"


def _violations(s: SegmentMemory) -> Iterator[str]:
    for violation in s.report.violations[:MOST_VIOLATIONS]:
        yield f"segment {s.segment}, {violation}"
    more = len(s.report.violations) - MOST_VIOLATIONS
    if more > 0:
        yield f"segment {s.segment}: and {more} more"
