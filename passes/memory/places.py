"""Places: in which piece of memory each value lies, and which values share one.

A value is a graph input or output, a constant, or lies in the arena. There it shares memory with the result that
overwrites it, with the value that it is a slice of, or with the same elements under another shape.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from graphc.ir import Call, Graph, Node, TensorType, Trait, Value
from graphc.ir.ops.tensor.parts import join_axis
from graphc.ir.schedule import NO_HALO, Address, Halo, Needs, View
from graphc.passes.memory.allocation import align


@dataclass(eq=False)
class Storage:
    """A piece of memory: of ``type`` with ``halo``, or of ``nbytes`` bare bytes.

    names: the values in it; reasons: why they share it. joined: bytes that these values would take elsewhere, those of
    the first one not counted. first, last: the steps that touch it, -1 before any does. index: the number of the
    constant, input or output, or of the storage in the arena.
    """

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
        image, *_ = strides_4d(shape, self.type.layout.block, self.halo)
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
class Place:
    """A value's place: a storage, and how many elements of the sliced dimension lie before it there.

    channels: of the 4-D value that it is a slice of, 0 for a value that is no slice. part: values that share a storage
    in one order only, because one of them overwrites the other as its last reader, differ in it.
    """

    storage: Storage
    before: int = 0
    axis: int = 1
    channels: int = 0
    part: int = 0


def strides_4d(shape: tuple[int, ...], block: int, halo: Halo) -> tuple[int, int, int, int]:
    """Image, plane, row and pixel strides of a 4-D storage, in elements."""
    _, c, h, w = shape
    row = (w + halo[1] + halo[3]) * block
    plane = (h + halo[0] + halo[2]) * row
    return -(-c // block) * plane, plane, row, block


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a row-major array, in elements."""
    out, n = [], 1
    for d in reversed(shape):
        out.append(n)
        n *= d
    return tuple(reversed(out))


def largest(a: Halo, b: Halo) -> Halo:
    """The border that holds both."""
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def view(place: Place, type: TensorType) -> View:
    """The view of a value of ``type`` at a place."""
    s, shape = place.storage, type.static_shape
    itemsize = type.dtype.itemsize if type.dtype else 4
    at = address(s)
    if len(shape) != 4:
        inner = dense_strides(shape)
        skip = place.before * inner[place.axis] if place.before else 0
        return View(at.plus(skip * itemsize), type, inner)
    channels = place.channels or shape[1]
    block = type.layout.block
    strides = strides_4d((shape[0], channels, *shape[2:]), block, s.halo)
    skip = place.before // block * strides[1] + s.halo[0] * strides[2] + s.halo[1] * strides[3]
    dense = s.halo == NO_HALO and (channels == shape[1] or shape[0] == 1)
    return View(at.plus(skip * itemsize), type, strides, dense)


def is_pointwise(node: Node) -> bool:
    """Each element of the result depends on the aligned elements of the operands alone."""
    return Trait.POINTWISE in node.opdef.traits or node.op == "g.pointwise"


def address(storage: Storage) -> Address:
    """Where a storage begins; in the arena a provisional address, whose index names the storage."""
    space = "storage" if storage.space == "arena" else storage.space
    return Address(space, 0, storage.index)


