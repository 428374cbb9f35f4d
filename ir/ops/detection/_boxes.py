"""Arithmetic of boxes in loops: regression, clipping, overlap. In float32, as in Caffe2.

Boxes lie in columns: ``boxes[k, i]`` is coordinate k of box i, so that a loop over boxes is one over contiguous memory.
Upright boxes are (x1, y1, x2, y2), rotated ones (centre x, centre y, width, height, angle in degrees). The row after
the coordinates holds areas. ``one`` is 1 where a box is x2 - x1 + 1 wide, else 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray

LARGEST_LOG_SCALE = math.log(1000.0 / 16.0)
"""Caffe2's bound for the logarithm of a growing box."""
DEGREES = 180.0 / math.pi
RADIANS = math.pi / 180.0
AREA = 5
ROWS = 6
"""Of an array of boxes: five coordinates at most, then the area."""
CORNERS = 24
"""Room for the polygon that two rotated boxes share: twice 8 corners would do."""


def move(boxes: Array, i: int, dx: Any, dy: Any, dw: Any, dh: Any, one: Any) -> None:
    """Move upright box ``i`` by (dx, dy, log dw, log dh)."""
    half = np.float32(0.5)
    w, h = boxes[2, i] - boxes[0, i] + one, boxes[3, i] - boxes[1, i] + one
    x, y = dx * w + (boxes[0, i] + half * w), dy * h + (boxes[1, i] + half * h)
    w = half * (np.float32(math.exp(min(dw, np.float32(LARGEST_LOG_SCALE)))) * w)
    h = half * (np.float32(math.exp(min(dh, np.float32(LARGEST_LOG_SCALE)))) * h)
    boxes[0, i] = x - w
    boxes[1, i] = y - h
    boxes[2, i] = x + w - one
    boxes[3, i] = y + h - one


def move_rotated(boxes: Array, i: int, dx: Any, dy: Any, dw: Any, dh: Any, turn: Any, low: Any, high: Any) -> None:
    """Move rotated box ``i`` by (dx, dy, log dw, log dh, radians); angles within [low, high] unless these are equal."""
    boxes[0, i] = dx * boxes[2, i] + boxes[0, i]
    boxes[1, i] = dy * boxes[3, i] + boxes[1, i]
    boxes[2, i] = np.float32(math.exp(min(dw, np.float32(LARGEST_LOG_SCALE)))) * boxes[2, i]
    boxes[3, i] = np.float32(math.exp(min(dh, np.float32(LARGEST_LOG_SCALE)))) * boxes[3, i]
    angle = np.float32(turn * np.float32(DEGREES)) + boxes[4, i]
    if low < high:
        period = np.float32(high - low)
        if angle < np.float32(low):
            angle += period
        elif angle > np.float32(high):
            angle -= period
    boxes[4, i] = angle


def _within(x: Any, largest: Any) -> Any:
    return max(min(x, largest), np.float32(0))


def clip(boxes: Array, i: int, height: Any, width: Any, one: Any) -> None:
    """Upright box ``i`` inside an image of so many whole pixels."""
    right, bottom = np.float32(np.floor(width)) - one, np.float32(np.floor(height)) - one
    boxes[0, i] = _within(boxes[0, i], right)
    boxes[1, i] = _within(boxes[1, i], bottom)
    boxes[2, i] = _within(boxes[2, i], right)
    boxes[3, i] = _within(boxes[3, i], bottom)


def clip_rotated(boxes: Array, i: int, height: Any, width: Any, one: Any, thresh: Any) -> None:
    """Rotated box ``i`` inside the image if it is within ``thresh`` degrees of upright; else it stays."""
    if not abs(boxes[4, i]) <= np.float32(thresh):
        return
    half = np.float32(0.5)
    right, bottom = np.float32(np.floor(width)) - one, np.float32(np.floor(height)) - one
    w, h = (boxes[2, i] - one) * half, (boxes[3, i] - one) * half
    x1, x2 = _within(boxes[0, i] - w, right), _within(boxes[0, i] + w, right)
    y1, y2 = _within(boxes[1, i] - h, bottom), _within(boxes[1, i] + h, bottom)
    boxes[0, i] = (x1 + x2) * half
    boxes[1, i] = (y1 + y2) * half
    boxes[2, i] = x2 - x1 + one
    boxes[3, i] = y2 - y1 + one


