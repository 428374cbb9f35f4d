"""Plan: a compiled net. Runs, saves and loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np

from graphc.backends.cpu.target import native, targets
from graphc.backends.cuda.target import is_cuda
from graphc.backends.identity import generators
from graphc.backends.load import KernelObject
from graphc.cuda_code import CudaCode
from graphc.host_segment import HostSegment
from graphc.ir import DType, Graph, GraphcError, LoweringError, PlanError, RunError, TensorType, registry
from graphc.ir.device import COPIES
from graphc.ir.infer import infer_types
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph
from graphc.ir.schedule import Choice, KernelSpec, Schedule
from graphc.ir.schedule_text import parse_schedule, print_schedule
from graphc.kernel_code import KernelCode, Runner, TargetLibrary
from graphc.native_segment import NONE, NOTHING, NativeSegment, require_host
from graphc.passes.place_devices import place_devices
from graphc.passes.segments import CONSTANT, Segment, Segments, cut_segments, resident_outputs
from graphc.passes.split_sizes import split_sizes
from graphc.plan_inputs import as_array, contiguous, is_ready, require_input
from graphc.runtime.card import Array
from graphc.runtime.card_array import CardArray, is_on_card
from graphc.runtime.card_executor import CardExecutor, CardTimes
from graphc.runtime.card_stream import CallerStream
from graphc.runtime.executor import Executor
from graphc.runtime.planfile import read_plan, write_plan
from graphc.runtime.team import MAX_WORKERS
from graphc.targets import library_for, machine_code, stored_target, tuning_text

AnySegment = NativeSegment | HostSegment
Arrays = Sequence[np.ndarray]
Watch = Callable[[NativeSegment, Arrays, Arrays, dict[str, np.ndarray], Executor], None]
"""What gets to know of a native segment that has run: its inputs and outputs, the blobs fetched, its executor."""

NO_STREAM: AbstractContextManager[CallerStream | None] = nullcontext()
"""Of runs that no caller's stream is given for."""

Look = Callable[[NativeSegment, Arrays, Arrays, dict[str, np.ndarray], Runner], None]
"""The same, wherever the segment runs."""