class Places:
    """The places of all values of a graph, for the order that its nodes stand in.

    keep: blobs whose memory is not reused. places: by value. storages: those of the arena. elided: the operands of a
    Concat (node, index) that already lie where it belongs; split: the nodes whose results lie where the operand does.
    chances: what a node may overwrite where it comes after all other readers, as (node, operand).
    """

    def __init__(self, graph: Graph, needs: Mapping[Node, Needs], calls: Mapping[Node, Call], keep: Collection[str]):
        self.graph, self.needs, self.calls, self.keep = graph, needs, calls, frozenset(keep)
        self.places: dict[Value, Place] = {}
        self.storages: list[Storage] = []
        self.elided: set[tuple[Node, int]] = set()
        self.split: set[Node] = set()
        self.chances: list[tuple[Node, Value]] = []
        self._parts = 0
        self._overwritten: set[Value] = set()
        self._position = {node: i for i, node in enumerate(graph.nodes)}
        self._place_all()

    def new_storage(self, value: Value, halo: Halo) -> Storage:
        """A storage of the arena for a value."""
        return self.add(Storage("arena", value.type, halo=halo, names=[value.name]))

    def add(self, storage: Storage) -> Storage:
        """Number a storage of the arena."""
        storage.index = len(self.storages)
        self.storages.append(storage)
        return storage

    # ---- what consumers ask of a value ------------------------------------------------------------------------------

    def halo_of(self, value: Value) -> Halo:
        """The largest zero border that a reader asks for."""
        halo = NO_HALO
        for node, i in value.uses:
            if node in self.needs:
                halo = largest(halo, self.needs[node].halo.get(i, NO_HALO))
        return halo

    def read_dense(self, value: Value) -> bool:
        """Some reader takes the value in dense form only."""
        return any(n in self.needs and (i in self.needs[n].dense or self.needs[n].alias) for n, i in value.uses)

    def written_dense(self, value: Value) -> bool:
        """The producer writes dense results only."""
        node = value.producer
        return node is None or self.needs[node].dense_out or self.needs[node].alias

    def copy_halo(self, node: Node, i: int) -> Halo | None:
        """The border of the copy that a kernel needs of operand ``i``, None where it reads the value where it lies."""
        value = node.operands[i]
        assert value is not None
        place, needs = self.places[value], self.needs[node]
        halo = needs.halo.get(i, NO_HALO)
        if any(a > b for a, b in zip(halo, place.storage.halo)) and value.type.rank == 4:
            return self.halo_of(value)
        return NO_HALO if i in needs.dense and not view(place, value.type).dense else None

    # ---- placing ----------------------------------------------------------------------------------------------------

    def _place_all(self) -> None:
        """Ends first, so that a value can lie inside what it is concatenated into."""
        for k, v in enumerate(self.graph.inputs):
            self.places[v] = Place(Storage("in", v.type, index=k))
        for k, v in enumerate(self.graph.outputs):
            if v.producer is not None and v not in self.places:
                self.places[v] = Place(Storage("out", v.type, index=k))
        for node in reversed(self.graph.nodes):
            for r in node.results:
                if r not in self.places:
                    self.places[r] = self._place(r)
            if self.needs[node].alias:
                self._place_alias(node)
            elif node.op == "Concat":
                self._place_pieces(node)
            elif node.op == "Split":
                self._place_parts(node)
            elif is_pointwise(node):
                self._place_in_place(node)

    def _place(self, value: Value) -> Place:
        dense = self.read_dense(value) or self.written_dense(value)
        place = Place(self.new_storage(value, NO_HALO if dense else self.halo_of(value)))
        place.storage.dense = dense
        return place

    def _may_share(self, value: Value, place: Place, whole: Value) -> bool:
        """``value`` may lie in the memory of ``whole``, which its only reader here makes of it.

        Not where that memory is overwritten before other readers come, nor where a kept blob would become part of an
        output, which is the caller's after the run.
        """
        kept = value.name in self.keep
        if whole in self._overwritten:
            if kept or len(value.uses) > 1 or value in self.graph.outputs:
                return False
            self._overwritten.add(value)
        return not (kept and place.storage.space == "out")

    def _place_alias(self, node: Node) -> None:
        source, place = node.operands[0], self.places[node.results[0]]
        if source in self.graph.inputs and place.storage.space == "arena" and not place.before:
            self.places[node.results[0]] = self.places[source]
        if source is None or source.producer is None or source in self.places or place.before:
            return
        if self._may_share(source, place, node.results[0]):
            self.places[source] = Place(place.storage, part=place.part)
            place.storage.join(source, f"{node.results[0].name} is {source.name} under another shape")
            place.storage.dense = True

    def _is_view_of_input(self, value: Value) -> bool:
        """The value is not computed: it is an input or constant, or one under another shape."""
        node = value.producer
        if node is None:
            return True
        return self.needs[node].alias and (node.operands[0] is None or self._is_view_of_input(node.operands[0]))

    def _place_in_place(self, node: Node) -> None:
        """Let a pointwise node overwrite an operand that dies there."""
        result = node.results[0]
        place = self.places[result]
        later: list[Value] = []
        for value in dict.fromkeys(node.operands):
            if value is None or value in self.places or value.type != result.type or self._is_view_of_input(value):
                continue
            fits = view(place, value.type).dense or not self.written_dense(value)
            if not fits or value in self.graph.outputs or value.name in self.keep:
                continue
            if len(value.uses) == 1:
                self.places[value] = place
                self._overwritten.add(value)
                place.storage.join(value, f"{result.name} overwrites {value.name} in place")
                place.storage.dense |= self.written_dense(value)
                return
            if self._outlived(node, value, place):
                self.chances.append((node, value))
                later.append(value)
        last = next((v for v in later if self._is_last(node, v)), None)
        if last is not None:
            self._reuse(node, last)

    def _outlived(self, node: Node, value: Value, place: Place) -> bool:
        """A node may overwrite a value that others read too, if it comes after them, and nobody needs a copy for it."""
        others = [n for n in value.users if n is not node]
        if any(n.op in ("Concat", "Split") or n not in self.needs or self.needs[n].alias for n in others):
            return False
        free = place.storage.space == "arena" and not place.channels and not place.before
        if self.read_dense(value) and not (view(place, value.type).dense and place.storage.dense):
            return False
        return self.halo_of(value) == NO_HALO or (free and not place.storage.dense and not self.written_dense(value))

    def _is_last(self, node: Node, value: Value) -> bool:
        return all(self._position[n] <= self._position[node] for n in value.users)

    def _reuse(self, node: Node, value: Value) -> None:
        """``node`` overwrites a value, as the last of its readers."""
        result = node.results[0]
        place = self.places[result]
        target = place.storage
        if target.space == "arena":
            target.halo = largest(target.halo, self.halo_of(value))
        target.dense |= self.written_dense(value)
        target.join(value, f"{result.name} overwrites {value.name}, whose last reader it is")
        self._parts += 1
        self.places[value] = replace(place, part=self._parts)
        self._overwritten.add(value)

    def _place_pieces(self, node: Node) -> None:
        place = self.places[node.results[0]]
        axis = self._slice_axis(node, node.results[0], [v for v in node.operands if v is not None])
        if axis is None or (place.before and place.axis != axis):
            return
        before, storage, result = place.before, place.storage, node.results[0]
        channels = place.channels or (result.type.static_shape[1] if result.type.rank == 4 else 0)
        for i, value in enumerate(node.operands):
            assert value is not None
            end = before + value.type.static_shape[axis]
            if self._can_lie_in(value, place, node) and self._may_share(value, place, result):
                self.elided.add((node, i))
                self.places[value] = Place(storage, before, axis, channels, place.part)
                storage.join(value, f"{value.name} lies at {before}..{end} of axis {axis} of {result.name}")
                storage.dense |= self.read_dense(value) or self.written_dense(value)
                if storage.space == "arena" and not storage.dense:
                    storage.halo = largest(self.halo_of(value), storage.halo)
            before = end

    def _place_parts(self, node: Node) -> None:
        """Let the parts of a Split lie where the whole does, if all of them can: then nothing is copied."""
        whole = node.operands[0]
        if (
            whole is None
            or whole.producer is None
            or whole in self.places
            or not all(map(self._is_alone, node.results))
        ):
            return
        axis = self._slice_axis(node, whole, node.results)
        if axis is None or any(r.type.layout != whole.type.layout for r in node.results):
            return
        values = [whole, *node.results]
        dense = self.written_dense(whole) or any(map(self.read_dense, values))
        halo = reduce(largest, map(self.halo_of, values))
        if whole.type.rank == 4 and dense and (halo != NO_HALO or whole.type.static_shape[0] != 1):
            return
        storage = self.new_storage(whole, halo if whole.type.rank == 4 else NO_HALO)
        storage.dense = dense
        self.places[whole] = Place(storage)
        self.split.add(node)
        before, channels = 0, whole.type.static_shape[1] if whole.type.rank == 4 else 0
        for part in node.results:
            end = before + part.type.static_shape[axis]
            self.places[part] = Place(storage, before, axis, channels)
            storage.join(part, f"{part.name} lies at {before}..{end} of axis {axis} of {whole.name}")
            before = end

    def _is_alone(self, value: Value) -> bool:
        """The value lies in the arena and shares no memory so far."""
        place = self.places[value]
        return place == Place(place.storage) and place.storage.space == "arena" and place.storage.names == [value.name]

    def _slice_axis(self, node: Node, whole: Value, pieces: Sequence[Value]) -> int | None:
        """The axis of a Concat or Split along which pieces are contiguous slices of the whole, or None."""
        call = self.calls[node]
        t = whole.type
        if call.arg("add_axis") or t.rank is None:
            return None
        axis = join_axis(call, t.rank)
        if t.rank == 4 and axis == 1:
            return 1 if all(v.type.static_shape[1] % t.layout.block == 0 for v in pieces) else None
        return axis if all(d == 1 for d in t.static_shape[:axis]) and t.rank != 4 else None

    def _can_lie_in(self, value: Value, place: Place, concat: Node) -> bool:
        single = sum(1 for n, _ in value.uses if n is concat) == 1
        strided = value.type.rank == 4 and value.type.static_shape[0] >= 1
        batch_one = value.type.static_shape[0] == 1 and place.storage.halo == NO_HALO
        free = value not in self.places and single and not self._is_view_of_input(value)
        dense_needed = self.read_dense(value) or self.written_dense(value)
        if not free or value.type.layout != concat.results[0].type.layout:
            return False
        return (not dense_needed and strided) or (dense_needed and (batch_one or not strided))
