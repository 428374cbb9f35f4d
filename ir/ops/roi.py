"""Operators on regions of interest: pooling of features, permutation of boxes, keypoints from heat maps."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import ORDER, nhwc, require_rank
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

_POOLED = (
    ORDER,
    Arg("spatial_scale", "float", 1.0, "size of the feature map over that of the image"),
    Arg("pooled_h", "int", 1, "rows of the output"),
    Arg("pooled_w", "int", 1, "columns of the output"),
)
_SAMPLED = (
    *_POOLED,
    Arg("sampling_ratio", "int", -1, "samples per direction in a bin; 0 or less: as many as the bin has pixels"),
    Arg("aligned", "int", 0, "shift by half a pixel, so that pixel centres match"),
)


def _roi_shape(call: Call) -> tuple[Dim, ...] | None:
    x, rois = require_rank(call, 0, 4), require_rank(call, 1, 2)
    if x is None:
        return None
    for name in ("pooled_h", "pooled_w"):
        if call.arg(name) <= 0:
            call.fail(f"argument '{name}' is {call.arg(name)}, a positive size is needed")
    n: Dim = UNKNOWN if rois is None else rois[0]
    image = (call.arg("pooled_h"), call.arg("pooled_w"))
    return (n, *image, x[3]) if nhwc(call) else (n, x[1], *image)


def _align_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.FLOAT, _roi_shape(call))]


def check_images(call: Call, rois: np.ndarray, images: int) -> np.ndarray:
    """The image number of every box; fails outside 0 ... images - 1, which Caffe2 would read out of bounds."""
    numbers = rois[:, 0].astype(np.int64)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= images):
        call.fail(f"a box names image {int(numbers.max())}, there are {images}")
    return numbers


def _corners_in_map(call: Call, roi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(start, size) of a box in the feature map, each (y, x)."""
    aligned = call.arg("aligned")
    x1, y1, x2, y2 = roi[-4:].astype(np.float32) * np.float32(call.arg("spatial_scale")) - np.float32(aligned * 0.5)
    size = np.array([y2 - y1, x2 - x1], np.float32)
    return np.array([y1, x1], np.float32), size if aligned else np.maximum(size, np.float32(1))


def _sample_positions(start: float, size: float, bins: int, ratio: int) -> np.ndarray:
    """Coordinates of the samples along one direction: (bins, samples of a bin)."""
    step = np.float32(size) / np.float32(bins)
    count = ratio if ratio > 0 else math.ceil(step)
    inner = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * step / np.float32(max(count, 1))
    return np.asarray(np.float32(start) + np.arange(bins, dtype=np.float32)[:, None] * step + inner)


