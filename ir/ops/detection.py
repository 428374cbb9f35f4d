"""Boxes of detectors: proposals, box regression, non-maximum suppression, FPN levels.

Upright boxes are (x1, y1, x2, y2); rotated ones (centre x, centre y, width, height, angle in degrees). Source of the
rules: ``generate_proposals_op``, ``bbox_transform_op``, ``box_with_nms_limit_op`` of Caffe2. ``legacy_plus_one``: a box
is x2 - x1 + 1 wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._boxes import area, clip, soft_suppress, suppress, transform
from graphc.ir.types import UNKNOWN, Dim, DType, Sym, TensorType

_ROTATION = (
    Arg("angle_bound_on", "int", 1, "bring angles of rotated boxes into the bounds"),
    Arg("angle_bound_lo", "int", -90),
    Arg("angle_bound_hi", "int", 90),
    Arg("clip_angle_thresh", "float", 1.0, "rotated boxes within this angle of upright are clipped to the image"),
    Arg("legacy_plus_one", "int", 1, "a box is x2 - x1 + 1 wide"),
    Arg("correct_transform_coords", "int", None, "of old versions, without effect"),
)


def _last(shape: tuple[Dim, ...] | None) -> Dim:
    return UNKNOWN if shape is None else shape[-1]


def _data_dependent(call: Call, what: str) -> Dim:
    """A symbol for a size that only a run knows, named after the first output."""
    safe = "".join(c if c.isalnum() else "_" for c in call.node.results[0].name)
    return Sym(f"{what}_{safe}") if safe else UNKNOWN


def _proposal_types(call: Call) -> list[TensorType]:
    for i, rank in enumerate((4, 4, 2, 2)):
        shape = call.type(i).shape
        if shape is not None and len(shape) != rank:
            call.fail(f"input {i} ({call.input_name(i)}) has {len(shape)} dimensions, {rank} are needed")
    n, width = _data_dependent(call, "n"), _last(call.type(3).shape)
    columns: Dim = width + 1 if isinstance(width, int) else 5
    return [TensorType(DType.FLOAT, (n, columns)), TensorType(DType.FLOAT, (n,))]


def _all_anchors(anchors: np.ndarray, height: int, width: int, stride: float) -> np.ndarray:
    """The anchors at every cell: (A, H, W, box)."""
    shift = np.zeros((height, width, anchors.shape[1]), np.float32)
    shift[..., 0] = np.arange(width, dtype=np.float32) * np.float32(stride)
    shift[..., 1] = np.arange(height, dtype=np.float32)[:, None] * np.float32(stride)
    if anchors.shape[1] == 4:
        shift[..., 2:] = shift[..., :2]
    return np.asarray(anchors[:, None, None, :] + shift)


def _proposals_of_image(
    call: Call, scores: np.ndarray, deltas: np.ndarray, info: np.ndarray, anchors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(boxes, scores) of one image: the best anchors, moved, clipped, without small and overlapping ones."""
    flat = scores.reshape(-1)
    order = np.argsort(-flat, kind="stable")
    top = call.arg("pre_nms_topN")
    if 0 < top < len(order):
        order = order[:top]
    width = anchors.shape[-1]
    moves = deltas.reshape(len(anchors), width, -1).transpose(0, 2, 1).reshape(-1, width)
    plus_one = call.arg("legacy_plus_one")
    boxes = transform(call, anchors.reshape(-1, width)[order], moves[order], (1.0,) * 4)
    boxes = clip(boxes, info[0], info[1], call.arg("clip_angle_thresh"), plus_one)
    best = flat[order]
    kept = np.flatnonzero(_large_and_inside(boxes, call.arg("min_size"), info, plus_one))
    kept = suppress(boxes, kept, call.arg("nms_thresh"), plus_one, call.arg("post_nms_topN"))
    return boxes[kept], best[kept]


def _large_and_inside(boxes: np.ndarray, min_size: float, info: np.ndarray, plus_one: int) -> np.ndarray:
    if boxes.shape[1] == 5:
        x, y, w, h = boxes[:, :4].T
    else:
        w, h = boxes[:, 2] - boxes[:, 0] + plus_one, boxes[:, 3] - boxes[:, 1] + plus_one
        x, y = boxes[:, 0] + w / 2, boxes[:, 1] + h / 2
    least = min_size * info[2]
    return np.asarray((w >= least) & (h >= least) & (x < info[1]) & (y < info[0]))


