"""Int8RoIAlign: bilinear samples of uint8 features with weights of 8 bits, as in Caffe2's ``int8_roi_align_op.h``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import require, require_rank
from graphc.ir.ops.detection.roi import MOST_RATIO, MOST_TOGETHER
from graphc.ir.ops.quantized._fixed_point import clamped, half_even, scaled_gemmlowp
from graphc.ir.ops.quantized.int8 import ORDER_NHWC, Y_QUANT, int8_input, int8_type, quant_of, result_quant
from graphc.ir.types import UNKNOWN, DType, TensorType

NO_IMAGE = 1
LARGE_SCALE = 2
NOT_FINITE = 3
LARGEST = 1e6
"""Coordinates beyond it are refused."""


def _type(call: Call) -> list[TensorType]:
    """(boxes, pooled_h, pooled_w, C); boxes have 4 columns, or 5 with the image in front."""
    int8_input(call, 0)
    x, rois = require_rank(call, 0, 4), require(call, 1, (DType.FLOAT,)).shape
    if call.arg("order") != "NHWC":
        call.fail(f"order '{call.arg('order')}' is not supported by int8 operators", "export the net in order NHWC")
    bins = (call.arg("pooled_h"), call.arg("pooled_w"))
    if call.arg("sampling_ratio") > MOST_RATIO:
        call.fail(f"argument sampling_ratio is {call.arg('sampling_ratio')}", f"give it at most {MOST_RATIO}")
    if min(bins) <= 0:
        call.fail(f"pooled_h and pooled_w are {bins[0]} and {bins[1]}, positive sizes are needed")
    if rois is not None and (len(rois) != 2 or (isinstance(rois[1], int) and rois[1] not in (4, 5))):
        call.fail(f"input 1 (RoIs) has the shape {rois}, (boxes, 4) or (boxes, 5) is needed")
    n, c = UNKNOWN if rois is None else rois[0], UNKNOWN if x is None else x[3]
    return [int8_type(call, (n, *bins, c))]


def _weight(x: float) -> int:
    return half_even(np.float32(x) * np.float32(255.0))


def _add_sample(x: np.ndarray, n: int, row: float, column: float, totals: np.ndarray) -> int:
    """Add a bilinear sample in units of 1/255 to the channels' totals; nothing beyond one pixel outside."""
    height, width = x.shape[1], x.shape[2]
    if row < -1.0 or row > height or column < -1.0 or column > width:
        return 0
    row, column = max(row, np.float32(0.0)), max(column, np.float32(0.0))
    top, left = min(int(row), height - 1), min(int(column), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down = row - np.float32(top) if bottom > top else np.float32(0.0)
    along = column - np.float32(left) if right > left else np.float32(0.0)
    up, back = np.float32(1.0) - down, np.float32(1.0) - along
    a, b, c, d = _weight(up * back), _weight(up * along), _weight(down * back), _weight(down * along)
    for k in range(x.shape[3]):
        totals[k] += a * np.int64(x[n, top, left, k]) + b * np.int64(x[n, top, right, k])
        totals[k] += c * np.int64(x[n, bottom, left, k]) + d * np.int64(x[n, bottom, right, k])
    return 0


def align_box(
    x: np.ndarray,
    rois: np.ndarray,
    y: np.ndarray,
    totals: np.ndarray,
    r: int,
    spatial_scale: float,
    sampling_ratio: int,
    x_scale: float,
    x_zero: int,
    y_scale: float,
    y_zero: int,
) -> int:
    """The bins of box ``r``, or the number of an error. totals: int64, one a channel."""
    unit, bins_h, bins_w = np.float32(spatial_scale), y.shape[1], y.shape[2]
    image, first = 0, rois.shape[1] - 4
    if first:
        if not 0.0 <= rois[r, 0] < x.shape[0]:
            return NO_IMAGE
        image = int(rois[r, 0])
    if x.size == 0:
        return NO_IMAGE
    for k in range(first, first + 4):
        if not -LARGEST < rois[r, k] * unit < LARGEST:
            return NOT_FINITE
    left, top = rois[r, first] * unit, rois[r, first + 1] * unit
    width = max(rois[r, first + 2] * unit - left, np.float32(1.0))
    height = max(rois[r, first + 3] * unit - top, np.float32(1.0))
    bin_h, bin_w = height / np.float32(bins_h), width / np.float32(bins_w)
    rows = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_h)
    columns = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_w)
    if rows * columns > MOST_TOGETHER:
        return NOT_FINITE
    part, shift = x_scale / (y_scale * 255.0 * (rows * columns)), 0
    if not part < 1.0:
        return LARGE_SCALE
    while 0.0 < part < 0.5:
        part *= 2.0
        shift += 1
    multiplier = min(math.floor(part * 2147483648.0 + 0.5), 2147483647)
    for i in range(bins_h):
        for j in range(bins_w):
            for k in range(totals.shape[0]):
                totals[k] = -x_zero * 255 * rows * columns
            for p in range(rows):
                row = top + np.float32(i) * bin_h + np.float32(p + 0.5) * bin_h / np.float32(rows)
                for q in range(columns):
                    column = left + np.float32(j) * bin_w + np.float32(q + 0.5) * bin_w / np.float32(columns)
                    _add_sample(x, image, row, column, totals)
            for k in range(totals.shape[0]):
                y[r, i, j, k] = clamped(scaled_gemmlowp(totals[k], multiplier, shift) + y_zero, 0, 255)
    return 0


def _align(
    x: np.ndarray,
    rois: np.ndarray,
    y: np.ndarray,
    totals: np.ndarray,
    spatial_scale: float,
    sampling_ratio: int,
    x_scale: float,
    x_zero: int,
    y_scale: float,
    y_zero: int,
) -> int:
    for r in range(y.shape[0]):
        code = align_box(x, rois, y, totals, r, spatial_scale, sampling_ratio, x_scale, x_zero, y_scale, y_zero)
        if code != 0:
            return code
    return 0


def _constants(call: Call) -> Sequence[float]:
    mine, quant = quant_of(call, 0), result_quant(call)
    scales = (mine.scale, mine.zero_point, quant.scale, quant.zero_point)
    return (call.arg("spatial_scale"), call.arg("sampling_ratio"), *scales)


op(
    "Int8RoIAlign",
    _type,
    inputs="X RoIs",
    outputs="Y",
    args=(
        Arg("spatial_scale", "float", 1.0, "size of the feature map over that of the image"),
        Arg("pooled_h", "int", 1, "rows of the output"),
        Arg("pooled_w", "int", 1, "columns of the output"),
        Arg("sampling_ratio", "int", -1, "samples per direction in a bin; 0 or less: as many as the bin has pixels"),
        ORDER_NHWC,
        *Y_QUANT,
    ),
    loop=_align,
    scratch=lambda call: [TensorType(DType.INT64, (call.type(0).static_shape[3],))],
    constants=_constants,
    errors=(
        "RoIs name an image that X does not have",
        "X_scale is not below 255 times Y_scale: the result's scale is too small",
        "RoIs has a coordinate that is not a number, or a box that is too large to be sampled",
    ),
    doc="RoIAlign of uint8 NHWC features",
)
