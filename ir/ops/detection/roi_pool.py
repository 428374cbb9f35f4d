"""Maxima and position-sensitive means of the features in the bins of boxes; key points from heat maps.

Source of the rules: ``roi_pool_op``, ``heatmap_max_keypoint_op`` of Caffe2, ``roi_pool_f_op`` and ``ps_roi_pool_op`` of
its Detectron module, of which Caffe2 has kernels for GPUs only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, merge_shapes, require, require_rank
from graphc.ir.ops.detection.roi import FLOAT, NO_IMAGE, POOLED, image_of, roi_shape
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

LOWEST = -3.4028234663852886e38
BAD_ARGMAX = "ARGMAXES: a place is outside of the map"
FARTHEST = 1e9


def _rounded(x: Any) -> Any:
    """The nearest integer, halves away from zero; far ones are brought near, and what is no number is far away."""
    near = float(x) if abs(x) <= FARTHEST else (FARTHEST if x > 0 else -FARTHEST)
    return math.floor(near + 0.5) if near >= 0 else -math.floor(0.5 - near)


def _edge(b: Any, step: Any, start: int, up: int, length: int) -> Any:
    """A pixel edge of a bin inside the map."""
    at = np.float32(b) * step
    place = np.ceil(at) if up else np.floor(at)
    return min(max(int(place) + start, 0), length)


def _pool(x: Array, rois: Array, y: Array, where: Array, scale: float, bins_y: int, bins_x: int) -> Any:
    height, width = x.shape[2], x.shape[3]
    for i in range(rois.shape[0]):
        image = image_of(rois, i, 1, x.shape[0])
        if image < 0:
            return 1
        left, top = _rounded(rois[i, 1] * np.float32(scale)), _rounded(rois[i, 2] * np.float32(scale))
        right, bottom = _rounded(rois[i, 3] * np.float32(scale)), _rounded(rois[i, 4] * np.float32(scale))
        step_y = np.float32(max(bottom - top + 1, 1)) / np.float32(bins_y)
        step_x = np.float32(max(right - left + 1, 1)) / np.float32(bins_x)
        for p in range(bins_y):
            y1, y2 = _edge(p, step_y, top, 0, height), _edge(p + 1, step_y, top, 1, height)
            for q in range(bins_x):
                x1, x2 = _edge(q, step_x, left, 0, width), _edge(q + 1, step_x, left, 1, width)
                for c in range(x.shape[1]):
                    at = np.int64(-1)
                    best = np.float32(0) if y2 <= y1 or x2 <= x1 else np.float32(LOWEST)
                    for r in range(y1, y2):
                        for s in range(x1, x2):
                            if x[image, c, r, s] > best:
                                best = x[image, c, r, s]
                                at = r * width + s
                    y[i, c, p, q] = best
                    if where.size:
                        where.flat[((i * x.shape[1] + c) * bins_y + p) * bins_x + q] = at
    return 0


def _pool_types(call: Call) -> list[TensorType]:
    """Y: float (boxes, C, pooled_h, pooled_w); argmaxes: int32 of the same shape. Boxes name their image."""
    if call.arg("order") != "NCHW":
        call.fail("order NHWC is not supported", "transpose the features, or use RoIAlign")
    shape = roi_shape(call, (5,))
    return [TensorType(DType.FLOAT, shape), TensorType(DType.INT32, shape)]


def _pool_gradient(x: Array, rois: Array, where: Array, dy: Array, dx: Array) -> Any:
    plane, bins = x.shape[2] * x.shape[3], dy.shape[2] * dy.shape[3]
    for i in range(dy.shape[0]):
        image = image_of(rois, i, 1, x.shape[0])
        if image < 0:
            return 1
        for c in range(dy.shape[1]):
            for k in range(bins):
                at = np.int64(where.flat[(i * dy.shape[1] + c) * bins + k])
                if at < -1 or at >= plane:
                    return 2
                if at >= 0:
                    dx.flat[(image * x.shape[1] + c) * plane + at] += dy.flat[(i * dy.shape[1] + c) * bins + k]
    return 0


def _pool_gradient_types(call: Call) -> list[TensorType]:
    """dX: the type of X."""
    shape = _pool_types(call)[0].shape
    merge_shapes(call, require(call, 2, (DType.INT32,)).shape, shape, "shape of argmaxes")
    merge_shapes(call, require(call, 3, FLOAT).shape, shape, "shape of dY")
    return [call.type(0)]


def _bins(call: Call) -> Sequence[int | float]:
    return (call.arg("spatial_scale"), call.arg("pooled_h"), call.arg("pooled_w"))


for _name, _args in (
    ("RoIPool", (*POOLED, Arg("is_test", "int", 0, "without argmaxes"))),
    ("RoIPoolF", POOLED),
):
    op(
        _name,
        _pool_types,
        inputs="X rois",
        outputs="Y argmaxes?",
        args=_args,
        loop=_pool,
        constants=_bins,
        errors=(NO_IMAGE,),
        doc="Maximum of the features in every bin of every box; where it was.",
    )
    op(
        f"{_name}Gradient",
        _pool_gradient_types,
        inputs="X rois argmaxes dY",
        outputs="dX",
        args=_args,
        loop=_pool_gradient,
        constants=lambda call: (),
        errors=(NO_IMAGE, BAD_ARGMAX),
        doc=f"Gradient of {_name}.",
    )


def _span(rois: Array, i: int, k: int, b: int, bins: int, scale: float, length: int, up: int) -> Any:
    """The first pixel of bin ``b`` along a direction, or with ``up`` the one after its last."""
    start = np.float32(_rounded(rois[i, k])) * np.float32(scale)
    end = np.float32(_rounded(rois[i, k + 2]) + 1) * np.float32(scale)
    step = max(end - start, np.float32(0.1)) / np.float32(bins)
    at = np.float32(b + up) * step + start
    place = np.ceil(at) if up else np.floor(at)
    return int(min(place, np.float32(length))) if place > 0 else 0


def _mean(x: Array, rois: Array, y: Array, channels: Array, scale: float, group: int, outputs: int) -> Any:
    for i in range(rois.shape[0]):
        image = image_of(rois, i, 1, x.shape[0])
        if image < 0:
            return 1
        for p in range(group):
            y1 = _span(rois, i, 2, p, group, scale, x.shape[2], 0)
            y2 = _span(rois, i, 2, p, group, scale, x.shape[2], 1)
            for q in range(group):
                x1 = _span(rois, i, 1, q, group, scale, x.shape[3], 0)
                x2 = _span(rois, i, 1, q, group, scale, x.shape[3], 1)
                for t in range(outputs):
                    c, total = (t * group + p) * group + q, np.float32(0)
                    for r in range(y1, y2):
                        for s in range(x1, x2):
                            total += x[image, c, r, s]
                    area = max(y2 - y1, 0) * max(x2 - x1, 0)
                    y[i, t, p, q] = total / np.float32(max(area, 1))
                    channels[i, t, p, q] = c
    return 0


def _mean_gradient(
    x: Array, rois: Array, channels: Array, dy: Array, dx: Array, scale: float, group: int, outputs: int
) -> Any:
    for i in range(rois.shape[0]):
        image = image_of(rois, i, 1, x.shape[0])
        if image < 0:
            return 1
        for p in range(group):
            y1 = _span(rois, i, 2, p, group, scale, x.shape[2], 0)
            y2 = _span(rois, i, 2, p, group, scale, x.shape[2], 1)
            for q in range(group):
                x1 = _span(rois, i, 1, q, group, scale, x.shape[3], 0)
                x2 = _span(rois, i, 1, q, group, scale, x.shape[3], 1)
                area = max(y2 - y1, 0) * max(x2 - x1, 0)
                for t in range(outputs):
                    c = np.int64(channels[i, t, p, q])
                    if c < 0 or c >= x.shape[1]:
                        return 2
                    value = dy[i, t, p, q] / np.float32(max(area, 1))
                    for r in range(y1, y2):
                        for s in range(x1, x2):
                            dx[image, c, r, s] += value
    return 0


_SENSITIVE = (
    Arg("spatial_scale", "float", 1.0, "size of the feature map over that of the image"),
    Arg("group_size", "int", 1, "rows and columns of the output"),
    Arg("output_dim", "int", 1, "channels of the output"),
    Arg("order", "string", b"NCHW"),
)


def _mean_types(call: Call) -> list[TensorType]:
    """Y: float (boxes, output_dim, group_size, group_size); the channels taken: int32. X has a channel for each bin."""
    group, outputs = (bounded(call, call.arg(n), 1, n) for n in ("group_size", "output_dim"))
    require(call, 0, FLOAT)
    require(call, 1, FLOAT)
    x, rois = require_rank(call, 0, 4), require_rank(call, 1, 2)
    if call.arg("order") != "NCHW":
        call.fail(f"order '{call.arg('order')}' is not supported", "transpose the features")
    if x is not None:
        agree(call, x[1], outputs * group * group, "channels of X, output_dim * group_size * group_size")
    if rois is not None:
        agree(call, rois[1], 5, "columns of RoIs (image, x1, y1, x2, y2)")
    shape = (UNKNOWN if rois is None else rois[0], outputs, group, group)
    return [TensorType(DType.FLOAT, shape), TensorType(DType.INT32, shape)]


def _mean_gradient_types(call: Call) -> list[TensorType]:
    """dX: the type of X."""
    shape = _mean_types(call)[0].shape
    merge_shapes(call, require(call, 2, (DType.INT32,)).shape, shape, "shape of the channels taken")
    merge_shapes(call, require(call, 3, FLOAT).shape, shape, "shape of dY")
    return [call.type(0)]


def _groups(call: Call) -> Sequence[int | float]:
    return (call.arg("spatial_scale"), call.arg("group_size"), call.arg("output_dim"))


op(
    "PSRoIPool",
    _mean_types,
    inputs="X RoIs",
    outputs="Y argmaxes",
    args=_SENSITIVE,
    loop=_mean,
    constants=_groups,
    errors=(NO_IMAGE,),
    doc="Means of the features in every bin of every box, each bin from channels of its own (arXiv 1605.06409).",
)
op(
    "PSRoIPoolGradient",
    _mean_gradient_types,
    inputs="X RoIs argmaxes dY",
    outputs="dX",
    args=_SENSITIVE,
    loop=_mean_gradient,
    constants=_groups,
    errors=(NO_IMAGE, "ARGMAXES: a channel is not one of X"),
    doc="Gradient of PSRoIPool.",
)

MIRROR_LIMIT = 1.5
FLAT = 1e-4


def _mirrored(at: int, size: int) -> Any:
    """An index beyond the border as the one as far inside."""
    if at < 0:
        return at + 2
    return at - 2 if at >= size else at


def _key_point(heat: Array, out: Array, box: Array, softmax: int, j: int) -> None:
    """The maximum of the quadratic through the 3 x 3 values around the largest one (Taylor expansion)."""
    size, y, x = heat.shape[0], 0, 0
    for r in range(size):
        for s in range(size):
            if heat[r, s] > heat[y, x]:
                y, x = r, s
    up, down = _mirrored(y - 1, size), _mirrored(y + 1, size)
    left, right = _mirrored(x - 1, size), _mirrored(x + 1, size)
    middle = float(heat[y, x])
    slope_x = (float(heat[y, left]) - float(heat[y, right])) / 2
    slope_y = (float(heat[up, x]) - float(heat[down, x])) / 2
    bend_x = float(heat[y, left]) - 2 * middle + float(heat[y, right])
    bend_y = float(heat[up, x]) - 2 * middle + float(heat[down, x])
    cross = float(heat[down, right]) - float(heat[down, left]) - float(heat[up, right]) + float(heat[up, left])
    cross /= 4
    dx, dy, value, determinant = 0.0, 0.0, middle, bend_x * bend_y - cross * cross
    if abs(determinant) >= FLAT:
        dx = (slope_x * bend_y - slope_y * cross) / determinant
        dy = (slope_y * bend_x - slope_x * cross) / determinant
        largest = max(abs(dx), abs(dy))
        if largest > MIRROR_LIMIT:
            dx, dy = dx / largest * MIRROR_LIMIT, dy / largest * MIRROR_LIMIT
        value -= slope_x * dx + slope_y * dy
        value += (dx * dx * bend_x + 2 * dx * dy * cross + dy * dy * bend_y) / 2
    wide, high = max(float(box[2]) - float(box[0]), 1.0), max(float(box[3]) - float(box[1]), 1.0)
    out[0, j] = float(box[0]) + (0.5 + x + dx) * wide / size
    out[1, j] = float(box[1]) + (0.5 + y + dy) * high / size
    out[2, j] = value
    if softmax:
        total = 0.0
        for r in range(size):
            for s in range(size):
                total += np.exp(float(heat[r, s]) - middle)
        out[3, j] = 1.0 / total


def _key_points(maps: Array, boxes: Array, out: Array, softmax: int) -> Any:
    for i in range(maps.shape[0]):
        for j in range(maps.shape[1]):
            _key_point(maps[i, j], out[i], boxes[i], softmax, j)
    return 0


def _key_point_types(call: Call) -> list[TensorType]:
    """keypoints: float (boxes, 4, points). The maps are squares of 2 or more."""
    require(call, 0, FLOAT)
    require(call, 1, FLOAT)
    maps, boxes = require_rank(call, 0, 4), require_rank(call, 1, 2)
    n: Dim = UNKNOWN if maps is None else maps[0]
    if boxes is not None:
        n = agree(call, boxes[0], n, "number of boxes, one for each row of heat maps")
        if isinstance(boxes[1], int) and boxes[1] < 4:
            call.fail(f"input 1 (bboxes) has {boxes[1]} columns, at least 4 are needed")
    if maps is not None:
        agree(call, maps[3], maps[2], "width of the heat maps, their height")
        if isinstance(maps[2], int) and maps[2] < 2:
            call.fail(f"the heat maps are {maps[2]} x {maps[3]}, squares of 2 or more are needed")
    return [TensorType(DType.FLOAT, (n, 4, UNKNOWN if maps is None else maps[1]))]


op(
    "HeatmapMaxKeypoint",
    _key_point_types,
    inputs="heatmaps bboxes",
    outputs="keypoints",
    args=(Arg("should_output_softmax", "int", 0, "the fourth row is the softmax at the maximum, else 0"),),
    loop=_key_points,
    doc="For every box and key point: x, y, score, probability of the refined maximum of its heat map.",
)