def _generate_proposals(
    call: Call, scores: np.ndarray, deltas: np.ndarray, info: np.ndarray, anchors: np.ndarray
) -> list[np.ndarray]:
    grid = _all_anchors(anchors, scores.shape[2], scores.shape[3], 1.0 / call.arg("spatial_scale"))
    rois = [np.zeros((0, anchors.shape[1] + 1), np.float32)]
    probs = [np.zeros(0, np.float32)]
    for i in range(len(scores)):
        boxes, best = _proposals_of_image(call, scores[i], deltas[i], info[i], grid)
        rois.append(np.column_stack([np.full(len(boxes), i, np.float32), boxes]))
        probs.append(best)
    return [np.concatenate(rois).astype(np.float32), np.concatenate(probs)]


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
        reference=_generate_proposals,
        doc="boxes (image, x1, y1, x2, y2) from anchors, scores and regressions of a region proposal network",
    )


def _transform_types(call: Call) -> list[TensorType]:
    info = call.type(2).shape
    return [call.type(1), TensorType(DType.FLOAT, (UNKNOWN if info is None else info[0],))]


def _bbox_transform(call: Call, rois: np.ndarray, deltas: np.ndarray, info: np.ndarray) -> list[np.ndarray]:
    """As in Caffe2 the boxes of an image must stand together, in the order of the images: only their number is read."""
    width = 5 if call.arg("rotated") else 4
    has_image = rois.shape[1] == width + 1
    image = rois[:, 0].astype(np.int64) if has_image else np.zeros(len(rois), np.int64)
    if len(image) and (image.min() < 0 or image.max() >= len(info)):
        call.fail(f"a box names image {int(image.max())}, but im_info has {len(info)}")
    counts = np.bincount(image, minlength=len(info))
    image = np.repeat(np.arange(len(info)), counts)
    before = info[image, 2]
    boxes = rois[:, rois.shape[1] - width :].copy()
    boxes[:, :4] /= before[:, None]
    after = before if call.arg("apply_scale") else np.ones_like(before)
    sizes = np.floor(info[:, :2] / info[:, 2:3] + 0.5)
    out = np.empty_like(deltas)
    for k in range(0, deltas.shape[1], width):
        out[:, k : k + width] = _regressed(call, boxes, deltas[:, k : k + width], sizes[image], after)
    return [out, counts.astype(np.float32)]


def _regressed(call: Call, boxes: np.ndarray, deltas: np.ndarray, sizes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    weights = call.arg("weights") or (1.0,) * 4
    if len(weights) != 4:
        call.fail(f"argument 'weights' has {len(weights)} values, 4 are needed")
    moved = transform(call, boxes, deltas, weights)
    moved = clip(moved, sizes[:, 0], sizes[:, 1], call.arg("clip_angle_thresh"), call.arg("legacy_plus_one"))
    moved[:, :4] *= scale[:, None]
    return moved


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
    reference=_bbox_transform,
    doc="boxes moved by the regressions of every class and clipped; how many belong to each image",
)


def _limit_types(call: Call) -> list[TensorType]:
    n = _data_dependent(call, "n")
    scores = call.type(0).shape
    classes = UNKNOWN if scores is None else scores[1]
    images: Dim = 1
    if call.has(2):
        splits = call.type(2).shape
        images = UNKNOWN if splits is None else splits[0]
    types = [TensorType(DType.FLOAT, (n,)), TensorType(DType.FLOAT, (n, 5 if call.arg("rotated") else 4))]
    types += [TensorType(DType.FLOAT, (n,)), TensorType(DType.FLOAT, (images,))]
    return [*types, TensorType(DType.INT32, (n,)), TensorType(DType.INT32, (images, classes))]


def _box_class(call: Call, j: int) -> int:
    """Which of the boxes belongs to class ``j``; 0 is the background."""
    if call.arg("cls_agnostic_bbox_reg"):
        return 0
    return j if call.arg("input_boxes_include_bg_cls") else j - 1


def _score_class(call: Call, j: int) -> int:
    """Which of the scores belongs to class ``j``: where the boxes have no background, its scores come last."""
    return j if call.arg("input_boxes_include_bg_cls") else j - 1


_METHODS = {"linear": 1, "gaussian": 2}


