"""Boxes by hand: overlap, suppression, limits, pyramid levels, pooling, unknown sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from operator_calls import answer, answers, refusal

from graphc.ir.errors import RunError
from graphc.ir.graph import Node, Value
from graphc.ir.opdef import Call
from graphc.ir.ops.detection import _boxes, _ranking, _suppression
from graphc.ir.types import TensorType

BOXES = np.array([[0, 0, 9, 9], [1, 0, 10, 9], [20, 20, 29, 29]], np.float32)


def columns(boxes: Any) -> np.ndarray:
    """Boxes as loops have them, with room for the area."""
    rows = np.array(boxes, np.float32)
    made = np.zeros((_boxes.ROWS, len(rows)), np.float32)
    made[: rows.shape[1]] = rows.T
    return made


def overlaps(boxes: Any, one: int) -> list[float]:
    """Of the first box with all."""
    made, shares = columns(boxes), np.zeros(len(boxes), np.float32)
    rotated = len(boxes[0]) == 5
    _boxes.set_areas(made, len(boxes), rotated, np.float32(one))
    if rotated:
        _boxes.shares_rotated(made, 0, 0, len(boxes), shares, np.zeros((2, 2, _boxes.CORNERS)))
    else:
        _boxes.shares_upright(made, 0, 0, len(boxes), np.float32(one), shares)
    return [float(s) for s in shares]


def test_overlap_counts_the_last_pixel() -> None:
    """10 x 10 boxes shifted by one share 9 x 10 pixels of 110; as real intervals 8 x 9 of 90."""
    assert overlaps(BOXES, 1) == pytest.approx([1, 90 / 110, 0])
    assert overlaps(BOXES, 0) == pytest.approx([1, 72 / 90, 0])


def test_overlap_of_rotated_boxes() -> None:
    """A square turned by 45 degrees over itself: the octagon has 8 (sqrt 2 - 1) of the 4 units of area."""
    shared = 8 * (math.sqrt(2) - 1)
    found = overlaps([[0, 0, 2, 2, 0], [0, 0, 2, 2, 45], [0, 0, 2, 2, 90], [1, 0, 2, 2, 0], [9, 9, 2, 2, 30]], 1)
    assert found == pytest.approx([1, shared / (8 - shared), 1, 1 / 3, 0], rel=1e-5)


def test_ranking_keeps_the_order_of_equal_scores() -> None:
    scores = np.random.default_rng(0).integers(-9, 9, 500).astype(np.float32)
    order, spare = np.zeros(500, np.int64), np.zeros(500, np.int64)
    wanted = np.argsort(-scores, kind="stable")
    for top in (500, 100, 1, 0):
        n = _ranking.best(scores, top, order, spare, np.zeros(_ranking.BUCKETS, np.int64))
        assert n == top
        np.testing.assert_array_equal(order[:n], wanted[:top])


def suppressed(rows: list[int], thresh: float, top: int = -1) -> list[int]:
    """The rows of ``BOXES`` that stay."""
    n, gone = len(rows), np.zeros(len(rows), np.int32)
    shares, polygon = np.zeros(n, np.float32), np.zeros((2, 2, _boxes.CORNERS))
    _suppression.suppress(columns(BOXES[rows]), n, thresh, top, 0, np.float32(1), shares, gone, polygon)
    return [r for r, g in zip(rows, gone) if not g]


def test_suppression() -> None:
    assert suppressed([1, 0, 2], 0.5) == [1, 2]
    assert suppressed([1, 0, 2], 0.9) == [1, 0, 2]
    assert suppressed([1, 0, 2], 0.9, 1) == [1]


def test_soft_suppression_lowers_scores() -> None:
    scores = np.array([[0, 0.9], [0, 0.8], [0, 0.7]], np.float32)
    found = answers("BoxWithNMSLimit", scores, np.tile(BOXES, (1, 2)), outputs=5, soft_nms_enabled=1)
    np.testing.assert_allclose(found[0], [0.9, 0.7, 0.8 * (1 - 90 / 110)], rtol=1e-6)
    assert found[4].tolist() == [0, 2, 1]


def test_limit_over_all_classes() -> None:
    """Three classes with the background first: the two best of all stay, in order of their class."""
    scores = np.array([[0.1, 0.6, 0.3], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]], np.float32)
    boxes = np.tile(BOXES, (1, 3))
    found = answers("BoxWithNMSLimit", scores, boxes, outputs=3, detections_per_im=2, nms=0.5)
    np.testing.assert_allclose(found[0], [0.6, 0.7])
    np.testing.assert_array_equal(found[1], BOXES[[0, 1]])
    assert found[2].tolist() == [1, 2]


def test_classes_without_background_come_first_among_the_scores() -> None:
    scores = np.array([[0.6, 0.3, 0.1]], np.float32)
    boxes = np.concatenate([BOXES[:1], BOXES[2:]], axis=1)
    args = {"input_boxes_include_bg_cls": 0, "output_classes_include_bg_cls": 0}
    found = answers("BoxWithNMSLimit", scores, boxes, outputs=3, **args)
    assert found[2].tolist() == [0, 1]
    np.testing.assert_array_equal(found[1], BOXES[[0, 2]])


def test_no_box_is_left() -> None:
    found = answers("BoxWithNMSLimit", np.zeros((0, 2), np.float32), np.zeros((0, 8), np.float32), outputs=6)
    assert [a.shape for a in found] == [(0,), (0, 4), (0,), (1,), (0,), (1, 2)]
    assert answer("RoIAlign", np.ones((1, 2, 4, 4), np.float32), np.zeros((0, 4), np.float32), pooled_h=3).shape == (
        *(0, 2),
        *(3, 1),
    )


def test_counts_of_boxes_are_checked() -> None:
    scores, boxes = np.ones((3, 2), np.float32), np.zeros((3, 8), np.float32)
    for splits in ([2, 2], [-1, 4], [1, 1], [math.nan, 3]):
        with pytest.raises(RunError, match="BATCH_SPLITS"):
            answers("BoxWithNMSLimit", scores, boxes, np.array(splits, np.float32), outputs=4)
    assert "columns of boxes for 2 classes: 12 where 8 is needed" in refusal(
        "BoxWithNMSLimit", "float[3,2]", "float[3,12]", outputs=3
    )


def test_levels_of_a_pyramid() -> None:
    """Sides of 112, 224 and 448 pixels go to levels 3, 4 and 5; the last output restores the order."""
    sides = [448, 112, 224, 112]
    rois = np.array([[0, 0, 0, s - 1, s - 1] for s in sides], np.float32)
    *levels, restore = answers("DistributeFpnProposals", rois, outputs=5)
    assert [len(a) for a in levels] == [0, 2, 1, 1]
    np.testing.assert_array_equal(np.concatenate(levels)[restore], rois)
    with pytest.raises(RunError, match="negative or undefined area"):
        answers("DistributeFpnProposals", np.array([[0, 9, 9, 0, 9]], np.float32), outputs=5)
    assert "5 are needed for 4 levels" in refusal("DistributeFpnProposals", "float[3,5]", outputs=2)


def test_average_of_a_constant_map_is_the_constant() -> None:
    x, rois = np.full((1, 1, 5, 5), 3, np.float32), np.array([[0, 1, 1, 3, 3]], np.float32)
    y = answer("RoIAlign", x, rois, pooled_h=2, pooled_w=2)
    np.testing.assert_allclose(y, np.full((1, 1, 2, 2), 3), rtol=1e-6)
    turned = answer("RoIAlignRotated", x, np.array([[0, 2, 2, 2, 2, 30]], np.float32), pooled_h=2, pooled_w=2)
    np.testing.assert_allclose(turned, np.full((1, 1, 2, 2), 3), rtol=1e-6)


def test_rotation_by_zero_is_none() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 9, 8)).astype(np.float32)
    upright = np.array([[1, 1, 2, 6, 7], [0, -2, 3, 5, 10]], np.float32)
    turned = np.array([[1, 3.5, 4.5, 5, 5, 0], [0, 1.5, 6.5, 7, 7, 0]], np.float32)
    args = {"pooled_h": 3, "pooled_w": 2, "sampling_ratio": 2}
    wanted = answer("RoIAlign", x, upright, **args)
    np.testing.assert_allclose(answer("RoIAlignRotated", x, turned, **args), wanted, rtol=1e-4, atol=1e-5)
    last = answer("RoIAlign", x.transpose(0, 2, 3, 1), upright, order="NHWC", **args)
    np.testing.assert_allclose(last.transpose(0, 3, 1, 2), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("op", "box"), [("RoIAlign", [0, 0.5, 1, 4, 3.5]), ("RoIAlignRotated", [0, 2, 2.5, 4, 3, 40])])
@pytest.mark.parametrize("aligned", [0, 1])
def test_gradients_are_those_of_a_linear_function(op: str, box: list[float], aligned: int) -> None:
    """<dY, f(X)> = <f*(dY), X> for the features, in which the pooling is linear."""
    rng, rois = np.random.default_rng(2), np.array([box], np.float32)
    x, dy = rng.normal(size=(1, 2, 5, 6)).astype(np.float32), rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    args = {"pooled_h": 2, "pooled_w": 3, "aligned": aligned}
    dx = answer(f"{op}Gradient", x, rois, dy, **args)
    assert np.vdot(dx, x) == pytest.approx(np.vdot(dy, answer(op, x, rois, **args)), rel=1e-4)


def test_maxima_and_their_gradient() -> None:
    x, rois = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), np.array([[0, 0, 0, 3, 3]], np.float32)
    for op in ("RoIPool", "RoIPoolF"):
        y, where = answers(op, x, rois, outputs=2, pooled_h=2, pooled_w=2)
        assert y.ravel().tolist() == [5, 7, 13, 15] == where.ravel().tolist()
        dx = answer(f"{op}Gradient", x, rois, where, y, pooled_h=2, pooled_w=2)
        assert dx.ravel()[[5, 7, 13, 15]].tolist() == [5, 7, 13, 15]
        assert dx.sum() == y.sum()
        with pytest.raises(RunError, match="ARGMAXES"):
            answer(f"{op}Gradient", x, rois, where + 99, y, pooled_h=2, pooled_w=2)


def test_position_sensitive_means() -> None:
    """Bin (p, q) of the output takes channel 2 p + q; a box of 4 x 4 pixels has bins of 2 x 2."""
    x = np.repeat(np.arange(4, dtype=np.float32), 16).reshape(1, 4, 4, 4)
    rois = np.array([[0, 0, 0, 3, 3]], np.float32)
    y, channels = answers("PSRoIPool", x, rois, outputs=2, group_size=2)
    assert y.ravel().tolist() == [0, 1, 2, 3] == channels.ravel().tolist()
    dx = answer("PSRoIPoolGradient", x, rois, channels, y, group_size=2)
    assert dx.sum() == y.sum()
    assert dx[0, 3, 2, 2] == 3 / 4
    assert "channels of X" in refusal("PSRoIPool", "float[1,5,4,4]", "float[1,5]", outputs=2, group_size=2)


@pytest.mark.parametrize("image", [1, -1, math.nan])
def test_a_box_of_an_image_that_is_not_there(image: float) -> None:
    rois = np.array([[image, 0, 0, 1, 1]], np.float32)
    with pytest.raises(RunError, match="names an image"):
        answer("RoIAlign", np.ones((1, 1, 2, 2), np.float32), rois)


def test_a_box_too_large_to_be_sampled() -> None:
    with pytest.raises(RunError, match="too large to be sampled"):
        answer("RoIAlign", np.ones((1, 1, 2, 2), np.float32), np.array([[0, 0, 1e8, 1]], np.float32))


def test_indices_of_a_permutation_are_checked() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(RunError, match="outside of the rows"):
        answer("BatchPermutation", x, np.array([0, 2], np.int32))
    with pytest.raises(RunError, match="no permutation"):
        answer("BatchPermutationGradient", np.array([1, 1], np.int32), x)


def test_sizes_that_only_a_run_knows_are_symbols() -> None:
    scores, deltas = TensorType.parse("float[1,15,H,W]"), TensorType.parse("float[1,60,H,W]")
    operands = [Value(t) for t in (scores, deltas, TensorType.parse("float[1,3]"), TensorType())]
    node = Node("GenerateProposals", operands, [Value(TensorType(), "rpn_rois"), Value(TensorType(), "probs")])
    types = node.opdef.infer(Call(node))
    assert [str(t) for t in types] == ["float[n_rpn_rois,5]", "float[n_rpn_rois]"]
