"""A native segment of a plan: one schedule for each set of input shapes, and executors for concurrent callers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphc.ir import DType, Graph, GraphcError, Node, PlanError, Quant, RunError, Value, VerifyError
from graphc.ir.graph import FIXED_SIZES, Constant
from graphc.ir.infer import infer_types
from graphc.ir.memory_check import check_memory
from graphc.ir.quant_array import array_quant, with_quant
from graphc.ir.schedule import Choice, KernelSpec, Schedule
from graphc.ir.types import OPEN_QUANT
from graphc.kernel_code import KernelCode, NoRoom, Runner
from graphc.lane import Lane
from graphc.passes.assume_sizes import assume_sizes, types_restored
from graphc.passes.lower import choose_kernels, lower
from graphc.passes.unroll_recurrent import has_recurrent, unroll
from graphc.planning import PLANNING
from graphc.runtime.executor import Executor, aligned_zeros
from graphc.same_arrays import SameArrays

MOST_SHAPES = 64
"""Sets of input shapes for which a segment keeps a schedule; the oldest is forgotten first."""

TINY = 1 << 15
"""Operations and bytes below which a schedule has one thread."""

Bound = tuple[Schedule, list[np.ndarray]]


class Key(NamedTuple):
    """What an executor serves: input shapes, blobs whose memory it does not reuse, elements that shapes depend on,
    scales that depend on data."""

    shapes: tuple[tuple[int, ...], ...]
    keep: frozenset[str]
    elements: tuple[bytes, ...] = ()
    quants: tuple[Quant | None, ...] = ()


NOTHING: frozenset[str] = frozenset()
NONE: frozenset[int] = frozenset()


class NativeSegment:
    """A graph whose sizes are known once those of its inputs are, and the elements of its ``shape_inputs``.

    bound: the schedule for the sizes compiled for, where these are known beforehand. choices: kernels by node.
    foreseen: further kernels that are likely to be needed, where there is no schedule yet.
    """

    def __init__(
        self,
        graph: Graph,
        shape_inputs: tuple[int, ...],
        code: KernelCode,
        threads: int,
        choices: dict[Node, Choice],
        bound: Bound | None,
    ) -> None:
        self.graph, self.shape_inputs, self.code, self.threads = graph, shape_inputs, code, threads
        self.choices = choices
        self.foreseen: list[KernelSpec] = []
        self.bound = (bound[0], [align_array(a) for a in bound[1]]) if bound else None
        self._arrays = SameArrays()
        for array in self.bound[1] if self.bound and has_recurrent(graph) else ():
            self._arrays.same(array)
        self._open_inputs = _open_quants(graph.inputs)
        self._open_outputs = _open_quants(graph.outputs)
        self._schedules: dict[Key, Bound] = {}
        self._idle: list[Lane] = []
        self.default: Key | None = None
        if self.bound:
            self.default = Key(tuple(p.type.static_shape for p in self.bound[0].inputs), NOTHING)
            self._schedules[self.default] = self.bound

    # ---- making ------------------------------------------------------------------------------------------------------

    @staticmethod
    def build(
        graph: Graph, shape_inputs: tuple[int, ...], code: KernelCode, threads: int, max_memory: int | None = None
    ) -> NativeSegment:
        """Choose kernels for the segment, and lower it where its sizes are known; raises ``LoweringError``.

        max_memory: bytes that its arena may have. The nodes of the graph get the order of the plan, and below such a
        limit some may be added that compute again what others did. Sizes that depend on data are assumed for the choice
        (``passes/assume_sizes.py``). Where not even ranks are known, kernels are chosen when the segment first runs.
        """
        if all(v.type.is_static for v in graph.inputs) and not shape_inputs and not _open_quants(graph.inputs):
            if has_recurrent(graph):
                return NativeSegment(graph, (), code, threads, {}, _plan_unrolled(graph, code, max_memory))
            choices = choose_kernels(graph, code.library)
            schedule, constants = _plan_memory(graph, code, choices, max_memory)
            aligned = {id(a): align_array(a) for a in constants}
            for choice in choices.values():
                choice.packed = {i: aligned.get(id(a), a) for i, a in choice.packed.items()}
            for v in graph.constants:
                if v.constant is not None and id(v.constant.data) in aligned:
                    v.constant = replace(v.constant, data=aligned[id(v.constant.data)])
            return NativeSegment(graph, (), code, threads, choices, (schedule, [aligned[id(a)] for a in constants]))
        segment = NativeSegment(graph, shape_inputs, code, threads, {}, None)
        with segment._types_restored(), suppress(VerifyError):  # a rule may need the elements of a shape operand
            if assume_sizes(graph):
                segment.choices = choose_kernels(graph, code.library)
                if code.ships:  # where the plan runs there may be no compiler
                    segment.foreseen = lower(graph, code.library, segment.choices)[0].kernels
        return segment

    def with_code(self, code: KernelCode) -> NativeSegment:
        """The same segment with other machine code of its target."""
        made = NativeSegment(self.graph, self.shape_inputs, code, self.threads, self.choices, self.bound)
        made.foreseen = self.foreseen
        return made

    @property
    def weights(self) -> list[np.ndarray]:
        """Every array that a saved plan needs: packed ones, and the raw ones where kernels may be chosen again."""
        arrays = list(self.bound[1]) if self.bound else []
        if self.bound is None or has_recurrent(self.graph):
            arrays += [v.data for v in self.graph.constants if v.data is not None]
            arrays += [a for choice in self.choices.values() for a in choice.packed.values()]
        return arrays

    @property
    def kernels(self) -> list[KernelSpec]:
        """The kernels that are known to be needed: those of the schedule, or those chosen so far."""
        if self.bound:
            return self.bound[0].kernels
        return list(dict.fromkeys([*(c.spec for c in self.choices.values() if c.spec), *self.foreseen]))

    # ---- running -----------------------------------------------------------------------------------------------------

    def run(
        self, arrays: Sequence[Any], keep: frozenset[str] = NOTHING, resident: frozenset[int] = NONE
    ) -> tuple[list[Any], Runner]:
        """Outputs for contiguous arrays of the inputs' dtypes, and the executor, from which blobs can be fetched until
        it is given back with ``release``.

        Arrays are ``runtime.card.Array``. resident: outputs that stay on the card where the segment runs there; these
        are valid until ``release``.
        """
        key = Key(tuple([a.shape for a in arrays]), keep)
        if self.shape_inputs or self._open_inputs:
            elements = tuple([np.asarray(arrays[i]).tobytes() for i in self.shape_inputs])
            key = key._replace(elements=elements, quants=tuple([array_quant(arrays[i]) for i in self._open_inputs]))
        try:
            lane = self._idle.pop()
        except IndexError:  # all are in use by other threads
            lane = Lane(self.code.memory)
        try:
            executor = lane.find((key, resident)) or self._new(lane, key, resident, arrays)
            found = executor.run(arrays)
            for i in self._open_outputs:
                found[i] = with_quant(found[i], executor.schedule.outputs[i].type.quant)
            return found, executor
        except GraphcError:
            self._idle.append(lane)
            raise

    def release(self, executor: Runner) -> None:
        """Let the executor and its memory serve the next call."""
        if isinstance(executor.key, Lane):
            self._idle.append(executor.key)

    def executor(self) -> Executor:
        """A new executor for the shapes compiled for, apart from those that ``run`` uses."""
        if self.bound is None:
            raise RunError("the net has sizes that depend on data: there is no schedule before a run")
        with PLANNING:
            self.code.require_memory(*self.bound, self.threads, 0)
            return require_host(self._executor(*self.bound))

    @property
    def schedules(self) -> dict[Key, Bound]:
        """The schedules made so far, with their constants: for the sizes compiled for, and for those of runs."""
        return dict(self._schedules)

    def bind(self, arrays: Sequence[np.ndarray]) -> None:
        """Have a schedule for inputs like these, whose elements are not read; for segments without shape inputs."""
        quants = tuple(array_quant(arrays[i]) for i in self._open_inputs)
        with PLANNING:
            self._schedule(Key(tuple(a.shape for a in arrays), NOTHING, (), quants), arrays)

    def twin(self, executor: Executor, memory: Sequence[np.ndarray]) -> Executor:
        """Another executor of the same schedule, in an arena and a scratch buffer that are large enough."""
        with PLANNING:
            return require_host(self._executor(executor.schedule, executor.constants, *memory))

    def _new(self, lane: Lane, key: Key, resident: frozenset[int], arrays: Sequence[Any]) -> Runner:
        with PLANNING:
            schedule, constants = self._schedule(key, arrays)
            try:
                self.code.require_memory(schedule, constants, self.threads, lane.held, resident)
            except NoRoom:  # those of other sizes have memory of their own, for their ports
                lane.forget()
                self.code.require_memory(schedule, constants, self.threads, lane.held, resident)
            make = partial(self._executor, schedule, constants, resident=resident)
            return lane.add((key, resident), schedule, self.threads, make)

    def _executor(
        self,
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        *memory: Any,
        resident: frozenset[int] = NONE,
    ) -> Runner:
        given = self.bound is not None and schedule is self.bound[0]  # it may be from a file
        if given or any(spec.library for spec in schedule.kernels):  # and so may what a library is to be told
            _require_sound(schedule, constants)
        self.code.load(schedule.kernels)
        threads = 1 if _is_tiny(schedule) else self.threads
        return self.code.executor(schedule, constants, threads, memory, resident)

    def _schedule(self, key: Key, arrays: Sequence[Any]) -> Bound:
        """The schedule for some shapes and kept blobs: inferred and lowered on first use."""
        if key not in self._schedules:
            self._require_open_sizes(key.shapes)
            with self._types_restored():
                try:
                    self._bind_types(key, arrays)
                    found = self._lower(key.keep)
                except GraphcError as error:
                    names = [v.name for v in self.graph.inputs]
                    sizes = ", ".join(f"{n} {s}" for n, s in zip(names, key.shapes))
                    raise RunError(
                        f"the net does not take inputs of these sizes ({sizes}): {error.message}", error.help
                    ) from None
            self._check_keep(key.keep, found[0])
            self._forget_oldest()
            self._schedules[key] = found
        return self._schedules[key]

    def _forget_oldest(self) -> None:
        if len(self._schedules) >= MOST_SHAPES:
            oldest = next(key for key in self._schedules if key != self.default)
            del self._schedules[oldest]

    def _bind_types(self, key: Key, arrays: Sequence[Any]) -> None:
        for v, array in zip(self.graph.inputs, arrays):
            quant = array_quant(array) or v.type.quant
            v.type = replace(v.type, dtype=v.type.dtype or DType.of(array.dtype), shape=array.shape, quant=quant)
        for i in self.shape_inputs:
            v = self.graph.inputs[i]
            v.constant = Constant(v.name, v.type, np.array(arrays[i]))  # the plan has these on the host
        infer_types(self.graph)

    def _lower(self, keep: frozenset[str]) -> Bound:
        if has_recurrent(self.graph):
            schedule, constants = _lower_unrolled(self.graph, self.code, keep)
            return schedule, [self._arrays.same(a) for a in constants]
        return lower(self.graph, self.code.library, self._choices_for_types(), keep)

    def _choices_for_types(self) -> Mapping[Node, Choice]:
        """The kernels for the types at hand. A segment after the first chooses again, because ranks and broadcasts may
        depend on data; only packed weights stay as they are."""
        if self.bound is None:
            kept = {n: c for n, c in self.choices.items() if c.packed}
            self.choices = choose_kernels(self.graph, self.code.library, kept)
        return self.choices

    @contextmanager
    def _types_restored(self) -> Iterator[None]:
        with types_restored(self.graph):
            try:
                yield
            finally:
                for i in self.shape_inputs:
                    self.graph.inputs[i].constant = None

    def _require_open_sizes(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        fixed = next((n for n in self.graph.notes if n.startswith(FIXED_SIZES)), None)
        if fixed is not None and self.default is not None and shapes != self.default.shapes:
            usage = ", ".join(f"'{v.name}': {v.type}" for v in self.graph.inputs)
            sizes = ", ".join(f"'{v.name}': {s}" for v, s in zip(self.graph.inputs, shapes))
            raise RunError(
                f"the plan runs only the sizes that it was compiled for (inputs: {usage}): {fixed}",
                f"compile for these sizes: inputs={{{sizes}}}",
            )

    def _check_keep(self, keep: Collection[str], schedule: Schedule) -> None:
        for name in keep:
            if name not in schedule.views:
                known = ", ".join(f"'{n}'" for n in list(schedule.views)[:20])
                raise RunError(
                    f"blob '{name}' does not exist in the plan: it was fused away, folded, or never was",
                    f"compile with outputs=['{name}'] to keep it; blobs of this plan: {known}",
                )


def _plan_unrolled(graph: Graph, code: KernelCode, max_memory: int | None) -> Bound:
    """As ``_lower_unrolled``, in the order with the lowest peak."""
    unrolled, first = unroll(graph)
    return _plan_memory(unrolled, code, choose_kernels(unrolled, code.library, first=first), max_memory)


def _plan_memory(graph: Graph, code: KernelCode, choices: dict[Node, Choice], max_memory: int | None) -> Bound:
    from graphc.passes.memory.planner import plan  # a process that runs plans has no use for the planner

    return plan(graph, code.library, choices, max_memory)


def _lower_unrolled(graph: Graph, code: KernelCode, keep: frozenset[str]) -> Bound:
    """The schedule of a graph with its recurrent step nets written out; the steps share kernels and weights."""
    unrolled, first = unroll(graph)
    choices = choose_kernels(unrolled, code.library, first=first)
    return lower(unrolled, code.library, choices, keep)


def _open_quants(values: Sequence[Value]) -> tuple[int, ...]:
    """Which values have a scale that depends on data."""
    return tuple(i for i, v in enumerate(values) if v.type.quant == OPEN_QUANT)


def require_host(executor: Runner) -> Executor:
    """The executor, if its memory is the process's own; raises ``RunError`` for one on a card."""
    if not isinstance(executor, Executor):
        raise RunError(
            f"this needs the memory of a run, which a plan for '{executor.schedule.target}' has on a card",
            "compile the net for a CPU: --target native",
        )
    return executor


def _is_tiny(schedule: Schedule) -> bool:
    """A thread does the work sooner than it wakes another one, which takes some microseconds."""
    return sum(task.flops + task.nbytes for step in schedule.steps for task in step) < TINY


def _require_sound(schedule: Schedule, constants: Sequence[np.ndarray]) -> None:
    """Refuse a schedule whose addresses, views or buffers lead where they must not."""
    report = check_memory(schedule, constants=[a.nbytes for a in constants])
    if not report.ok:
        raise PlanError(
            f"the memory of the plan is not sound: {report.violations[0]}",
            "compile the net again; 'graphc check-memory' tells all that is wrong",
        )


def align_array(array: np.ndarray) -> np.ndarray:
    """The array itself where it is contiguous, native and starts at a cache line, else a copy that does."""
    plain = array.flags.c_contiguous and array.dtype.isnative
    if array.nbytes == 0 or (plain and array.ctypes.data % 64 == 0):
        return array
    copy: np.ndarray = aligned_zeros(array.nbytes).view(array.dtype.newbyteorder("=")).reshape(array.shape)
    copy[...] = array
    return copy
