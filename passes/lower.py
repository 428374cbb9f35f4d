"""Lowering: an optimised graph with static types, and the backend's choices, to a Schedule.

Every value gets a storage: a piece of the arena, a graph input or output, or a constant. Concatenated values are
written in place where their producers can; zero halos are made where kernels read them; the rest is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.ir import Call, DType, Graph, LoweringError, Node, TensorType, Value
from graphc.ir.loops import call_check
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
from graphc.passes.memory.allocation import Allocation, Lifetime, align
from graphc.passes.memory.places import Place, Places, Storage, address, dense_strides, view
from graphc.passes.sizes import require_sizes

Choices = Mapping[Node, Choice]
Slice = tuple[Storage, int]
"""A storage, and how many elements of its sliced dimension lie before the slice."""


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


@dataclass
class _Draft:
    """A step in the making, with the storages that its tasks read, and the slices of storages that they write."""

    tasks: list[Task] = field(default_factory=list)
    reads: set[Storage] = field(default_factory=set)
    writes: set[Slice] = field(default_factory=set)
    written: set[Storage] = field(default_factory=set)

    def independent(self, reads: set[Storage], writes: set[Slice]) -> bool:
        """Tasks that read and write these can run beside the tasks of this step."""
        theirs = {s for s, _ in writes}
        return self.written.isdisjoint(reads) and self.reads.isdisjoint(theirs) and self.writes.isdisjoint(writes)

    def add(self, tasks: Sequence[Task], reads: set[Storage], writes: set[Slice]) -> None:
        """Put tasks into the step."""
        self.tasks += tasks
        self.reads |= reads
        self.writes |= writes
        self.written |= {s for s, _ in writes}


class _Lowering:
    """One run of ``lower``; the fields are the state that its steps share."""

    def __init__(self, graph: Graph, library: Library, choices: Choices, places: Places, beside: bool) -> None:
        self.graph, self.library, self.choices, self.beside = graph, library, choices, beside
        self.at, self.calls, self.needs = places, places.calls, places.needs
        self.copies: dict[tuple[Value, Halo], Place] = {}
        self.constants: list[tuple[str, np.ndarray]] = []
        self.constant_of: dict[int, Storage] = {}
        self.steps: list[_Draft] = []
        self.checks: dict[Check, int] = {}
        self.scratch = 0
        self.again: list[Task] = []

    def constant(self, name: str, data: np.ndarray) -> Place:
        """The place of a constant, stored once."""
        if id(data) not in self.constant_of:
            index = len(self.constants)
            self.constants.append((name, data))
            self.constant_of[id(data)] = Storage("const", index=index)
        return Place(self.constant_of[id(data)])

    # ---- steps ------------------------------------------------------------------------------------------------------

    def add_step(self, tasks: Sequence[Task], reads: set[Storage], writes: set[Slice]) -> None:
        """Append a step, or join it to the last one where neither needs the other."""
        tasks = [t for t in tasks if t.units > 0]
        if not self.steps or not self.beside or not self.steps[-1].independent(reads, writes):
            self.steps.append(_Draft())
        self.steps[-1].add(tasks, reads, writes)
        for number in _touched(tasks):
            self.at.storages[number].touch(len(self.steps) - 1)

    def operand(self, node: Node, i: int) -> tuple[View | None, Storage | None]:
        """View and storage from which a kernel reads operand ``i``; makes the copy that the kernel needs."""
        value, choice = node.operands[i], self.choices[node]
        if value is None:
            return None, None
        if i in choice.packed:
            data = choice.packed[i]
            place = self.constant(f"{value.name}@{node.results[0].name}", data)
            packed_type = TensorType(DType.of(data.dtype), data.shape)
            return View(address(place.storage), packed_type, dense_strides(data.shape)), place.storage
        if value.data is not None:
            place = self.constant(value.name, value.data)
            if i in self.needs[node].halo and value.type.rank == 4:
                place = self.copy(value, place, self.at.halo_of(value))
                return view(place, value.type), place.storage
            return View(view(place, value.type).address, value.type, dense_strides(value.data.shape)), place.storage
        place = self.at.places[value]
        halo = self.at.copy_halo(node, i)
        if halo is not None:
            place = self.copy(value, place, halo)
        return view(place, value.type), place.storage

    def copy(self, value: Value, source: Place, halo: Halo) -> Place:
        """A copy of a value with another halo, made once and shared by the readers that come after."""
        key = (value, halo)
        if key not in self.copies:
            place = self.copies[key] = Place(self.at.new_storage(value, halo))
            place.storage.reasons.append(f"copy of {value.name} with the border {halo} that its readers need")
            task = self.library.copy_task(view(source, value.type), view(place, value.type))
            self.add_step([task, *self.halo_tasks(place)], {source.storage}, {(place.storage, 0)})
        return self.copies[key]

    def halo_tasks(self, place: Place) -> list[Task]:
        """The task that zeroes a storage's halo, the first time that something is written there."""
        s = place.storage
        if s.halo == NO_HALO or s.zeroed or s.type is None:
            return []
        s.zeroed = True
        return [self.library.halo_task(view(Place(s), s.type), s.halo)]

    def emit(self, node: Node) -> None:
        """Append the steps of a node."""
        needs = self.needs[node]
        self.scratch = max(self.scratch, align(needs.scratch))
        if node in self.at.split or (needs.alias and self.same_memory(node)):
            return
        if not node.opdef.errors and not any(r.type.size for r in node.results):
            return  # no element to compute, and nothing that could be refused
        operands = [self.operand(node, i) for i in range(len(node.operands))]
        # a piece of a Concat that already lies where it belongs: nothing is left to copy
        ins = [None if (node, i) in self.at.elided else view for i, (view, _) in enumerate(operands)]
        places = [self.at.places[r] for r in node.results]
        outs = [view(p, r.type) for p, r in zip(places, node.results)]
        work = self.workspace(node)
        reads = {s for _, s in operands if s is not None}
        writes = {(p.storage, p.before) for p in places} | ({(work, 0)} if needs.workspace else set())
        if needs.alias:
            steps: list[Step] = [(self.library.copy_task(_as(ins[0], outs[0].type), outs[0]),)]
        else:
            steps = self.library.bind(self.calls[node], self.choices[node], ins, outs, address(work))
            steps = [tuple(self.checked(node, t) for t in step) for step in steps]
        if self.choices[node].again:
            self.again += [t for step in steps for t in step]
        for step in steps:
            touched = _touched(step)
            halos = [t for p in places if p.storage.index in touched for t in self.halo_tasks(p)]
            self.add_step([*step, *halos], reads, writes)

    def workspace(self, node: Node) -> Storage:
        """Memory for a call while it runs; one that needs none gets a storage that nobody touches."""
        owner = node.results[0].name if node.results else node.op
        nbytes = self.needs[node].workspace
        storage = Storage(
            "arena", nbytes=nbytes, index=-1, names=[f"workspace of {owner}"], reasons=[f"workspace of {node.op}"]
        )
        return self.at.add(storage) if nbytes else storage

    def checked(self, node: Node, task: Task) -> Task:
        """The task with the status word of its call."""
        if not any(isinstance(p, Address) and p.space == "status" for p in task.params):
            return task
        check = call_check(self.calls[node])
        word = Address("status", 0, self.checks.setdefault(check, len(self.checks)))
        params = (word if isinstance(p, Address) and p.space == "status" else p for p in task.params)
        return replace(task, params=tuple(params))

    def same_memory(self, node: Node) -> bool:
        """The result of an alias node lies where its operand does."""
        source = node.operands[0]
        if source is None or source.is_constant:
            return False
        a, b = self.at.places[source], self.at.places[node.results[0]]
        return a.storage is b.storage

    def emit_outputs(self) -> None:
        """Copy the outputs that were not written in place: an input, a constant, a value that is an output twice."""
        for k, value in enumerate(self.graph.outputs):
            place = Place(Storage("out", value.type, index=k))
            mine = self.at.places.get(value)
            if mine is not None and mine.storage.space == "out" and mine.storage.index == k:
                continue
            source = mine if mine is not None else self.constant(value.name, _data(value))
            task = self.library.copy_task(view(source, value.type), view(place, value.type))
            self.add_step([task], {source.storage}, {(place.storage, 0)})

    # ---- the result -------------------------------------------------------------------------------------------------

    def finish(self, order: str, nodes: int) -> tuple[Schedule, list[np.ndarray]]:
        """Assign offsets and write them into the tasks."""
        live = [s for s in self.at.storages if s.first >= 0]
        for s in live:
            kept = self.at.keep.intersection(s.names)
            if kept:
                s.last = len(self.steps)
                s.reasons += [f"{name} is kept, to be fetched after the run" for name in sorted(kept)]
        found = allocate([Lifetime(s.size(), s.first, s.last) for s in live], nodes=nodes)
        place_of = {s.index: (o, number) for number, (s, o) in enumerate(zip(live, found.offsets))}

        def resolve(a: Address) -> Address:
            if a.space == "storage":
                offset, number = place_of[a.index]
                return Address("arena", offset + a.offset, number)
            return a

        def final(t: Task) -> Task:
            return replace(t, params=tuple(resolve(p) if isinstance(p, Address) else p for p in t.params))

        g = self.graph
        schedule = Schedule(
            self.library.target_name,
            [Port(v.name, v.type) for v in g.inputs],
            [Port(n, v.type) for n, v in zip(g.output_names, g.outputs)],
            [tuple(final(t) for t in s.tasks) for s in self.steps],
            found.height,
            self.scratch,
            _constant_slots(self.constants),
            [_buffer(s, o) for s, o in zip(live, found.offsets)],
            list(self.checks),
            memory=self.memory_plan(found, live, order),
        )
        for value, place in self.at.places.items():
            if place.storage.space == "arena" and place.storage.first >= 0:
                seen = view(place, value.type)
                # the last value of a name comes first: it is what the blob holds after a run
                schedule.views.setdefault(value.name, replace(seen, address=resolve(seen.address)))
        return schedule, [data for _, data in self.constants]

    def memory_plan(self, found: Allocation, live: Sequence[Storage], order: str) -> MemoryPlan:
        """What is known of the arena."""
        again = [n for n in self.graph.nodes if self.choices[n].again]
        return MemoryPlan(
            found.lower_bound,
            found.optimal,
            found.method,
            sum(align(s.size()) + s.joined for s in live),
            order,
            tuple(n.results[0].name for n in again),
            sum(t.flops for t in self.again),
            sum(t.nbytes for t in self.again),
        )


