"""Plan: a compiled net. Runs, saves, loads, and binds itself to new input shapes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import driver
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find, native, targets
from graphc.backends.load import KernelObject, LoadedKernels
from graphc.ir import DType, Graph, GraphcError, Node, PlanError, RunError
from graphc.ir.graph import FIXED_SIZES
from graphc.ir.infer import infer_types
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph
from graphc.ir.schedule import Choice, KernelSpec, Schedule
from graphc.ir.schedule_text import parse_schedule, print_schedule
from graphc.passes.lower import lower
from graphc.runtime.executor import Executor, aligned_zeros
from graphc.runtime.planfile import read_plan, write_plan
from graphc.runtime.team import MAX_WORKERS

Shapes = tuple[tuple[int, ...], ...]


_DRIVERS: dict[str, LoadedKernels] = {}
"""The driver of each target. Worker threads are in its code all their life, so it is never freed."""


class _Key(NamedTuple):
    """What an executor serves: input shapes, and blobs whose memory it does not reuse."""

    shapes: Shapes
    keep: frozenset[str]


_NOTHING: frozenset[str] = frozenset()


@dataclass(eq=False)
class Plan:
    """A compiled net.

    graph: optimised, with the types of the shapes compiled for. schedule: for those shapes. kernels: generated source
    by kernel name. threads: that a run uses. A plan may be shared by Python threads: each concurrent call gets buffers
    of its own.
    """

    graph: Graph
    schedule: Schedule
    threads: int
    target: str
    choices: dict[Node, Choice]
    constants: list[np.ndarray]
    cache: KernelCache = field(default_factory=KernelCache.default)
    _native: dict[str, KernelObject] = field(default_factory=dict)
    _loaded: list[LoadedKernels] = field(default_factory=list)
    _addresses: dict[str, int] = field(default_factory=dict)
    _schedules: dict[_Key, tuple[Schedule, list[np.ndarray]]] = field(default_factory=dict)
    _idle: dict[_Key, list[Executor]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # ---- making ------------------------------------------------------------------------------------------------------

    @staticmethod
    def build(
        graph: Graph,
        library: CpuLibrary,
        choices: dict[Node, Choice],
        schedule: Schedule,
        constants: Sequence[np.ndarray],
        threads: int,
    ) -> Plan:
        """A plan from what lowering gave; constants are aligned."""
        aligned = {id(a): align_array(a) for a in constants}
        for choice in choices.values():
            choice.packed = {i: aligned[id(a)] for i, a in choice.packed.items() if id(a) in aligned}
        for v in graph.constants:
            if v.constant is not None and id(v.constant.data) in aligned:
                v.constant = replace(v.constant, data=aligned[id(v.constant.data)])
        return Plan(graph, schedule, threads, library.target_name, choices, [aligned[id(a)] for a in constants])

    def __post_init__(self) -> None:
        self._library = CpuLibrary(find(self.target))
        self._default = _Key(tuple(p.type.static_shape for p in self.schedule.inputs), _NOTHING)
        self._output_names = self.outputs
        self._ports = [(p.name, p.type.dtype or DType.FLOAT, p.type.rank) for p in self.schedule.inputs]
        self._dtypes = [dtype.numpy for _, dtype, _ in self._ports]
        self._schedules[self._default] = (self.schedule, self.constants)

    @property
    def kernels(self) -> dict[str, str]:
        """Generated source by kernel name."""
        return {spec.name: self._library.source(spec) for spec in self.schedule.kernels}

    @property
    def inputs(self) -> dict[str, str]:
        """Type text by input name."""
        return {p.name: str(p.type) for p in self.schedule.inputs}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return [p.name for p in self.schedule.outputs]

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Have all machine code in this process: from the plan's own objects, the cache, or the compiler."""
        self._load(self.schedule.kernels, progress)

    def _load(self, specs: Sequence[KernelSpec], progress: Callable[[int, int], None] | None = None) -> None:
        with self._lock:
            sources = {s.name: self._source(s) for s in specs if s.name not in self._addresses}
            if self.target not in _DRIVERS:
                sources[driver.NAME] = driver.source()
            if not sources:
                return
            objects = {n: self._native[n] for n in sources if n in self._native}
            rest = {n: s for n, s in sources.items() if n not in objects}
            note = (lambda done, total, name: progress(done, total)) if progress else None
            objects |= compile_kernels(rest, self._library.target, self.cache, note)
            self._native |= objects
            if driver.NAME in objects:
                _DRIVERS[self.target] = LoadedKernels({driver.NAME: objects.pop(driver.NAME)})
            loaded = LoadedKernels(objects)
            self._loaded.append(loaded)
            self._addresses |= loaded.addresses

    def _source(self, spec: KernelSpec) -> str:
        try:
            return self._library.source(spec)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"this graphc cannot generate the plan's kernel {spec}: {type(error).__name__} {error}",
                "the plan is damaged or was written by another version: compile the net again",
            ) from error

    # ---- running -----------------------------------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, np.ndarray], fetch: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Outputs by blob name, for inputs by blob name.

        Inputs must have the plan's dtypes; any size that the net allows is served, a new one costs some milliseconds
        once. fetch: further blobs to return. Raises ``RunError`` for inputs that do not fit, ``VerifyError`` naming the
        operator where sizes do not fit the net.
        """
        arrays = self._arrays(inputs)
        if isinstance(fetch, str):
            raise RunError(f"fetch is the string '{fetch}'", f"give a list of blob names: fetch=['{fetch}']")
        keep = frozenset(fetch) - set(self._output_names) if fetch else _NOTHING
        key = _Key(tuple([a.shape for a in arrays]), keep)
        idle, executor = self._take(key)
        try:
            outputs = dict(zip(self._output_names, executor.run(arrays)))
            for name in keep:
                outputs[name] = executor.fetch(name)
        finally:
            idle.append(executor)
        return outputs

    def __call__(self, *inputs: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run on arrays in the order of the inputs; the output, or a tuple of them."""
        if len(inputs) != len(self.schedule.inputs):
            raise RunError(f"the plan has {len(self.schedule.inputs)} inputs, {len(inputs)} were given", self._usage())
        out = self.run({p.name: a for p, a in zip(self.schedule.inputs, inputs)})
        values = tuple(out[n] for n in self.outputs)
        return values[0] if len(values) == 1 else values

    def _usage(self) -> str:
        return "inputs: " + ", ".join(f"'{n}': {t}" for n, t in self.inputs.items())

    def _arrays(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if not isinstance(inputs, Mapping):
            raise RunError(
                f"inputs are a {type(inputs).__name__}, not a mapping from blob name to array", self._usage()
            )
        names = [name for name, _, _ in self._ports]
        if len(inputs) != len(names) or any(name not in inputs for name in names):
            extra = [n for n in inputs if n not in names]
            missing = [n for n in names if n not in inputs]
            told = [f"unknown input '{n}'" for n in extra] + [f"input '{n}' is missing" for n in missing]
            raise RunError("; ".join(told), self._usage())
        return [
            array if _is_ready(array := inputs[name], kind, rank) else _checked(name, array, dtype, rank)
            for (name, dtype, rank), kind in zip(self._ports, self._dtypes)
        ]

    def executor(self) -> Executor:
        """A new executor for the shapes compiled for, apart from those that ``run`` uses."""
        with self._lock:
            return self._executor(self.schedule, self.constants)

    def _executor(self, schedule: Schedule, constants: Sequence[np.ndarray]) -> Executor:
        _require_memory(schedule, self.threads)
        self._load(schedule.kernels)
        start = _DRIVERS[self.target]
        code = (start, *self._loaded)
        return Executor(schedule, self._addresses, start.addresses[driver.NAME], constants, self.threads, code)

    def _take(self, key: _Key) -> tuple[list[Executor], Executor]:
        """An idle executor for these shapes, or a new one, and the list to which it returns."""
        idle = self._idle.get(key)
        if idle:
            try:
                return idle, idle.pop()
            except IndexError:
                pass  # another thread was faster
        with self._lock:
            schedule, constants = self._schedule(key)
            return self._idle.setdefault(key, []), self._executor(schedule, constants)

    def _schedule(self, key: _Key) -> tuple[Schedule, list[np.ndarray]]:
        """The schedule for some shapes and kept blobs: inferred and lowered on first use, nothing is compiled."""
        if key not in self._schedules:
            self._require_open_sizes(key.shapes)
            names = [v.name for v in self.graph.inputs]
            saved = {v: v.type for v in self.graph.values()}
            try:
                for v, shape in zip(self.graph.inputs, key.shapes):
                    v.type = replace(v.type, shape=shape)
                infer_types(self.graph)
                found = lower(self.graph, self._library, self.choices, key.keep)
            except GraphcError as error:
                sizes = ", ".join(f"{n} {s}" for n, s in zip(names, key.shapes))
                raise RunError(
                    f"the net does not take inputs of these sizes ({sizes}): {error.message}", error.help
                ) from None
            finally:
                for v, type in saved.items():
                    v.type = type
            self._check_keep(key.keep, found[0])
            self._schedules[key] = found
        return self._schedules[key]

    def _require_open_sizes(self, shapes: Shapes) -> None:
        fixed = next((n for n in self.graph.notes if n.startswith(FIXED_SIZES)), None)
        if fixed is not None and shapes != self._default.shapes:
            sizes = ", ".join(f"'{p.name}': {s}" for p, s in zip(self.schedule.inputs, shapes))
            raise RunError(
                f"the plan runs only the sizes that it was compiled for ({self._usage()}): {fixed}",
                f"compile for these sizes: inputs={{{sizes}}}",
            )

    def _check_keep(self, keep: frozenset[str], schedule: Schedule) -> None:
        for name in keep:
            if name not in schedule.views:
                known = ", ".join(f"'{n}'" for n in list(schedule.views)[:20])
                raise RunError(
                    f"blob '{name}' does not exist in the plan: it was fused away, folded, or never was",
                    f"compile with outputs=['{name}'] to keep it; blobs of this plan: {known}",
                )

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], native: bool = False) -> None:
        """Write the plan to a file. native: with machine code, which a reader uses only if told to."""
        if native:
            self.prepare()
        slot_of = {id(a): i for i, a in enumerate(self.constants)}
        raw = {v.name: slot_of[id(v.data)] for v in self.graph.constants if id(v.data) in slot_of}
        body: dict[str, Any] = {
            "target": self.target,
            "threads": self.threads,
            "graph": print_graph(self.graph),
            "schedule": print_schedule(self.schedule),
            "choices": [_plain_choice(self.choices.get(n), slot_of) for n in self.graph.nodes],
            "raw": raw,
            "offsets": [s.offset for s in self.schedule.constants],
            "constants": [(a.dtype.str, tuple(a.shape)) for a in self.constants],
            "kernels": self.kernels,
            "native": {n: o.pack() for n, o in self._native.items()} if native else {},
        }
        last = self.schedule.constants[-1] if self.schedule.constants else None
        write_plan(path, body, self.constants, last.offset + last.nbytes if last else 0)

    @staticmethod
    def load(path: str | os.PathLike[str], threads: int | None = None, allow_native: bool = False) -> Plan:
        """Open a plan file. Never runs code of the file, unless ``allow_native`` lets its machine code be used.

        Raises ``PlanError`` for a file that is damaged, of another version, or for another kind of processor.
        """
        require_threads(threads)
        body, tail = read_plan(path)
        try:
            return _restore(body, tail, threads, allow_native)
        except PlanError:
            raise
        except Exception as error:  # its fields are somebody else's data: anything may go wrong with them
            raise PlanError(f"{path} is damaged: {type(error).__name__}: {error}", "compile the net again") from error


