"""Gradients of layers against finite differences of the layers; loops against the NumPy form of the same record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from operator_calls import answers, call, refusal, types

from graphc.ir.infer import infer_node
from graphc.ir.loops import run_loop

STEP = 1e-2


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def slope(op: str, inputs: Sequence[np.ndarray], which: int, dy: np.ndarray, **args: Any) -> np.ndarray:
    """The derivative of the sum of dy * output 0 by an input, from central differences."""
    found = np.zeros(inputs[which].shape)
    for at in np.ndindex(*found.shape):
        sides = []
        for step in (STEP, -STEP):
            moved = [x.copy() for x in inputs]
            moved[which][at] += step
            outputs = args.get("outputs", 1)
            rest = {k: v for k, v in args.items() if k != "outputs"}
            sides.append((answers(op, *moved, outputs=outputs, **rest)[0].astype(float) * dy).sum())
        found[at] = (sides[0] - sides[1]) / (2 * STEP)
    return found


def near(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=2e-2, atol=2e-2)


CONVOLUTIONS = [
    ("Conv", (1, 2, 3, 4), (2, 2, 2, 2), {"kernels": [2, 2], "pads": [1, 0, 0, 1], "strides": [2, 1]}),
    ("Conv", (1, 4, 3, 2), (4, 2, 2, 1), {"kernels": [2, 2], "order": "NHWC", "group": 2, "dilations": [2, 1]}),
    ("Conv", (2, 2, 5), (2, 1, 2), {"kernels": [2], "group": 2, "dilations": [2]}),
    ("Conv", (1, 1, 2, 2, 3), (2, 1, 2, 1, 2), {"kernels": [2, 1, 2], "pads": [1, 0, 0, 0, 0, 1]}),
    ("Conv", (1, 1, 5, 4), (1, 1, 3, 3), {"kernel": 3, "stride": 2, "legacy_pad": 2}),
    ("ConvTranspose", (1, 2, 2, 3), (2, 1, 2, 2), {"kernels": [2, 2], "strides": [2, 1], "group": 2}),
    ("ConvTranspose", (1, 2, 3, 2), (2, 2, 2, 1), {"kernels": [2, 2], "order": "NHWC", "pads": [1, 0, 0, 0]}),
    ("LC", (1, 2, 3, 3), (2, 2, 2, 1, 2, 2), {"kernel": 2, "group": 2}),
    ("LC", (1, 3, 3, 2), (2, 2, 2, 2, 2, 2), {"kernel": 2, "order": "NHWC"}),
]


@pytest.mark.parametrize(("op", "shape", "filters", "args"), CONVOLUTIONS)
def test_gradients_of_convolutions_are_slopes(op: str, shape: Any, filters: Any, args: dict[str, Any]) -> None:
    x, w = random(*shape), random(*filters)
    (y,) = answers(op, x, w, **args)
    dy = random(*y.shape, seed=3)
    dw, _, dx = answers(f"{op}Gradient", x, w, dy, outputs=3, **args)
    near(dw, slope(op, (x, w), 1, dy, **args))
    near(dx, slope(op, (x, w), 0, dy, **args))
    without = answers(f"{op}Gradient", x, w, dy, outputs=2, no_bias=1, **args)
    np.testing.assert_array_equal(without[0], dw)
    np.testing.assert_array_equal(without[1], dx)


POOLS = [
    ("MaxPool", (1, 2, 4, 5), {"kernels": [2, 3], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
    ("MaxPool", (2, 5, 2), {"kernels": [2], "strides": [2], "order": "NHWC"}),
    ("MaxPool", (1, 1, 3, 3, 4), {"kernels": [2, 2, 2]}),
    ("MaxPool", (1, 2, 6, 6), {"kernel": 3, "stride": 2, "legacy_pad": 3}),
    ("AveragePool", (1, 4, 5, 2), {"kernel": 3, "stride": 2, "pad": 1, "order": "NHWC"}),
    ("AveragePool", (1, 4, 5, 2), {"kernel": 3, "pad": 1, "order": "NHWC", "count_include_pad": 1}),
    ("AveragePool", (1, 2, 3, 4), {"global_pooling": 1}),
    ("AveragePool", (1, 2, 5, 4), {"kernel": 3, "stride": 2, "legacy_pad": 2}),
]


def by_loop(op: str, *arrays: np.ndarray, outputs: int = 1, **args: Any) -> list[np.ndarray]:
    """The answer of a record's loop, where its NumPy form would come first."""
    made = call(op, *arrays, outputs=outputs, **args)
    infer_node(made.node)
    return run_loop(made, arrays)


