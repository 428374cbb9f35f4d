"""The memory of whole plans: every schedule of every segment, proved on paper and tried in poisoned memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from graphc.ir.memory_check import MemoryReport, check_memory
from graphc.ir.schedule import Schedule
from graphc.native_segment import Bound, Key, NativeSegment
from graphc.plan import Arrays, Plan
from graphc.runtime.executor import Executor
from graphc.runtime.poison import PoisonFinding, poison_check


@dataclass(frozen=True)
class SegmentMemory:
    """A schedule and what was found in it. segment: the number of its segment in the plan; after a point, that of a
    segment of its sub-graphs. sizes: its inputs, as text. keep: the blobs that it keeps to be fetched."""

    segment: str
    sizes: str
    keep: tuple[str, ...]
    schedule: Schedule
    report: MemoryReport

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        s, r = self.schedule, self.report
        at_peak = [asdict(s.buffers[i]) for i in r.at_peak]
        return {
            "segment": self.segment,
            "sizes": self.sizes,
            "keep": self.keep,
            "steps": len(s.steps),
            "buffers": [asdict(b) for b in s.buffers],
            "arena": r.arena,
            "lower_bound": r.lower_bound,
            "unshared": s.memory.unshared,
            "memory": asdict(s.memory),
            "peak_step": r.peak_step,
            "at_peak": at_peak,
            "live": r.live,
            "addresses": r.addresses,
            "views": r.views,
            "held_longer": r.held_longer,
            "violations": [asdict(v) for v in r.violations],
        }


@dataclass(frozen=True)
class PlanMemory:
    """The schedules that a plan has now. unbound: the segments that have none before a run. python: operators that run
    in Python, outside the arena."""

    schedules: tuple[SegmentMemory, ...]
    unbound: tuple[str, ...]
    python: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """No schedule has a violation."""
        return all(s.report.ok for s in self.schedules)


@dataclass(frozen=True)
class PoisonResult:
    """A schedule's runs in poisoned memory: of which segment and sizes, on how many threads, and what was seen."""

    segment: str
    sizes: str
    threads: int
    steps: int
    findings: tuple[PoisonFinding, ...]


def plan_memory(plan: Plan, prefix: str = "") -> PlanMemory:
    """The proof for every schedule that the plan has: those compiled for, and those that runs have asked for.

    prefix: before the numbers of its segments.
    """
    found, unbound, python = list[SegmentMemory](), list[str](), list[str]()
    for k, segment in enumerate(plan.segments):
        number = f"{prefix}{k}"
        if isinstance(segment, NativeSegment):
            bounds = segment.schedules
            found += [_segment_memory(number, segment, key, bound) for key, bound in bounds.items()]
            unbound += [] if bounds else [number]
            continue
        python.append(segment.graph.nodes[0].op)
        for i, inner in enumerate(segment.inner):
            if isinstance(inner, Plan):
                below = plan_memory(inner, f"{number}.{i}.")
                found, unbound, python = (
                    [*found, *below.schedules],
                    [*unbound, *below.unbound],
                    [*python, *below.python],
                )
    return PlanMemory(tuple(found), tuple(unbound), tuple(python))


def _segment_memory(number: str, segment: NativeSegment, key: Key, bound: Bound) -> SegmentMemory:
    schedule, constants = bound
    report = check_memory(schedule, key.keep, [a.nbytes for a in constants])
    return SegmentMemory(number, _sizes(segment, key.shapes), tuple(sorted(key.keep)), schedule, report)


def _sizes(segment: NativeSegment, shapes: Sequence[tuple[int, ...]]) -> str:
    names = [v.name for v in segment.graph.inputs]
    return ", ".join(f"{name}[{','.join(map(str, shape))}]" for name, shape in zip(names, shapes))


def poison_plan(
    plan: Plan, inputs: Mapping[str, np.ndarray], threads: Sequence[int] = (1, 2), fetch: Sequence[str] = ()
) -> list[PoisonResult]:
    """Run a plan on inputs, and every native segment again for each pattern in poisoned memory, for each number of
    threads. Only for plans that pass ``plan_memory``. Raises ``RunError`` for inputs that do not fit."""
    results: list[PoisonResult] = []
    for n in threads:
        twin = plan.with_threads(n)
        twin.run_watched(inputs, partial(_poison, twin, results), fetch)
    return results


def _poison(
    plan: Plan,
    results: list[PoisonResult],
    segment: NativeSegment,
    given: Arrays,
    values: Arrays,
    fetched: Mapping[str, np.ndarray],
    executor: Executor,
) -> None:
    """Try a segment that has just run; nothing is told of one that gives other outputs when it simply runs again."""
    schedule, executor.number = executor.schedule, 0
    again = executor.run(given)
    if [a.tobytes() for a in again] != [a.tobytes() for a in values]:
        findings = [PoisonFinding(0, 0, "outputs differ between two normal runs: nothing can be told from a third")]
    else:
        make = partial(segment.twin, executor)
        findings = poison_check(schedule, make, plan.threads, given, (values, fetched))
    sizes = _sizes(segment, [a.shape for a in given])
    number = str(plan.segments.index(segment))
    results.append(PoisonResult(number, sizes, plan.threads, len(schedule.steps), tuple(findings)))