def _restore(body: dict[str, Any], tail: np.ndarray, threads: int | None, allow_native: bool) -> Plan:
    _check_target(body["target"])
    constants = []
    for offset, (dtype, shape) in zip(body["offsets"], body["constants"]):
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        constants.append(np.frombuffer(tail, kind, count, offset).reshape(shape))
    graph = parse(body["graph"], {name: constants[slot] for name, slot in body["raw"].items()})
    choices = {}
    for node, plain in zip(graph.nodes, body["choices"]):
        if plain is not None:
            rule, spec, packed = plain
            choices[node] = Choice(rule, KernelSpec(*spec) if spec else None, {i: constants[s] for i, s in packed})
    objects = {n: KernelObject.unpack(o) for n, o in body["native"].items()} if allow_native else {}
    schedule = parse_schedule(body["schedule"])
    return Plan(graph, schedule, threads or body["threads"], body["target"], choices, constants, _native=objects)


def _check_target(name: str) -> None:
    order = list(targets())
    if name not in order or order.index(name) < order.index(native().name):
        raise PlanError(
            f"the plan is for target '{name}', this machine is '{native().name}'",
            f"compile the net here, or with --target {native().name}",
        )


def _plain_choice(choice: Choice | None, slot_of: Mapping[int, int]) -> tuple[Any, ...] | None:
    if choice is None:
        return None
    packed = tuple((i, slot_of[id(a)]) for i, a in choice.packed.items() if id(a) in slot_of)
    return choice.rule, (choice.spec.template, choice.spec.params) if choice.spec else None, packed