class Plan:
    """A compiled net.

    graph: optimised, with the types of the shapes compiled for. threads: that a run uses. segments: the parts that run
    one after another, one for a net whose sizes do not depend on data. A plan may be shared by Python threads: each
    concurrent call gets buffers of its own.
    """

    def __init__(
        self, graph: Graph, cut: Segments, segments: Sequence[AnySegment], threads: int, code: KernelCode
    ) -> None:
        self.graph, self.cut, self.segments, self.threads, self.code = graph, cut, list(segments), threads, code
        self._ports = [(v.name, v.type.dtype or DType.FLOAT, v.type.rank) for v in graph.inputs]
        self._dtypes = [dtype.numpy for _, dtype, _ in self._ports]
        self._output_names = list(graph.output_names)
        on_card = [resident_outputs(cut, len(graph.inputs), results) for results in (False, True)]
        self._resident = on_card if is_cuda(self.target) else [[NONE] * len(self.segments)] * 2
        only = self.segments[0] if len(self.segments) == 1 else None
        self._only = only if isinstance(only, NativeSegment) and not only.shape_inputs else None

    # ---- making ------------------------------------------------------------------------------------------------------

    @staticmethod
    def build(
        graph: Graph,
        library: TargetLibrary,
        threads: int,
        code: KernelCode | None = None,
        max_memory: int | None = None,
    ) -> Plan:
        """Cut an optimised graph into segments, choose their kernels and lower what can be; nothing is compiled.

        max_memory: bytes that the arenas of the segments may have together. Raises ``LoweringError``.
        """
        code = code or machine_code(library)
        devices = is_cuda(library.target_name)
        if devices:
            place_devices(graph, library)
        shown = graph
        if any(node.opdef.sizes is not None for node in graph.nodes):
            graph = graph.clone()
            split_sizes(graph)
        cut = cut_segments(graph, devices)
        parts: list[AnySegment] = []
        for part in cut.parts:
            left = None if max_memory is None else max_memory - sum(map(_arena, parts))
            parts.append(_build_segment(part, code, threads, left))
        return Plan(shown, cut, parts, threads, code)

    def with_threads(self, threads: int) -> Plan:
        """The same plan for another number of threads; weights and machine code are shared."""
        segments = [_with_threads(s, threads) for s in self.segments]
        return Plan(self.graph, self.cut, segments, threads, self.code)

    @property
    def target(self) -> str:
        """What the plan runs on: an instruction set such as ``avx512_vnni``, or ``cuda:sm_90a``."""
        return self.code.library.target_name

    @property
    def schedules(self) -> list[Schedule]:
        """The schedules for the sizes compiled for, of the segments whose sizes are known before a run."""
        return [s.bound[0] for s in self.segments if isinstance(s, NativeSegment) and s.bound]

    @property
    def kernels(self) -> dict[KernelSpec, str]:
        """Generated source of the kernels chosen so far."""
        return {spec: code.source(spec) for code, specs in self.codes.items() for spec in specs}

    @property
    def codes(self) -> dict[KernelCode, list[KernelSpec]]:
        """The machine code of each target of the plan, and the kernels known to be needed: one for a CPU, for a card
        also the CPU's beside it, where it has work."""
        found: dict[KernelCode, dict[KernelSpec, None]] = {self.code: {}}
        for segment in self.segments:
            if isinstance(segment, NativeSegment):
                found.setdefault(segment.code, {}).update(dict.fromkeys(segment.kernels))
        return {code: list(specs) for code, specs in found.items()}

    @property
    def inputs(self) -> dict[str, str]:
        """Type text by input name."""
        return {v.name: str(v.type) for v in self.graph.inputs}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return list(self._output_names)

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Have all machine code in this process: from the plan's own objects, the cache, or the compiler."""
        for code, specs in self.codes.items():
            code.load(specs, progress)

    # ---- running -----------------------------------------------------------------------------------------------------

    def with_card(self, number: int) -> Plan:
        """The same plan on another card, by its number in this process, from 0; weights of the process and machine code
        are shared. Whether there is such a card is asked when the plan first runs. Raises ``GraphcError`` for a plan
        that runs on a CPU."""
        if not isinstance(self.code, CudaCode):
            raise GraphcError(f"the plan runs on '{self.target}', not on a card", "compile the net for one: --target")
        code = self.code.on_card(number)
        segments = [self._with_code(s, code) for s in self.segments]
        return Plan(self.graph, self.cut, segments, self.threads, code)

    def _with_code(self, segment: AnySegment, code: KernelCode) -> AnySegment:
        """The segment with other machine code for the card."""
        if isinstance(segment, HostSegment):
            return _host_segment(segment.graph, code, self.threads)
        return segment.with_code(code) if segment.code is self.code else segment

    def run(
        self, inputs: Mapping[str, Any], fetch: Sequence[str] = (), on_card: bool = False, stream: object = None
    ) -> dict[str, Any]:
        """Outputs by blob name, for inputs by blob name.

        Inputs are arrays of the plan's dtypes; any size that the net allows is served, a new one costs some
        milliseconds once. A plan for a card also takes arrays in the card's memory, of any library that speaks
        ``__dlpack__`` or ``__cuda_array_interface__``. fetch: further blobs to return, inputs among them. on_card:
        outputs that the card computes stay in its memory, as ``CardArray``. stream: CUDA's handle of a stream of the
        caller's on the card, or an object with ``__cuda_stream__``: inputs are read behind the work that it has, and
        work that it gets later may read the outputs; of a run that has nothing for the host nobody waits for the end.
        Raises ``RunError`` for inputs that do not fit and for data that an operator refuses, naming the operator.
        """
        if isinstance(fetch, str):
            raise RunError(f"fetch is the string '{fetch}'", f"give a list of blob names: fetch=['{fetch}']")
        keep = frozenset(fetch).difference(self._output_names, self.inputs) if fetch else NOTHING
        with NO_STREAM if stream is None else self.code.following(stream) as behind:
            arrays = self._arrays(inputs)
            outputs = self._run_arrays(arrays, keep, on_card, behind)
        for name in fetch:
            if name not in outputs:
                outputs[name] = np.array(arrays[[n for n, _, _ in self._ports].index(name)])
        return outputs

    def _run_arrays(
        self, arrays: list[Array], keep: frozenset[str], on_card: bool, behind: CallerStream | None
    ) -> dict[str, Any]:
        if self._only is None:
            return self._run_segments(arrays, keep, on_card=on_card, behind=behind)
        values, executor = self._only.run(arrays, keep, self._resident[on_card][0])
        try:
            outputs = dict(zip(self._output_names, self._lasting(values, behind) if on_card else values))
            for name in keep:
                outputs[name] = executor.fetch(name)
        finally:
            self._only.release(executor)
        return outputs

    def _lasting(self, arrays: Sequence[Array], behind: CallerStream | None) -> list[Array]:
        """Outputs that the next run does not overwrite."""
        staying = [a for a in arrays if isinstance(a, CardArray)]
        kept = iter(self.code.keep(staying, behind)) if staying else iter(())
        return [next(kept) if isinstance(a, CardArray) else a for a in arrays]

    def run_watched(self, inputs: Mapping[str, np.ndarray], watch: Watch, fetch: Sequence[str] = ()) -> None:
        """Run, and call ``watch`` after each native segment. Raises ``RunError`` as ``run`` does."""
        keep = frozenset(fetch).difference(self._output_names, self.inputs)
        self._run_segments(self._arrays(inputs), keep, lambda s, g, v, k, on: watch(s, g, v, k, require_host(on)))

    def card_times(self, inputs: Mapping[str, Any], repeats: int = 20, each: bool = True) -> list[CardTimes]:
        """How long the kernels of each part on a card take, by its own clock; each: also one by one.

        Raises ``RunError`` as ``run`` does.
        """
        found: list[CardTimes] = []

        def look(*seen: Any) -> None:
            if isinstance(seen[-1], CardExecutor):
                found.append(seen[-1].measure(repeats, each))

        self._run_segments(self._arrays(inputs), NOTHING, look)
        return found

    def _run_segments(
        self,
        arrays: Sequence[Array],
        keep: frozenset[str],
        watch: Look | None = None,
        on_card: bool = False,
        behind: CallerStream | None = None,
    ) -> dict[str, Any]:
        with ExitStack() as running:  # what stays on the card is valid until its segment is released
            slots, kept = self._run_in_order(arrays, keep, watch, self._resident[on_card], running)
            missing = keep - set(kept)
            if missing:
                raise RunError(
                    f"blob '{min(missing)}' does not exist in the plan: it was fused away, folded, or never was",
                    f"compile with outputs=['{min(missing)}'] to keep it",
                )
            n = len(arrays)
            results = self.cut.results if len(self.cut.parts) > 1 or self.cut.results else range(n, len(slots))
            named = [(name, slots[i], i < n) for name, i in zip(self._output_names, results) if i != CONSTANT]
            values = self._lasting([np.array(value) if given else value for _, value, given in named], behind)
            outputs = {name: value for (name, _, _), value in zip(named, values)}
        return outputs | self._constant_outputs() | kept

    def _run_in_order(
        self,
        arrays: Sequence[Array],
        keep: frozenset[str],
        watch: Look | None,
        resident: Sequence[frozenset[int]],
        running: ExitStack,
    ) -> tuple[list[Any], dict[str, np.ndarray]]:
        """The inputs and the outputs of all segments, and the blobs to keep; running: what has to end after them."""
        slots, kept = list[Any](arrays), dict[str, np.ndarray]()
        for part, segment, staying in zip(self.cut.parts, self.segments, resident):
            given = [slots[i] for i in part.sources]
            if part.host or part.beside:
                given = [np.asarray(a) for a in given]
            if isinstance(segment, HostSegment):
                slots += segment.run(given)
                continue
            given_on = _ends(segment.graph)
            mine = keep & {r.name for node in segment.graph.nodes if node.op not in COPIES for r in node.results}
            values, executor = segment.run(given, mine.difference(given_on), staying)
            running.callback(segment.release, executor)
            fetched = {n: np.array(values[given_on[n]]) if n in given_on else executor.fetch(n) for n in mine}
            if watch is not None:
                watch(segment, given, values, fetched, executor)
            kept |= fetched
            slots += values
        return slots, kept

    def _constant_outputs(self) -> dict[str, np.ndarray]:
        named = [(n, v.data) for n, v in zip(self._output_names, self.graph.outputs) if v.is_constant]
        return {n: np.array(data) for n, data in named if data is not None} if self.cut.results else {}

    def __call__(self, *inputs: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run on arrays in the order of the inputs; the output, or a tuple of them."""
        if len(inputs) != len(self._ports):
            raise RunError(f"the plan has {len(self._ports)} inputs, {len(inputs)} were given", self._usage())
        out = self.run({name: a for (name, _, _), a in zip(self._ports, inputs)})
        values = tuple(out[n] for n in self.outputs)
        return values[0] if len(values) == 1 else values

    def run_arrays(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs in order for arrays in the order of the inputs, which may be empty ones; for graphs inside graphs."""
        plain = [np.asarray(a, order="C") for a in arrays]
        if self._only is None:
            out = self._run_segments(plain, NOTHING)
            return [out[n] for n in self._output_names]
        values, executor = self._only.run(plain)
        self._only.release(executor)
        return values

    def executor(self) -> Executor:
        """A new executor for the shapes compiled for, apart from those that ``run`` uses; for nets of one segment."""
        if self._only is None:
            raise RunError("the net has sizes that depend on data: it runs as several segments, not as one schedule")
        return self._only.executor()

    def bind(self, types: Mapping[str, TensorType]) -> None:
        """Lower the net for inputs of other sizes, without a run; for nets of one segment. Raises ``RunError``."""
        if self._only is None:
            raise RunError("the net has sizes that depend on data", "run it on inputs of these sizes")
        wanted = {v.name: v.type for v in self.graph.inputs} | dict(types)
        arrays = {n: np.empty(t.static_shape, t.dtype.numpy if t.dtype else np.float32) for n, t in wanted.items()}
        self._only.bind(self._arrays(arrays))

    def _usage(self) -> str:
        return "inputs: " + ", ".join(f"'{n}': {t}" for n, t in self.inputs.items())

    def _arrays(self, inputs: Mapping[str, Any]) -> list[Any]:
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
            array if is_ready(array := inputs[name], kind, rank) else self._checked(name, array, dtype, rank)
            for (name, dtype, rank), kind in zip(self._ports, self._dtypes)
        ]

    def _checked(self, name: str, value: Any, dtype: DType, rank: int | None) -> Array:
        """The input as a contiguous native array; raises ``RunError``."""
        if not is_on_card(value):
            return contiguous(name, require_input(name, as_array(name, value), dtype, rank), dtype)
        return require_input(name, self.code.take(name, value), dtype, rank)

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], native: bool = False) -> None:
        """Write the plan to a file. native: with machine code, which a reader uses only if told to."""
        asked, native = native, native or self.code.ships
        if native:
            self.prepare()
        constants = self.weights
        slot_of = {id(a): i for i, a in enumerate(constants)}
        offsets, nbytes = _offsets(constants)
        body: dict[str, Any] = {
            "target": self.target,
            "tuning": tuning_text(self.code.library),
            "generators": generators(),
            "threads": self.threads,
            "graph": print_graph(self.graph),
            "raw": _raw(self.graph, slot_of),
            "segments": [_plain_segment(p, s, slot_of) for p, s in zip(self.cut.parts, self.segments)],
            "results": self.cut.results,
            "offsets": offsets,
            "constants": [_plain_constant(a) for a in constants],
            "kernels": {spec.name: source for spec, source in self.kernels.items()},
            "native": _objects(self.code) if native else {},
        }
        if self._beside is not None:
            body |= {
                "beside": self._beside.library.target_name,
                "beside_native": _objects(self._beside) if asked else {},
            }
        write_plan(path, body, [_tail_part(a) for a in constants], nbytes)

    @property
    def _beside(self) -> KernelCode | None:
        """The machine code for the CPU in a plan for a card, where something runs there."""
        return next((code for code in self.codes if code is not self.code), None)

    @property
    def weights(self) -> list[np.ndarray]:
        """Every array that the segments need, once each, in the order of use."""
        found = {id(a): a for segment in self.segments for a in segment.weights}
        found |= {id(v.data): v.data for v in self.graph.outputs if v.data is not None and self.cut.results}
        return list(found.values())

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


