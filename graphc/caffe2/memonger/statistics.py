"""Bytes of blobs, and what sharing saves of them.

Blobs are those of the current workspace, as in Caffe2, or, where ``values`` is given, others: a mapping from names to
arrays, or a function that gives an array by name and raises where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from graphc.caffe2.memonger.nets import Net, message_of
from graphc.caffe2.memonger.ranges import NamedRange
from graphc.caffe2.memonger.report import log
from graphc.caffe2.workspace import FetchBlob

Values = Mapping[str, Any] | Callable[[str], Any]


class Statistics(NamedTuple):
    """Bytes of all blobs, and of those that are left when the blobs of an assignment share."""

    baseline_nbytes: int
    optimized_nbytes: int


def blob_nbytes(blob: Any, values: Values = FetchBlob) -> int:
    """Bytes of a blob; 0 with a warning where there is none, or it is no array."""
    try:
        return int((values[str(blob)] if isinstance(values, Mapping) else values(str(blob))).nbytes)
    except Exception as e:
        log.warning("Error when fetching blob %s: %s", blob, e)
        return 0


def collect_blob_sizes(net: Net, values: Values = FetchBlob) -> dict[str, int]:
    """Bytes of every blob of the net's operators."""
    blobs = dict.fromkeys(b for op in message_of(net).op for b in (*op.input, *op.output))
    return {blob: blob_nbytes(blob, values) for blob in blobs}


def compute_statistics(assignments: Iterable[Iterable[NamedRange]], values: Values = FetchBlob) -> Statistics:
    """Bytes of the blobs in the assignments, each alone, and sharing."""
    sizes = [[blob_nbytes(name, values) for name, _ in a] for a in assignments]
    return Statistics(sum(map(sum, sizes)), sum(max(s, default=0) for s in sizes))
