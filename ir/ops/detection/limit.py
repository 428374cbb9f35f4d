"""BoxWithNMSLimit: the boxes of every class that stay after suppression, and the best of all classes of an image.

Source of the rules: ``box_with_nms_limit_op`` of Caffe2. Of equal scores the first row comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, require
from graphc.ir.ops.detection._ranking import rank
from graphc.ir.ops.detection._suppression import suppress, suppress_softly, work_types
from graphc.ir.ops.detection.proposals import FLOAT, PLUS_ONE, data_dependent
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

METHODS = ("linear", "gaussian")
BAD_SPLITS = "BATCH_SPLITS: a count is negative or no integer, or their sum is not the number of boxes"


def _matrix(call: Call, i: int) -> Shape | None:
    """The first two dimensions of an input whose further two, if it has them, are 1."""
    shape = require(call, i, FLOAT).shape
    if shape is None:
        return None
    if len(shape) not in (2, 4) or any(isinstance(d, int) and d != 1 for d in shape[2:]):
        call.fail(f"input {i} ({call.input_name(i)}) has the shape {shape}, a matrix is needed")
    return shape[:2]


def box_class(call: Call, j: int) -> int:
    """Which of the boxes belongs to class ``j``; 0 is the background."""
    if call.arg("cls_agnostic_bbox_reg"):
        return 0
    return j if call.arg("input_boxes_include_bg_cls") else j - 1


def _types(call: Call) -> list[TensorType]:
    """scores, boxes, classes: float; batch_splits: float, keeps_size: int32, for each image; keeps: int32."""
    scores, boxes = _matrix(call, 0), _matrix(call, 1)
    n, width = data_dependent(call, "n"), 5 if call.arg("rotated") else 4
    classes = UNKNOWN if scores is None else scores[1]
    if scores is not None and boxes is not None:
        agree(call, boxes[0], scores[0], "rows of boxes, one for each row of scores")
        if isinstance(classes, int):
            wanted = (box_class(call, classes - 1) + 1) * width
            agree(call, boxes[1], wanted, f"columns of boxes for {classes} classes")
    images: Dim = 1
    if call.has(2):
        splits = require(call, 2, (DType.FLOAT, DType.INT32)).shape
        if splits is not None and len(splits) != 1:
            call.fail(f"input 2 (batch_splits) has {len(splits)} dimensions, 1 is needed")
        images = UNKNOWN if splits is None else splits[0]
    types = [TensorType(DType.FLOAT, (n,)), TensorType(DType.FLOAT, (n, width))]
    types += [TensorType(DType.FLOAT, (n,)), TensorType(DType.FLOAT, (images,))]
    return [*types, TensorType(DType.INT32, (n,)), TensorType(DType.INT32, (images, classes))]


def _scratch(call: Call) -> Sequence[TensorType]:
    """What was found (row, row in its image, class) and its scores, of an image the same; counts; work of one class."""
    rows, classes = call.type(0).static_shape[:2]
    images = call.type(2).static_shape[0] if call.has(2) else 1
    limit = call.arg("detections_per_im")
    each = min(rows, limit) if limit > 0 and not call.arg("soft_nms_enabled") else rows
    most = each * max(classes - 1, 0)
    found = min(most, limit) * images if limit > 0 else most
    return [
        TensorType(DType.INT64, (found, 3)),
        TensorType(DType.FLOAT, (found,)),
        TensorType(DType.INT64, (most, 2)),
        TensorType(DType.FLOAT, (most,)),
        TensorType(DType.INT64, (images, classes)),
        TensorType(DType.INT64, (2, max(rows, most))),
        TensorType(DType.INT64, (2, rows)),
        TensorType(DType.FLOAT, (rows,)),
        *work_types(rows),
    ]


def _above(scores: Array, start: int, rows: int, column: int, thresh: Any, order: Array, picked: Array) -> Any:
    """Rows of an image whose score in a column is above ``thresh``: in ``order``, with their scores in ``picked``."""
    count, classes, bound = 0, scores.shape[1], np.float32(thresh)
    for i in range(rows):
        value = scores.flat[(start + i) * classes + column]
        picked[i] = value
        if value > bound:
            order[count] = i
            count += 1
    return count


def _load(boxes: Array, start: int, column: int, width: int, order: Array, count: int, columns: Array) -> None:
    """The boxes of the rows in ``order`` as columns."""
    for i in range(count):
        at = (start + order[i]) * boxes.shape[1] + column * width
        for k in range(width):
            columns[k, i] = boxes.flat[at + k]


def _limit_class(
    scores: Array,
    boxes: Array,
    start: int,
    rows: int,
    j: int,
    first: int,
    kept: Array,
    kept_scores: Array,
    work: Array,
    picked: Array,
    columns: Array,
    shares: Array,
    gone: Array,
    polygon: Array,
    thresh: float,
    nms: float,
    limit: int,
    soft: int,
    method: int,
    sigma: float,
    least: float,
    rotated: int,
    agnostic: int,
    background: int,
    plus_one: int,
) -> Any:
    """Append what stays of class ``j`` in one image to ``kept`` (row, class) from ``first`` on; returns its end."""
    one, width, order = np.float32(plus_one), 5 if rotated else 4, work[0]
    column = j if background else j - 1
    count = _above(scores, start, rows, column, thresh, order, picked)
    if soft:
        _load(boxes, start, 0 if agnostic else column, width, order, count, columns)
        for i in range(count):
            picked[i] = picked[order[i]]
        stay = suppress_softly(
            columns, picked, work[1], count, sigma, nms, least, method, rotated, one, shares, polygon
        )
        for i in range(stay):
            kept[first + i, 0] = order[work[1, i]]
            kept[first + i, 1] = j
            kept_scores[first + i] = picked[work[1, i]]
        return first + stay
    rank(picked, order, count, work[1])
    _load(boxes, start, 0 if agnostic else column, width, order, count, columns)
    suppress(columns, count, nms, limit if limit > 0 else -1, rotated, one, shares, gone, polygon)
    for i in range(count):
        if not gone[i]:
            kept[first, 0] = order[i]
            kept[first, 1] = j
            kept_scores[first] = picked[order[i]]
            first += 1
    return first


def _collect(
    found: Array,
    found_scores: Array,
    kept: Array,
    kept_scores: Array,
    counts: Array,
    order: Array,
    total: int,
    first: int,
    start: int,
    limit: int,
    classes: int,
    image: int,
) -> Any:
    """Append the ``limit`` best of all kept boxes of an image to ``found``, by class; returns its end."""
    count = total
    for i in range(total):
        order[0, i] = i
    if 0 < limit < total:
        rank(kept_scores, order[0], total, order[1])
        count = limit
    at = first
    for j in range(1, classes):
        for i in range(count):
            k = order[0, i]
            if kept[k, 1] == j:
                found[at, 0] = start + kept[k, 0]
                found[at, 1] = kept[k, 0]
                found[at, 2] = j
                found_scores[at] = kept_scores[k]
                counts[image, j] += 1
                at += 1
    return at


def _rows_of_image(splits: Array, image: int, given: int, rows: int) -> Any:
    """Number of boxes of an image, -1 where it is no count of at most ``rows``."""
    if not given:
        return rows
    if not (splits[image] >= 0 and splits[image] <= rows):
        return -1
    return int(splits[image])


def _limit_sizes(
    scores: Array,
    boxes: Array,
    splits: Array,
    dims: Array,
    found: Array,
    found_scores: Array,
    kept: Array,
    kept_scores: Array,
    counts: Array,
    order: Array,
    work: Array,
    picked: Array,
    columns: Array,
    shares: Array,
    gone: Array,
    polygon: Array,
    given: int,
    thresh: float,
    nms: float,
    limit: int,
    soft: int,
    method: int,
    sigma: float,
    least: float,
    rotated: int,
    agnostic: int,
    background: int,
    output_background: int,
    plus_one: int,
) -> Any:
    start, end, images, classes = 0, 0, counts.shape[0], scores.shape[1]
    for image in range(images):
        rows = _rows_of_image(splits, image, given, scores.shape[0] - start)
        if rows < 0:
            return 1
        total = 0
        for j in range(1, classes):
            total = _limit_class(
                scores,
                boxes,
                start,
                rows,
                j,
                total,
                kept,
                kept_scores,
                work,
                picked,
                columns,
                shares,
                gone,
                polygon,
                thresh,
                nms,
                limit,
                soft,
                method,
                sigma,
                least,
                rotated,
                agnostic,
                background,
                plus_one,
            )
        end = _collect(found, found_scores, kept, kept_scores, counts, order, total, end, start, limit, classes, image)
        start += rows
    for k in range(dims.shape[0]):
        dims[k] = end
    return 0 if start == scores.shape[0] else 1


def _limit(
    scores: Array,
    boxes: Array,
    splits: Array,
    scores_out: Array,
    boxes_out: Array,
    classes_out: Array,
    splits_out: Array,
    keeps: Array,
    keeps_size: Array,
    found: Array,
    found_scores: Array,
    kept: Array,
    kept_scores: Array,
    counts: Array,
    order: Array,
    work: Array,
    picked: Array,
    columns: Array,
    shares: Array,
    gone: Array,
    polygon: Array,
    given: int,
    thresh: float,
    nms: float,
    limit: int,
    soft: int,
    method: int,
    sigma: float,
    least: float,
    rotated: int,
    agnostic: int,
    background: int,
    output_background: int,
    plus_one: int,
) -> Any:
    width = boxes_out.shape[1]
    for i in range(scores_out.shape[0]):
        j = found[i, 2]
        column = 0 if agnostic else (j if background else j - 1)
        scores_out[i] = found_scores[i]
        classes_out[i] = np.float32(j if output_background else j - 1)
        for k in range(width):
            boxes_out[i, k] = boxes.flat[found[i, 0] * boxes.shape[1] + column * width + k]
        if keeps.size:
            keeps[i] = found[i, 1]
    for image in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            if splits_out.size:
                splits_out[image] += np.float32(counts[image, j])
            if keeps_size.size:
                keeps_size.flat[image * counts.shape[1] + j] = counts[image, j]
    return 0


def _constants(call: Call) -> Sequence[int | float]:
    method = call.arg("soft_nms_method")
    if method not in METHODS:
        call.fail(f"soft_nms_method '{method}' is unknown", f"use {' or '.join(METHODS)}")
    numbers = [call.arg(n) for n in ("score_thresh", "nms", "detections_per_im", "soft_nms_enabled")]
    soft = [METHODS.index(method), call.arg("soft_nms_sigma"), call.arg("soft_nms_min_score_thres")]
    flags = ("rotated", "cls_agnostic_bbox_reg", "input_boxes_include_bg_cls", "output_classes_include_bg_cls")
    return (int(call.has(2)), *numbers, *soft, *(int(bool(call.arg(f))) for f in flags), call.arg("legacy_plus_one"))


op(
    "BoxWithNMSLimit",
    _types,
    inputs="scores boxes batch_splits?",
    outputs="scores boxes classes batch_splits? keeps? keeps_size?",
    args=(
        Arg("score_thresh", "float", 0.05, "scores must be above"),
        Arg("nms", "float", 0.3, "overlap above which the lower score goes"),
        Arg("detections_per_im", "int", 100, "boxes kept over all classes of an image, at most"),
        Arg("soft_nms_enabled", "int", 0, "lower the scores of overlapping boxes instead of removing them"),
        Arg("soft_nms_method", "string", b"linear", "linear or gaussian"),
        Arg("soft_nms_sigma", "float", 0.5),
        Arg("soft_nms_min_score_thres", "float", 0.001, "lowered scores below this are removed"),
        Arg("rotated", "int", 0),
        Arg("cls_agnostic_bbox_reg", "int", 0, "one box for all classes"),
        Arg("input_boxes_include_bg_cls", "int", 1, "boxes have columns for the background"),
        Arg("output_classes_include_bg_cls", "int", 1, "classes are counted from the background"),
        PLUS_ONE,
    ),
    loop=_limit,
    sizes=_limit_sizes,
    scratch=_scratch,
    constants=_constants,
    errors=(BAD_SPLITS,),
    doc="The boxes that are left after suppression in every class and the limit per image.",
)
