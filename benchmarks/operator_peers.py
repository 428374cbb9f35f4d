"""Detection operators as one writes them with NumPy: what graphc's are measured against."""

from __future__ import annotations

import math

import numpy as np

LARGEST_STEP = math.log(1000.0 / 16)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, most: int) -> np.ndarray:
    """Indices of the boxes that greedy non-maximum suppression keeps, best first; widths count the last pixel."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size and (most <= 0 or len(kept) < most):
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= threshold]
    return np.array(kept, np.int64)


def generate_proposals(
    scores: np.ndarray,
    deltas: np.ndarray,
    info: np.ndarray,
    anchors: np.ndarray,
    spatial_scale: float,
    pre_nms_topN: int,
    post_nms_topN: int,
    nms_thresh: float,
    min_size: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 5) and scores (n, 1) of one image."""
    count, height, width = scores.shape[1:]
    flat = scores[0].transpose(1, 2, 0).ravel()
    moves = deltas[0].reshape(count, 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
    best = np.argpartition(-flat, pre_nms_topN)[:pre_nms_topN]
    best = best[np.argsort(-flat[best])]
    cell, which = np.divmod(best, count)
    shift = np.stack([cell % width, cell // width] * 2, 1) / spatial_scale
    base, move = anchors[which] + shift, moves[best]
    size = base[:, 2:] - base[:, :2] + 1
    centre = base[:, :2] + size / 2 + move[:, :2] * size
    size = np.exp(np.minimum(move[:, 2:], LARGEST_STEP)) * size
    boxes = np.concatenate([centre - size / 2, centre + size / 2 - 1], 1).astype(np.float32)
    limit = info[0, [1, 0, 1, 0]] - 1
    boxes = np.clip(boxes, 0, limit)
    extent = boxes[:, 2:] - boxes[:, :2] + 1
    middle = boxes[:, :2] + extent / 2
    good = (extent >= max(min_size, 1.0) * info[0, 2]).all(1) & (middle < info[0, [1, 0]]).all(1)
    boxes, chosen = boxes[good], flat[best][good]
    kept = suppress(boxes, chosen, nms_thresh, post_nms_topN)
    return np.concatenate([np.zeros((len(kept), 1), np.float32), boxes[kept]], 1), chosen[kept, None]


def box_with_nms_limit(
    scores: np.ndarray, boxes: np.ndarray, score_thresh: float, nms: float, detections_per_im: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, boxes and classes of the best detections of one image; class 0 is the background."""
    found_scores, found_boxes, found_classes = [], [], []
    for c in range(1, scores.shape[1]):
        rows = np.flatnonzero(scores[:, c] > score_thresh)
        mine, places = scores[rows, c], boxes[rows, 4 * c : 4 * c + 4]
        kept = suppress(places, mine, nms, 0)
        found_scores.append(mine[kept])
        found_boxes.append(places[kept])
        found_classes.append(np.full(len(kept), c, np.float32))
    values, places, classes = map(np.concatenate, (found_scores, found_boxes, found_classes))
    if len(values) > detections_per_im:
        kept = values >= np.sort(values)[-detections_per_im]
        values, places, classes = values[kept], places[kept], classes[kept]
    return values, places, classes
