"""Sorting in loops: a permutation of int64 indices, in a merge sort that keeps the order of equal elements."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def before(a: Any, b: Any) -> Any:
    """``a`` sorts before ``b``; what is not a number comes last."""
    return a < b or (b != b and a == a)


def merge(keys: Array, order: Array, start: Any, middle: Any, end: Any, out: Array) -> None:
    """Merge two sorted neighbours of ``order`` into the same places of ``out``."""
    i, j = start, middle
    for k in range(start, end):
        if j >= end or (i < middle and not before(keys.flat[order[j]], keys.flat[order[i]])):
            out[k] = order[i]
            i += 1
        else:
            out[k] = order[j]
            j += 1


def argsort(keys: Array, order: Array, spare: Array) -> None:
    """Set ``order`` to the indices that sort the elements of ``keys`` upwards. order, spare: int64, one per element."""
    n, width = keys.size, 1
    for i in range(n):
        order[i] = i
    while width < n:
        for start in range(0, n, 2 * width):
            merge(keys, order, start, min(start + width, n), min(start + 2 * width, n), spare)
        for i in range(n):
            order[i] = spare[i]
        width *= 2


def find_last(keys: Array, order: Array, wanted: Any) -> Any:
    """Place in ``order``, which sorts ``keys``, of the last element that is not after ``wanted``; -1 without one."""
    low, high = 0, keys.size
    while low < high:
        middle = (low + high) // 2
        if keys.flat[order[middle]] > wanted:
            high = middle
        else:
            low = middle + 1
    return low - 1