def _build_segment(part: Segment, code: KernelCode, threads: int, max_memory: int | None) -> AnySegment:
    if part.host:
        return _host_segment(part.graph, code, threads)
    mine = code.beside if part.beside else code
    segment = NativeSegment.build(part.graph, part.shape_inputs, mine, threads, max_memory)
    if max_memory is not None and segment.bound is None:
        raise LoweringError(
            "the net has sizes that depend on data: what memory they take is known when it runs",
            "compile without --max-memory, max_memory=",
        )
    return segment


def _ends(graph: Graph) -> dict[str, int]:
    """The values that a segment gives on, by name, whose elements are what a user gets when he asks for them."""
    return {
        v.name: k
        for k, v in enumerate(graph.outputs)
        if v.type.layout.block == 1 and v.type.dtype is not DType.BFLOAT16
    }


def _arena(segment: AnySegment) -> int:
    """Bytes of a segment's arena for the sizes compiled for."""
    return segment.bound[0].arena_bytes if isinstance(segment, NativeSegment) and segment.bound else 0


def _host_segment(graph: Graph, code: KernelCode, threads: int) -> HostSegment:
    def compile_graph(inner: Graph) -> Plan:
        infer_types(inner)
        plan = Plan.build(inner, code.library, threads, code)
        plan.prepare()
        return plan

    return HostSegment(graph, compile_graph)


