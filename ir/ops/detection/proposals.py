"""Boxes of detectors: proposals of a region proposal network, and box regression.

Upright boxes are (x1, y1, x2, y2); rotated ones (centre x, centre y, width, height, angle in degrees). Source of the
rules: ``generate_proposals_op``, ``bbox_transform_op`` of Caffe2. ``legacy_plus_one``: a box is x2 - x1 + 1 wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import Shape, agree, require, require_rank
from graphc.ir.ops.detection._boxes import ROWS, clip, clip_rotated, move, move_rotated
from graphc.ir.ops.detection._ranking import BUCKETS, best
from graphc.ir.ops.detection._suppression import suppress, work_types
from graphc.ir.types import UNKNOWN, Dim, DType, Sym, TensorType

Array = np.ndarray

FLOAT = (DType.FLOAT,)

ANGLE_BOUNDS = (
    Arg("angle_bound_on", "int", 1, "bring angles of rotated boxes into the bounds"),
    Arg("angle_bound_lo", "int", -90),
    Arg("angle_bound_hi", "int", 90),
    Arg("clip_angle_thresh", "float", 1.0, "rotated boxes within this angle of upright are clipped to the image"),
)
PLUS_ONE = Arg("legacy_plus_one", "int", 1, "a box is x2 - x1 + 1 wide")
_ROTATION = (
    *ANGLE_BOUNDS,
    PLUS_ONE,
    Arg("correct_transform_coords", "int", None, "of old versions, without effect"),
)


def data_dependent(call: Call, what: str) -> Dim:
    """A symbol for a size that only a run knows, named after the first output."""
    safe = "".join(c if c.isalnum() else "_" for c in call.node.results[0].name)
    return Sym(f"{what}_{safe}") if safe else UNKNOWN


def angle_bounds(call: Call) -> tuple[int, int]:
    """The bounds of angles, equal ones where angles stay; fails unless a multiple of 180 degrees is between them."""
    low, high = call.arg("angle_bound_lo"), call.arg("angle_bound_hi")
    if not call.arg("angle_bound_on"):
        return 0, 0
    if high <= low or (high - low) % 180:
        call.fail(f"the angle bounds {low} ... {high} do not span a multiple of 180 degrees")
    return low, high


def _shape(call: Call, i: int, rank: int) -> Shape | None:
    """Shape of a float input, None while unknown; fails unless it has ``rank`` dimensions."""
    require(call, i, FLOAT)
    return require_rank(call, i, rank)


def _proposal_types(call: Call) -> list[TensorType]:
    """rois: float (n, 1 + box); rois_probs: float (n). All inputs are float."""
    scores, deltas, info, anchors = (_shape(call, i, rank) for i, rank in enumerate((4, 4, 2, 2)))
    width = UNKNOWN if anchors is None else anchors[1]
    if isinstance(width, int) and width not in (4, 5):
        call.fail(f"an anchor has {width} numbers, 4 or 5 are needed")
    if scores is not None:
        if deltas is not None:
            agree(call, deltas[0], scores[0], "images of bbox_deltas")
            agree(call, deltas[1], scores[1] * width, "channels of bbox_deltas, a box for each anchor")
            agree(call, deltas[2], scores[2], "rows of bbox_deltas")
            agree(call, deltas[3], scores[3], "columns of bbox_deltas")
        if info is not None:
            agree(call, info[0], scores[0], "rows of im_info, one for each image")
        if anchors is not None:
            agree(call, anchors[0], scores[1], "number of anchors, one for each channel of scores")
    if info is not None:
        agree(call, info[1], 3, "columns of im_info (height, width, scale)")
    n = data_dependent(call, "n")
    columns: Dim = width + 1 if isinstance(width, int) else 5
    return [TensorType(DType.FLOAT, (n, columns)), TensorType(DType.FLOAT, (n,))]


def _proposal_scratch(call: Call) -> Sequence[TensorType]:
    """Boxes and scores of all images after suppression, and what an image has before it."""
    images, anchors, height, width = call.type(0).static_shape
    cells, top, most = anchors * height * width, call.arg("pre_nms_topN"), call.arg("post_nms_topN")
    ranked = min(cells, top) if top > 0 else cells
    kept = images * (min(ranked, most) if most > 0 else ranked)
    return [
        TensorType(DType.FLOAT, (kept, ROWS)),
        TensorType(DType.FLOAT, (kept,)),
        TensorType(DType.FLOAT, (cells,)),
        TensorType(DType.INT64, (cells,)),
        TensorType(DType.INT64, (cells,)),
        TensorType(DType.INT64, (BUCKETS,)),
        *work_types(ranked),
    ]


def _propose(
    deltas: Array,
    info: Array,
    anchors: Array,
    order: Array,
    count: int,
    boxes: Array,
    stride: Any,
    low: int,
    high: int,
    angle_thresh: float,
    one: Any,
) -> None:
    """The ``count`` best anchors of an image, moved and clipped, as the columns of ``boxes``."""
    width, rotated = deltas.shape[2], anchors.shape[1] == 5
    cells = deltas.shape[1] * width
    for i in range(count):
        anchor, cell = order[i] // cells, order[i] % cells
        row, column = cell // width, cell % width
        x, y = np.float32(column) * stride, np.float32(row) * stride
        first = anchor * anchors.shape[1]
        boxes[0, i] = anchors[anchor, 0] + x
        boxes[1, i] = anchors[anchor, 1] + y
        dx, dy = deltas[first, row, column], deltas[first + 1, row, column]
        dw, dh = deltas[first + 2, row, column], deltas[first + 3, row, column]
        if rotated:
            boxes[2, i] = anchors[anchor, 2]
            boxes[3, i] = anchors[anchor, 3]
            boxes[4, i] = anchors[anchor, 4]
            move_rotated(boxes, i, dx, dy, dw, dh, deltas[first + 4, row, column], low, high)
            clip_rotated(boxes, i, info[0], info[1], one, angle_thresh)
        else:
            boxes[2, i] = anchors[anchor, 2] + x
            boxes[3, i] = anchors[anchor, 3] + y
            move(boxes, i, dx, dy, dw, dh, one)
            clip(boxes, i, info[0], info[1], one)


def _drop_small(boxes: Array, order: Array, count: int, info: Array, min_size: float, rotated: int, one: Any) -> Any:
    """Move the boxes that are large enough, with their centre in the image, to the front; returns how many."""
    least, n, half = min_size * float(info[2]), 0, np.float32(0.5)
    for i in range(count):
        w, h, x, y = boxes[2, i], boxes[3, i], boxes[0, i], boxes[1, i]
        if not rotated:
            w, h = boxes[2, i] - boxes[0, i] + one, boxes[3, i] - boxes[1, i] + one
            x, y = boxes[0, i] + w * half, boxes[1, i] + h * half
        if w >= least and h >= least and x < info[1] and y < info[0]:
            for k in range(5):
                boxes[k, n] = boxes[k, i]
            order[n] = order[i]
            n += 1
    return n


def _proposal_sizes(
    scores: Array,
    deltas: Array,
    info: Array,
    anchors: Array,
    dims: Array,
    found: Array,
    probs: Array,
    flat: Array,
    order: Array,
    spare: Array,
    counts: Array,
    boxes: Array,
    shares: Array,
    gone: Array,
    polygon: Array,
    stride: float,
    top: int,
    most: int,
    thresh: float,
    min_size: float,
    low: int,
    high: int,
    angle_thresh: float,
    plus_one: int,
) -> Any:
    one, rotated, total = np.float32(plus_one), 1 if anchors.shape[1] == 5 else 0, 0
    cells = flat.shape[0]
    for image in range(scores.shape[0]):
        for k in range(cells):
            flat[k] = scores.flat[image * cells + k]
        n = best(flat, top if top > 0 else cells, order, spare, counts)
        _propose(
            deltas[image],
            info[image],
            anchors,
            order,
            n,
            boxes,
            np.float32(stride),
            low,
            high,
            angle_thresh,
            one,
        )
        n = _drop_small(boxes, order, n, info[image], min_size, rotated, one)
        suppress(boxes, n, thresh, most if 0 < most < n else -1, rotated, one, shares, gone, polygon)
        for i in range(n):
            if not gone[i]:
                found[total, 0] = np.float32(image)
                for k in range(anchors.shape[1]):
                    found[total, 1 + k] = boxes[k, i]
                probs[total] = flat[order[i]]
                total += 1
    for k in range(dims.shape[0]):
        dims[k] = total
    return 0


def _proposals(
    scores: Array,
    deltas: Array,
    info: Array,
    anchors: Array,
    rois: Array,
    roi_probs: Array,
    found: Array,
    probs: Array,
    flat: Array,
    order: Array,
    spare: Array,
    counts: Array,
    boxes: Array,
    shares: Array,
    gone: Array,
    polygon: Array,
    stride: float,
    top: int,
    most: int,
    thresh: float,
    min_size: float,
    low: int,
    high: int,
    angle_thresh: float,
    plus_one: int,
) -> Any:
    for i in range(rois.shape[0]):
        for k in range(rois.shape[1]):
            rois[i, k] = found[i, k]
        roi_probs[i] = probs[i]
    return 0


def _proposal_constants(call: Call) -> Sequence[int | float]:
    scale = call.arg("spatial_scale")
    if not scale > 0:
        call.fail(f"argument spatial_scale is {scale}", "give the size of the map over that of the image, above 0")
    limits = call.arg("pre_nms_topN"), call.arg("post_nms_topN"), call.arg("nms_thresh"), call.arg("min_size")
    return (1.0 / scale, *limits, *angle_bounds(call), call.arg("clip_angle_thresh"), call.arg("legacy_plus_one"))


for _name in ("GenerateProposals", "GenerateProposalsCPP"):
    op(
        _name,
        _proposal_types,
        inputs="scores bbox_deltas im_info anchors",
        outputs="rois rois_probs",
        args=(
            Arg("spatial_scale", "float", 1.0 / 16, "size of the feature map over that of the image"),
            Arg("pre_nms_topN", "int", 6000, "boxes kept before suppression"),
            Arg("post_nms_topN", "int", 300, "boxes kept after it"),
            Arg("nms_thresh", "float", 0.7, "overlap above which the lower score goes"),
            Arg("min_size", "float", 16.0, "least side in the unscaled image"),
            *_ROTATION,
            Arg("nms_thres", "float", None, "a misspelling in old exports, which Caffe2 ignores"),
        ),
        loop=_proposals,
        sizes=_proposal_sizes,
        scratch=_proposal_scratch,
        constants=_proposal_constants,
        doc="Boxes (image, x1, y1, x2, y2) from anchors, scores and regressions of a region proposal network.",
    )


def _transform_types(call: Call) -> list[TensorType]:
    """box_out: the type of the deltas; roi_batch_splits: float, one for each image. All inputs are float."""
    rois, deltas, info = (_shape(call, i, 2) for i in range(3))
    width = 5 if call.arg("rotated") else 4
    if deltas is not None and isinstance(deltas[1], int) and deltas[1] % width:
        call.fail(f"input 1 (deltas) has {deltas[1]} columns, a multiple of {width} is needed")
    if info is not None:
        agree(call, info[1], 3, "columns of im_info (height, width, scale)")
    if rois is not None:
        if deltas is not None:
            agree(call, deltas[0], rois[0], "rows of deltas, one for each box")
        if isinstance(rois[1], int) and rois[1] not in (width, width + 1):
            call.fail(f"input 0 (rois) has {rois[1]} columns, {width} or {width + 1} are needed")
        if rois[1] == width and info is not None:
            agree(call, info[0], 1, "images, where the boxes do not name theirs")
    return [call.type(1), TensorType(DType.FLOAT, (UNKNOWN if info is None else info[0],))]


def _weights(call: Call) -> tuple[float, ...]:
    weights = tuple(float(w) for w in call.arg("weights") or (1.0,) * 4)
    if len(weights) != 4:
        call.fail(f"argument 'weights' has {len(weights)} values, 4 are needed")
    return weights


def _count_boxes(rois: Array, counts: Array, width: int) -> Any:
    """Number of boxes of each image; 1 where a box names none of them."""
    if rois.shape[1] == width:
        counts[0] = rois.shape[0]
        return 0
    for i in range(rois.shape[0]):
        if not (rois[i, 0] > np.float32(-1) and rois[i, 0] < np.float32(counts.shape[0])):
            return 1
        counts[int(rois[i, 0])] += 1
    return 0


def _transform(
    rois: Array,
    deltas: Array,
    info: Array,
    box_out: Array,
    splits: Array,
    counts: Array,
    box: Array,
    wx: float,
    wy: float,
    ww: float,
    wh: float,
    apply_scale: int,
    rotated: int,
    low: int,
    high: int,
    angle_thresh: float,
    plus_one: int,
) -> Any:
    """As in Caffe2 the boxes of an image stand together, in the order of the images: only their number is read."""
    width, one = 5 if rotated else 4, np.float32(plus_one)
    if _count_boxes(rois, counts, width):
        return 1
    first, i = rois.shape[1] - width, 0
    for image in range(counts.shape[0]):
        scale = info[image, 2]
        after = scale if apply_scale else np.float32(1)
        high_side = np.float32(np.floor(info[image, 0] / scale + np.float32(0.5)))
        wide_side = np.float32(np.floor(info[image, 1] / scale + np.float32(0.5)))
        for _ in range(counts[image]):
            for k in range(0, deltas.shape[1], width):
                for d in range(width):
                    box[d, 0] = rois[i, first + d] / scale if d < 4 else rois[i, first + d]
                dx, dy = deltas[i, k] / np.float32(wx), deltas[i, k + 1] / np.float32(wy)
                dw, dh = deltas[i, k + 2] / np.float32(ww), deltas[i, k + 3] / np.float32(wh)
                if rotated:
                    move_rotated(box, 0, dx, dy, dw, dh, deltas[i, k + 4], low, high)
                    clip_rotated(box, 0, high_side, wide_side, one, angle_thresh)
                else:
                    move(box, 0, dx, dy, dw, dh, one)
                    clip(box, 0, high_side, wide_side, one)
                for d in range(width):
                    box_out[i, k + d] = box[d, 0] * after if d < 4 else box[d, 0]
            i += 1
        if splits.size:
            splits[image] = np.float32(counts[image])
    return 0


op(
    "BBoxTransform",
    _transform_types,
    inputs="rois deltas im_info",
    outputs="box_out roi_batch_splits?",
    args=(
        Arg("weights", "floats", (), "divisors of the deltas, default 1, 1, 1, 1"),
        Arg("apply_scale", "int", 1, "answer in the scaled image"),
        Arg("rotated", "int", 0),
        *_ROTATION,
    ),
    loop=_transform,
    scratch=lambda call: [
        TensorType(DType.INT64, call.type(2).static_shape[:1]),
        TensorType(DType.FLOAT, (ROWS, 1)),
    ],
    constants=lambda call: (
        *_weights(call),
        int(bool(call.arg("apply_scale"))),
        int(bool(call.arg("rotated"))),
        *angle_bounds(call),
        call.arg("clip_angle_thresh"),
        call.arg("legacy_plus_one"),
    ),
    errors=("ROIS: a box names an image that im_info does not have",),
    doc="Boxes moved by the regressions of every class and clipped; how many belong to each image.",
)
