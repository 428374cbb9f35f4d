"""Traps of detection heads. Boxes are small enough to follow by hand; coordinates count pixels (legacy_plus_one)."""

from __future__ import annotations

import numpy as np
import pytest
from one_net import answers, imported, operator, reference
from operator_calls import answer
from operator_calls import answers as results

from graphc import VerifyError
from graphc.ir import evaluate, lookup


def f32(rows: object) -> np.ndarray:
    return np.array(rows, np.float32)


RAMP = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 1, 8, 8)).copy()
"""An image whose pixels hold their column."""


def test_trap_28_roi_align_has_no_half_pixel_shift() -> None:
    """A box from 0 to 4 in two bins, a sample in the middle of each: columns 1 and 3; aligned: half a pixel less."""
    args = {"pooled_h": 1, "pooled_w": 2, "sampling_ratio": 1}
    box = f32([[0, 0, 0, 4, 4]])
    got = answers([operator("RoIAlign", "x r", "y", **args)], {"x": RAMP, "r": box}, "y")[0]
    assert got.ravel().tolist() == [1, 3]
    assert answer("RoIAlign", RAMP, box, aligned=1, **args).ravel().tolist() == [0.5, 2.5]
    assert answer("RoIAlign", RAMP, box[:, 1:], **args).ravel().tolist() == [1, 3]  # without a batch index: image 0


def test_trap_28_roi_align_samples_as_many_as_pixels() -> None:
    """Bins two pixels wide take two samples: of squares 0.5 and 2.5, where one sample takes 1."""
    box = f32([[0, 0, 0, 4, 4]])
    assert answer("RoIAlign", RAMP**2, box, pooled_w=2, sampling_ratio=0).ravel()[0] == 1.5
    assert answer("RoIAlign", RAMP**2, box, pooled_w=2, sampling_ratio=1).ravel()[0] == 1.0


def proposals(scores: np.ndarray, **args: object) -> list[np.ndarray]:
    """Of anchors of 16 x 16 pixels at every 16 pixels, which stay where they are."""
    n, _, h, w = scores.shape
    deltas, info = np.zeros((n, 4, h, w), np.float32), f32([[100, 100, 1]] * n)
    return results("GenerateProposals", scores, deltas, info, f32([[0, 0, 15, 15]]), outputs=2, **args)


def test_trap_29_generate_proposals_counts_the_last_pixel() -> None:
    """From 0 to 15 is 16 wide, which min_size 16 lets pass; without legacy_plus_one it is 15."""
    scores = f32([0.2, 0.9]).reshape(1, 1, 1, 2)
    rois, probs = proposals(scores)
    assert rois.tolist() == [[0, 16, 0, 31, 15], [0, 0, 0, 15, 15]]
    assert probs.tolist() == scores.ravel()[::-1].tolist()
    assert proposals(scores, legacy_plus_one=0)[0].shape == (0, 5)


def test_trap_29_generate_proposals_goes_image_by_image() -> None:
    rois, _ = proposals(f32([0.2, 0.9]).reshape(2, 1, 1, 1))
    assert rois[:, 0].tolist() == [0, 1]
    names = ("pre_nms_topN", "post_nms_topN", "min_size", "spatial_scale", "legacy_plus_one")
    assert [lookup("GenerateProposals").arg(n).default for n in names] == [6000, 300, 16.0, 1 / 16, 1]


def test_trap_30_bbox_transform() -> None:
    """10 x 10 pixels with centre 5 move by a tenth of the width; exp(dw) is at most 1000 / 16, the rest is clipped."""
    rois, info = f32([[0, 0, 9, 9]]), f32([[1000, 2000, 1]])
    boxes, splits = results("BBoxTransform", rois, f32([[0.1, 0, 100, 0]]), info, outputs=2)
    np.testing.assert_allclose(boxes, [[0, 0, 6 + 312.5 - 1, 9]], rtol=1e-6)
    assert splits.tolist() == [1]
    weighted = answer("BBoxTransform", rois, f32([[1, 0, 0, 0]]), info, weights=[10.0, 10.0, 5.0, 5.0])
    np.testing.assert_allclose(weighted, [[1, 0, 10, 9]], atol=1e-5)