def _weight_matrix(positions: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation, averaged per bin, as a matrix (bins, length); samples beyond one pixel outside are 0."""
    matrix = np.zeros((len(positions), length), np.float32)
    for row, samples in zip(matrix, positions):
        inside = samples[(samples >= -1) & (samples <= length)]
        at = np.clip(inside, 0, length - 1)
        low = np.minimum(at.astype(np.int64), length - 1)
        high = np.minimum(low + 1, length - 1)
        np.add.at(row, low, 1 - (at - low))
        np.add.at(row, high, at - low)
        row /= max(len(samples), 1)
    return matrix


def roi_align(call: Call, x: np.ndarray, rois: np.ndarray) -> np.ndarray:
    """RoIAlign of NCHW features: (boxes, C, pooled_h, pooled_w)."""
    images = check_images(call, rois, len(x)) if rois.shape[1] == 5 else np.zeros(len(rois), np.int64)
    bins = call.arg("pooled_h"), call.arg("pooled_w")
    out = np.zeros((len(rois), x.shape[1], *bins), np.float32)
    for i, roi in enumerate(rois):
        start, size = _corners_in_map(call, roi)
        grids = [_sample_positions(start[d], size[d], bins[d], call.arg("sampling_ratio")) for d in (0, 1)]
        rows, columns = (_weight_matrix(g, x.shape[2 + d]) for d, g in enumerate(grids))
        out[i] = np.einsum("ph,chw,qw->cpq", rows, x[images[i]], columns, optimize=True)
    return out


def _roi_align(call: Call, x: np.ndarray, rois: np.ndarray) -> list[np.ndarray]:
    if nhwc(call):
        return [roi_align(call, x.transpose(0, 3, 1, 2), rois).transpose(0, 2, 3, 1)]
    return [roi_align(call, x, rois)]


op(
    "RoIAlign",
    _align_type,
    inputs="X RoIs",
    outputs="Y",
    args=_SAMPLED,
    reference=_roi_align,
    doc="features of every box (image, x1, y1, x2, y2), averaged over bilinear samples",
)


def bilinear(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Features (C, H, W) at points: (C, *points); beyond one pixel outside they are 0."""
    height, width = x.shape[1:]
    inside = (rows >= -1) & (rows <= height) & (columns >= -1) & (columns <= width)
    y, z = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = y.astype(np.int64), z.astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    v, u = y - top, z - left
    upper = x[:, top, left] * (1 - u) + x[:, top, right] * u
    lower = x[:, bottom, left] * (1 - u) + x[:, bottom, right] * u
    return np.asarray((upper * (1 - v) + lower * v) * inside)


def _rotated_box(call: Call, x: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Features of one box (centre x, centre y, width, height, angle in degrees): (C, pooled_h, pooled_w)."""
    aligned = call.arg("aligned")
    cx, cy, w, h = roi[-5:-1] * np.float32(call.arg("spatial_scale"))
    w, h = (w, h) if aligned else (max(w, np.float32(1)), max(h, np.float32(1)))
    bins, ratio = (call.arg("pooled_h"), call.arg("pooled_w")), call.arg("sampling_ratio")
    down = _sample_positions(-h / 2, h, bins[0], ratio)[:, None, :, None]
    across = _sample_positions(-w / 2, w, bins[1], ratio)[None, :, None, :]
    cos, sin = math.cos(math.radians(roi[-1])), math.sin(math.radians(roi[-1]))
    rows = down * cos - across * sin + (cy - 0.5 * aligned)
    columns = across * cos + down * sin + (cx - 0.5 * aligned)
    samples = bilinear(x, rows.astype(np.float32), columns.astype(np.float32))
    return np.asarray(samples.sum(axis=(3, 4)) / max(samples.shape[3] * samples.shape[4], 1), np.float32)


def _roi_align_rotated(call: Call, x: np.ndarray, rois: np.ndarray) -> list[np.ndarray]:
    last = nhwc(call)
    features = x.transpose(0, 3, 1, 2) if last else x
    images = check_images(call, rois, len(x)) if rois.shape[1] == 6 else np.zeros(len(rois), np.int64)
    out = np.zeros((len(rois), features.shape[1], call.arg("pooled_h"), call.arg("pooled_w")), np.float32)
    for i, roi in enumerate(rois):
        out[i] = _rotated_box(call, features[images[i]], roi)
    return [np.ascontiguousarray(out.transpose(0, 2, 3, 1)) if last else out]


op(
    "RoIAlignRotated",
    _align_type,
    inputs="X RoIs",
    outputs="Y",
    args=_SAMPLED,
    reference=_roi_align_rotated,
    doc="features of every rotated box (image, centre x, centre y, width, height, degrees), averaged over samples",
)


def _pool_types(call: Call) -> list[TensorType]:
    shape = _roi_shape(call)
    return [TensorType(DType.FLOAT, shape), TensorType(DType.INT32, shape)]


def _round(value: np.ndarray) -> int:
    """C's ``round``: halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), float(value)))


def _edges(start: int, end: int, bins: int, length: int) -> list[tuple[int, int]]:
    """First and last-but-one pixel of every bin along one direction, clipped to the map."""
    step = np.float32(max(end - start + 1, 1)) / np.float32(bins)
    low = [math.floor(np.float32(b) * step) + start for b in range(bins)]
    high = [math.ceil(np.float32(b + 1) * step) + start for b in range(bins)]
    return [(min(max(a, 0), length), min(max(z, 0), length)) for a, z in zip(low, high)]


def _roi_pool(call: Call, x: np.ndarray, rois: np.ndarray) -> list[np.ndarray]:
    if nhwc(call):
        call.fail("order NHWC is not supported by RoIPool", "transpose the features, or use RoIAlign")
    images, (_, channels, height, width) = check_images(call, rois, len(x)), x.shape
    bins = call.arg("pooled_h"), call.arg("pooled_w")
    out = np.zeros((len(rois), channels, *bins), np.float32)
    where = np.full(out.shape, -1, np.int32)
    for i, roi in enumerate(rois):
        x1, y1, x2, y2 = (_round(v) for v in roi[1:] * np.float32(call.arg("spatial_scale")))
        for p, (top, bottom) in enumerate(_edges(y1, y2, bins[0], height)):
            for q, (left, right) in enumerate(_edges(x1, x2, bins[1], width)):
                patch = x[images[i], :, top:bottom, left:right].reshape(channels, -1)
                if not patch.size:
                    continue
                best = patch.argmax(axis=1)
                out[i, :, p, q] = patch[np.arange(channels), best]
                where[i, :, p, q] = (top + best // (right - left)) * width + left + best % (right - left)
    return [out, where]


op(
    "RoIPool",
    _pool_types,
    inputs="X rois",
    outputs="Y argmaxes?",
    args=(*_POOLED, Arg("is_test", "int", 0, "without argmaxes")),
    reference=_roi_pool,
    doc="maximum of the features in every bin of every box; where it was",
)


def _permuted_type(call: Call) -> list[TensorType]:
    return [call.type(0)]


def check_permutation(call: Call, indices: np.ndarray, n: int) -> np.ndarray:
    """``indices`` as int64; fails where they leave 0 ... n - 1 or are not as many."""
    if len(indices) != n or (n and (indices.min() < 0 or indices.max() >= n)):
        call.fail(f"the indices are no permutation of {n} rows")
    return indices.astype(np.int64)


def _permutation(call: Call, x: np.ndarray, indices: np.ndarray) -> list[np.ndarray]:
    return [x[check_permutation(call, indices, len(x))]]


op(
    "BatchPermutation",
    _permuted_type,
    inputs="X indices",
    outputs="Y",
    reference=_permutation,
    doc="row i of the output is row indices[i] of the input",
)


def _gradient_type(call: Call) -> list[TensorType]:
    return [call.type(1)]


def _permutation_gradient(call: Call, indices: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    dx = np.zeros_like(dy)
    dx[check_permutation(call, indices, len(dy))] = dy
    return [dx]


op(
    "BatchPermutationGradient",
    _gradient_type,
    inputs="indices dY",
    outputs="dX",
    reference=_permutation_gradient,
    doc="gradient of BatchPermutation",
)


def _keypoint_type(call: Call) -> list[TensorType]:
    maps, boxes = require_rank(call, 0, 4), require_rank(call, 1, 2)
    n: Dim = UNKNOWN if maps is None else maps[0]
    if n == UNKNOWN and boxes is not None:
        n = boxes[0]
    return [TensorType(DType.FLOAT, (n, 4, UNKNOWN if maps is None else maps[1]))]


_MIRROR_LIMIT = 1.5
_FLAT = 1e-4


def _neighbourhood(heat: np.ndarray, y: int, x: int) -> np.ndarray:
    """The 3 x 3 values around a cell; beyond the border those of the other side."""
    size = len(heat)

    def around(at: int) -> list[int]:
        return [at + d - 2 * (at + d >= size) + 2 * (at + d < 0) for d in (-1, 0, 1)]

    return heat[np.ix_(around(y), around(x))].astype(np.float64)


def _refined(f: np.ndarray) -> tuple[float, float, float]:
    """(dx, dy, value) of the maximum of the quadratic through a 3 x 3 neighbourhood (Taylor expansion)."""
    slope = -np.array([(f[1, 2] - f[1, 0]) / 2, (f[2, 1] - f[0, 1]) / 2])
    cross = (f[2, 2] - f[2, 0] - f[0, 2] + f[0, 0]) / 4
    bend = np.array([[f[1, 0] - 2 * f[1, 1] + f[1, 2], cross], [cross, f[0, 1] - 2 * f[1, 1] + f[2, 1]]])
    if abs(np.linalg.det(bend)) < _FLAT:
        return 0.0, 0.0, float(f[1, 1])
    delta = np.linalg.solve(bend, slope)
    largest = np.abs(delta).max()
    if largest > _MIRROR_LIMIT:
        delta = delta / largest * _MIRROR_LIMIT
    return float(delta[0]), float(delta[1]), float(f[1, 1] - slope @ delta + delta @ bend @ delta / 2)


def _heatmap_max(call: Call, maps: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    n, points, size = maps.shape[:3]
    if size < 2 or maps.shape[3] != size:
        call.fail(f"the heat maps are {size} x {maps.shape[3]}, squares of 2 or more are needed")
    out = np.zeros((n, 4, points), np.float32)
    for i, j in np.ndindex(n, points):
        heat = maps[i, j]
        y, x = divmod(int(heat.argmax()), size)
        dx, dy, value = _refined(_neighbourhood(heat, y, x))
        wide, high = max(boxes[i, 2] - boxes[i, 0], 1.0), max(boxes[i, 3] - boxes[i, 1], 1.0)
        place = boxes[i, 0] + (0.5 + x + dx) * wide / size, boxes[i, 1] + (0.5 + y + dy) * high / size
        share = 0.0
        if call.arg("should_output_softmax"):
            share = float(1.0 / np.exp(heat.astype(np.float64) - heat[y, x]).sum())
        out[i, :, j] = (*place, value, share)
    return [out]


op(
    "HeatmapMaxKeypoint",
    _keypoint_type,
    inputs="heatmaps bboxes",
    outputs="keypoints",
    args=(Arg("should_output_softmax", "int", 0, "the fourth row is the softmax at the maximum, else 0"),),
    reference=_heatmap_max,
    doc="for every box and key point: x, y, score, probability of the refined maximum of its heat map",
)
