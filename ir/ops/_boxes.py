"""Arithmetic of boxes in NumPy: regression, clipping, overlap, suppression. Upright boxes have 4 columns, rotated 5."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Call

LARGEST_LOG_SCALE = np.float32(math.log(1000.0 / 16.0))
"""Caffe2's bound for the logarithm of a growing box."""


def transform(call: Call, boxes: np.ndarray, deltas: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    """Boxes moved by deltas (dx, dy, log dw, log dh[, angle in radians]) that ``weights`` divide."""
    plus_one = np.float32(call.arg("legacy_plus_one"))
    dx, dy = deltas[:, 0] / np.float32(weights[0]), deltas[:, 1] / np.float32(weights[1])
    dw = np.minimum(deltas[:, 2] / np.float32(weights[2]), LARGEST_LOG_SCALE)
    dh = np.minimum(deltas[:, 3] / np.float32(weights[3]), LARGEST_LOG_SCALE)
    if boxes.shape[1] == 5:
        x, y, w, h, angle = boxes.T
        turned = _bounded_angle(call, deltas[:, 4] * np.float32(180.0 / math.pi) + angle)
        return np.stack([dx * w + x, dy * h + y, np.exp(dw) * w, np.exp(dh) * h, turned], axis=1).astype(np.float32)
    w, h = boxes[:, 2] - boxes[:, 0] + plus_one, boxes[:, 3] - boxes[:, 1] + plus_one
    x, y = dx * w + boxes[:, 0] + w / 2, dy * h + boxes[:, 1] + h / 2
    half_w, half_h = np.exp(dw) * w / 2, np.exp(dh) * h / 2
    corners = [x - half_w, y - half_h, x + half_w - plus_one, y + half_h - plus_one]
    return np.stack(corners, axis=1).astype(np.float32)


def _bounded_angle(call: Call, angle: np.ndarray) -> np.ndarray:
    if not call.arg("angle_bound_on"):
        return angle
    low, high = call.arg("angle_bound_lo"), call.arg("angle_bound_hi")
    period = high - low
    if period <= 0 or period % 180:
        call.fail(f"the angle bounds {low} ... {high} do not span a multiple of 180 degrees")
    return np.asarray(np.where(angle < low, angle + period, np.where(angle > high, angle - period, angle)))


def clip(boxes: np.ndarray, height: np.ndarray, width: np.ndarray, angle_thresh: float, plus_one: int) -> np.ndarray:
    """Boxes inside the image; of rotated ones only those within ``angle_thresh`` of upright are touched."""
    if boxes.shape[1] == 4:
        return _clip_upright(boxes, height, width, plus_one)
    out = boxes.copy()
    size = (boxes[:, 2:4] - plus_one) / 2
    corners = _clip_upright(np.hstack([boxes[:, :2] - size, boxes[:, :2] + size]), height, width, plus_one)
    level = np.abs(boxes[:, 4]) <= angle_thresh
    clipped = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2] + plus_one])
    out[level, :4] = clipped[level]
    return np.asarray(out)


def _clip_upright(boxes: np.ndarray, height: np.ndarray, width: np.ndarray, plus_one: int) -> np.ndarray:
    right = np.floor(np.asarray(width, np.float32)) - np.float32(plus_one)
    bottom = np.floor(np.asarray(height, np.float32)) - np.float32(plus_one)
    out = np.empty_like(boxes)
    out[:, 0::2] = np.clip(boxes[:, 0::2], 0, np.broadcast_to(right, len(boxes))[:, None])
    out[:, 1::2] = np.clip(boxes[:, 1::2], 0, np.broadcast_to(bottom, len(boxes))[:, None])
    return out


def area(boxes: np.ndarray, plus_one: int) -> np.ndarray:
    """Areas of boxes of either kind."""
    if boxes.shape[1] == 5:
        return np.asarray(boxes[:, 2] * boxes[:, 3])
    return np.asarray((boxes[:, 2] - boxes[:, 0] + plus_one) * (boxes[:, 3] - boxes[:, 1] + plus_one))