def test_trap_30_bbox_transform_undoes_the_scale_of_the_image() -> None:
    rois, still, info = f32([[0, 0, 19, 19]]), f32([[0, 0, 0, 0]]), f32([[100, 100, 2]])
    assert answer("BBoxTransform", rois, still, info).tolist() == [[0, 0, 19, 19]]
    assert answer("BBoxTransform", rois, still, info, apply_scale=0).tolist() == [[0, 0, 9.5, 9.5]]


def test_trap_31_box_with_nms_limit() -> None:
    """Class 1: the second box overlaps the first, the third is below 0.05. Class 0 is the background."""
    scores = f32([[0.1, 0.9], [0.2, 0.8], [0.96, 0.04]])
    corners = f32([[0, 0, 9, 9], [1, 0, 10, 9], [20, 20, 29, 29]])
    boxes = np.concatenate([np.zeros_like(corners), corners], axis=1)
    got = results("BoxWithNMSLimit", scores, boxes, outputs=6)
    want = [[scores[0, 1]], corners[:1], [1.0], [1.0], [0], [[0, 1]]]
    for have, expected in zip(got, want):
        assert have.tolist() == np.asarray(expected).tolist()
    assert [a.dtype for a in got] == [np.dtype(t) for t in ("f4", "f4", "f4", "f4", "i4", "i4")]
    both = results("BoxWithNMSLimit", scores, boxes, outputs=6, nms=0.9, output_classes_include_bg_cls=0)
    assert (both[2].tolist(), both[4].tolist()) == ([0, 0], [0, 1])
    assert len(results("BoxWithNMSLimit", scores, boxes, outputs=6, nms=0.9, detections_per_im=1)[0]) == 1


def test_trap_31_soft_nms_lowers_scores() -> None:
    """The second box shares 90 of 110 pixels with the first: linear decay leaves 0.8 * (1 - 90 / 110)."""
    boxes = f32([[0, 0, 0, 0, 0, 0, 9, 9], [0, 0, 0, 0, 1, 0, 10, 9]])
    scores = f32([[0.1, 0.9], [0.2, 0.8]])
    got = results("BoxWithNMSLimit", scores, boxes, outputs=6, soft_nms_enabled=1)[0]
    np.testing.assert_allclose(got, [0.9, 0.8 * (1 - 90 / 110)], rtol=1e-5)


def test_trap_32_levels_of_a_pyramid() -> None:
    """Side 224 goes to level 4, half of it one below; the permutation puts the rows back where they were."""
    sides = (112, 224, 1, 448)
    rois = f32([[0, 0, 0, side - 1, side - 1] for side in sides])
    *levels, restore = results("DistributeFpnProposals", rois, outputs=5)
    assert [level[:, 3].tolist() for level in levels] == [[0], [111], [223], [447]]
    assert (restore.dtype, restore.tolist()) == (np.dtype(np.int32), [1, 2, 0, 3])
    np.testing.assert_array_equal(answer("BatchPermutation", np.concatenate(levels), restore), rois)


def test_trap_32_collect_takes_the_best_of_all_levels() -> None:
    low, high = f32([[0, 0, 0, 1, 1], [0, 0, 0, 2, 2]]), f32([[0, 0, 0, 3, 3]])
    scores = f32([0.1, 0.9]), f32([0.5])
    args = {"rpn_min_level": 2, "rpn_max_level": 3, "rpn_post_nms_topN": 2}
    got = answer("CollectRpnProposals", low, high, *scores, **args)
    assert got[:, 3].tolist() == [2, 3]


