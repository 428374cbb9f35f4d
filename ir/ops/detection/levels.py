"""Boxes over the levels of a feature pyramid: the best of all levels, and the level that suits the size of each box.

Source of the rules: ``collect_and_distribute_fpn_rpn_proposals_op`` of Caffe2, after arXiv 1612.03144, equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, require, require_rank
from graphc.ir.ops.detection._ranking import BUCKETS, best
from graphc.ir.ops.detection.proposals import FLOAT, PLUS_ONE, data_dependent
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

COLUMNS = 5
"""Of a box: image, x1, y1, x2, y2."""
LOG_2 = math.log(2)
NO_AREA = "ROIS: a box has a negative or undefined area"

_ARGS = (
    Arg("roi_canonical_scale", "int", 224, "side of the box that goes to the canonical level"),
    Arg("roi_canonical_level", "int", 4),
    Arg("roi_max_level", "int", 5),
    Arg("roi_min_level", "int", 2),
    Arg("rpn_max_level", "int", 6),
    Arg("rpn_min_level", "int", 2),
    Arg("rpn_post_nms_topN", "int", 2000, "boxes kept over all levels"),
    PLUS_ONE,
)


def _levels(call: Call, kind: str) -> int:
    """Number of levels; fails where the bounds are the wrong way round."""
    low, high = call.arg(f"{kind}_min_level"), call.arg(f"{kind}_max_level")
    if high < low:
        call.fail(f"{kind}_max_level {high} is below {kind}_min_level {low}")
    return int(high - low + 1)


def _boxes(call: Call, i: int) -> Dim:
    """Number of boxes of input ``i``."""
    require(call, i, FLOAT)
    shape = require_rank(call, i, 2)
    if shape is None:
        return UNKNOWN
    agree(call, shape[1], COLUMNS, f"columns of input {i} (image, x1, y1, x2, y2)")
    return shape[0]


def _all_boxes(call: Call) -> Dim:
    """Number of boxes of all levels; fails unless each level has as many scores."""
    levels = _levels(call, "rpn")
    if call.n_inputs != 2 * levels:
        call.fail(f"{call.n_inputs} inputs, but {2 * levels} are needed: boxes, then scores, of each level")
    total: Dim = 0
    for i in range(levels):
        rows, scores = _boxes(call, i), require(call, levels + i, FLOAT)
        total = total + rows
        if scores.is_static:
            agree(call, scores.size, rows, f"scores of input {levels + i}, one for each box")
    return total


def _collected_types(call: Call) -> list[TensorType]:
    """rois: the best boxes of all levels, as many as there are but at most rpn_post_nms_topN."""
    total, top = _all_boxes(call), call.arg("rpn_post_nms_topN")
    if not isinstance(total, int):
        return [TensorType(DType.FLOAT, (data_dependent(call, "n"), COLUMNS))]
    return [TensorType(DType.FLOAT, (min(total, top) if top > 0 else total, COLUMNS))]


def _collected_scratch(call: Call) -> Sequence[TensorType]:
    total = _all_boxes(call)
    rows = total if isinstance(total, int) else 1
    return [
        TensorType(DType.FLOAT, (rows, COLUMNS)),
        TensorType(DType.FLOAT, (rows,)),
        TensorType(DType.INT64, (rows,)),
        TensorType(DType.INT64, (rows,)),
        TensorType(DType.INT64, (BUCKETS,)),
    ]


def _gather(inputs: Any, boxes: Array, scores: Array) -> None:
    """All boxes one after another, and all scores."""
    levels = len(inputs) // 2
    box, score = 0, 0
    for i in range(len(inputs)):
        x = inputs[i]
        for k in range(x.size):
            if i < levels:
                boxes.flat[box + k] = x.flat[k]
            else:
                scores[score + k] = x.flat[k]
        if i < levels:
            box += x.size
        else:
            score += x.size


def _collect_best(
    inputs: Any, rois: Array, boxes: Array, scores: Array, order: Array, spare: Array, counts: Array
) -> None:
    """The best boxes of all levels, best first."""
    _gather(inputs, boxes, scores)
    best(scores, rois.shape[0], order, spare, counts)
    for i in range(rois.shape[0]):
        for k in range(COLUMNS):
            rois[i, k] = boxes[order[i], k]


def _collect(inputs: Any, rois: Array, boxes: Array, scores: Array, order: Array, spare: Array, counts: Array) -> Any:
    _collect_best(inputs, rois, boxes, scores, order, spare, counts)
    return 0


def _level(rois: Array, i: int, low: int, high: int, scale: int, canonical: int, plus_one: int) -> Any:
    """The level of a box counted from the lowest one, -1 where it has no area."""
    one = np.float32(plus_one)
    area = (rois[i, 3] - rois[i, 1] + one) * (rois[i, 4] - rois[i, 2] + one)
    if not area >= 0:
        return -1
    ratio = np.float32(math.sqrt(area)) / np.float32(scale) + np.float32(1e-6)
    level = np.float32(canonical) + np.float32(math.log(ratio)) / np.float32(LOG_2)
    return int(max(min(np.floor(level), np.float32(high)), np.float32(low))) - low


def _count_levels(rois: Array, counts: Array, low: int, high: int, scale: int, canonical: int, plus_one: int) -> Any:
    """Set the levels' numbers of boxes; 1 where a box has no area."""
    for i in range(rois.shape[0]):
        level = _level(rois, i, low, high, scale, canonical, plus_one)
        if level < 0:
            return 1
        counts[level] += 1
    return 0