def _with_threads(segment: AnySegment, threads: int) -> AnySegment:
    if isinstance(segment, HostSegment):
        return segment
    return NativeSegment(segment.graph, segment.shape_inputs, segment.code, threads, segment.choices, segment.bound)


def _offsets(constants: Sequence[np.ndarray]) -> tuple[list[int], int]:
    """Where each constant lies in the tail of a file, at multiples of 64 bytes, and the size of the tail."""
    offsets, end = [], 0
    for a in map(_tail_part, constants):
        offsets.append(-(-end // 64) * 64)
        end = offsets[-1] + a.nbytes
    return offsets, end


def _tail_part(array: np.ndarray) -> np.ndarray:
    """What of a constant is written to the tail: nothing of strings, which stand in the body."""
    return np.zeros(0, np.uint8) if array.dtype == object else array


def _plain_constant(array: np.ndarray) -> tuple[Any, ...]:
    """dtype and shape of a constant, and the elements of one of strings."""
    strings = (tuple(array.ravel()),) if array.dtype == object else ()
    return (array.dtype.str, tuple(array.shape), *strings)


def _constant(plain: Sequence[Any], tail: np.ndarray, offset: int) -> np.ndarray:
    dtype, dims, *strings = plain
    shape: tuple[int, ...] = tuple(dims)
    if strings:
        array = np.empty(len(strings[0]), object)
        array[:] = [bytes(s) for s in strings[0]]
        return array.reshape(shape)
    return np.frombuffer(tail, np.dtype(dtype), int(np.prod(shape, dtype=np.int64)), offset).reshape(shape)


def _raw(graph: Graph, slot_of: Mapping[int, int]) -> dict[str, int]:
    return {v.name: slot_of[id(v.data)] for v in graph.constants if id(v.data) in slot_of}


def _objects(code: KernelCode) -> dict[str, bytes]:
    return {name: made.pack() for name, made in code.objects.items()}


def _plain_segment(part: Segment, segment: AnySegment, slot_of: Mapping[int, int]) -> dict[str, Any]:
    plain: dict[str, Any] = {"sources": tuple(part.sources), "shape_inputs": tuple(part.shape_inputs)}
    plain |= {"beside": True} if part.beside else {}
    plain |= {"graph": print_graph(segment.graph), "raw": _raw(segment.graph, slot_of)}
    if isinstance(segment, HostSegment):
        return plain
    plain["choices"] = [_plain_choice(segment.choices.get(n), slot_of) for n in segment.graph.nodes]
    if segment.bound:
        plain["schedule"] = print_schedule(segment.bound[0])
        plain["constants"] = [slot_of[id(a)] for a in segment.bound[1]]
    return plain


def _restore(body: dict[str, Any], tail: np.ndarray, threads: int | None, allow_native: bool) -> Plan:
    _check_generators(body.get("generators"))
    _check_target(body["target"])
    _check_target(body.get("beside", body["target"]))
    constants = [_constant(plain, tail, at) for at, plain in zip(body["offsets"], body["constants"])]
    objects = [
        {n: KernelObject.unpack(o) for n, o in found.items()} if allow_native else {}
        for found in (body["native"], body.get("beside_native", {}))
    ]
    code = machine_code(
        library_for(stored_target(body["target"], body["tuning"])), objects[0], body.get("beside", "native")
    )
    if objects[1]:
        code.beside.objects |= objects[1]
    threads = threads or body["threads"]
    graph = parse(body["graph"], {name: constants[slot] for name, slot in body["raw"].items()})
    _check_operators(graph)
    parts, segments = [], []
    for plain in body["segments"]:
        inner = parse(plain["graph"], {name: constants[slot] for name, slot in plain["raw"].items()})
        host, beside = "choices" not in plain, plain.get("beside", False)
        parts.append(Segment(inner, plain["sources"], plain["shape_inputs"], host, beside))
        mine = code.beside if beside else code
        segments.append(
            _host_segment(inner, code, threads) if host else _native_segment(plain, inner, mine, threads, constants)
        )
    cut = Segments(tuple(parts), body["results"])
    _check_slots(graph, cut)
    return Plan(graph, cut, segments, threads, code)


def _check_generators(identity: object) -> None:
    """Raise ``PlanError`` where other kernel generators made the plan: its weights may lie in another order."""
    if identity != generators():
        raise PlanError(
            "the plan was made by another version of graphc, whose kernels take their operands in another form",
            "compile the net again, or use the graphc that wrote the plan",
        )


def _check_operators(graph: Graph) -> None:
    """Raise ``PlanError`` that names the operators that this process does not know."""
    unknown = sorted({node.op for node in graph.walk()} - set(registry()))
    if unknown:
        raise PlanError(
            f"the plan uses {', '.join(map(repr, unknown))}, which is no operator in this process",
            "import the module that registers it (graphc.register_operator) before graphc.load",
        )


def _check_slots(graph: Graph, cut: Segments) -> None:
    """Raise ``PlanError`` unless every segment reads what is there before it, and the outputs are there at the end."""
    n = len(graph.inputs)
    for part in cut.parts:
        known = all(0 <= i < n for i in part.sources) and all(0 <= i < len(part.sources) for i in part.shape_inputs)
        if len(part.sources) != len(part.graph.inputs) or not known:
            raise PlanError(
                "the segments of the plan do not fit together", "the plan is damaged: compile the net again"
            )
        n += len(part.graph.outputs)
    results = cut.results or tuple(range(len(graph.inputs), n))
    if len(results) != len(graph.outputs) or not all(CONSTANT <= i < n for i in results):
        raise PlanError("the plan's segments do not give its outputs", "the plan is damaged: compile the net again")


def _native_segment(
    plain: dict[str, Any], graph: Graph, code: KernelCode, threads: int, constants: Sequence[np.ndarray]
) -> NativeSegment:
    choices = {}
    for node, choice in zip(graph.nodes, plain["choices"]):
        if choice is not None:
            rule, spec, packed, again = choice
            operands = {i: constants[s] for i, s in packed}
            choices[node] = Choice(rule, KernelSpec(*spec) if spec else None, operands, again=again)
    bound = None
    if "schedule" in plain:
        bound = parse_schedule(plain["schedule"]), [constants[s] for s in plain["constants"]]
    return NativeSegment(graph, plain["shape_inputs"], code, threads, choices, bound)


def _check_target(name: str) -> None:
    if is_cuda(name):
        return  # whether there is such a card is asked when the plan first runs
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
    return choice.rule, (choice.spec.template, choice.spec.params) if choice.spec else None, packed, choice.again


def require_threads(threads: int | None) -> None:
    """Raise ``GraphcError`` unless this is None or a number of threads that a run can have."""
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MAX_WORKERS + 1):
        raise GraphcError(f"threads is {threads!r}", f"give a number from 1 to {MAX_WORKERS + 1}")


def load(path: str | os.PathLike[str], threads: int | None = None, allow_native: bool = False) -> Plan:
    """Open a plan file; see ``Plan.load``."""
    return Plan.load(path, threads, allow_native)
