"""Lowering: an optimised graph with static types, and the backend's choices, to a Schedule.

Every value gets a storage: a piece of the arena, a graph input or output, or a constant. Concatenated values are
written in place where their producers can; zero halos are made where kernels read them; the rest is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.ir import Call, DType, Graph, LoweringError, Node, TensorType, Trait, Value
from graphc.ir.loops import call_text
from graphc.ir.schedule import (
    NO_HALO,
    Address,
    Buffer,
    Check,
    Choice,
    ConstantSlot,
    Halo,
    Library,
    MemoryPlan,
    Needs,
    Port,
    Schedule,
    Step,
    Task,
    View,
)
from graphc.passes.memory.allocate import allocate
from graphc.passes.memory.allocation import Lifetime, align
from graphc.passes.sizes import require_sizes

Choices = Mapping[Node, Choice]


def choose_kernels(
    graph: Graph, library: Library, kept: Choices | None = None, first: Mapping[Node, Node] | None = None
) -> dict[Node, Choice]:
    """The backend's choice for every node, or the one that is kept from an earlier time.

    first: nodes that are copies of another, and take its choice.
    Raises ``LoweringError`` listing every operator that has no kernel.
    """
    require_sizes(graph)
    choices = dict(kept or {})
    problems: list[str] = []
    remedy = ""
    for node in graph.nodes:
        if node in choices or (first and node in first):
            continue
        try:
            choices[node] = library.choose(Call(node))
        except LoweringError as error:
            problems.append(error.message)
            remedy = error.help
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LoweringError(problems[0] + more, remedy, "\n".join(problems[1:]))
    return choices | {copy: choices[node] for copy, node in (first or {}).items()}


@dataclass(eq=False)
class _Storage:
    """A piece of memory: of ``type`` with ``halo``, or of ``nbytes`` bare bytes."""

    space: str
    type: TensorType | None = None
    nbytes: int = 0
    halo: Halo = NO_HALO
    index: int = 0
    first: int = -1
    last: int = -1
    names: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    joined: int = 0
    """Bytes that the values that share this storage would take elsewhere, those of the first one not counted."""
    zeroed: bool = False
    dense: bool = False
    """A value that lies here is written without gaps: there is no room for a halo."""

    def size(self) -> int:
        """Bytes."""
        if self.type is None:
            return self.nbytes
        shape = self.type.static_shape
        itemsize = self.type.dtype.itemsize if self.type.dtype else 4
        if len(shape) != 4:
            return self.type.nbytes
        image, *_ = _strides(shape, self.type.layout.block, self.halo)
        return shape[0] * image * itemsize

    def join(self, value: Value, reason: str) -> None:
        """A further value lies here, for this reason."""
        self.names.append(value.name)
        self.reasons.append(reason)
        self.joined += align(value.type.nbytes)

    def touch(self, step: int) -> None:
        """The storage is in use while ``step`` runs."""
        self.first = step if self.first < 0 else min(self.first, step)
        self.last = max(self.last, step)


@dataclass(frozen=True)
class _Place:
    """A value's place: a storage, and how many elements of the sliced dimension lie before it there.

    channels: of the 4-D value that it is a slice of, 0 for a value that is no slice.
    """

    storage: _Storage
    before: int = 0
    axis: int = 1
    channels: int = 0


def _strides(shape: tuple[int, ...], block: int, halo: Halo) -> tuple[int, int, int, int]:
    """Image, plane, row and pixel strides of a 4-D storage, in elements."""
    _, c, h, w = shape
    row = (w + halo[1] + halo[3]) * block
    plane = (h + halo[0] + halo[2]) * row
    return -(-c // block) * plane, plane, row, block


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    out, n = [], 1
    for d in reversed(shape):
        out.append(n)
        n *= d
    return tuple(reversed(out))


@dataclass
class _Draft:
    """A step in the making, with what its tasks read and write: storages, or (storage, slice)."""

    tasks: list[Task] = field(default_factory=list)
    reads: set[object] = field(default_factory=set)
    writes: set[object] = field(default_factory=set)

    def independent(self, reads: set[object], writes: set[object]) -> bool:
        """Tasks that read and write these can run beside the tasks of this step."""
        mine, theirs = _storages(self.writes), _storages(writes)
        if mine & _storages(reads) or theirs & _storages(self.reads):
            return False
        return not (self.writes & writes or mine & theirs & _whole(self.writes, writes))

    def add(self, tasks: Sequence[Task], reads: set[object], writes: set[object]) -> None:
        """Put tasks into the step."""
        self.tasks += tasks
        self.reads |= reads
        self.writes |= writes


def _storages(touched: set[object]) -> set[object]:
    return {t[0] if isinstance(t, tuple) else t for t in touched}


def _whole(*touched: set[object]) -> set[object]:
    """The storages that are touched as a whole, not by slices."""
    return {t for group in touched for t in group if not isinstance(t, tuple)}


class _Lowering:
    """One run of ``lower``; the fields are the state that its steps share."""

    def __init__(self, graph: Graph, library: Library, choices: Choices, keep: Collection[str]) -> None:
        self.graph, self.library, self.choices, self.keep = graph, library, choices, frozenset(keep)
        self.calls = {node: Call(node) for node in graph.nodes}
        self.needs: dict[Node, Needs] = {n: library.needs(self.calls[n], choices[n]) for n in graph.nodes}
        self.places: dict[Value, _Place] = {}
        self.elided: set[tuple[Node, int]] = set()
        self.overwritten: set[Value] = set()
        self.copies: dict[tuple[Value, Halo], _Place] = {}
        self.storages: list[_Storage] = []
        self.constants: list[tuple[str, np.ndarray]] = []
        self.constant_of: dict[int, _Storage] = {}
        self.steps: list[_Draft] = []
        self.checks: list[Check] = []
        self.scratch = 0

    # ---- what consumers ask of a value ------------------------------------------------------------------------------

    def halo_of(self, value: Value) -> Halo:
        """The largest zero border that a reader asks for."""
        halo = NO_HALO
        for node, i in value.uses:
            if node in self.needs:
                asked = self.needs[node].halo.get(i, NO_HALO)
                halo = (max(halo[0], asked[0]), max(halo[1], asked[1]), max(halo[2], asked[2]), max(halo[3], asked[3]))
        return halo

    def read_dense(self, value: Value) -> bool:
        """Some reader takes the value in dense form only."""
        return any(n in self.needs and (i in self.needs[n].dense or self.needs[n].alias) for n, i in value.uses)

    def written_dense(self, value: Value) -> bool:
        """The producer writes dense results only."""
        node = value.producer
        return node is None or self.needs[node].dense_out or self.needs[node].alias

    # ---- storage ----------------------------------------------------------------------------------------------------

    def new_storage(self, value: Value, halo: Halo) -> _Storage:
        """A storage of the arena for a value."""
        s = _Storage("arena", value.type, halo=halo, names=[value.name])
        self.storages.append(s)
        return s

    def place_all(self) -> None:
        """Give every value a place: ends first, so that a value can lie inside what it is concatenated into."""
        for k, v in enumerate(self.graph.inputs):
            self.places[v] = _Place(_Storage("in", v.type, index=k))
        for k, v in enumerate(self.graph.outputs):
            if v.producer is not None and v not in self.places:
                self.places[v] = _Place(_Storage("out", v.type, index=k))
        for node in reversed(self.graph.nodes):
            for r in node.results:
                if r not in self.places:
                    self.places[r] = self._place(r)
            if self.needs[node].alias:
                self._place_alias(node)
            elif node.op == "Concat":
                self._place_pieces(node)
            elif Trait.POINTWISE in node.opdef.traits or node.op == "g.pointwise":
                self._place_in_place(node)

    def _place(self, value: Value) -> _Place:
        dense = self.read_dense(value) or self.written_dense(value)
        place = _Place(self.new_storage(value, NO_HALO if dense else self.halo_of(value)))
        place.storage.dense = dense
        return place

    def may_share(self, value: Value, place: _Place, whole: Value) -> bool:
        """``value`` may lie in the memory of ``whole``, which its only reader here makes of it.

        Not where that memory is overwritten before other readers come, nor where a kept blob would become part of an
        output, which is the caller's after the run.
        """
        kept = value.name in self.keep
        if whole in self.overwritten:
            if kept or len(value.uses) > 1 or value in self.graph.outputs:
                return False
            self.overwritten.add(value)
        return not (kept and place.storage.space == "out")

    def _place_alias(self, node: Node) -> None:
        source, place = node.operands[0], self.places[node.results[0]]
        if source in self.graph.inputs and place.storage.space == "arena" and not place.before:
            self.places[node.results[0]] = self.places[source]
        if source is None or source.producer is None or source in self.places or place.before:
            return
        if self.may_share(source, place, node.results[0]):
            self.places[source] = _Place(place.storage)
            place.storage.join(source, f"{node.results[0].name} is {source.name} under another shape")
            place.storage.dense = True

    def _is_view_of_input(self, value: Value) -> bool:
        """The value is not computed: it is an input or constant, or one under another shape."""
        node = value.producer
        if node is None:
            return True
        return self.needs[node].alias and (node.operands[0] is None or self._is_view_of_input(node.operands[0]))

    def _place_in_place(self, node: Node) -> None:
        """Let a pointwise node overwrite the operand that dies there."""
        result = node.results[0]
        place = self.places[result]
        for value in node.operands:
            if value is None or value in self.places or value.type != result.type or self._is_view_of_input(value):
                continue
            dense = self.view(place, value.type).dense
            alone = len(value.uses) == 1 and value not in self.graph.outputs and value.name not in self.keep
            if alone and (dense or not self.written_dense(value)):
                self.places[value] = place
                self.overwritten.add(value)
                place.storage.join(value, f"{result.name} overwrites {value.name} in place")
                place.storage.dense |= self.written_dense(value)
                return

    def _place_pieces(self, node: Node) -> None:
        place = self.places[node.results[0]]
        axis = self._slice_axis(node)
        if axis is None or (place.before and place.axis != axis):
            return
        before, storage, result = place.before, place.storage, node.results[0]
        channels = place.channels or (result.type.static_shape[1] if result.type.rank == 4 else 0)
        for i, value in enumerate(node.operands):
            assert value is not None
            if self._can_lie_in(value, place, node) and self.may_share(value, place, result):
                self.elided.add((node, i))
                self.places[value] = _Place(storage, before, axis, channels)
                end = before + value.type.static_shape[axis]
                storage.join(value, f"{value.name} lies at {before}..{end} of axis {axis} of {result.name}")
                storage.dense |= self.read_dense(value) or self.written_dense(value)
                if storage.space == "arena" and not storage.dense:
                    storage.halo = tuple(map(max, self.halo_of(value), storage.halo))  # type: ignore[assignment]
            before += value.type.static_shape[axis]

    def _slice_axis(self, node: Node) -> int | None:
        """The axis along which pieces are contiguous slices of the result, or None."""
        t = node.results[0].type
        axis = int(self.calls[node].arg("axis")) if self.calls[node].given("axis") else 1
        if self.calls[node].arg("add_axis") or axis < 0 or axis >= len(t.static_shape):
            return None
        if t.rank == 4 and axis == 1:
            pieces = [v.type.static_shape[1] for v in node.operands if v is not None]
            return 1 if all(c % t.layout.block == 0 for c in pieces) else None
        return axis if all(d == 1 for d in t.static_shape[:axis]) and t.rank != 4 else None

    def _can_lie_in(self, value: Value, place: _Place, concat: Node) -> bool:
        single = sum(1 for n, _ in value.uses if n is concat) == 1
        strided = value.type.rank == 4 and value.type.static_shape[0] >= 1
        batch_one = value.type.static_shape[0] == 1 and place.storage.halo == NO_HALO
        free = value not in self.places and single and not self._is_view_of_input(value)
        dense_needed = self.read_dense(value) or self.written_dense(value)
        if not free or value.type.layout != concat.results[0].type.layout:
            return False
        return (not dense_needed and strided) or (dense_needed and (batch_one or not strided))

    def view(self, place: _Place, type: TensorType) -> View:
        """The view of a value of ``type`` at a place."""
        s, shape = place.storage, type.static_shape
        itemsize = type.dtype.itemsize if type.dtype else 4
        at = self.address(s)
        if len(shape) != 4:
            inner = _dense_strides(shape)
            skip = place.before * inner[place.axis] if place.before else 0
            return View(at.plus(skip * itemsize), type, inner)
        channels = place.channels or shape[1]
        block = type.layout.block
        strides = _strides((shape[0], channels, *shape[2:]), block, s.halo)
        skip = place.before // block * strides[1] + s.halo[0] * strides[2] + s.halo[1] * strides[3]
        dense = s.halo == NO_HALO and (channels == shape[1] or shape[0] == 1)
        return View(at.plus(skip * itemsize), type, strides, dense)

    def constant(self, name: str, data: np.ndarray) -> _Place:
        """The place of a constant, stored once."""
        if id(data) not in self.constant_of:
            index = len(self.constants)
            self.constants.append((name, data))
            self.constant_of[id(data)] = _Storage("const", index=index)
        return _Place(self.constant_of[id(data)])

    # ---- steps ------------------------------------------------------------------------------------------------------

    def add_step(self, tasks: Sequence[Task], reads: set[object], writes: set[object]) -> int:
        """Append a step, or join it to the last one where neither needs the other; the index of the step it is in."""
        tasks = [t for t in tasks if t.units > 0]
        if not self.steps or not self.steps[-1].independent(reads, writes):
            self.steps.append(_Draft())
        self.steps[-1].add(tasks, reads, writes)
        return len(self.steps) - 1

    def operand(self, node: Node, i: int) -> tuple[View | None, _Storage | None]:
        """View and storage from which a kernel reads operand ``i``; makes the copy that the kernel needs."""
        value, choice = node.operands[i], self.choices[node]
        if value is None:
            return None, None
        if i in choice.packed:
            data = choice.packed[i]
            place = self.constant(f"{value.name}@{node.results[0].name}", data)
            packed_type = TensorType(DType.of(data.dtype), data.shape)
            return View(self.address(place.storage), packed_type, _dense_strides(data.shape)), place.storage
        if value.data is not None:
            place = self.constant(value.name, value.data)
            return View(
                self.view(place, value.type).address, value.type, _dense_strides(value.data.shape)
            ), place.storage
        place = self.places[value]
        view = self.view(place, value.type)
        needs = self.needs[node]
        halo = needs.halo.get(i, NO_HALO)
        if any(a > b for a, b in zip(halo, place.storage.halo)) and view.type.rank == 4:
            place = self.copy(value, view, self.halo_of(value))
        elif i in needs.dense and not view.dense:
            place = self.copy(value, view, NO_HALO)
        return self.view(place, value.type), place.storage

    def copy(self, value: Value, view: View, halo: Halo) -> _Place:
        """A copy of a value with another halo, made once and shared by the readers that come after."""
        key = (value, halo)
        if key not in self.copies:
            place = self.copies[key] = _Place(self.new_storage(value, halo))
            place.storage.reasons.append(f"copy of {value.name} with the border {halo} that its readers need")
            source = self.places[value].storage
            tasks = [self.library.copy_task(view, self.view(place, value.type)), *self.halo_tasks(place)]
            step = self.add_step(tasks, {source}, {place.storage})
            source.touch(step)
            place.storage.touch(step)
        return self.copies[key]

    def halo_tasks(self, place: _Place) -> list[Task]:
        """The task that zeroes a storage's halo, the first time that something is written there."""
        s = place.storage
        if s.halo == NO_HALO or s.zeroed or s.type is None:
            return []
        s.zeroed = True
        return [self.library.halo_task(self.view(_Place(s), s.type), s.halo)]

    def emit(self, node: Node) -> None:
        """Append the steps of a node."""
        needs = self.needs[node]
        self.scratch = max(self.scratch, align(needs.scratch))
        if needs.alias and self.same_memory(node):
            return
        if not node.opdef.errors and not any(r.type.size for r in node.results):
            return  # no element to compute, and nothing that could be refused
        operands = [self.operand(node, i) for i in range(len(node.operands))]
        # a piece of a Concat that already lies where it belongs: nothing is left to copy
        ins = [None if (node, i) in self.elided else view for i, (view, _) in enumerate(operands)]
        places = [self.places[r] for r in node.results]
        outs = [self.view(p, r.type) for p, r in zip(places, node.results)]
        owner = node.results[0].name if node.results else node.op
        work = _Storage("arena", nbytes=needs.workspace, names=[f"workspace of {owner}"])
        work.reasons.append(f"workspace of {node.op}")
        if needs.workspace:
            self.storages.append(work)
        reads = {s for _, s in operands if s is not None}
        writes: set[object] = {(p.storage, p.before) for p in places} | ({work} if needs.workspace else set())
        halos = [t for p in places for t in self.halo_tasks(p)]
        if needs.alias:
            steps: list[Step] = [(self.library.copy_task(_as(ins[0], outs[0].type), outs[0]),)]
        else:
            steps = self.library.bind(self.calls[node], self.choices[node], ins, outs, self.address(work))
            steps = [tuple(self.checked(node, t) for t in step) for step in steps]
        used = [s for s in reads if isinstance(s, _Storage)] + [p.storage for p in places] + [work]
        for k, step in enumerate(steps):
            at = self.add_step([*step, *(halos if k == 0 else [])], set(reads), writes)
            for s in used:
                s.touch(at)

    def checked(self, node: Node, task: Task) -> Task:
        """The task with the status word of its call."""
        if not any(isinstance(p, Address) and p.space == "status" for p in task.params):
            return task
        check = Check(call_text(self.calls[node]), node.opdef.errors)
        if check not in self.checks:
            self.checks.append(check)
        word = Address("status", 0, self.checks.index(check))
        params = (word if isinstance(p, Address) and p.space == "status" else p for p in task.params)
        return replace(task, params=tuple(params))

    def same_memory(self, node: Node) -> bool:
        """The result of an alias node lies where its operand does."""
        source = node.operands[0]
        if source is None or source.is_constant:
            return False
        a, b = self.places[source], self.places[node.results[0]]
        return a.storage is b.storage

    def address(self, storage: _Storage) -> Address:
        """The provisional address of an arena storage: its number stands for its offset until that is known."""
        return (
            Address(storage.space, 0, storage.index) if storage.space != "arena" else Address("storage", 0, id(storage))
        )

    def emit_outputs(self) -> None:
        """Copy the outputs that were not written in place: an input, a constant, a value that is an output twice."""
        for k, value in enumerate(self.graph.outputs):
            place = _Place(_Storage("out", value.type, index=k))
            mine = self.places.get(value)
            if mine is not None and mine.storage.space == "out" and mine.storage.index == k:
                continue
            source = mine if mine is not None else self.constant(value.name, _data(value))
            task = self.library.copy_task(self.view(source, value.type), self.view(place, value.type))
            source.storage.touch(self.add_step([task], {source.storage}, {place.storage}))

    # ---- the result -------------------------------------------------------------------------------------------------

    def finish(self) -> tuple[Schedule, list[np.ndarray]]:
        """Assign offsets and write them into the tasks."""
        live = [s for s in self.storages if s.first >= 0]
        for s in live:
            kept = self.keep.intersection(s.names)
            if kept:
                s.last = len(self.steps)
                s.reasons += [f"{name} is kept, to be fetched after the run" for name in sorted(kept)]
        found = allocate([Lifetime(s.size(), s.first, s.last) for s in live])
        place_of = {id(s): (o, number) for number, (s, o) in enumerate(zip(live, found.offsets))}

        def resolve(a: Address) -> Address:
            if a.space == "storage":
                offset, number = place_of[a.index]
                return Address("arena", offset + a.offset, number)
            return a

        def final(t: Task) -> Task:
            return replace(t, params=tuple(resolve(p) if isinstance(p, Address) else p for p in t.params))

        buffers = [
            Buffer(tuple(s.names), o, s.size(), s.first, s.last, tuple(s.reasons)) for s, o in zip(live, found.offsets)
        ]
        unshared = sum(align(s.size()) + s.joined for s in live)
        memory = MemoryPlan(found.lower_bound, found.optimal, found.method, unshared, "as given")
        g = self.graph
        schedule = Schedule(
            self.library.target_name,
            [Port(v.name, v.type) for v in g.inputs],
            [Port(n, v.type) for n, v in zip(g.output_names, g.outputs)],
            [tuple(final(t) for t in s.tasks) for s in self.steps],
            found.height,
            self.scratch,
            _constant_slots(self.constants),
            buffers,
            self.checks,
            memory=memory,
        )
        for value, place in self.places.items():
            if place.storage.space == "arena" and place.storage.first >= 0:
                view = self.view(place, value.type)
                # the last value of a name comes first: it is what the blob holds after a run
                schedule.views.setdefault(value.name, replace(view, address=resolve(view.address)))
        return schedule, [data for _, data in self.constants]


