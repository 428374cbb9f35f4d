"""Timing of plans: whole runs, single steps, and the machine's own bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from graphc.backends.cpu import peak
from graphc.backends.cuda.target import is_cuda
from graphc.ir import DType, Graph, RunError, TensorType
from graphc.ir.bfloat16 import to_bfloat16
from graphc.ir.schedule import Step
from graphc.plan import Plan

COPIED = 1 << 28
"""Bytes of the copy within a card's memory whose speed bounds its kernels, more than its caches hold."""


@dataclass(frozen=True)
class StepTiming:
    """Median seconds of one step by itself; its work and memory traffic."""

    index: int
    label: str
    seconds: float
    flops: int
    nbytes: int


@dataclass(frozen=True)
class Timing:
    """Seconds of whole runs, and the bounds: FLOP/s and bytes/s of the cores used.

    On a card whole runs are timed with the copies of inputs and outputs, steps are single kernels by the card's clock,
    bytes/s are those of a copy within its memory, and FLOP/s, which nothing measures there, 0.
    """

    median: float
    fastest: float
    runs: int
    threads: int
    peak_flops: float
    bandwidth: float
    steps: list[StepTiming]

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


def measure(plan: Plan, seconds: float, seed: int = 0) -> Timing:
    """Time a plan on random inputs of the shapes that it was compiled for, for about ``seconds``."""
    if is_cuda(plan.target):
        return _measure_on_card(plan, seconds, seed)
    if len(plan.segments) > 1:
        return _measure_segments(plan, seconds, seed)
    executor = plan.executor()
    inputs = list(random_inputs(plan, seed).values())
    executor.run(inputs)
    runs = _sample(lambda: executor.run(inputs), seconds / 2)
    outputs = executor.run(inputs)
    steps = [s for s in executor.schedule.steps if s]
    each = seconds / 2 / max(1, len(steps))
    timings = []
    for i, step in enumerate(steps):
        samples = _sample(lambda i=i: executor.run_step(i), each)  # type: ignore[misc]
        timings.append(
            StepTiming(i, _label(step), float(np.median(samples)), _sum(step, "flops"), _sum(step, "nbytes"))
        )
    flops, bandwidth = peak.measure(plan.target, plan.threads)
    del outputs  # steps write to them until here
    return Timing(float(np.median(runs)), min(runs), len(runs), plan.threads, flops, bandwidth, timings)


def _measure_on_card(plan: Plan, seconds: float, seed: int) -> Timing:
    """Whole runs from the host, the card's kernels by themselves, and a copy of ``COPIED`` bytes."""
    inputs = random_inputs(plan, seed)
    plan.run(inputs)
    runs = _sample(lambda: plan.run(inputs), seconds)
    tasks = [pair for times in plan.card_times(inputs) for pair in times.tasks]
    steps = [
        StepTiming(i, f"{t.kernel.template} {t.label}".strip(), took, t.flops, t.nbytes)
        for i, (t, took) in enumerate(tasks)
    ]
    bandwidth = 2 * COPIED / plan.code.copy_seconds(COPIED)
    return Timing(float(np.median(runs)), min(runs), len(runs), plan.threads, 0.0, bandwidth, steps)


def _measure_segments(plan: Plan, seconds: float, seed: int) -> Timing:
    """A net with sizes that depend on data as a whole: its steps differ from run to run."""
    inputs = random_inputs(plan, seed)
    plan.run(inputs)
    runs = _sample(lambda: plan.run(inputs), seconds)
    flops, bandwidth = peak.measure(plan.target, plan.threads)
    return Timing(float(np.median(runs)), min(runs), len(runs), plan.threads, flops, bandwidth, [])


def random_inputs(plan: Plan, seed: int, types: Mapping[str, TensorType] | None = None) -> dict[str, np.ndarray]:
    """Standard normal floats, small integers, by blob name, in the shapes that the plan was compiled for or those of
    ``types``. Raises ``RunError`` for a blob that is no input."""
    return random_arrays(plan.graph, seed, types)


def random_arrays(graph: Graph, seed: int, types: Mapping[str, TensorType] | None = None) -> dict[str, np.ndarray]:
    """``random_inputs`` of a graph; raises ``RunError`` for a blob that is no input, or one whose shape is open."""
    rng = np.random.default_rng(seed)
    given, arrays = dict(types or {}), {}
    for port in graph.inputs:
        dtype = port.type.dtype.numpy if port.type.dtype else np.dtype(np.float32)
        type = given.pop(port.name, port.type)
        if not type.is_static:
            raise RunError(f"the shape of input '{port.name}' is not known ({type})", "give arrays")
        shape = type.static_shape
        if type.dtype is DType.BFLOAT16:  # within a net
            arrays[port.name] = to_bfloat16(rng.standard_normal(shape))
            continue
        real = np.issubdtype(dtype, np.floating)
        arrays[port.name] = (rng.standard_normal(shape) if real else rng.integers(0, 2, shape)).astype(dtype)
    if given:
        raise RunError(f"the net has no input '{min(given)}'", "inputs: " + ", ".join(f"'{n}'" for n in arrays))
    return arrays


def _sample(call: Callable[[], object], seconds: float) -> list[float]:
    """Durations of calls until the time is up, three at least."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return samples


def _label(step: Step) -> str:
    return " + ".join(dict.fromkeys(f"{t.kernel.template} {t.label}".strip() for t in step))


def _sum(step: Step, what: str) -> int:
    return sum(getattr(t, what) for t in step)