def test_trap_35_a_detection_tail_without_boxes() -> None:
    """No anchor is large enough: everything behind has no rows."""
    head = {"pooled_h": 2, "pooled_w": 2, "spatial_scale": 1 / 16}
    ops = [
        operator("GenerateProposals", "scores deltas info anchors", "rois probs", min_size=1000.0),
        operator("RoIAlign", "x rois", "pooled", **head),
        operator("Flatten", "pooled", "rows"),
        operator("FC", "rows w b", "fc"),
        operator("Relu", "fc", "fc"),
        operator("Softmax", "fc", "classes"),
        operator("FC", "rows wb bb", "moves"),
        operator("BBoxTransform", "rois moves info", "boxes splits"),
        operator("BoxWithNMSLimit", "classes boxes splits", "s b c n k kn"),
        operator("Concat", "b b", "twice info2", axis=0),
        operator("Reshape", "s", "column old", shape=[-1, 1]),
    ]
    inputs = {
        "x": RAMP,
        "scores": np.ones((1, 1, 2, 2), np.float32),
        "deltas": np.zeros((1, 4, 2, 2), np.float32),
        "info": f32([[32, 32, 1]]),
    }
    weights = {
        "anchors": f32([[0, 0, 15, 15]]),
        "w": np.ones((2, 4), np.float32),
        "b": np.zeros(2, np.float32),
        "wb": np.ones((8, 4), np.float32),
        "bb": np.zeros(8, np.float32),
    }
    got = reference(ops, inputs, "pooled classes boxes splits s b c n twice column", weights)
    shapes = [(0, 1, 2, 2), (0, 2), (0, 8), (1,), (0,), (0, 4), (0,), (1,), (0, 4), (0, 1)]
    assert [a.shape for a in got] == shapes
    assert got[3].tolist() == got[7].tolist() == [0]


PYRAMID = [
    operator("Sub", "data mean", "centred"),
    operator("Div", "centred std", "normal"),
    operator("MaxPool", "normal", "c", kernel=3, stride=2, pad=1),
    operator("UpsampleNearest", "c", "up", scale=2),
    operator("Add", "normal up", "y"),
    operator("Slice", "info", "size", starts=[0, 0], ends=[-1, 2]),
]
PREPROCESSING = {
    "mean": f32([103.5, 116.25, 123.75]).reshape(3, 1, 1),
    "std": f32([1, 2, 4]).reshape(3, 1, 1),
}


def test_trap_39_detectron2_nets_take_raw_pixels() -> None:
    """The net itself subtracts the mean and divides by the deviation; im_info is a second input."""
    data = np.full((1, 3, 4, 4), 128, np.float32)
    inputs = {"data": data, "info": f32([[4, 4, 1]])}
    y, size = answers(PYRAMID, inputs, "y size", PREPROCESSING)
    np.testing.assert_allclose(y[0, :, 0, 0], 2 * np.array([24.5, 11.75 / 2, 4.25 / 4]), rtol=1e-6)
    assert size.tolist() == [[4, 4]]


def test_trap_39_detectron2_nets_take_multiples_of_their_stride() -> None:
    """5 pixels become 3, then 6: the error names the operator and the sizes, before anything runs."""
    inputs = {"data": np.zeros((1, 3, 5, 5), np.float32), "info": f32([[5, 5, 1]])}
    with pytest.raises(VerifyError) as caught:
        imported(PYRAMID, inputs, "y size", PREPROCESSING)
    message = str(caught.value)
    assert all(part in message for part in ("Add", "'up'", "5", "6"))


def test_trap_39_the_order_of_inputs_is_kept() -> None:
    inputs = {"data": np.zeros((1, 3, 4, 4), np.float32), "info": f32([[4, 4, 1]])}
    graph = imported(PYRAMID, inputs, "y size", PREPROCESSING)
    assert [v.name for v in graph.inputs] == ["data", "info"]
    assert evaluate(graph, inputs)["y"].shape == (1, 3, 4, 4)