def _kept_of_class(call: Call, scores: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows kept, updated scores) of one class in one image."""
    rows = np.flatnonzero(scores > np.float32(call.arg("score_thresh")))
    plus_one = call.arg("legacy_plus_one")
    if not call.arg("soft_nms_enabled"):
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        return suppress(boxes, rows, call.arg("nms"), plus_one, call.arg("detections_per_im") or -1), scores
    method = call.arg("soft_nms_method")
    if method not in _METHODS:
        call.fail(f"soft_nms_method '{method}' is unknown", "use linear or gaussian")
    return soft_suppress(
        boxes,
        scores,
        rows,
        sigma=call.arg("soft_nms_sigma"),
        thresh=call.arg("nms"),
        least=call.arg("soft_nms_min_score_thres"),
        method=_METHODS[method],
        plus_one=plus_one,
    )


def _limited(scores: dict[int, np.ndarray], keeps: dict[int, np.ndarray], limit: int) -> dict[int, np.ndarray]:
    """The ``limit`` best over all classes, each class in order of its scores."""
    pairs = [(j, row) for j, rows in keeps.items() for row in rows.tolist()]
    if limit <= 0 or len(pairs) <= limit:
        return keeps
    best = sorted(pairs, key=lambda p: -scores[p[0]][p[1]])[:limit]
    return {j: np.array([row for k, row in best if k == j], np.int64) for j in keeps}


def _limit_image(call: Call, scores: np.ndarray, boxes: np.ndarray) -> list[_Kept]:
    """What is left of every class but the background in one image."""
    width = 5 if call.arg("rotated") else 4
    keeps, updated = {}, {}
    for j in range(1, scores.shape[1]):
        k = _box_class(call, j) * width
        keeps[j], updated[j] = _kept_of_class(call, scores[:, _score_class(call, j)], boxes[:, k : k + width])
    keeps = _limited(updated, keeps, call.arg("detections_per_im"))
    places = {j: _box_class(call, j) * width for j in keeps}
    return [_Kept(j, rows, updated[j][rows], boxes[rows, places[j] : places[j] + width]) for j, rows in keeps.items()]


@dataclass(frozen=True)
class _Kept:
    """What is left of one class in one image."""

    label: int
    rows: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray


def _image_counts(call: Call, n: int, splits: np.ndarray | None) -> list[int]:
    counts = [n] if splits is None else [int(k) for k in splits]
    if sum(counts) != n:
        call.fail(f"batch_splits sums to {sum(counts)}, there are {n} boxes")
    return counts


def _box_with_nms_limit(
    call: Call, scores: np.ndarray, boxes: np.ndarray, splits: np.ndarray | None = None
) -> list[np.ndarray]:
    scores, boxes = scores.reshape(len(scores), scores.shape[1]), boxes.reshape(len(boxes), boxes.shape[1])
    counts = _image_counts(call, len(scores), splits)
    ends = np.cumsum(counts)
    images = [_limit_image(call, scores[e - n : e], boxes[e - n : e]) for e, n in zip(ends, counts)]
    kept = [k for image in images for k in image]
    shift = 0 if call.arg("output_classes_include_bg_cls") else 1
    labels = [np.full(len(k.rows), k.label - shift, np.float32) for k in kept]
    per_class = np.zeros((len(counts), scores.shape[1]), np.int32)
    for i, image in enumerate(images):
        for k in image:
            per_class[i, k.label] = len(k.rows)
    return [
        np.concatenate([np.zeros(0, np.float32), *(k.scores for k in kept)]),
        np.concatenate([np.zeros((0, 5 if call.arg("rotated") else 4), np.float32), *(k.boxes for k in kept)]),
        np.concatenate([np.zeros(0, np.float32), *labels]),
        per_class.sum(axis=1).astype(np.float32),
        np.concatenate([np.zeros(0, np.int64), *(k.rows for k in kept)]).astype(np.int32),
        per_class,
    ]


op(
    "BoxWithNMSLimit",
    _limit_types,
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
        Arg("legacy_plus_one", "int", 1, "a box is x2 - x1 + 1 wide"),
    ),
    reference=_box_with_nms_limit,
    doc="the boxes that are left after suppression in every class and the limit per image",
)

_FPN_ARGS = (
    Arg("roi_canonical_scale", "int", 224, "side of the box that goes to the canonical level"),
    Arg("roi_canonical_level", "int", 4),
    Arg("roi_max_level", "int", 5),
    Arg("roi_min_level", "int", 2),
    Arg("rpn_max_level", "int", 6),
    Arg("rpn_min_level", "int", 2),
    Arg("rpn_post_nms_topN", "int", 2000, "boxes kept over all levels"),
    Arg("legacy_plus_one", "int", 1, "a box is x2 - x1 + 1 wide"),
)


def _levels(call: Call, kind: str) -> int:
    """Number of levels; fails where the bounds are the wrong way round."""
    low, high = call.arg(f"{kind}_min_level"), call.arg(f"{kind}_max_level")
    if high < low:
        call.fail(f"{kind}_max_level {high} is below {kind}_min_level {low}")
    return int(high - low + 1)


def _collect_types(call: Call) -> list[TensorType]:
    if call.n_inputs != 2 * _levels(call, "rpn"):
        call.fail(
            f"{call.n_inputs} inputs, but {2 * _levels(call, 'rpn')} are needed: boxes, then scores, of each level"
        )
    return [TensorType(DType.FLOAT, (_data_dependent(call, "n"), 5))]


def _collected(call: Call, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    n = len(inputs) // 2
    rois, scores = np.concatenate(inputs[:n]), np.concatenate([s.reshape(-1) for s in inputs[n:]])
    order = np.argsort(-scores, kind="stable")
    top = call.arg("rpn_post_nms_topN")
    return np.asarray(rois[order[:top] if top > 0 else order])


def _collect(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    return [_collected(call, inputs)]


def _distribute_types(call: Call) -> list[TensorType]:
    n, rows = _levels(call, "roi"), call.type(0).shape
    total = UNKNOWN if rows is None else rows[0]
    each = [TensorType(DType.FLOAT, (_data_dependent(call, f"n{i}"), 5)) for i in range(n)]
    return [*each, TensorType(DType.INT32, (total,))]


def _distributed(call: Call, rois: np.ndarray) -> list[np.ndarray]:
    """The boxes of every level, and the permutation that restores their order."""
    low, high = call.arg("roi_min_level"), call.arg("roi_max_level")
    side = np.sqrt(area(rois[:, -4:], call.arg("legacy_plus_one")))
    ratio = side / np.float32(call.arg("roi_canonical_scale")) + np.float32(1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.clip(np.floor(call.arg("roi_canonical_level") + np.log(ratio) / math.log(2)), low, high)
    rows = [np.flatnonzero(level == k) for k in range(low, high + 1)]
    restore = np.argsort(np.concatenate(rows), kind="stable").astype(np.int32)
    return [*(rois[r] for r in rows), restore]


def _distribute(call: Call, rois: np.ndarray) -> list[np.ndarray]:
    return _distributed(call, rois)


def _collect_and_distribute_types(call: Call) -> list[TensorType]:
    all_rois = _collect_types(call)[0]
    assert all_rois.shape
    each = [TensorType(DType.FLOAT, (_data_dependent(call, f"n{i}"), 5)) for i in range(_levels(call, "roi"))]
    return [all_rois, *each, TensorType(DType.INT32, all_rois.shape[:1])]


def _collect_and_distribute(call: Call, *inputs: np.ndarray) -> list[np.ndarray]:
    rois = _collected(call, inputs)
    return [rois, *_distributed(call, rois)]


op(
    "CollectRpnProposals",
    _collect_types,
    inputs="rois_and_scores*",
    outputs="rois",
    args=_FPN_ARGS,
    reference=_collect,
    doc="the best boxes over the levels of a region proposal network; inputs: boxes of each level, then scores",
)
op(
    "DistributeFpnProposals",
    _distribute_types,
    inputs="rois",
    outputs="rois_fpn_and_restore*",
    args=_FPN_ARGS,
    reference=_distribute,
    doc="boxes sorted into pyramid levels by their area, and the permutation that restores their order",
)
op(
    "CollectAndDistributeFpnRpnProposals",
    _collect_and_distribute_types,
    inputs="rois_and_scores*",
    outputs="rois rois_fpn_and_restore*",
    args=_FPN_ARGS,
    reference=_collect_and_distribute,
    doc="CollectRpnProposals, then DistributeFpnProposals",
)
