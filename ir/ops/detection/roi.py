"""Features of regions of interest: RoIAlign, upright and rotated, and its gradients.

Source of the rules: ``roi_align_op``, ``roi_align_rotated_op`` of Caffe2. A bin is the mean of bilinear samples; those
beyond one pixel outside of the map are 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, bounded, merge_shapes, require, require_rank
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

FLOAT = (DType.FLOAT,)
ORDER_OF_MAPS = Arg("order", "string", b"NCHW", "NCHW or NHWC", choices=("NCHW", "NHWC"))
POOLED = (
    ORDER_OF_MAPS,
    Arg("spatial_scale", "float", 1.0, "size of the feature map over that of the image"),
    Arg("pooled_h", "int", 1, "rows of the output"),
    Arg("pooled_w", "int", 1, "columns of the output"),
)
_SAMPLED = (
    *POOLED,
    Arg("sampling_ratio", "int", -1, "samples per direction in a bin; 0 or less: as many as the bin has pixels"),
    Arg("aligned", "int", 0, "shift by half a pixel, so that pixel centres match"),
)
MOST_SAMPLES = 65536
"""Per direction and bin; boxes that need more are refused."""
MOST_RATIO = 1024
MOST_TOGETHER = MOST_RATIO * MOST_RATIO
"""Samples of a bin of a rotated box."""
MOST_PIXELS = 1e30
ENTRIES = 4096
"""Samples of a rotated box that are taken together."""

NO_IMAGE = "ROIS: a box names an image that the features do not have"
BAD_BOX = "ROIS: a box has a negative size (with aligned), or is not finite, or is too large to be sampled"


def roi_shape(call: Call, columns: tuple[int, ...], first: int = 0) -> Shape | None:
    """Shape of the features of all boxes; fails for wrong inputs: float maps, boxes of one of ``columns``."""
    require(call, first, FLOAT)
    x, rois = require_rank(call, first, 4), require(call, first + 1, FLOAT).shape
    bins = tuple(bounded(call, call.arg(n), 1, n) for n in ("pooled_h", "pooled_w"))
    if not math.isfinite(call.arg("spatial_scale")):
        call.fail(f"argument spatial_scale is {call.arg('spatial_scale')}")
    if call.opdef.has_arg("sampling_ratio") and call.arg("sampling_ratio") > MOST_RATIO:
        call.fail(f"argument sampling_ratio is {call.arg('sampling_ratio')}", f"give it at most {MOST_RATIO}")
    order = call.arg("order")
    if order not in ("NCHW", "NHWC"):
        call.fail(f"order '{order}' is not known", "use NCHW or NHWC")
    if rois is not None and (len(rois) != 2 or (rois[0] != 0 and isinstance(rois[1], int) and rois[1] not in columns)):
        wanted = " or ".join(map(str, columns))
        call.fail(f"input {first + 1} (RoIs) has the shape {rois}, a matrix of {wanted} columns is needed")
    if x is not None and 0 in x[1:]:
        call.fail(f"input {first} (X) has the shape {x}, its maps are empty")
    n: Dim = UNKNOWN if rois is None else rois[0]
    if x is None:
        return None
    return (n, *bins, x[3]) if order == "NHWC" else (n, x[1], *bins)


def image_of(rois: Array, i: int, given: int, images: int) -> Any:
    """The image of a box, -1 where there is none such."""
    if not given:
        return 0 if images else -1
    if not (rois[i, 0] > np.float32(-1) and rois[i, 0] < np.float32(images)):
        return -1
    return int(rois[i, 0])


def sample_count(size: Any, bins: int, ratio: int) -> Any:
    """Samples of a bin along one direction; -1 where they are too many."""
    if ratio > 0:
        return ratio
    count = np.ceil(size / np.float32(bins))
    return int(count) if count <= np.float32(MOST_SAMPLES) else -1


def _taps(
    start: Any, size: Any, bins: int, count: int, length: int, weights: Array, places: Array, used: Array
) -> None:
    """The pixels that each bin takes along one direction, with weights: ``used[b]`` of them in row b."""
    step, each = size / np.float32(bins), np.float32(1) / np.float32(max(count, 1))
    for b in range(bins):
        n = 0
        for k in range(count):
            at = start + np.float32(b) * step + (np.float32(k) + np.float32(0.5)) * step / np.float32(count)
            if at < np.float32(-1) or at > np.float32(length):
                continue
            at = max(at, np.float32(0))
            low = min(int(at), length - 1)
            high = min(low + 1, length - 1)
            part = at - np.float32(low) if high > low else np.float32(0)
            n = _tap(weights, places, b, n, low, (np.float32(1) - part) * each)
            n = _tap(weights, places, b, n, high, part * each)
        used[b] = n


def _tap(weights: Array, places: Array, b: int, n: int, place: int, weight: Any) -> Any:
    """Add a weight for a pixel to row ``b``, which has ``n``: positions never fall, so it is one of the last or new."""
    for k in range(max(n - 2, 0), n):
        if places[b, k] == place:
            weights[b, k] += weight
            return n
    if weight == 0:
        return n
    weights[b, n] = weight
    places[b, n] = place
    return n + 1


def box_taps(
    rois: Array,
    i: int,
    first: int,
    height: int,
    width: int,
    weights_y: Array,
    places_y: Array,
    used_y: Array,
    weights_x: Array,
    places_x: Array,
    used_x: Array,
    scale: float,
    bins_y: int,
    bins_x: int,
    ratio: int,
    aligned: int,
) -> Any:
    """The taps of both directions of a box; 1 if it cannot be sampled."""
    shift = np.float32(0.5) if aligned else np.float32(0)
    x, y = rois[i, first] * np.float32(scale) - shift, rois[i, first + 1] * np.float32(scale) - shift
    w = rois[i, first + 2] * np.float32(scale) - shift - x
    h = rois[i, first + 3] * np.float32(scale) - shift - y
    if not aligned:
        w, h = max(w, np.float32(1)), max(h, np.float32(1))
    if not (0 <= w < MOST_PIXELS and 0 <= h < MOST_PIXELS and abs(x) < np.float32(1e9) and abs(y) < np.float32(1e9)):
        return 1
    rows, columns = sample_count(h, bins_y, ratio), sample_count(w, bins_x, ratio)
    if rows < 0 or columns < 0:
        return 1
    _taps(y, h, bins_y, rows, height, weights_y, places_y, used_y)
    _taps(x, w, bins_x, columns, width, weights_x, places_x, used_x)
    return 0


def _align_planes(
    x: Array,
    image: int,
    y: Array,
    i: int,
    row: Array,
    wy: Array,
    py: Array,
    uy: Array,
    wx: Array,
    px: Array,
    ux: Array,
) -> None:
    """One box of NCHW maps: rows are blended first, over the columns that the box reaches."""
    bins_y, bins_x, width = y.shape[2], y.shape[3], x.shape[3]
    low, high = width, 0
    for q in range(bins_x):
        for k in range(ux[q]):
            low, high = min(low, px[q, k]), max(high, px[q, k] + 1)
    for c in range(x.shape[1]):
        plane, out = x[image, c], y[i, c]
        for p in range(bins_y):
            for j in range(low, high):
                row[j] = np.float32(0)
            for k in range(uy[p]):
                weight, line = wy[p, k], plane[py[p, k]]
                for j in range(low, high):
                    row[j] += weight * line[j]
            for q in range(bins_x):
                total = np.float32(0)
                for k in range(ux[q]):
                    total += wx[q, k] * row[px[q, k]]
                out[p, q] = total


def _align_pixels(
    x: Array, image: int, y: Array, i: int, wy: Array, py: Array, uy: Array, wx: Array, px: Array, ux: Array
) -> None:
    """One box of NHWC maps: all channels of a pixel together."""
    for p in range(y.shape[1]):
        for q in range(y.shape[2]):
            out = y[i, p, q]
            for k in range(uy[p]):
                for m in range(ux[q]):
                    weight, pixel = wy[p, k] * wx[q, m], x[image, py[p, k], px[q, m]]
                    for c in range(x.shape[3]):
                        out[c] += weight * pixel[c]


def _align(
    x: Array,
    rois: Array,
    y: Array,
    wy: Array,
    py: Array,
    uy: Array,
    wx: Array,
    px: Array,
    ux: Array,
    row: Array,
    order: int,
    scale: float,
    bins_y: int,
    bins_x: int,
    ratio: int,
    aligned: int,
) -> Any:
    height, width = (x.shape[1], x.shape[2]) if order else (x.shape[2], x.shape[3])
    first = 1 if rois.shape[1] == 5 else 0
    for i in range(y.shape[0]):
        image = image_of(rois, i, first, x.shape[0])
        if image < 0:
            return 1
        if box_taps(rois, i, first, height, width, wy, py, uy, wx, px, ux, scale, bins_y, bins_x, ratio, aligned):
            return 2
        if order:
            _align_pixels(x, image, y, i, wy, py, uy, wx, px, ux)
        else:
            _align_planes(x, image, y, i, row, wy, py, uy, wx, px, ux)
    return 0


def _align_gradient(
    x: Array,
    rois: Array,
    dy: Array,
    dx: Array,
    wy: Array,
    py: Array,
    uy: Array,
    wx: Array,
    px: Array,
    ux: Array,
    row: Array,
    order: int,
    scale: float,
    bins_y: int,
    bins_x: int,
    ratio: int,
    aligned: int,
) -> Any:
    first = 1 if rois.shape[1] == 5 else 0
    for i in range(dy.shape[0]):
        image = image_of(rois, i, first, x.shape[0])
        if image < 0:
            return 1
        if box_taps(
            rois, i, first, x.shape[2], x.shape[3], wy, py, uy, wx, px, ux, scale, bins_y, bins_x, ratio, aligned
        ):
            return 2
        for c in range(x.shape[1]):
            for p in range(bins_y):
                for q in range(bins_x):
                    value = dy[i, c, p, q]
                    for k in range(uy[p]):
                        for m in range(ux[q]):
                            dx[image, c, py[p, k], px[q, m]] += value * wy[p, k] * wx[q, m]
    return 0


def _taps_scratch(call: Call) -> Sequence[TensorType]:
    """Weights, pixels and their number for each bin of both directions; a blended row."""
    shape, nhwc = call.type(0).static_shape, call.arg("order") == "NHWC"
    height, width = shape[1:3] if nhwc else shape[2:4]
    types = []
    for bins, length in ((call.arg("pooled_h"), height), (call.arg("pooled_w"), width)):
        types += [TensorType(DType.FLOAT, (bins, length + 1)), TensorType(DType.INT64, (bins, length + 1))]
        types.append(TensorType(DType.INT64, (bins,)))
    return [*types, TensorType(DType.FLOAT, (width,))]


def _align_types(call: Call) -> list[TensorType]:
    """Y: float (boxes, C, pooled_h, pooled_w), or channels last. Boxes have 4 columns, or 5 with the image in front."""
    return [TensorType(DType.FLOAT, roi_shape(call, (4, 5)))]


def _gradient_types(call: Call, columns: tuple[int, ...]) -> list[TensorType]:
    """dX: the type of X, which is NCHW."""
    if call.arg("order") != "NCHW":
        call.fail("the gradient of features in order NHWC is not supported", "transpose the features")
    y = roi_shape(call, columns)
    merge_shapes(call, require(call, 2, FLOAT).shape, y, "shape of dY, that of the output")
    return [call.type(0)]


op(
    "RoIAlign",
    _align_types,
    inputs="X RoIs",
    outputs="Y",
    args=_SAMPLED,
    loop=_align,
    scratch=_taps_scratch,
    errors=(NO_IMAGE, BAD_BOX),
    flops=lambda call: 8 * TensorType(DType.FLOAT, roi_shape(call, (4, 5))).size,
    doc="Features of every box (image, x1, y1, x2, y2), averaged over bilinear samples.",
)
op(
    "RoIAlignGradient",
    lambda call: _gradient_types(call, (4, 5)),
    inputs="X RoIs dY",
    outputs="dX",
    args=_SAMPLED,
    loop=_align_gradient,
    scratch=_taps_scratch,
    errors=(NO_IMAGE, BAD_BOX),
    family=__name__,
    doc="Gradient of RoIAlign.",
)


def _flush(
    x: Array, y: Array, i: int, image: int, order: int, bins: Array, places: Array, weights: Array, count: int
) -> None:
    """Add so many samples of a rotated box to its bins."""
    width, bins_x = (x.shape[2], y.shape[2]) if order else (x.shape[3], y.shape[3])
    if order:
        for k in range(count):
            out = y[i, bins[k] // bins_x, bins[k] % bins_x]
            for t in range(4):
                pixel, weight = x[image, places[k, t] // width, places[k, t] % width], weights[k, t]
                for c in range(x.shape[3]):
                    out[c] += weight * pixel[c]
        return
    plane, bins_of_plane = x.shape[2] * width, y.shape[2] * bins_x
    for c in range(x.shape[1]):
        source, to = (image * x.shape[1] + c) * plane, (i * x.shape[1] + c) * bins_of_plane
        for k in range(count):
            total = np.float32(0)
            for t in range(4):
                total += weights[k, t] * x.flat[source + places[k, t]]
            y.flat[to + bins[k]] += total


def _flush_gradient(
    dx: Array, dy: Array, i: int, image: int, bins: Array, places: Array, weights: Array, count: int
) -> None:
    plane, bins_of_plane = dx.shape[2] * dx.shape[3], dy.shape[2] * dy.shape[3]
    for c in range(dx.shape[1]):
        to, source = (image * dx.shape[1] + c) * plane, (i * dx.shape[1] + c) * bins_of_plane
        for k in range(count):
            value = dy.flat[source + bins[k]]
            for t in range(4):
                dx.flat[to + places[k, t]] += weights[k, t] * value


def _sample(
    x: Any, y: Any, height: int, width: int, share: Any, k: int, b: int, bins: Array, places: Array, weights: Array
) -> Any:
    """Append a bilinear sample at (x, y) for bin ``b`` as entry ``k``; returns the number of entries."""
    if y < np.float32(-1) or y > np.float32(height) or x < np.float32(-1) or x > np.float32(width):
        return k
    x, y = max(x, np.float32(0)), max(y, np.float32(0))
    left, top = min(int(x), width - 1), min(int(y), height - 1)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    u = x - np.float32(left) if right > left else np.float32(0)
    v = y - np.float32(top) if bottom > top else np.float32(0)
    bins[k] = b
    places[k, 0] = top * width + left
    places[k, 1] = top * width + right
    places[k, 2] = bottom * width + left
    places[k, 3] = bottom * width + right
    weights[k, 0] = (np.float32(1) - v) * (np.float32(1) - u) * share
    weights[k, 1] = (np.float32(1) - v) * u * share
    weights[k, 2] = v * (np.float32(1) - u) * share
    weights[k, 3] = v * u * share
    return k + 1


def _rotated_box(
    x: Array,
    dx: Array,
    y: Array,
    rois: Array,
    i: int,
    first: int,
    image: int,
    bins: Array,
    places: Array,
    weights: Array,
    back: int,
    order: int,
    scale: float,
    bins_y: int,
    bins_x: int,
    ratio: int,
    aligned: int,
) -> Any:
    """Pool one rotated box, or with ``back`` add its gradient y to dx; 1 if it cannot be sampled."""
    height, width = (x.shape[1], x.shape[2]) if order else (x.shape[2], x.shape[3])
    shift, half = (np.float32(0.5) if aligned else np.float32(0)), np.float32(0.5)
    cx, cy = rois[i, first] * np.float32(scale) - shift, rois[i, first + 1] * np.float32(scale) - shift
    w, h = rois[i, first + 2] * np.float32(scale), rois[i, first + 3] * np.float32(scale)
    if not aligned:
        w, h = max(w, np.float32(1)), max(h, np.float32(1))
    angle = float(rois[i, first + 4])
    if not (0 <= w < MOST_PIXELS and 0 <= h < MOST_PIXELS and abs(cx) < np.float32(1e9) and abs(cy) < np.float32(1e9)):
        return 1
    if not abs(angle) < 1e9:
        return 1
    rows, columns = sample_count(h, bins_y, ratio), sample_count(w, bins_x, ratio)
    if rows < 0 or columns < 0 or rows * columns > MOST_TOGETHER:
        return 1
    angle = angle * math.pi / 180.0
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    step_y, step_x = h / np.float32(bins_y), w / np.float32(bins_x)
    share, n = np.float32(1) / np.float32(max(rows * columns, 1)), 0
    for b in range(bins_y * bins_x):
        p, q = np.float32(b // bins_x), np.float32(b % bins_x)
        for r in range(rows):
            down = p * step_y - half * h + (np.float32(r) + half) * step_y / np.float32(rows)
            for s in range(columns):
                along = q * step_x - half * w + (np.float32(s) + half) * step_x / np.float32(columns)
                at_x, at_y = along * cos + down * sin + cx, down * cos - along * sin + cy
                n = _sample(at_x, at_y, height, width, share, n, b, bins, places, weights)
                if n == ENTRIES:
                    if back:
                        _flush_gradient(dx, y, i, image, bins, places, weights, n)
                    else:
                        _flush(x, y, i, image, order, bins, places, weights, n)
                    n = 0
    if back:
        _flush_gradient(dx, y, i, image, bins, places, weights, n)
    else:
        _flush(x, y, i, image, order, bins, places, weights, n)
    return 0


def _rotated(
    x: Array,
    rois: Array,
    y: Array,
    bins: Array,
    places: Array,
    weights: Array,
    order: int,
    scale: float,
    bins_y: int,
    bins_x: int,
    ratio: int,
    aligned: int,
) -> Any:
    first = 1 if rois.shape[1] == 6 else 0
    for i in range(y.shape[0]):
        image = image_of(rois, i, first, x.shape[0])
        if image < 0:
            return 1
        if _rotated_box(
            x, x, y, rois, i, first, image, bins, places, weights, 0, order, scale, bins_y, bins_x, ratio, aligned
        ):
            return 2
    return 0


def _rotated_gradient(
    x: Array,
    rois: Array,
    dy: Array,
    dx: Array,
    bins: Array,
    places: Array,
    weights: Array,
    order: int,
    scale: float,
    bins_y: int,
    bins_x: int,
    ratio: int,
    aligned: int,
) -> Any:
    first = 1 if rois.shape[1] == 6 else 0
    for i in range(dy.shape[0]):
        image = image_of(rois, i, first, x.shape[0])
        if image < 0:
            return 1
        if _rotated_box(
            x, dx, dy, rois, i, first, image, bins, places, weights, 1, 0, scale, bins_y, bins_x, ratio, aligned
        ):
            return 2
    return 0


def _entries(call: Call) -> Sequence[TensorType]:
    """Bins, pixels and weights of samples."""
    pixels = (ENTRIES, 4)
    return [TensorType(DType.INT64, (ENTRIES,)), TensorType(DType.INT64, pixels), TensorType(DType.FLOAT, pixels)]


def _rotated_types(call: Call) -> list[TensorType]:
    """Y as of RoIAlign. Boxes have 5 columns, or 6 with the image in front."""
    return [TensorType(DType.FLOAT, roi_shape(call, (5, 6)))]


op(
    "RoIAlignRotated",
    _rotated_types,
    inputs="X RoIs",
    outputs="Y",
    args=_SAMPLED,
    loop=_rotated,
    scratch=_entries,
    errors=(NO_IMAGE, BAD_BOX),
    doc="Features of every rotated box (image, centre x, centre y, width, height, degrees), averaged over samples.",
)
op(
    "RoIAlignRotatedGradient",
    lambda call: _gradient_types(call, (5, 6)),
    inputs="X RoIs dY",
    outputs="dX",
    args=_SAMPLED,
    loop=_rotated_gradient,
    scratch=_entries,
    errors=(NO_IMAGE, BAD_BOX),
    family=__name__,
    doc="Gradient of RoIAlignRotated.",
)


def _permuted_types(call: Call) -> list[TensorType]:
    """Y: the type of X, whose rows are as many as the int32 indices."""
    x, i = (0, 1) if call.node.op == "BatchPermutation" else (1, 0)
    shape, indices = require(call, x, FLOAT).shape, require(call, i, (DType.INT32,)).shape
    if shape is not None and indices is not None:
        if len(indices) != 1 or not shape:
            call.fail(f"indices of shape {indices} do not permute the rows of a tensor of shape {shape}")
        agree(call, indices[0], shape[0], "number of indices, one for each row")
    return [call.type(x)]


def _permute(x: Array, indices: Array, y: Array) -> Any:
    size = x.size // max(x.shape[0], 1)
    for i in range(indices.shape[0]):
        if indices[i] < 0 or indices[i] >= x.shape[0]:
            return 1
        for k in range(size):
            y.flat[i * size + k] = x.flat[indices[i] * size + k]
    return 0


def _permute_back(indices: Array, dy: Array, dx: Array, seen: Array) -> Any:
    size = dy.size // max(dy.shape[0], 1)
    for i in range(indices.shape[0]):
        if indices[i] < 0 or indices[i] >= dy.shape[0] or seen[indices[i]]:
            return 1
        seen[indices[i]] = 1
        for k in range(size):
            dx.flat[indices[i] * size + k] = dy.flat[i * size + k]
    return 0


op(
    "BatchPermutation",
    _permuted_types,
    inputs="X indices",
    outputs="Y",
    loop=_permute,
    errors=("INDICES: an index is outside of the rows",),
    doc="Row i of the output is row indices[i] of the input.",
)
op(
    "BatchPermutationGradient",
    _permuted_types,
    inputs="indices dY",
    outputs="dX",
    loop=_permute_back,
    scratch=lambda call: [TensorType(DType.INT32, call.type(0).static_shape)],
    errors=("INDICES: they are no permutation of the rows",),
    doc="Gradient of BatchPermutation.",
)