def _share_out(rois: Array, outputs: Any, of_box: Array) -> Any:
    """Write the boxes of each level to its output, and where each box went to the last one."""
    levels, restore, start = outputs[:-1], outputs[-1], 0
    for level in range(len(levels)):
        at = 0
        for i in range(rois.shape[0]):
            if of_box[i] == level:
                for k in range(COLUMNS):
                    levels[level].flat[at * COLUMNS + k] = rois[i, k]
                restore[i] = start + at
                at += 1
        start += at
    return 0


def _distribute_sizes(
    rois: Array, dims: Array, of_box: Array, low: int, high: int, scale: int, canonical: int, plus_one: int
) -> Any:
    return _count_levels(rois, dims, low, high, scale, canonical, plus_one)


def _distribute(
    rois: Array, outputs: Any, of_box: Array, low: int, high: int, scale: int, canonical: int, plus_one: int
) -> Any:
    for i in range(rois.shape[0]):
        of_box[i] = _level(rois, i, low, high, scale, canonical, plus_one)
    return _share_out(rois, outputs, of_box)


def _level_types(call: Call, rows: Dim) -> list[TensorType]:
    """The boxes of each level, and where each box is among them: int32. Fails for another number of outputs."""
    first, levels = call.node.op.startswith("Collect"), _levels(call, "roi")
    if not call.node.op.startswith("g.") and call.n_outputs != first + levels + 1:
        call.fail(f"{call.n_outputs} outputs, but {first + levels + 1} are needed for {levels} levels")
    each = [TensorType(DType.FLOAT, (data_dependent(call, f"n{i}"), COLUMNS)) for i in range(levels)]
    return [*each, TensorType(DType.INT32, (rows,))]


def _distribute_types(call: Call) -> list[TensorType]:
    """rois_fpn: float, a matrix for each level; rois_idx_restore: int32."""
    return _level_types(call, _boxes(call, 0))


def _distribute_constants(call: Call) -> Sequence[int]:
    if call.arg("roi_canonical_scale") <= 0:
        call.fail(f"argument roi_canonical_scale is {call.arg('roi_canonical_scale')}", "give a side above 0")
    names = ("roi_min_level", "roi_max_level", "roi_canonical_scale", "roi_canonical_level", "legacy_plus_one")
    return [call.arg(n) for n in names]


def _both_types(call: Call) -> list[TensorType]:
    """rois as of CollectRpnProposals, then the outputs of DistributeFpnProposals."""
    rois = _collected_types(call)[0]
    assert rois.shape
    return [rois, *_level_types(call, rois.shape[0])]


def _both_scratch(call: Call) -> Sequence[TensorType]:
    rois = _collected_types(call)[0].shape
    rows = rois[0] if rois and isinstance(rois[0], int) else 1
    return [
        *_collected_scratch(call),
        TensorType(DType.FLOAT, (rows, COLUMNS)),
        TensorType(DType.INT64, (rows,)),
    ]


def _both_sizes(
    inputs: Any,
    dims: Array,
    boxes: Array,
    scores: Array,
    order: Array,
    spare: Array,
    counts: Array,
    chosen: Array,
    of_box: Array,
    low: int,
    high: int,
    scale: int,
    canonical: int,
    plus_one: int,
) -> Any:
    _collect_best(inputs, chosen, boxes, scores, order, spare, counts)
    return _count_levels(chosen, dims, low, high, scale, canonical, plus_one)


def _both(
    inputs: Any,
    rois: Array,
    outputs: Any,
    boxes: Array,
    scores: Array,
    order: Array,
    spare: Array,
    counts: Array,
    chosen: Array,
    of_box: Array,
    low: int,
    high: int,
    scale: int,
    canonical: int,
    plus_one: int,
) -> Any:
    for i in range(rois.shape[0]):
        of_box[i] = _level(chosen, i, low, high, scale, canonical, plus_one)
        for k in range(COLUMNS):
            rois[i, k] = chosen[i, k]
    return _share_out(rois, outputs, of_box)


op(
    "CollectRpnProposals",
    _collected_types,
    inputs="rois_and_scores*",
    outputs="rois",
    args=_ARGS,
    loop=_collect,
    scratch=_collected_scratch,
    constants=lambda call: (),
    doc="The best boxes over the levels of a region proposal network; inputs: boxes of each level, then scores.",
)
op(
    "DistributeFpnProposals",
    _distribute_types,
    inputs="rois",
    outputs="rois_fpn_and_restore*",
    args=_ARGS,
    loop=_distribute,
    sizes=_distribute_sizes,
    scratch=lambda call: [TensorType(DType.INT64, call.type(0).static_shape[:1])],
    constants=_distribute_constants,
    errors=(NO_AREA,),
    doc="Boxes sorted into pyramid levels by their area, and the permutation that restores their order.",
)
op(
    "CollectAndDistributeFpnRpnProposals",
    _both_types,
    inputs="rois_and_scores*",
    outputs="rois rois_fpn_and_restore*",
    args=_ARGS,
    loop=_both,
    sizes=_both_sizes,
    scratch=_both_scratch,
    constants=_distribute_constants,
    errors=(NO_AREA,),
    doc="CollectRpnProposals, then DistributeFpnProposals.",
)