def _touched(tasks: Sequence[Task]) -> set[int]:
    """The numbers of the storages of the arena that tasks point to."""
    return {p.index for t in tasks for p in t.params if isinstance(p, Address) and p.space == "storage"}


def _buffer(s: Storage, offset: int) -> Buffer:
    return Buffer(tuple(s.names), offset, s.size(), s.first, s.last, tuple(s.reasons))


def _data(value: Value) -> np.ndarray:
    if value.data is None:
        raise LoweringError(f"constant '{value.name}' has no data", "import the net together with its init net")
    return value.data


def _as(view: View | None, type: TensorType) -> View:
    """A dense view under another shape of equal size."""
    if view is None or not view.dense:
        raise LoweringError("a value that is not dense cannot be reshaped in place")
    return View(view.address, type, dense_strides(type.static_shape))


def _constant_slots(constants: Sequence[tuple[str, np.ndarray]]) -> list[ConstantSlot]:
    slots: list[ConstantSlot] = []
    offset = 0
    for name, data in constants:
        slots.append(ConstantSlot(name, offset, data.nbytes))
        offset = align(offset + data.nbytes)
    return slots


def place_values(
    graph: Graph,
    library: Library,
    choices: Choices,
    keep: Collection[str] = (),
    known: Mapping[Node, Needs] | None = None,
) -> Places:
    """Which memory each value of a graph shares with which others, in the order of its nodes.

    known: what nodes of it need for the types at hand, where that was asked before.
    """
    calls = {node: Call(node) for node in graph.nodes}
    asked = known or {}
    return Places(graph, {n: asked.get(n) or library.needs(calls[n], choices[n]) for n in graph.nodes}, calls, keep)


def lower(
    graph: Graph,
    library: Library,
    choices: Choices,
    keep: Collection[str] = (),
    order: str = "as given",
    places: Places | None = None,
    beside: bool = True,
    nodes: int = 0,
) -> tuple[Schedule, list[np.ndarray]]:
    """The schedule of an optimised graph with static types, and its constants in the order of ``Schedule.constants``.

    keep: blobs whose memory is not reused, so that they can be fetched after a run. order: how that of the nodes was
    chosen, for people. places: those of the values, where they are known; they serve one schedule. beside: tasks that
    do not need each other run side by side. nodes: how long offsets are searched for where greedy ones miss the lower
    bound (see ``allocate``). Raises ``LoweringError``.
    """
    require_sizes(graph)
    work = _Lowering(graph, library, choices, places or place_values(graph, library, choices, keep), beside)
    for node in graph.nodes:
        work.emit(node)
    work.emit_outputs()
    return work.finish(order, nodes)