def require_threads(threads: int | None) -> None:
    """Raise ``GraphcError`` unless this is None or a number of threads that a run can have."""
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MAX_WORKERS + 1):
        raise GraphcError(f"threads is {threads!r}", f"give a number from 1 to {MAX_WORKERS + 1}")


def _require_memory(schedule: Schedule, threads: int) -> None:
    """Refuse buffers that this machine does not have: the system would grant them and kill the process later."""
    needed = schedule.arena_bytes + schedule.scratch_bytes * threads + sum(p.type.nbytes for p in schedule.outputs)
    if hasattr(os, "sysconf") and needed > (have := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        sizes = ", ".join(f"'{p.name}': {p.type}" for p in schedule.inputs)
        raise RunError(
            f"a run on inputs of these sizes ({sizes}) needs {needed / 2**30:,.1f} GiB of memory, "
            f"this machine has {have / 2**30:,.1f} GiB",
            "use a smaller batch or smaller images",
        )


def align_array(array: np.ndarray) -> np.ndarray:
    """The array itself where it is contiguous, native and starts at a cache line, else a copy that does."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.ctypes.data % 64 == 0 or array.nbytes == 0:
        return array
    copy = aligned_zeros(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _is_ready(array: object, dtype: np.dtype, rank: int | None) -> bool:
    """Kernels can read the input as it is; a quick check for the common case."""
    if type(array) is not np.ndarray or array.dtype != dtype or array.ndim != rank or not array.dtype.isnative:
        return False
    flags = array.flags
    return flags.c_contiguous and flags.aligned and array.size > 0


def _checked(name: str, value: Any, dtype: DType, rank: int | None) -> np.ndarray:
    """The input as a contiguous native array; raises ``RunError``."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise RunError(f"input '{name}' is no array: {error}", "give a numpy.ndarray") from None
    if array.dtype.newbyteorder("=") != dtype.numpy:
        raise RunError(
            f"input '{name}' has dtype {array.dtype}, the plan takes {dtype.numpy}",
            f"convert it: array.astype(numpy.{dtype.numpy})",
        )
    if rank is not None and array.ndim != rank:
        raise RunError(f"input '{name}' has shape {array.shape}, the plan takes {rank} dimensions")
    if array.size == 0:
        raise RunError(f"input '{name}' is empty: its shape is {array.shape}", "give at least one image or row")
    if not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
        try:
            array = np.array(array, dtype=dtype.numpy, order="C")
        except MemoryError as error:
            raise RunError(f"input '{name}' has no contiguous copy: {error}", "use a smaller batch") from None
    return array


def load(path: str | os.PathLike[str], threads: int | None = None, allow_native: bool = False) -> Plan:
    """Open a plan file; see ``Plan.load``."""
    return Plan.load(path, threads, allow_native)