def overlap(box: np.ndarray, others: np.ndarray, plus_one: int) -> np.ndarray:
    """Intersection over union of one box with others."""
    if len(box) == 5:
        shared = np.array([_rotated_intersection(box, other) for other in others], np.float32)
    else:
        low, high = np.maximum(others[:, :2], box[:2]), np.minimum(others[:, 2:], box[2:])
        shared = np.maximum(high - low + plus_one, 0).prod(axis=1)
    union = area(box[None], plus_one)[0] + area(others, plus_one) - shared
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(shared / union)


def suppress(boxes: np.ndarray, order: np.ndarray, thresh: float, plus_one: int, top: int) -> np.ndarray:
    """Greedy suppression: rows in ``order`` (best first) without those that overlap a kept one too much.

    Stops at ``top`` rows where that is positive.
    """
    kept: list[int] = []
    while len(order) and not 0 < top <= len(kept):
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        order = rest[overlap(boxes[best], boxes[rest], plus_one) <= np.float32(thresh)]
    return np.array(kept, np.int64)


def soft_suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
    *,
    sigma: float,
    thresh: float,
    least: float,
    method: int,
    plus_one: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Soft suppression (arXiv 1704.04503): rows kept in the order of their final scores, and all scores after it.

    method: 0 removes, 1 lowers by 1 - overlap, 2 by a Gaussian. The order among equal scores follows Caffe2, which
    swaps the chosen row with the first one.
    """
    scores, pending = scores.copy(), rows.copy()
    kept: list[int] = []
    while len(pending):
        at = int(np.argmax(scores[pending]))
        best = int(pending[at])
        kept.append(best)
        pending[at] = pending[0]
        rest = pending[1:]
        share = overlap(boxes[best], boxes[rest], plus_one)
        scores[rest] *= _weights(share, sigma, thresh, method)
        pending = rest[scores[rest] >= np.float32(least)].copy()
    return np.array(kept, np.int64), scores


def _weights(share: np.ndarray, sigma: float, thresh: float, method: int) -> np.ndarray:
    if method == 2:
        return np.asarray(np.exp(-share * share / np.float32(sigma)), np.float32)
    lowered = 1 - share if method == 1 else np.zeros_like(share)
    return np.where(share > np.float32(thresh), lowered, 1).astype(np.float32)


def _corners(box: np.ndarray) -> np.ndarray:
    """The corners of a rotated box, counter-clockwise in a frame whose y points down."""
    x, y, w, h, angle = (float(v) for v in box)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [w / 2, h / 2]
    return np.asarray(np.array([x, y]) + unit @ np.array([[c, -s], [s, c]]))


def _rotated_intersection(a: np.ndarray, b: np.ndarray) -> float:
    """Area shared by two rotated boxes: the polygon of ``a`` cut by every side of ``b`` (Sutherland and Hodgman)."""
    polygon, window = _corners(a), _corners(b)
    for start, end in zip(window, np.roll(window, -1, axis=0)):
        if not len(polygon):
            return 0.0
        edge = end - start
        inside = edge[0] * (polygon[:, 1] - start[1]) - edge[1] * (polygon[:, 0] - start[0])
        polygon = _cut(polygon, inside)
    x, y = polygon.T if len(polygon) else np.zeros((2, 0))
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _cut(polygon: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The part of a polygon where ``inside``, linear along its sides, is not negative."""
    kept = []
    for p, q, dp, dq in zip(polygon, np.roll(polygon, -1, axis=0), inside, np.roll(inside, -1)):
        if dp >= 0:
            kept.append(p)
        if (dp >= 0) != (dq >= 0):
            kept.append(p + (q - p) * (dp / (dp - dq)))
    return np.array(kept).reshape(-1, 2)
