"""Bytes of blobs, and what sharing saves of them.

Caffe2 looks into the current workspace. Here the caller says where the blobs are: ``values`` is a mapping from names to
arrays, or a function such as a workspace's ``FetchBlob``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from graphc.caffe2.memonger.nets import Net, message_of
from graphc.caffe2.memonger.ranges import NamedRange
from graphc.caffe2.memonger.report import log

Values = Mapping[str, Any] | Callable[[str], Any]
"""Where blobs are: arrays by name, or a function that gives one and raises where there is none."""


class Statistics(NamedTuple):
    """Bytes of all blobs, and of those that are left when the blobs of an assignment share."""

    baseline_nbytes: int
    optimized_nbytes: int


def blob_nbytes(blob: str, values: Values) -> int:
    """Bytes of a blob; 0 with a warning where there is none, or it is no array."""
    try:
        return int((values[str(blob)] if isinstance(values, Mapping) else values(str(blob))).nbytes)
    except Exception as e:
        log.warning("Error when fetching blob %s: %s", blob, e)
        return 0


def collect_blob_sizes(net: Net, values: Values) -> dict[str, int]:
    """Bytes of every blob of the net's operators."""
    blobs = dict.fromkeys(b for op in message_of(net).op for b in (*op.input, *op.output))
    return {blob: blob_nbytes(blob, values) for blob in blobs}


def compute_statistics(assignments: Iterable[Iterable[NamedRange]], values: Values) -> Statistics:
    """Bytes of the blobs in the assignments, each alone, and sharing."""
    sizes = [[blob_nbytes(name, values) for name, _ in a] for a in assignments]
    return Statistics(sum(map(sum, sizes)), sum(max(s, default=0) for s in sizes))
