"""Ranking in loops: indices in the order of their scores, best first, equal ones in the order that they had."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray

SHORT = 16
"""Runs of so many are sorted by insertion."""
BUCKETS = 65536


def _insert(scores: Array, order: Array, start: int, end: int) -> None:
    """Sort ``order[start:end]`` by insertion."""
    for i in range(start + 1, end):
        index = order[i]
        score = scores[index]
        j = i - 1
        while j >= start and scores[order[j]] < score:
            order[j + 1] = order[j]
            j -= 1
        order[j + 1] = index


def _merge_best(scores: Array, order: Array, start: int, middle: int, end: int, spare: Array) -> None:
    """Merge two sorted neighbours of ``order`` in place, by way of ``spare``."""
    for k in range(start, middle):
        spare[k] = order[k]
    i, j = start, middle
    for k in range(start, end):
        if i >= middle:
            break
        if j < end and scores[spare[i]] < scores[order[j]]:
            order[k] = order[j]
            j += 1
        else:
            order[k] = spare[i]
            i += 1


def rank(scores: Array, order: Array, count: int, spare: Array) -> None:
    """Sort the first ``count`` of the indices in ``order``, best score first. order, spare: int64."""
    for start in range(0, count, SHORT):
        _insert(scores, order, start, min(start + SHORT, count))
    width = SHORT
    while width < count:
        for start in range(0, count - width, 2 * width):
            _merge_best(scores, order, start, start + width, min(start + 2 * width, count), spare)
        width *= 2


def _bucket(bits: Any) -> Any:
    """The upper half of a float's bits, in the order of the floats."""
    b = np.int64(bits)
    return (b if b >= 0 else -2147483649 - b) // BUCKETS + BUCKETS // 2


def best(scores: Array, top: int, order: Array, spare: Array, counts: Array) -> Any:
    """Set the front of ``order`` to the ``top`` best of all, ranked; returns how many there are.

    scores: float32, contiguous. order, spare: int64, one per score. counts: int64 of ``BUCKETS``.
    """
    n, count, least = scores.shape[0], 0, 0
    if top < n:
        bits = scores.view(np.int32)
        for k in range(BUCKETS):
            counts[k] = 0
        for i in range(n):
            counts[_bucket(bits[i])] += 1
        least = BUCKETS
        while count < top:
            least -= 1
            count += counts[least]
        count = 0
        for i in range(n):
            if _bucket(bits[i]) >= least:
                order[count] = i
                count += 1
    else:
        for i in range(n):
            order[i] = i
        count = n
    rank(scores, order, count, spare)
    return min(count, top)
