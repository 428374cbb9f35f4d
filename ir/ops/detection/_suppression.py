"""Non-maximum suppression in loops, of boxes that lie in columns (``_boxes.py``), best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.ops.detection._boxes import CORNERS, ROWS, set_areas, shares_rotated, shares_upright
from graphc.ir.types import Dim, DType, TensorType

Array = np.ndarray

LINEAR, GAUSSIAN = 0, 1


def work_types(count: Dim) -> Sequence[TensorType]:
    """Scratch for so many boxes: the boxes, what they share with one, which are gone, a polygon."""
    return (
        TensorType(DType.FLOAT, (ROWS, count)),
        TensorType(DType.FLOAT, (count,)),
        TensorType(DType.INT32, (count,)),
        TensorType(DType.DOUBLE, (2, 2, CORNERS)),
    )


def _shares(
    boxes: Array, i: int, first: int, count: int, rotated: int, one: Any, shares: Array, polygon: Array
) -> None:
    if rotated:
        shares_rotated(boxes, i, first, count, shares, polygon)
    else:
        shares_upright(boxes, i, first, count, one, shares)


def suppress(
    boxes: Array,
    count: int,
    thresh: Any,
    top: int,
    rotated: int,
    one: Any,
    shares: Array,
    gone: Array,
    polygon: Array,
) -> Any:
    """Set ``gone`` to 0 for the boxes that stay, which share no more than ``thresh`` with a better one that stays.

    At most ``top`` stay unless that is negative; returns how many.
    """
    set_areas(boxes, count, rotated, one)
    for i in range(count):
        gone[i] = 0
    kept, bound = 0, np.float32(thresh)
    for i in range(count):
        if gone[i]:
            continue
        if top >= 0 and kept >= top:
            gone[i] = 1
            continue
        kept += 1
        _shares(boxes, i, i + 1, count, rotated, one, shares, polygon)
        for j in range(i + 1, count):
            gone[j] |= 0 if shares[j] <= bound else 1
    return kept


def suppress_softly(
    boxes: Array,
    scores: Array,
    order: Array,
    count: int,
    sigma: Any,
    thresh: Any,
    least: Any,
    method: int,
    rotated: int,
    one: Any,
    shares: Array,
    polygon: Array,
) -> Any:
    """Lower the scores of boxes that share area with better ones (arXiv 1704.04503); returns how many stay.

    The first of ``order`` become the columns of those that stay, as they were chosen; ``scores`` by column. Below
    ``least`` a box goes. Among equal scores the first pending one is chosen; the chosen one changes places with the
    first, as in Caffe2.
    """
    set_areas(boxes, count, rotated, one)
    for i in range(count):
        order[i] = i
    first, end = 0, count
    while first < end:
        at = first
        for k in range(first + 1, end):
            if scores[order[k]] > scores[order[at]]:
                at = k
        chosen = order[at]
        order[at] = order[first]
        order[first] = chosen
        first += 1
        _shares(boxes, chosen, 0, count, rotated, one, shares, polygon)
        left = first
        for k in range(first, end):
            other = order[k]
            scores[other] *= _weight(shares[other], sigma, thresh, method)
            if scores[other] >= np.float32(least):
                order[left] = other
                left += 1
        end = left
    return first


def _weight(share: Any, sigma: Any, thresh: Any, method: int) -> Any:
    if method == GAUSSIAN:
        return np.float32(np.exp(-np.float32(share * share) / np.float32(sigma)))
    return np.float32(1) - share if share > np.float32(thresh) else np.float32(1)