@pytest.mark.parametrize(("op", "shape", "args"), POOLS)
def test_loops_of_pooling_agree_with_numpy(op: str, shape: Any, args: dict[str, Any]) -> None:
    x = random(*shape)
    (y,) = answers(op, x, **args)
    np.testing.assert_allclose(by_loop(op, x, **args)[0], y, rtol=1e-5, atol=1e-6)
    dy = random(*y.shape, seed=1)
    (dx,) = answers(f"{op}Gradient", x, y, dy, **args)
    np.testing.assert_allclose(by_loop(f"{op}Gradient", x, y, dy, **args)[0], dx, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("op", "shape", "filters", "args"), [c for c in CONVOLUTIONS if c[0] != "LC"])
def test_loops_of_convolutions_agree_with_numpy(op: str, shape: Any, filters: Any, args: dict[str, Any]) -> None:
    x, w = random(*shape), random(*filters)
    (y,) = answers(op, x, w, **args)
    np.testing.assert_allclose(by_loop(op, x, w, **args)[0], y, rtol=1e-4, atol=1e-5)


def test_a_convolution_of_no_images_has_gradients_of_zero() -> None:
    x, w, dy = random(0, 2, 3, 3), random(4, 2, 2, 2), random(0, 4, 2, 2)
    dw, db, dx = answers("ConvGradient", x, w, dy, outputs=3, kernel=2)
    assert dx.shape == (0, 2, 3, 3)
    assert not dw.any()
    assert db.tolist() == [0] * 4


def test_lp_pool_gradient() -> None:
    x = random(1, 2, 4, 4)
    for args in ({"kernel": 2, "stride": 2, "p": 3.0}, {"global_pooling": 1}):
        (y,) = answers("LpPool", x, **args)
        dy = random(*y.shape, seed=1)
        near(answers("LpPoolGradient", x, y, dy, **args)[0], slope("LpPool", [x], 0, dy, **args))


def test_max_pool_with_index_and_back() -> None:
    x = np.array([[[[1, 5, 2], [4, 3, 6]]]], np.float32)
    y, index = answers("MaxPoolWithIndex", x, outputs=2, kernel=2)
    assert y.tolist() == [[[[5, 6]]]]
    assert index.tolist() == [1, 5]
    (dx,) = answers("MaxPoolWithIndexGradient", x, y, index, kernel=2)
    assert dx.tolist() == [[[[0, 5, 0], [0, 0, 6]]]]


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_gradients_of_normalisation_are_slopes(order: str) -> None:
    x, dy = random(2, 4, 3, 4), random(2, 4, 3, 4, seed=1)
    scale, bias = random(4, seed=2), random(4, seed=3)
    _, mean, inverse = answers("InstanceNorm", x, scale, bias, outputs=3, order=order)
    got = answers("InstanceNormGradient", x, scale, bias, dy, mean, inverse, outputs=3, order=order)
    for i in range(3):
        near(got[i], slope("InstanceNorm", (x, scale, bias), i, dy, order=order))
    again = answers("InstanceNormGradient", x, scale, bias, dy, outputs=3, order=order)
    near(again[0], got[0])
    _, mean, inverse = answers("GroupNorm", x, scale, bias, outputs=3, order=order, group=2)
    got = answers("GroupNormGradient", dy, x, scale, bias, mean, inverse, outputs=3, order=order, group=2)
    for i in range(3):
        near(got[i], slope("GroupNorm", (x, scale, bias), i, dy, order=order, group=2, outputs=3))


def test_gradient_of_batch_normalisation_is_the_slope() -> None:
    x, dy = random(3, 2, 2, 2), random(3, 2, 2, 2, seed=1)
    inputs = (x, random(2, seed=2), random(2, seed=3), np.zeros(2, np.float32), np.ones(2, np.float32))
    results = answers("SpatialBN", *inputs, outputs=5)
    got = answers("SpatialBNGradient", x, inputs[1], dy, results[3], results[4], outputs=3)
    for i in range(3):
        near(got[i], slope("SpatialBN", inputs, i, dy, outputs=5))
    sums = random(2, seed=4), random(2, seed=5)  # of one batch they are not read
    again = answers("SpatialBNGradient", x, inputs[1], dy, results[3], results[4], *sums, outputs=3)
    for a, b in zip(again, got):
        np.testing.assert_array_equal(a, b)
    loop = by_loop("SpatialBN", *inputs, outputs=5)
    for a, b in zip(loop, results):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_batch_normalisation_of_no_images_keeps_the_running_statistics() -> None:
    stored = [random(2, seed=i) for i in range(4)]
    _, mean, var, saved, _ = by_loop("SpatialBN", random(0, 2, 2, 2), *stored, outputs=5)
    assert mean.tolist() == stored[2].tolist()
    assert var.tolist() == stored[3].tolist()
    assert saved.tolist() == [0, 0]


