"""Share blobs so that the net stays right in every order in which a ``dag`` net may run its operators.

A blob may take over the storage of others if all operators that touch those run, in every order, before the one that
first writes it. Two branches that can run at the same time therefore never share, and the rewritten net needs no
dependencies that the original does not have.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphc.caffe2.memonger.apply import apply_assignments
from graphc.caffe2.memonger.nets import Net, blobs_of, copy_of, message_of, names
from graphc.caffe2.memonger.order import ancestors
from graphc.caffe2.memonger.protected import external_inputs, fixed_names
from graphc.caffe2.memonger.report import MemongerError, log
from graphc.caffe2.memonger.verify import require_same
from graphc.frontends.netdef.schema import Message

Device = tuple[int, int]
_TO_CPU = ("CopyGPUToCPU", "EnsureCPUOutput")
"""Operators that run on a GPU and write a blob of the CPU."""


def compute_blob_recycling_for_dag(
    net: Net,
    heads: Iterable[str],
    op_indices: Iterable[int],
    shareable_blob_names: Collection[str],
    namescope: str,
    dont_share_blob_names: Collection[str],
    blob_shapes: Mapping[str, Sequence[int]],
) -> Message:
    """A copy of the net in which blobs share storage.

    heads: blobs to start from; operators that cannot be reached from them keep their blobs. op_indices: the operators
    that give up blobs and take them over. shareable_blob_names: blobs that may share; those of
    ``dont_share_blob_names``, what comes from outside, declared outputs, and blobs that nested nets or other storage
    depend on never do. namescope: stands in front of the new names ``__m<N>_shared``. blob_shapes: where given, the
    best fitting storage is taken over, otherwise that which most blobs share already. Blobs of different devices never
    share.

    Raises ``MemongerError`` for positions that the net does not have, and where the result does not verify.
    """
    message = message_of(net)
    scope = sorted(set(op_indices))
    if scope and not 0 <= scope[0] <= scope[-1] < len(message.op):
        raise MemongerError(f"the net has {len(message.op)} operators, op_indices names #{scope[-1]} and #{scope[0]}")
    kept = {*names(dont_share_blob_names), *message.external_output, *external_inputs(message), *fixed_names(message)}
    recycler = _Recycler(message, scope, names(heads), set(names(shareable_blob_names)), kept, blob_shapes)
    recycler.run()
    mapping = recycler.mapping(namescope)
    _tell(recycler, mapping)
    found = copy_of(message)
    apply_assignments(found, mapping)
    require_same(message, found, kept)
    return found


def _tell(recycler: _Recycler, mapping: Mapping[str, str]) -> None:
    if not mapping:
        log.warning("Nothing is shared: %s.", recycler.why_nothing())
        return
    before, used = len(recycler.touched), len(set(mapping.values()))
    log.info("Remapping %d using %d shared blobs.", len(mapping), used)
    log.info("Blobs: %d of %d are left (%.0f %%).", *_ratio(before, before - len(mapping) + used))
    if recycler.elements_saved:
        log.info("Memonger saved approximately : %.3f MB.", recycler.elements_saved * 4 / 2**20)


def _ratio(before: int, after: int) -> tuple[int, int, float]:
    return after, before, 100 * after / before


@dataclass
class _Group:
    """Blobs that share storage. touched: mask of all operators that touch one. size: elements of the largest."""

    number: int
    members: list[str]
    touched: int
    device: Device
    size: int

    def is_over(self, i: int, before: int) -> bool:
        """All operators that touch it come before operator ``i``, of which ``before`` is the mask of ancestors."""
        return self.touched.bit_length() <= i and not self.touched & ~before


class _Recycler:
    """Walks from the heads to whatever becomes ready, and lets each new blob take over a group that is free."""

    def __init__(
        self,
        net: Message,
        scope: list[int],
        heads: list[str],
        shareable: set[str],
        kept: set[str],
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        self.net, self.scope, self.heads = net, scope, heads
        self.shareable, self.kept = shareable, kept
        self.shapes = {str(name): shape for name, shape in shapes.items()}
        self.before = ancestors(net.op)
        self.touched, self.first_writer = _touches(net)
        self.readers = self._readers()
        self.children, self.waiting = self._edges()
        self.reads_left = {blob: len(ops) for blob, ops in self.readers.items()}
        self.group_of: dict[str, _Group] = {}
        self.groups: list[_Group] = []
        self.free: dict[int, _Group] = {}
        self.visited: set[int] = set()
        self.elements_saved = 0

    def _readers(self) -> dict[str, list[int]]:
        """Which operators in scope read each shareable blob or head, one entry an input."""
        followed = self.shareable.union(self.heads)
        readers: dict[str, list[int]] = {}
        for i in self.scope:
            for blob in self.net.op[i].input:
                if blob in followed:
                    readers.setdefault(blob, []).append(i)
        return readers

    def _edges(self) -> tuple[dict[int, list[int]], dict[int, int]]:
        """Per operator in scope the readers of what it writes, one entry an input; per reader how many it waits for."""
        writer: dict[str, int] = {}
        children: dict[int, list[int]] = {i: [] for i in self.scope}
        waiting = dict.fromkeys(self.scope, 0)
        for i in self.scope:
            for blob in self.net.op[i].input:
                if blob in self.readers and blob in writer:
                    children[writer[blob]].append(i)
                    waiting[i] += 1
            writer.update(dict.fromkeys(self.net.op[i].output, i))
        return children, waiting

    def run(self) -> None:
        """Visit what can be reached from the heads, depth first; an operator comes after those that it waits for."""
        for head in self.heads:
            for first in self.readers.get(head, ()):
                stack = [iter([first])]
                while stack:
                    i = next(stack[-1], None)
                    if i is None:
                        stack.pop()
                    elif i not in self.visited:
                        self._visit(i)
                        stack.append(self._set_free(i))

    def _set_free(self, i: int) -> Iterator[int]:
        for child in self.children[i]:
            self.waiting[child] -= 1
            if self.waiting[child] == 0:
                yield child

    def _visit(self, i: int) -> None:
        self.visited.add(i)
        released = [g for blob in self.net.op[i].input if (g := self._released(blob)) is not None]
        for blob in dict.fromkeys(self.net.op[i].output):
            if self._may_share(blob) and blob not in self.group_of and self.first_writer[blob] == i:
                self._place(blob, i)
        self.free.update((g.number, g) for g in released)

    def _may_share(self, blob: str) -> bool:
        return blob in self.shareable and blob not in self.kept

    def _released(self, blob: str) -> _Group | None:
        """The group of a blob that is read for the last time in scope."""
        if not self._may_share(blob):
            return None
        self.reads_left[blob] -= 1
        if self.reads_left[blob]:
            return None
        if blob not in self.group_of:
            self.group_of[blob] = self._new_group(blob)
        return self.group_of[blob]

    def _new_group(self, blob: str) -> _Group:
        group = _Group(len(self.groups), [blob], self.touched[blob], self._device(blob), self._size(blob))
        self.groups.append(group)
        return group

    def _place(self, blob: str, i: int) -> None:
        device, size = self._device(blob), self._size(blob)
        usable = [g for g in self.free.values() if g.device == device and g.is_over(i, self.before[i])]
        if not usable:
            self.group_of[blob] = self._new_group(blob)
            return
        group = min(usable, key=lambda g: _fit(g, size) if self.shapes else (0, -len(g.members), g.members[0]))
        del self.free[group.number]
        self.elements_saved += min(group.size, size)
        group.size = max(group.size, size)
        group.members.append(blob)
        group.touched |= self.touched[blob]
        self.group_of[blob] = group

    def _size(self, blob: str) -> int:
        return math.prod(self.shapes.get(blob, (0,)))

    def _device(self, blob: str) -> Device:
        op = self.net.op[self.first_writer[blob]]
        if op.type in _TO_CPU:
            return 0, 0
        option = op.device_option if op.HasField("device_option") else self.net.device_option
        return option.device_type, option.device_id

    def mapping(self, namescope: str) -> dict[str, str]:
        """New names of the blobs that share. Storage that was written out of scope keeps its name."""
        taken, scope = blobs_of(self.net), set(self.scope)
        renamed, n = {}, 0
        for group in self.groups:
            if len(group.members) == 1:
                continue
            name = group.members[0]
            if self.first_writer[name] in scope:
                while f"{namescope}__m{n}_shared" in taken:
                    n += 1
                name, n = f"{namescope}__m{n}_shared", n + 1
            renamed.update(dict.fromkeys(group.members, name))
        return renamed

    def why_nothing(self) -> str:
        """In words, why no two blobs share."""
        started = [head for head in self.heads if head in self.readers]
        if not started:
            return f"no operator in question reads one of {', '.join(self.heads) or 'no blobs'}"
        if not any(self._may_share(blob) for blob in self.touched):
            return "no blob may share; what remains is external, or depends on other storage or nested nets"
        return "no blob begins its life after another's is over"


def _fit(group: _Group, size: int) -> tuple[int, int, str]:
    """Storage that is large enough comes first, the smallest of it; then the largest that is too small."""
    too_small = group.size < size
    return int(too_small), -group.size if too_small else group.size, group.members[0]


def _touches(net: Message) -> tuple[dict[str, int], dict[str, int]]:
    """Per blob a mask of the operators that touch it, and the first operator that writes it."""
    touched: dict[str, int] = {}
    writer: dict[str, int] = {}
    for i, op in enumerate(net.op):
        for blob in (*op.input, *op.output):
            touched[blob] = touched.get(blob, 0) | 1 << i
        for blob in op.output:
            writer.setdefault(blob, i)
    return touched, writer
