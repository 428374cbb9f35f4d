"""Losses, metrics and small operators by hand or by the textbook's formula; gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from operator_calls import answer, answers, refusal, types

from graphc.ir.errors import GraphcError
from graphc.ir.ops.loss._hierarchy import TreeNode, read_paths, read_tree, write_tree

ONE = np.ones(1, np.float32)
STEP = 1e-2


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def i32(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def check_slope(
    op: str, inputs: Sequence[np.ndarray], gradient: Callable[[], np.ndarray], which: int = 0, **args: Any
) -> None:
    """The gradient is the derivative of the sum of output 0, from central differences."""
    got, want = gradient(), np.zeros(inputs[which].shape)
    for at in np.ndindex(*want.shape):
        sides = []
        for step in (STEP, -STEP):
            moved = [x.copy() for x in inputs]
            moved[which][at] += step
            sides.append(answers(op, *moved, **args)[0].astype(float).sum())
        want[at] = (sides[0] - sides[1]) / (2 * STEP)
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-3)


def test_softmax_with_loss_of_distributions_and_weights() -> None:
    x, p = random(2, 3), f32([0.2, 0.5, 0.3], [1, 0, 0])
    soft = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    weight = f32(1, 3)
    got, loss = answers("SoftmaxWithLoss", x, p, weight, outputs=2, label_prob=1, scale=2.0)
    np.testing.assert_allclose(got, soft, rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * (-(p * np.log(soft)).sum(axis=1) * weight).sum() / 4, rtol=1e-5)
    by_rows = answers("SoftmaxWithLoss", x, p, weight, outputs=2, label_prob=1, average_by_batch_size=1)[1]
    np.testing.assert_allclose(by_rows, loss * 4 / 2 / 2, rtol=1e-5)
    (dx,) = answers("SoftmaxWithLossGradient", x, p, weight, got, ONE, label_prob=1, scale=2.0)
    np.testing.assert_allclose(dx, 2 * (soft - p) * weight[:, None] / 4, rtol=1e-4, atol=1e-6)


def test_labels_that_are_no_distribution_are_refused() -> None:
    for labels, text in ((f32([0.5, 0.6]), "add up"), (f32([1.5, -0.5]), "negative")):
        with pytest.raises(GraphcError, match=text):
            answers("SoftmaxWithLoss", random(1, 2), labels, outputs=2, label_prob=1)


def test_large_logits_have_an_exact_loss() -> None:
    loss = answers("SoftmaxWithLoss", f32([0, 100]), i32(0), outputs=2)[1]
    assert loss == 100


def test_pixels_that_do_not_count() -> None:
    x, labels = random(1, 3, 1, 2), i32([[2, -1]])
    soft, loss = answers("SpatialSoftmaxWithLoss", x, labels, outputs=2)
    np.testing.assert_allclose(loss, -np.log(soft[0, 2, 0, 0]), rtol=1e-5)
    (dx,) = answers("SpatialSoftmaxWithLossGradient", x, labels, soft, ONE, scale=3.0)
    np.testing.assert_allclose(dx[0, :, 0, 0], 3 * (soft[0, :, 0, 0] - [0, 0, 1]), rtol=1e-5, atol=1e-6)
    assert not dx[..., 1].any()
    with pytest.raises(GraphcError, match="not the number of a class"):
        answers("SpatialSoftmaxWithLoss", x, i32([[3, 0]]), outputs=2)


@pytest.mark.parametrize("args", [{}, {"log_D_trick": 1}, {"unjoined_lr_loss": 1}])
def test_sigmoid_cross_entropy_slope(args: dict[str, int]) -> None:
    x, t, g = random(2, 3), f32([0, 1, 0.5], [1, 0, 0]), np.ones(2, np.float32)
    op = "SigmoidCrossEntropyWithLogits"
    check_slope(op, (x, t), lambda: answer(f"{op}Gradient", g, x, t, **args), **args)


def test_weighted_sigmoid_cross_entropy_slope() -> None:
    x, t, w = random(2, 3), f32([0, 1, 0.5], [1, 0, 0]), f32([1, 2, 3], [0, 1, 0.5])
    op = "WeightedSigmoidCrossEntropyWithLogits"
    check_slope(op, (x, t, w), lambda: answer(f"{op}Gradient", np.ones(2, np.float32), x, t, w))


def test_losses_of_pairs() -> None:
    x, label = f32(1, 2, 0), f32(1, 0, 0)
    want = (np.log1p(np.exp(1)) + np.log1p(np.exp(-1))) / 2
    np.testing.assert_allclose(answer("PairWiseLoss", x, label), [want], rtol=1e-5)
    check_slope("PairWiseLoss", (x, label), lambda: answer("PairWiseLossGradient", x, label, ONE))
    two = answer("PairWiseLoss", x, label, i32(0, 3))
    np.testing.assert_allclose(two, [0, want], rtol=1e-5)
    assert answer("PairWiseLoss", f32(), f32()).shape == (0,)
    np.testing.assert_array_equal(answer("PairWiseLoss", x[:, None, None], label), answer("PairWiseLoss", x, label))
    with pytest.raises(GraphcError, match="lengths"):
        answer("PairWiseLoss", x, label, i32(1, 1))


def test_margins() -> None:
    a, b, y = f32(1, 3, 2), f32(2, 1, 2), i32(1, 1, -1)
    assert answer("MarginRankingCriterion", a, b, y, margin=0.5).tolist() == [1.5, 0, 0.5]
    da, db = answers("MarginRankingCriterionGradient", a, b, y, f32(1, 1, 2), outputs=2, margin=0.5)
    assert da.tolist() == [-1, 0, 2]
    assert db.tolist() == [1, 0, -2]
    s, same = f32(0.25, 0.5, 0.75), i32(1, 0, 0)
    assert answer("CosineEmbeddingCriterion", s, same, margin=0.625).tolist() == [0.75, 0, 0.125]
    assert answer("CosineEmbeddingCriterionGradient", s, same, f32(1, 2, 3), margin=0.625).tolist() == [-1, 0, 3]


def test_lambda_rank_of_a_perfect_order_has_no_missing_gain() -> None:
    args = {"use_ndcg_as_loss": 1, "use_exp_gain": 0}
    loss, dy = answers("LambdaRankNdcg", f32(3, 2, 1, 1, 2), f32(2, 1, 0, 1, 0), i32(3, 2), outputs=2, **args)
    gain = (1 / np.log2(2) - 1 / np.log2(3)) / (1 / np.log2(2))
    np.testing.assert_allclose(loss, [0, gain], atol=1e-6)
    np.testing.assert_allclose([dy[:3].sum(), dy[3:].sum()], [0, 0], atol=1e-6)
    back = answer("LambdaRankNdcgGradient", f32(3, 2, 1, 1, 2), i32(3, 2), dy, f32(1, 2))
    np.testing.assert_allclose(back, dy * f32(1, 1, 1, 2, 2), rtol=1e-6)


def test_divergence_of_two_probabilities() -> None:
    p, q = f32(0.2, 0.5, 0), f32(0.7, 0.5, 0)
    got = answer("BernoulliJSD", p, q)
    mean, entropy = 0.45, lambda v: -v * np.log(v) - (1 - v) * np.log(1 - v)
    np.testing.assert_allclose(got, [entropy(mean) - (entropy(0.2) + entropy(0.7)) / 2, 0, 0], atol=1e-6)
    inner = p[:2], q[:2]
    check_slope("BernoulliJSD", inner, lambda: answer("BernoulliJSDGradient", f32(1, 1), *inner))


def test_smooth_l1_losses() -> None:
    x = [random(3, 4), random(3, 4, seed=1), abs(random(3, 4, seed=2)), abs(random(3, 4, seed=3))]
    args = {"beta": 0.7, "scale": 0.5}
    check_slope("SmoothL1Loss", x, lambda: answer("SmoothL1LossGradient", *x, ONE, **args), **args)
    places = f32([0, 0, 1, 2], [1, 4, 0, 0])
    chosen = [random(2, 8, 2, 3), random(2, 4), places, f32(2)]
    check_slope(
        "SelectSmoothL1Loss", chosen, lambda: answer("SelectSmoothL1LossGradient", *chosen, ONE, **args), **args
    )
    for outside in (f32([0, 5, 0, 0]), f32([2, 0, 0, 0]), f32([0, 0, -1, 0]), f32([0, 0, np.nan, 0])):
        with pytest.raises(GraphcError, match="outside of the images"):
            answer("SelectSmoothL1Loss", random(2, 8, 2, 3), random(1, 4), outside, f32(2))


def test_focal_losses() -> None:
    x, labels, args = random(1, 6, 2, 1), i32([[[[0], [2]], [[-1], [3]]]]), {"num_classes": 3, "gamma": 2.0}
    inputs = (x, labels, f32(3))
    check_slope("SigmoidFocalLoss", inputs, lambda: answer("SigmoidFocalLossGradient", *inputs, ONE, **args), **args)
    inputs = (x, i32([[[[0], [2]], [[-1], [1]]]]), f32(3))
    _, p = answers("SoftmaxFocalLoss", *inputs, outputs=2, **args)
    check_slope(
        "SoftmaxFocalLoss",
        inputs,
        lambda: answer("SoftmaxFocalLossGradient", *inputs, p, ONE, **args),
        outputs=2,
        **args,
    )
    with pytest.raises(GraphcError, match="not the number of a class"):
        answers("SoftmaxFocalLoss", *(x, labels, f32(3)), outputs=2, **args)
    assert "multiple" in refusal("SigmoidFocalLoss", "float[1,7,2,1]", "int32[1,2,2,1]", "float[1]", num_classes=3)


def test_sigmoid_loss_leaves_out_targets() -> None:
    inputs = (random(2, 2), i32([0, -1], [1, 1]))
    for args in ({"normalize": 1}, {"normalize": 0, "scale": 2.0}):
        op = "SigmoidCrossEntropyLoss"
        check_slope(op, inputs, lambda a=args: answer("SigmoidCrossEntropyLossGradient", *inputs, ONE, **a), **args)


def test_softmax_of_groups_of_channels() -> None:
    x, dp = random(1, 4, 1, 2), random(1, 4, 1, 2, seed=1)
    p = answer("GroupSpatialSoftmax", x, num_classes=2)
    np.testing.assert_allclose(p.reshape(2, 2, 2).sum(axis=1), np.ones((2, 2)), rtol=1e-6)
    got = answer("GroupSpatialSoftmaxGradient", p, dp, num_classes=2)
    pairs, d = p.reshape(2, 2, 2), dp.reshape(2, 2, 2)
    np.testing.assert_allclose(got.reshape(2, 2, 2), pairs * (d - (pairs * d).sum(axis=1, keepdims=True)), atol=1e-6)


def test_rows_and_corners_that_are_named() -> None:
    x, labels = random(4, 3), i32(1, 0, 5, -1)
    y = answer("SampleAs", x, labels)
    np.testing.assert_array_equal(y, x[[0, 2]])
    dx = answer("SampleAsGradient", x, labels, y)
    np.testing.assert_array_equal(dx[[0, 2]], y)
    assert not dx[[1, 3]].any()
    with pytest.raises(GraphcError, match="rows"):
        answer("SampleAsGradient", x, labels, x)
    a, part = random(1, 2, 3, 4), random(1, 2, 3)
    assert answer("SpatialNarrowAs", a, part).tolist() == a[:, :, :2, :3].tolist()
    assert "larger" in refusal("SpatialNarrowAs", "float[1,2,3,4]", "float[1,4,4]")


def test_average_precision() -> None:
    scores, labels = f32([0.9, 0.1], [0.8, 0.2], [0.7, 0.3]), i32([1, 0], [0, 0], [1, 0])
    np.testing.assert_allclose(answer("APMeter", scores, labels), [(1 + 2 / 3) / 2, 0], rtol=1e-6)
    np.testing.assert_allclose(answer("APMeter", scores, labels, buffer_size=2), [1 / 2, 0], rtol=1e-6)


def _path(*nodes: tuple[int, int, int]) -> bytes:
    return b"".join(b"\x12\x06\x08%c\x10%c\x18%c" % node for node in nodes)


PATHS = [(3, _path((0, 2, 0))), (5, _path((0, 2, 1), (2, 2, 0))), (9, _path((0, 2, 1), (2, 2, 1)))]
HIERARCHY = b"".join(b"\x12%c\x08%c%s" % (len(path) + 2, word, path) for word, path in PATHS)


def test_hierarchical_softmax_is_a_product_and_its_gradient_the_slope() -> None:
    assert read_paths(HIERARCHY)[9] == [(0, 2, 1), (2, 2, 1)]
    x, w, b, labels = random(3, 2), random(4, 2), random(4), i32(9, 3, 5)
    y, inner = answers("HSoftmax", x, w, b, labels, outputs=2, hierarchy=HIERARCHY)
    logits = x @ w.T + b
    first = np.exp(logits[:, :2]) / np.exp(logits[:, :2]).sum(axis=1, keepdims=True)
    second = np.exp(logits[:, 2:]) / np.exp(logits[:, 2:]).sum(axis=1, keepdims=True)
    want = -np.log([first[0, 1] * second[0, 1], first[1, 0], first[2, 1] * second[2, 0]])
    np.testing.assert_allclose(y, want, rtol=1e-5)
    assert inner.shape == (20,)
    ones = np.ones(3, np.float32)
    for which in range(3):
        check_slope(
            "HSoftmax",
            (x, w, b, labels),
            lambda k=which: answers("HSoftmaxGradient", x, w, b, labels, inner, ones, outputs=4, hierarchy=HIERARCHY)[
                k
            ],
            which,
            outputs=2,
            hierarchy=HIERARCHY,
        )
    with pytest.raises(GraphcError, match="no path"):
        answers("HSoftmax", x, w, b, i32(9, 4, 5), outputs=2, hierarchy=HIERARCHY)


def test_trees_of_frequencies() -> None:
    (text,) = answer("HuffmanTreeHierarchy", np.array([0, 1, 1, 2, 2, 2], np.int64), num_classes=3)
    root = read_tree(text)
    assert (root.offset, root.words, root.children[0].words) == (0, [2], [0, 1])
    assert read_tree(write_tree(TreeNode([TreeNode(words=[7], offset=300)], [-1], 2, b"top"))) == TreeNode(
        [TreeNode(words=[7], offset=300)], [-1], 2, b"top"
    )
    with pytest.raises(GraphcError, match="label"):
        answer("HuffmanTreeHierarchy", np.array([3], np.int64), num_classes=3)


def test_a_tree_is_searched_within_the_beam() -> None:
    tree = write_tree(TreeNode([TreeNode(words=[4, 5], offset=2, name=b"low")], [8], 0, b"top"))
    w, b = np.zeros((4, 1), np.float32), f32(np.log(0.75), np.log(0.25), np.log(0.5), np.log(0.5))
    names, scores = answers("HSoftmaxSearch", f32([0]), w, b, outputs=2, tree=tree, beam=1.0, topN=4)
    assert names[0].tolist() == [b"low", b"4", b"5", b""]
    np.testing.assert_allclose(scores[0], [-np.log(0.75), -np.log(0.375), -np.log(0.375), 0], rtol=1e-5)


def test_regions_of_a_square_image() -> None:
    got = answer("RMACRegions", np.zeros((2, 1, 4, 4), np.float32), scales=2)
    assert got.shape == (10, 5)
    assert got[:5, 1:].tolist() == [[0, 0, 3, 3], [0, 0, 1, 1], [0, 2, 1, 3], [2, 0, 3, 1], [2, 2, 3, 3]]
    assert types("RMACRegions", "float[0,3,4,4]") == ["float[0,5]"]


def test_positions_and_scaled_weights_and_tensor_trains() -> None:
    y = answer("SinusoidPositionEncoding", i32([2, 2]), embedding_size=2, alpha=4.0, amplitude=3.0)
    np.testing.assert_allclose(y[0, 1], [3 * np.sin(2), 3 * np.cos(1)], rtol=1e-5)
    w = f32(1, 2)
    for iteration, factor in ((1, 3), (2, 1), (5, 1)):
        got = answer("WeightScale", w, np.array([iteration]), stepsize=2, upper_bound_iter=5, scale=3.0)
        assert got.tolist() == (w * factor).tolist()
    x, core = random(1, 2), random(6)
    sizes = {"inp_sizes": [2], "out_sizes": [3], "tt_ranks": [1, 1]}
    np.testing.assert_allclose(
        answer("TT", x, f32(1, 2, 3), core, **sizes), x @ core.reshape(2, 3) + [1, 2, 3], rtol=1e-5
    )
    assert "cores" in refusal("TT", "float[1,2]", "float[3]", "float[5]", **sizes)