def test_gradients_of_rows_are_slopes() -> None:
    x, dy = random(2, 3, 4), random(2, 3, 4, seed=1)
    gamma, beta = random(3, 4, seed=2), random(3, 4, seed=3)
    y, mean, deviation = answers("LayerNorm", x, gamma, beta, outputs=3, elementwise_affine=1)
    args = {"elementwise_affine": 1, "outputs": 3}
    got = answers("LayerNormGradient", dy, y, mean, deviation, x, gamma, **args)
    for i in range(3):
        near(got[i], slope("LayerNorm", (x, gamma, beta), i, dy, **args))
    _, factor = answers("RMSNorm", x, gamma, beta, outputs=2, eps=0.1)
    got = answers("RMSNormGradient", dy, x, gamma, factor, outputs=3, eps=0.1)
    for i in range(3):
        near(got[i], slope("RMSNorm", (x, gamma, beta), i, dy, outputs=2, eps=0.1))
    for axis in (0, -1):
        near(answers("NormalizeGradient", x, dy, axis=axis)[0], slope("Normalize", [x], 0, dy, axis=axis))


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_gradient_of_lrn_is_the_slope(order: str) -> None:
    x, dy = random(1, 4, 2, 4), random(1, 4, 2, 4, seed=1)
    args = {"size": 3, "alpha": 0.5, "beta": 0.75, "order": order}
    (y,) = answers("LRN", x, **args)
    np.testing.assert_allclose(by_loop("LRN", x, **args)[0], y, rtol=1e-5)
    near(answers("LRNGradient", x, y, dy, **args)[0], slope("LRN", [x], 0, dy, **args))


@pytest.mark.parametrize(("op", "shape"), [("FC", (5, 6)), ("FCTransposed", (6, 5))])
def test_gradients_of_fully_connected_layers(op: str, shape: tuple[int, int]) -> None:
    x, w, b = random(3, 2, 3), random(*shape), random(5)
    dy = random(3, 5, seed=1)
    got = answers(f"{op}Gradient", x, w, dy, outputs=3)
    for i, want in ((0, 1), (1, 2), (2, 0)):
        near(got[i], slope(op, (x, w, b), want, dy))
    for a, g in zip(by_loop(f"{op}Gradient", x, w, dy, outputs=3), got):
        np.testing.assert_allclose(a, g, rtol=1e-4, atol=1e-5)


def test_products_over_nothing_are_the_bias() -> None:
    empty = np.zeros((2, 0), np.float32)
    assert answers("FC", empty, np.zeros((3, 0), np.float32), random(3))[0].tolist() == [random(3).tolist()] * 2
    assert not answers("MatMul", empty, np.zeros((0, 3), np.float32))[0].any()


def test_batch_dimensions_that_are_missing_count_as_one() -> None:
    assert types("BatchMatMul", "float[1,2,3]", "float[3,4]") == ["float[1,2,4]"]
    assert types("BatchMatMul", "float[3]", "float[5,3,4]") == ["float[5,4]"]
    assert "broadcast" in refusal("BatchMatMul", "float[7,2,3]", "float[3,4]")


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_gradients_of_resizing_are_slopes(order: str) -> None:
    x = random(1, 3, 4, 2)
    scales = {"height_scale": 1.5, "width_scale": 2.5, "order": order}
    for op in ("ResizeNearest", "UpsampleBilinear"):
        (y,) = answers(op, x, **scales)
        np.testing.assert_allclose(by_loop(op, x, **scales)[0], y, rtol=1e-5, atol=1e-6)
        dy = random(*y.shape, seed=1)
        near(answers(f"{op}Gradient", dy, x, **scales)[0], slope(op, [x], 0, dy, **scales))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [[1, 2, 0, 1], [-1, 2, 1, -1]])
