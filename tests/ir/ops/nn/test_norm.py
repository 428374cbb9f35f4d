"""Normalisation and products by hand: flattening rules, training outputs, defaults, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, call, f32, refusal, types

from graphc.ir.opdef import Trait

RNG = np.random.default_rng(2)


def image(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_softmax_flattens_at_axis() -> None:
    x = image(2, 3, 1, 2)
    y = answer("Softmax", x)
    assert y.shape == x.shape
    np.testing.assert_allclose(y.reshape(2, -1).sum(axis=1), [1, 1], rtol=1e-6)
    np.testing.assert_allclose(answer("Softmax", x, axis=3).sum(axis=3), np.ones((2, 3, 1)), rtol=1e-6)
    np.testing.assert_allclose(answer("Softmax", x, axis=-1), answer("Softmax", x, axis=3))
    assert answer("Softmax", f32([[1000, 1000]])).tolist() == [[0.5, 0.5]]
    assert "axis" in refusal("Softmax", "float[2,3]", axis=2)


def test_spatial_bn_with_stored_statistics() -> None:
    x = image(2, 3, 4, 4)
    scale, bias, mean, var = image(3), image(3), image(3), np.abs(image(3))
    want = (x - mean.reshape(3, 1, 1)) / np.sqrt(var + 1e-5).reshape(3, 1, 1) * scale.reshape(3, 1, 1)
    got = answer("SpatialBN", x, scale, bias, mean, var, is_test=1)
    np.testing.assert_allclose(got, want + bias.reshape(3, 1, 1), rtol=1e-4, atol=1e-5)
    last = answer("SpatialBN", np.moveaxis(x, 1, -1).copy(), scale, bias, mean, var, is_test=1, order="NHWC")
    np.testing.assert_allclose(last, np.moveaxis(got, 1, -1), rtol=1e-5, atol=1e-6)


def test_spatial_bn_trains_by_default() -> None:
    x, zero, one = image(4, 2, 5, 5), np.zeros(2, np.float32), np.ones(2, np.float32)
    y, mean, var, saved_mean, saved_inv = answers("SpatialBN", x, one, zero, zero, one, outputs=5)
    np.testing.assert_allclose(saved_mean, x.mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(saved_inv, 1 / np.sqrt(x.var(axis=(0, 2, 3)) + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(mean, 0.1 * saved_mean, atol=1e-6)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), [0, 0], atol=1e-6)
    assert "is_test" in refusal("SpatialBN", x, one, zero, zero, one)
    assert "is_test" in refusal("SpatialBN", x, one, zero, zero, one, outputs=5, is_test=1)
    assert "scale" in refusal("SpatialBN", x, np.ones(3, np.float32), zero, zero, one, is_test=1)


def test_spatial_bn_is_pointwise_at_test_time_only() -> None:
    operands = ["float[1,2,3,3]", *["float[2]"] * 4]
    test, training = call("SpatialBN", *operands, is_test=1), call("SpatialBN", *operands, outputs=5)
    assert Trait.POINTWISE in test.opdef.traits_of(test)
    assert Trait.POINTWISE not in training.opdef.traits_of(training)


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_lrn_window(size: int) -> None:
    x = image(1, 6, 2, 2)
    y, scale = answers("LRN", x, outputs=2, size=size, alpha=0.5, beta=0.75, bias=2.0)
    for c in range(6):
        first = max(c - (size - 1) // 2, 0)
        square = (x[:, first : c - (size - 1) // 2 + size] ** 2).sum(axis=1)
        np.testing.assert_allclose(scale[:, c], 2 + 0.5 / size * square, rtol=1e-5)
    np.testing.assert_allclose(y, x * scale**-0.75, rtol=1e-5)
    last = answer("LRN", np.moveaxis(x, 1, -1).copy(), size=size, alpha=0.5, beta=0.75, bias=2.0, order="NHWC")
    np.testing.assert_allclose(last, np.moveaxis(y, 1, -1), rtol=1e-5)


def test_lrn_needs_a_size() -> None:
    assert "size" in refusal("LRN", "float[1,6,2,2]")


def test_instance_norm() -> None:
    x, scale, bias = image(2, 3, 4, 5), image(3), image(3)
    y, mean, inverse = answers("InstanceNorm", x, scale, bias, outputs=3)
    np.testing.assert_allclose(mean, x.mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(x.var(axis=(2, 3)) + 1e-5), rtol=1e-5)
    normal = (x - mean[..., None, None]) * inverse[..., None, None]
    want = normal * scale.reshape(3, 1, 1) + bias.reshape(3, 1, 1)
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)
    last = answer("InstanceNorm", np.moveaxis(x, 1, -1).copy(), scale, bias, order="NHWC")
    np.testing.assert_allclose(last, np.moveaxis(y, 1, -1), rtol=1e-4, atol=1e-5)


def test_group_norm_of_one_channel_each_is_instance_norm() -> None:
    x, scale, bias = image(2, 4, 3, 3), image(4), image(4)
    np.testing.assert_allclose(
        answer("GroupNorm", x, scale, bias, group=4), answer("InstanceNorm", x, scale, bias), rtol=1e-4, atol=1e-5
    )
    assert "groups" in refusal("GroupNorm", x, scale, bias)


def test_layer_norm_and_affine_maps() -> None:
    y, mean, deviation = answers("LayerNorm", f32([[1, 3], [2, 2]]), outputs=3)
    np.testing.assert_allclose(y, [[-1, 1], [0, 0]], atol=1e-4)
    assert mean.tolist() == [[2], [2]]
    np.testing.assert_allclose(deviation, [[1], [np.sqrt(1e-5)]], rtol=1e-4)
    x = np.ones((1, 2, 1, 2), np.float32)
    assert answer("AffineChannel", x, f32(2, 3), f32(1, 0)).ravel().tolist() == [3, 3, 3, 3]
    last = answer("AffineChannel", x.reshape(1, 1, 2, 2), f32(2, 3), f32(1, 1), order="NHWC")
    assert last.ravel().tolist() == [3, 4, 3, 4]
    assert answer("ElementwiseLinear", f32([[1, 2], [3, 4]]), f32(10, 1), f32(0, 5)).tolist() == [[10, 7], [30, 9]]
    assert answer("ElementwiseLinear", x, np.full(4, 2, np.float32), np.zeros(4, np.float32)).max() == 2
    assert "length of w" in refusal("ElementwiseLinear", "float[2,3]", "float[2]", "float[2]")


def test_fc_flattens() -> None:
    x, w, b = image(2, 3, 4), image(5, 12), image(5)
    np.testing.assert_allclose(answer("FC", x, w, b), x.reshape(2, 12) @ w.T + b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer("FCTransposed", x, w.T.copy(), b), answer("FC", x, w, b), rtol=1e-4, atol=1e-5)
    assert types("FC", "float[N,3,4]", "float[5,4]", "float[5]", axis=2) == ["float[N,3,5]"]
    assert types("FC", "float[N,12]", "float[5,12,1,1]", "float[5]") == ["float[N,5]"]
    assert types("FC", "float[N,12]", "float[1,1,5,12]", "float[5]", axis_w=3) == ["float[N,5]"]
    assert types("FC", "float[N,C,H,W]", "float[5,12]", "float[5]") == ["float[N,5]"]
    assert "row of X" in refusal("FC", "float[2,3]", "float[5,4]", "float[5]")
    assert "bias" in refusal("FC", "float[2,4]", "float[5,4]", "float[4]")
    assert "missing" in refusal("FC", "float[2,4]", "float[5,4]")


def test_products() -> None:
    a, b = image(3, 4), image(5, 4)
    np.testing.assert_allclose(answer("MatMul", a, b, trans_b=1), a @ b.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer("MatMul", a, a, trans_a=1), a.T @ a, rtol=1e-5, atol=1e-6)
    assert types("MatMul", "float[N,2,2]", "float[4,3]") == ["float[N,3]"]
    assert "inner" in refusal("MatMul", "float[2,3]", "float[2,3]")
    assert types("BatchMatMul", "float[B,2,3]", "float[B,3,4]") == ["float[B,2,4]"]
    assert types("BatchMatMul", "float[7,1,2,3]", "float[5,3,4]", broadcast=1) == ["float[7,5,2,4]"]
    assert types("BatchMatMul", "float[3]", "float[3]", broadcast=1) == ["float[1]"]
    assert "broadcast" in refusal("BatchMatMul", "float[7,2,3]", "float[3,4]")


def test_softmax_takes_float_alone() -> None:
    assert "float16" in refusal("Softmax", "float16[2,3]")


def test_lrn_of_no_channels() -> None:
    assert [a.shape for a in answers("LRN", image(1, 0, 4, 4), outputs=2, size=5)] == [(1, 0, 4, 4)] * 2


def test_sums_of_other_batches_have_one_number_for_each_channel() -> None:
    vectors = ["float[3]"] * 4
    assert "length of sums" in refusal("SpatialBN", "float[2,3,4,4]", *vectors, "float[2]", "float[3]", outputs=5)
    assert "length of sumsq" in refusal("SpatialBN", "float[2,3,4,4]", *vectors, "float[3]", "float[0]", outputs=5)


def test_statistics_stay_without_pixels() -> None:
    c = [f32(1, 2), f32(0, 0), f32(5, 6), f32(7, 8)]
    for shape in ((0, 2, 3, 3), (4, 2, 0, 3)):
        got = answers("SpatialBN", np.zeros(shape, np.float32), *c, outputs=5)
        assert [a.tolist() for a in got[1:]] == [[5, 6], [7, 8], [0, 0], [0, 0]]


def test_running_statistics_come_in_pairs() -> None:
    assert "mean and var" in refusal("SpatialBN", "float[2,3,4,4]", *["float[3]"] * 3, outputs=5)
    assert "sums and sumsq" in refusal("SpatialBN", "float[2,3,4,4]", *["float[3]"] * 5, outputs=5)


def test_rows_without_elements_have_no_mean() -> None:
    assert "no elements" in refusal("LayerNorm", "float[4,0]", outputs=3)
    assert types("LayerNorm", "float[0,4]", outputs=3) == ["float[0,4]", "float[0,1]", "float[0,1]"]
