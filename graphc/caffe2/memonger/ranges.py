"""Live ranges: from which operator to which a blob's contents are needed, in a given order of operators."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from graphc.caffe2.memonger.report import MemongerError, log
from graphc.frontends.netdef.schema import Message


class LiveRange(NamedTuple):
    """Positions of the first operator that writes the blob and the last that needs it, and the blob's bytes.

    None: no operator writes it; no operator reads it, so that it may be wanted after the run; the size is not known.
    """

    defined: int | None
    used: int | None
    size: int | None


Ranges = dict[str, LiveRange]
NamedRange = tuple[str, LiveRange]
Assignment = list[NamedRange]
"""Blobs that share storage, in the order in which they live."""


class SizeError(MemongerError, KeyError):
    """A blob has no entry in ``blob_sizes``."""


def compute_ranges(linearized_ops: Sequence[Message], blob_sizes: Mapping[str, int] | None = None) -> Ranges:
    """The live range of each blob, in order of first appearance.

    A blob that is written again after its last read is needed until then, unless nothing reads it at all. Raises
    ``SizeError`` where ``blob_sizes`` is given and lacks a blob.
    """
    if not blob_sizes:
        log.warning("Provide blob sizes to get more accurate assignments.")
    found: Ranges = {}
    for i, op in enumerate(linearized_ops):
        for blob in op.input:
            old = found.get(blob) or LiveRange(None, None, _size(blob, blob_sizes))
            found[blob] = old._replace(used=i)
        for blob in op.output:
            old = found.get(blob) or LiveRange(None, None, _size(blob, blob_sizes))
            found[blob] = LiveRange(
                i if old.defined is None else old.defined, old.used if old.used is None else i, old.size
            )
    return found


def _size(blob: str, blob_sizes: Mapping[str, int] | None) -> int | None:
    if not blob_sizes:
        return None
    size = blob_sizes.get(blob)
    if size is None:
        raise SizeError(f"blob '{blob}' has no entry in blob_sizes", "give a size for every blob of the net, or none")
    return size


def get_updated_ranges(ranges: Sequence[NamedRange], max_live: int | None = None) -> list[NamedRange]:
    """The ranges without None: what nobody defines is there from the start (-1), what nobody uses lives to the end
    (``max_live``, by default one more than the last position), what has no size is 1 large.
    """
    if max_live is None:
        max_live = 1 + max((i for _, r in ranges for i in (r.defined, r.used) if i is not None), default=-1)
    return [
        (
            name,
            LiveRange(
                -1 if r.defined is None else r.defined,
                max_live if r.used is None else r.used,
                1 if r.size is None else r.size,
            ),
        )
        for name, r in ranges
    ]


def is_compatible(candidate_range: LiveRange, assignment: Assignment, static_blobs: Collection[str]) -> bool:
    """The candidate may follow the assignment's last blob: it is defined after that one's last use.

    Never after a static blob, nor where one of the positions is not known.
    """
    name, last = assignment[-1]
    if name in static_blobs or candidate_range.defined is None or last.defined is None or last.used is None:
        return False
    return candidate_range.defined > last.used


def largest(assignment: Iterable[NamedRange]) -> int:
    """Bytes of the assignment's largest blob; 0 where no size is known."""
    return max((r.size or 0 for _, r in assignment), default=0)


def get_memory_usage(assignments: Iterable[Iterable[NamedRange]]) -> int:
    """Bytes that the assignments need: the sum of their largest blobs."""
    return sum(largest(a) for a in assignments)