def test_gradient_of_a_border_is_the_slope(mode: str, pads: list[int]) -> None:
    x, args = random(1, 3, 4, 2), {"pads": pads, "mode": mode, "order": "NHWC"}
    (y,) = answers("PadImage", x, **args)
    np.testing.assert_array_equal(by_loop("PadImage", x, **args)[0], y)
    dy = random(*y.shape, seed=1)
    near(answers("PadImageGradient", dy, **args)[0], slope("PadImage", [x], 0, dy, **args))
    assert "few" in refusal("PadImageGradient", "float[1,2,3,1]", pads=[1, 1, 1, 1], mode="reflect", order="NHWC")


def test_negative_pads_cut_pixels_off() -> None:
    x = random(1, 2, 5, 4)
    np.testing.assert_array_equal(answers("PadImage", x, pads=[-1, -2, -1, 0])[0], x[:, :, 1:-1, 2:])
    assert "leave nothing" in refusal("PadImage", "float[1,1,3,3]", pads=[-1, 0, -2, 0])


def test_upsampling_and_shuffling_undone() -> None:
    x = random(1, 2, 2, 3)
    (y,) = answers("UpsampleNearest", x, scale=3)
    np.testing.assert_allclose(answers("UpsampleNearestGradient", x, y, scale=3)[0], 9 * x, rtol=1e-5)
    for order, shape in (("NCHW", (2, 6, 2, 1)), ("NHWC", (2, 2, 1, 6))):
        z = random(*shape)
        (shuffled,) = answers("ChannelShuffle", z, group=3, order=order)
        assert answers("ChannelShuffleGradient", shuffled, group=3, order=order)[0].tolist() == z.tolist()


def test_integral_image_and_what_caffe2_calls_its_gradient() -> None:
    x = np.array([[[[1, 2], [3, 4]]]], np.float32)
    assert answers("IntegralImage", x)[0].tolist() == [[[[0, 0, 0], [0, 1, 3], [0, 4, 10]]]]
    dy = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    assert answers("IntegralImageGradient", x, dy)[0].tolist() == [[[[0, 1], [3, 8]]]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    assert "dY" in refusal("ConvGradient", "float[1,2,4,4]", "float[3,2,3,3]", "float[1,3,3,3]", outputs=3, kernel=3)
    assert "Y" in refusal("MaxPoolGradient", "float[1,2,4,4]", "float[1,2,3,3]", "float[1,2,2,2]", kernel=2)
    assert "columns" in refusal("Col2Im", "float[1,8,2,2]", "float[1,2,4,4]", kernel=2)
    assert "at least 3" in refusal(
        "SpatialBNGradient", "float[3,4]", "float[4]", "float[3,4]", "float[4]", "float[4]", outputs=3
    )
    assert "dbias" in refusal(
        "ConvGradient", "float[1,2,3,3]", "float[3,2,3,3]", "float[1,3,1,1]", outputs=3, kernel=3, no_bias=1
    )


def test_columns_and_back_count_the_windows_of_a_pixel() -> None:
    ones = np.ones((1, 2, 3, 3), np.float32)
    (columns,) = answers("Im2Col", ones, kernel=2)
    assert columns.shape == (1, 8, 2, 2)
    assert answers("Col2Im", columns, ones, kernel=2)[0][0, 0].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_affine_channel_has_one_output_or_three() -> None:
    given = ["float[1,2,3,3]", "float[1,2,3,3]", "float[2]"]
    assert "2 outputs" in refusal("AffineChannelGradient", *given, outputs=2, is_learnable=1)
    assert "3 outputs" in refusal("AffineChannelGradient", given[0], given[2], outputs=3)


@pytest.mark.parametrize("op", ["GroupNormGradient", "InstanceNormGradient"])
def test_a_root_of_a_negative_number_is_not_a_number(op: str) -> None:
    """As in machine code; an epsilon below zero makes it."""
    x, ones = np.ones((1, 2, 2, 2), np.float32), np.ones(2, np.float32)
    few = np.ones((1, 1), np.float32)
    inputs = [x, x, ones, ones, few, few] if op == "GroupNormGradient" else [x, ones, ones, x]
    args: dict[str, Any] = {"group": 1} if op == "GroupNormGradient" else {}
    assert answers(op, *inputs, outputs=3, epsilon=-1.0, **args)[0].shape == x.shape
