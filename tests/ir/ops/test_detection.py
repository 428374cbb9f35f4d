"""Boxes by hand: overlap, suppression, limits, unknown sizes."""

from __future__ import annotations

import numpy as np
import operator_cases
import pytest

from graphc.ir.errors import VerifyError
from graphc.ir.graph import Node, Value
from graphc.ir.opdef import Call
from graphc.ir.ops._boxes import overlap, soft_suppress, suppress
from graphc.ir.types import TensorType

BOXES = np.array([[0, 0, 9, 9], [1, 0, 10, 9], [20, 20, 29, 29]], np.float32)


def answers(op: str, inputs: list[np.ndarray], n: int, **args: object) -> list[np.ndarray]:
    call = operator_cases.make_call(op, inputs, [f"out{i}" for i in range(n)], dict(args))
    return operator_cases.run(call, inputs)


def test_overlap_counts_the_last_pixel() -> None:
    """10 x 10 boxes shifted by one share 9 x 10 pixels of 110; as real intervals 8 x 9 of 90."""
    np.testing.assert_allclose(overlap(BOXES[0], BOXES, 1), [1, 90 / 110, 0])
    np.testing.assert_allclose(overlap(BOXES[0], BOXES, 0), [1, 72 / 90, 0])


def test_overlap_of_rotated_boxes() -> None:
    """A square turned by 45 degrees over itself: the octagon has 8 (sqrt 2 - 1) of the 4 units of area."""
    square, turned = np.array([0, 0, 2, 2, 0], np.float32), np.array([[0, 0, 2, 2, 45]], np.float32)
    shared = 8 * (np.sqrt(2) - 1)
    np.testing.assert_allclose(overlap(square, turned, 1), [shared / (8 - shared)], rtol=1e-5)
    np.testing.assert_allclose(overlap(square, square[None], 1), [1], rtol=1e-6)


def test_suppression() -> None:
    order = np.array([1, 0, 2])
    assert suppress(BOXES, order, 0.5, 1, -1).tolist() == [1, 2]
    assert suppress(BOXES, order, 0.9, 1, -1).tolist() == [1, 0, 2]
    assert suppress(BOXES, order, 0.9, 1, 1).tolist() == [1]


def test_soft_suppression_lowers_scores() -> None:
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    kept, after = soft_suppress(BOXES, scores, np.arange(3), sigma=0.5, thresh=0.3, least=0.001, method=1, plus_one=1)
    assert kept.tolist() == [0, 2, 1]
    np.testing.assert_allclose(after, [0.9, 0.8 * (1 - 90 / 110), 0.7], rtol=1e-6)


def test_limit_over_all_classes() -> None:
    """Three classes with the background first: the two best of all stay, in order of their class."""
    scores = np.array([[0.1, 0.6, 0.3], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]], np.float32)
    boxes = np.tile(BOXES, (1, 3))
    found = answers("BoxWithNMSLimit", [scores, boxes], 3, detections_per_im=2, nms=0.5)
    np.testing.assert_allclose(found[0], [0.6, 0.7])
    np.testing.assert_array_equal(found[1], BOXES[[0, 1]])
    assert found[2].tolist() == [1, 2]


def test_classes_without_background_come_first_among_the_scores() -> None:
    scores = np.array([[0.6, 0.3, 0.1]], np.float32)
    boxes = np.concatenate([BOXES[:1], BOXES[2:]], axis=1)
    args = {"input_boxes_include_bg_cls": 0, "output_classes_include_bg_cls": 0}
    found = answers("BoxWithNMSLimit", [scores, boxes], 3, **args)
    assert found[2].tolist() == [0, 1]
    np.testing.assert_array_equal(found[1], BOXES[[0, 2]])


def test_no_box_is_left() -> None:
    found = answers("BoxWithNMSLimit", [np.zeros((0, 2), np.float32), np.zeros((0, 8), np.float32)], 3)
    assert [a.shape for a in found[:3]] == [(0,), (0, 4), (0,)]
    features = np.ones((1, 2, 4, 4), np.float32)
    assert answers("RoIAlign", [features, np.zeros((0, 4), np.float32)], 1, pooled_h=3)[0].shape == (0, 2, 3, 1)


def test_average_of_a_constant_map_is_the_constant() -> None:
    rois = np.array([[0, 1, 1, 3, 3]], np.float32)
    (y,) = answers("RoIAlign", [np.full((1, 1, 5, 5), 3, np.float32), rois], 1, pooled_h=2, pooled_w=2)
    np.testing.assert_allclose(y, np.full((1, 1, 2, 2), 3), rtol=1e-6)


def test_a_box_of_an_image_that_is_not_there() -> None:
    rois = np.array([[1, 0, 0, 1, 1]], np.float32)
    with pytest.raises(VerifyError, match="names image 1, there are 1"):
        answers("RoIAlign", [np.ones((1, 1, 2, 2), np.float32), rois], 1)


def test_sizes_that_only_a_run_knows_are_symbols() -> None:
    scores, deltas = TensorType.parse("float[1,15,H,W]"), TensorType.parse("float[1,60,H,W]")
    operands = [Value(t) for t in (scores, deltas, TensorType.parse("float[1,3]"), TensorType())]
    node = Node("GenerateProposals", operands, [Value(TensorType(), "rpn_rois"), Value(TensorType(), "probs")])
    types = node.opdef.infer(Call(node))
    assert [str(t) for t in types] == ["float[n_rpn_rois,5]", "float[n_rpn_rois]"]