def _data(value: Value) -> np.ndarray:
    if value.data is None:
        raise LoweringError(f"constant '{value.name}' has no data", "import the net together with its init net")
    return value.data


def _as(view: View | None, type: TensorType) -> View:
    """A dense view under another shape of equal size."""
    if view is None or not view.dense:
        raise LoweringError("a value that is not dense cannot be reshaped in place")
    return View(view.address, type, _dense_strides(type.static_shape))


def _constant_slots(constants: Sequence[tuple[str, np.ndarray]]) -> list[ConstantSlot]:
    slots: list[ConstantSlot] = []
    offset = 0
    for name, data in constants:
        slots.append(ConstantSlot(name, offset, data.nbytes))
        offset = align(offset + data.nbytes)
    return slots


def lower(
    graph: Graph, library: Library, choices: Choices, keep: Collection[str] = ()
) -> tuple[Schedule, list[np.ndarray]]:
    """The schedule of an optimised graph with static types, and its constants in the order of ``Schedule.constants``.

    keep: blobs whose memory is not reused, so that they can be fetched after a run. Raises ``LoweringError``.
    """
    require_sizes(graph)
    work = _Lowering(graph, library, choices, keep)
    work.place_all()
    for node in graph.nodes:
        work.emit(node)
    work.emit_outputs()
    return work.finish()