def set_areas(boxes: Array, count: int, rotated: int, one: Any) -> None:
    """Fill in the areas of the first ``count`` boxes."""
    for i in range(count):
        if rotated:
            boxes[AREA, i] = boxes[2, i] * boxes[3, i]
        else:
            boxes[AREA, i] = (boxes[2, i] - boxes[0, i] + one) * (boxes[3, i] - boxes[1, i] + one)


def shares_upright(boxes: Array, i: int, first: int, end: int, one: Any, shares: Array) -> None:
    """Intersection over union of upright box ``i`` with the boxes from ``first`` to ``end``."""
    x1, y1, x2, y2, area = boxes[0, i], boxes[1, i], boxes[2, i], boxes[3, i], boxes[AREA, i]
    zero = np.float32(0)
    for j in range(first, end):
        w = max(min(x2, boxes[2, j]) - max(x1, boxes[0, j]) + one, zero)
        h = max(min(y2, boxes[3, j]) - max(y1, boxes[1, j]) + one, zero)
        shared = w * h
        shares[j] = shared / (area + boxes[AREA, j] - shared)


def shares_rotated(boxes: Array, i: int, first: int, end: int, shares: Array, polygon: Array) -> None:
    """Intersection over union of rotated box ``i`` with the boxes from ``first`` to ``end``."""
    for j in range(first, end):
        shared = np.float32(intersection(boxes, i, j, polygon))
        shares[j] = shared / (boxes[AREA, i] + boxes[AREA, j] - shared)


def _diagonal(boxes: Array, i: int) -> Any:
    return math.sqrt(float(boxes[2, i]) * float(boxes[2, i]) + float(boxes[3, i]) * float(boxes[3, i]))


def intersection(boxes: Array, i: int, j: int, polygon: Array) -> Any:
    """Area shared by two rotated boxes: the corners of ``j`` cut by every side of ``i`` (Sutherland and Hodgman).

    polygon: float64 (2, 2, ``CORNERS``), work space.
    """
    x, y = float(boxes[0, j]) - float(boxes[0, i]), float(boxes[1, j]) - float(boxes[1, i])
    reach = _diagonal(boxes, i) + _diagonal(boxes, j)
    if not 4.0 * (x * x + y * y) < reach * reach:
        return 0.0
    angle, turned = -float(boxes[4, i]) * RADIANS, -float(boxes[4, j]) * RADIANS
    c, s = math.cos(angle), math.sin(angle)
    x, y = c * x + s * y, c * y - s * x
    c, s = math.cos(turned - angle), math.sin(turned - angle)
    w, h = float(boxes[2, j]) / 2, float(boxes[3, j]) / 2
    for k in range(4):
        across = w if k == 1 or k == 2 else -w
        down = h if k >= 2 else -h
        polygon[0, 0, k] = x + c * across - s * down
        polygon[0, 1, k] = y + s * across + c * down
    count = 4
    for side in range(4):
        bound = float(boxes[2 + side % 2, i]) / 2
        count = _cut(polygon[side % 2], count, side % 2, 1.0 if side < 2 else -1.0, bound, polygon[1 - side % 2])
    return _area(polygon[0], count)


def _cut(corners: Array, count: int, axis: int, sign: float, bound: float, out: Array) -> Any:
    """The part of a polygon where ``sign`` times a coordinate is at most ``bound``; returns its number of corners."""
    n = 0
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        inside, inside_after = bound - sign * corners[axis, k], bound - sign * corners[axis, after]
        if inside >= 0.0:
            out[0, n] = corners[0, k]
            out[1, n] = corners[1, k]
            n += 1
        if (inside >= 0.0) != (inside_after >= 0.0):
            part = inside / (inside - inside_after)
            out[0, n] = corners[0, k] + (corners[0, after] - corners[0, k]) * part
            out[1, n] = corners[1, k] + (corners[1, after] - corners[1, k]) * part
            n += 1
    return n


def _area(corners: Array, count: int) -> Any:
    total = 0.0
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        total += corners[0, k] * corners[1, after] - corners[0, after] * corners[1, k]
    return abs(total) / 2.0
