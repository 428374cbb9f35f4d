"""Host operators on data sets: rows of fields, some of which are lists, kept as one tensor for each field.

The names of the fields say how they nest: ``a:lengths`` has the number of elements of each row, and all other fields
below ``a`` have a row for each of these. Rules from Caffe2's ``dataset_ops.cc``.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from graphc.caffe2.workspace.counters import Mutex
from graphc.caffe2.workspace.cpp_shuffle import std_shuffle
from graphc.caffe2.workspace.host_operators import HostCall, host_operator

LENGTHS = "lengths"
SEPARATOR = ":"


@dataclass
class TreeCursor:
    """The fields of a data set, and a place in it.

    domains: for each field the number of the list that it is in, 0 for the rows themselves. lists: the field of lengths
    of each list. place: the next row of each domain.
    """

    fields: list[str]
    domains: list[int] = field(init=False)
    lists: list[int] = field(init=False)
    place: list[int] = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.lists = [i for i, name in enumerate(self.fields) if name.split(SEPARATOR)[-1] == LENGTHS]
        self.domains = [self._domain(name) for name in self.fields]
        self.place = [0] * (len(self.lists) + 1)

    def _domain(self, name: str) -> int:
        """The innermost list that holds a field; the lengths of a list are outside of it."""
        parts = name.split(SEPARATOR)
        for depth in range(len(parts) - 1, 0, -1):
            lengths = SEPARATOR.join([*parts[:depth], LENGTHS])
            if lengths != name and lengths in self.fields:
                return self.lists.index(self.fields.index(lengths)) + 1
        return 0

    def offsets(self, tensors: list[np.ndarray]) -> np.ndarray:
        """For each row, and behind the last one, where it begins in every domain: int64, rows x domains."""
        rows = next((len(t) for t, d in zip(tensors, self.domains) if d == 0), 0)
        found = np.zeros((rows + 1, len(self.lists) + 1), np.int64)
        found[:, 0] = np.arange(rows + 1)
        for k in self._outer_first():
            starts = np.concatenate([[0], np.cumsum(tensors[self.lists[k]], dtype=np.int64)])
            found[:, k + 1] = starts[found[:, self.domains[self.lists[k]]]]
        return found

    def _outer_first(self) -> list[int]:
        """The lists, each after the one that it is in."""
        return sorted(range(len(self.lists)), key=lambda k: self.fields[self.lists[k]].count(SEPARATOR))

    def slices(self, tensors: list[np.ndarray], begin: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
        """The rows of every field between two places."""
        return [t[begin[d] : end[d]] for t, d in zip(tensors, self.domains)]


def _tensors(call: HostCall, first: int, cursor: TreeCursor | None = None) -> list[np.ndarray]:
    found = [np.asarray(call.read(i)) for i in range(first, call.n_inputs)]
    if cursor is not None and len(found) != len(cursor.fields):
        call.fail(f"it was given {len(found)} fields, the data set has {len(cursor.fields)}", "give all of its fields")
    for tensor in found:
        if tensor.ndim == 0:
            call.fail("a field has no axes", "give one row for each record")
    if cursor is not None:
        _check(call, cursor, found)
    return found


def _check(call: HostCall, cursor: TreeCursor, tensors: list[np.ndarray]) -> None:
    """Every field has as many rows as the list that it is in has elements."""
    rows = [next((len(t) for t, d in zip(tensors, cursor.domains) if d == 0), 0)]
    for i in cursor.lists:
        if tensors[i].dtype.kind not in "iu" or (tensors[i].size and tensors[i].min() < 0):
            call.fail(f"field '{cursor.fields[i]}' holds no lengths", "give whole numbers from 0 on")
        rows.append(int(tensors[i].sum()))
    for name, tensor, domain in zip(cursor.fields, tensors, cursor.domains):
        if len(tensor) != rows[domain]:
            call.fail(f"field '{name}' has {len(tensor)} rows, {rows[domain]} are needed", "mend the data set")


@host_operator("CreateTreeCursor")
def create_tree_cursor(call: HostCall) -> None:
    """A cursor at the first row."""
    call.write(0, TreeCursor(call.strings("fields")))


@host_operator("ResetCursor")
def reset_cursor(call: HostCall) -> None:
    """Go to the first row."""
    cursor = call.object(0, TreeCursor)
    with cursor.lock:
        cursor.place = [0] * len(cursor.place)


@host_operator("GetCursorOffset")
def get_cursor_offset(call: HostCall) -> None:
    """The place of a cursor in every domain."""
    call.write(0, np.array(call.object(0, TreeCursor).place, np.int64))


@host_operator("ComputeOffset")
def compute_offset(call: HostCall) -> None:
    """Where every row begins in every domain."""
    cursor = call.object(0, TreeCursor)
    call.write(0, cursor.offsets(_tensors(call, 1, cursor)))


def _batch(call: HostCall, start: int, rows: int) -> int:
    """How many rows to read; none of a last batch that is too small, where only full ones are wanted."""
    size = call.arg("batch_size", 1)
    left = max(rows - start, 0)
    return 0 if call.arg("enforce_batch_size", 0) and left < size else min(size, left)


@host_operator("ReadNextBatch")
def read_next_batch(call: HostCall) -> None:
    """The next ``batch_size`` rows of every field, fewer at the end, none behind it."""
    cursor = call.object(0, TreeCursor)
    tensors = _tensors(call, 1, cursor)
    offsets = cursor.offsets(tensors)
    with cursor.lock:
        start = cursor.place[0]
        end = start + _batch(call, start, len(offsets) - 1)
        cursor.place = offsets[min(end, len(offsets) - 1)].tolist()
    start, end = min(start, len(offsets) - 1), min(end, len(offsets) - 1)
    for i, part in enumerate(cursor.slices(tensors, offsets[start], offsets[end])):
        call.write(i, np.array(part))


@host_operator("ReadRandomBatch")
def read_random_batch(call: HostCall) -> None:
    """The rows that the next ``batch_size`` numbers of input 1 name; with ``loop_over`` it begins anew at the end."""
    cursor, order, offsets = call.object(0, TreeCursor), np.asarray(call.read(1)).reshape(-1), np.asarray(call.read(2))
    tensors = _tensors(call, 3, cursor)
    if order.size and not 0 <= order.min() <= order.max() < len(offsets) - 1:
        call.fail(f"input 1 names rows from {order.min()} to {order.max()}", f"there are {len(offsets) - 1}")
    with cursor.lock:
        if call.arg("loop_over", 0) and cursor.place[0] >= len(order):
            cursor.place[0] = 0
        start = cursor.place[0]
        count = _batch(call, start, len(order))
        cursor.place[0] = start + count
    rows = [cursor.slices(tensors, offsets[k], offsets[k + 1]) for k in order[start : start + count].tolist()]
    for i, tensor in enumerate(tensors):
        call.write(i, np.concatenate([row[i] for row in rows]) if rows else tensor[:0].copy())


@host_operator("SortAndShuffle")
def sort_and_shuffle(call: HostCall) -> None:
    """The numbers of all rows: sorted by a field, shuffled within ``batch_size * shuffle_size`` neighbours, then the
    batches of ``batch_size`` shuffled; rows that fill no batch stay at the end. The order is Caffe2's, always the same.
    """
    cursor, batch = call.object(0, TreeCursor), call.arg("batch_size", 1)
    tensors, by = _tensors(call, 1, cursor), call.arg("sort_by_field_idx", 1)
    stretch = batch * call.arg("shuffle_size", 1)
    if batch < 1 or stretch < 1 or not -1 <= by < len(tensors):
        call.fail("batch_size and shuffle_size are 1 or more, sort_by_field_idx is -1 or a field's number")
    if by >= 0 and cursor.domains[by] != 0:
        call.fail(f"field '{cursor.fields[by]}' is inside of a list", "sort by a field of the rows themselves")
    rows = len(tensors[max(by, 0)])
    order = np.argsort(tensors[by], kind="stable") if by >= 0 else np.arange(rows)
    for at in range(0, rows - stretch, stretch):
        part = order[at : at + stretch].tolist()
        std_shuffle(part)
        order[at : at + stretch] = part
    whole = rows // batch * batch
    batches = order[:whole].reshape(-1, batch).tolist()
    std_shuffle(batches)
    call.write(0, np.array([*chain(*batches), *order[whole:]], np.int64))


@host_operator("AtomicAppend")
def atomic_append(call: HostCall) -> None:
    """Append the second half of the fields to the first, under a mutex."""
    n = (call.n_inputs - 1) // 2
    with call.object(0, Mutex).lock:
        for i in range(n):
            old, new = np.asarray(call.read(1 + i)), np.asarray(call.read(1 + n + i))
            call.write(i, new if old.size == 0 else _joined(call, i, old, new))


def _joined(call: HostCall, i: int, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    if old.dtype != new.dtype or old.shape[1:] != new.shape[1:]:
        name = call.op.inputs[1 + i]
        call.fail(f"'{name}' is {old.dtype}{list(old.shape)}, {new.dtype}{list(new.shape)} cannot be appended")
    return np.concatenate([old, new])


@dataclass(frozen=True)
class Record:
    """Rows of a data set: a tensor for each field."""

    fields: list[np.ndarray]


@host_operator("PackRecords")
def pack_records(call: HostCall) -> None:
    """A vector of records, one for each row; or a single one of all rows."""
    cursor = TreeCursor(call.strings("fields"))
    tensors = _tensors(call, 0, cursor)
    offsets = cursor.offsets(tensors)
    records = [Record(cursor.slices(tensors, a, b)) for a, b in itertools.pairwise(offsets)]
    if call.arg("pack_to_single_shared_ptr", 0):
        records = [Record(tensors)]
    packed = np.empty(len(records), object)
    packed[:] = records
    call.write(0, packed)


@host_operator("UnPackRecords")
def unpack_records(call: HostCall) -> None:
    """The fields of a vector of records; further inputs give the types where it has none."""
    records = np.asarray(call.read(0)).reshape(-1).tolist()
    if not all(isinstance(r, Record) and len(r.fields) == call.n_outputs for r in records):
        call.fail("input 0 is no vector of records with a field for each output", "give it what PackRecords made")
    if not records and call.n_inputs - 1 != call.n_outputs:
        call.fail(
            "there are no records, and no inputs that give the types of the fields", "give examples of the fields"
        )
    for i in range(call.n_outputs):
        parts = [record.fields[i] for record in records] or [np.asarray(call.read(1 + i))[:0]]
        call.write(i, np.concatenate(parts))
