"""Reductions against NumPy: the loops of all types and the references, gradients, lengths, distances, moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operator_calls import answer, answers, call, f32, refusal

from graphc.ir.errors import RunError
from graphc.ir.infer import infer_node
from graphc.ir.loops import run_loop

X = np.random.default_rng(0).integers(-9, 9, (2, 3, 4)).astype(np.float32)
KINDS = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceL1": lambda x, **how: np.abs(x).sum(**how),
    "ReduceL2": lambda x, **how: np.sqrt((x * x).sum(**how)),
}


def looped(op: str, *arrays: np.ndarray, **args: Any) -> np.ndarray:
    """Output 0 of the loop, where the reference would do."""
    made = call(op, *arrays, **args)
    infer_node(made.node)
    return run_loop(made, arrays)[0]


@pytest.mark.parametrize("op", KINDS)
@pytest.mark.parametrize("axes", [(), (0,), (1,), (-1,), (0, 2)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes(op: str, axes: tuple[int, ...], keepdims: int) -> None:
    want = KINDS[op](X, axis=axes or (0, 1, 2), keepdims=bool(keepdims))
    np.testing.assert_allclose(answer(op, X, axes=axes, keepdims=keepdims), want, rtol=1e-6)
    np.testing.assert_allclose(looped(op, X, axes=axes, keepdims=keepdims), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_types(dtype: type) -> None:
    x = X.astype(dtype)
    for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceFrontSum", "ReduceBackSum", "ReduceBackMean"):
        assert looped(op, x).dtype == dtype
    assert looped("ReduceSum", np.array([2**60, 2**60 + 1])).tolist() == [2**61 + 1]
    assert looped("ReduceMax", x, axes=(0,)).tolist() == x.max(axis=0, keepdims=True).tolist()
    assert "int32" in refusal("ReduceMean", "int32[2]")


def test_nothing_to_reduce() -> None:
    none = np.zeros((0, 2), np.float32)
    for make in (answer, looped):
        assert make("ReduceSum", none, axes=(0,)).tolist() == [[0, 0]]
        assert make("ReduceMax", none, axes=(0,), keepdims=0).tolist() == [np.finfo(np.float32).min] * 2
        assert make("ReduceMin", none.astype(np.int32), axes=(0,), keepdims=0).tolist() == [2**31 - 1] * 2
        assert make("ReduceFrontMax", none).tolist() == [0, 0]
    assert answer("SumElements", none).tolist() == 0


def test_not_a_number_prevails() -> None:
    x = f32([[1, np.nan, 3], [np.inf, 2, -np.inf]])
    np.testing.assert_array_equal(looped("ReduceMax", x, axes=(1,), keepdims=0), [np.nan, np.inf])
    np.testing.assert_array_equal(looped("ReduceMin", x, axes=(0,), keepdims=0), [1, np.nan, -np.inf])


def test_lengths() -> None:
    x = f32([[1, 2, 3], [4, 5, 6]])
    assert answer("ReduceBackSum", x, np.array([2, 0], np.int32)).tolist() == [3, 4]
    assert answer("ReduceBackMean", x, np.array([2, 3], np.int32)).tolist() == [1.5, 5]
    assert answer("ReduceFrontMax", x, np.array([1, 2, 1], np.int32)).tolist() == [1, 5, 3]
    dy, lengths = f32(6, 3), np.array([2, 3], np.int32)
    assert answer("ReduceBackMeanGradient", dy, x, lengths).tolist() == [[3, 3, 0], [1, 1, 1]]
    assert answer("ReduceBackMaxGradient", dy, x, f32(2, 6), lengths).tolist() == [[0, 6, 0], [0, 0, 3]]
    with pytest.raises(RunError, match="lengths"):
        answer("ReduceBackSum", x, np.array([2, 4], np.int32))
    with pytest.raises(RunError, match="lengths"):
        answer("ReduceFrontSumGradient", dy[:1], x[:, :1], np.array([-1], np.int32))
    assert "1 dimension" in refusal("ReduceBackSum", "float[2,3]", "int32[1]", num_reduce_dim=2)


def test_gradients_of_axes() -> None:
    x = f32([[1, -2, 2], [4, 0, -4]])
    dy, g = f32([[6], [9]]), {"axes": (1,)}
    y = {op: answer(op, x, **g) for op in KINDS}
    assert answer("ReduceSumGradient", dy, x, y["ReduceSum"], **g).tolist() == [[6] * 3, [9] * 3]
    assert answer("ReduceMeanGradient", dy, x, y["ReduceMean"], **g).tolist() == [[2] * 3, [3] * 3]
    assert answer("ReduceMaxGradient", dy, x, y["ReduceMax"], **g).tolist() == [[0, 0, 6], [9, 0, 0]]
    assert answer("ReduceMinGradient", dy, x, y["ReduceMin"], **g).tolist() == [[0, 6, 0], [0, 0, 9]]
    assert answer("ReduceL1Gradient", dy, x, y["ReduceL1"], **g).tolist() == [[6, -6, 6], [9, 0, -9]]
    assert answer("ReduceL2Gradient", dy, x, y["ReduceL2"], **g)[0].tolist() == [2, -4, 4]
    assert answer("ReduceL2Gradient", dy[0], f32([0, 0]), f32([0]), axes=(0,)).tolist() == [6, 6]
    flat = answer("ReduceSumGradient", dy[:, 0], x, dy[:, 0], axes=(1,), keepdims=0)
    assert flat.tolist() == [[6] * 3, [9] * 3]
    assert "shape of X reduced" in refusal("ReduceSumGradient", "float[2]", "float[2,3]", "float[2]", axes=(1,))


def test_gradients_of_ends() -> None:
    assert answer("ReduceFrontSumGradient", f32(1, 2), np.array([2, 2])).tolist() == [[1, 2], [1, 2]]
    assert answer("ReduceBackMeanGradient", f32([4]), np.array([1, 2, 2]), num_reduce_dim=2).tolist() == [
        [[1, 1], [1, 1]]
    ]
    assert answer("ReduceFrontMaxGradient", f32(7, 8), f32([[1, 5], [3, 5]]), f32(3, 5)).tolist() == [[0, 8], [7, 8]]
    assert "negative" in refusal("ReduceBackSumGradient", "float[2]", np.array([2, -1]))


def test_gradients_of_everything() -> None:
    x = f32([[1, -3]])
    assert answer("SumElementsGradient", x, f32(4).reshape(()), average=1).tolist() == [[2, 2]]
    assert answer("LpNormGradient", x, f32([4]), p=1).tolist() == [[4, -4]]
    assert answer("LpNormGradient", x, f32([4]), p=2, average=1).tolist() == [[4, -12]]
    assert answer("RowwiseMaxGradient", x[None], f32([[1]]), f32([[5]])).tolist() == [[[5, 0]]]
    assert answer("ColwiseMaxGradient", x[None], x, f32([[5, 6]])).tolist() == [[[5, 6]]]
    got = answer("ReduceFrontWeightedSumGradient", f32(2, 3), f32(1, 10), np.array([2, 2]))
    assert got.tolist() == [[2, 20], [3, 30]]
    assert answer("ReduceFrontWeightedSum", f32([[1, 2], [3, 4]]), f32(10, 1)).tolist() == [13, 24]


def test_towards_another_shape() -> None:
    x = X.astype(np.float64)
    got = answer("SumReduceLike", x, x[0, :, 0], axis=1)
    np.testing.assert_array_equal(got, x.sum(axis=(0, 2)))
    assert answer("SumReduceLike", x, np.zeros((), np.float64)).tolist() == x.sum()


PAIRS = (f32([[3, 4], [1, 0]]), f32([[4, 3], [0, 0]]))


def test_distances() -> None:
    assert answer("DotProduct", *PAIRS).tolist() == [24, 0]
    assert answer("L1Distance", *PAIRS).tolist() == [2, 1]
    assert answer("SquaredL2Distance", *PAIRS).tolist() == [1, 0.5]
    np.testing.assert_allclose(answer("CosineSimilarity", *PAIRS), [0.96, 0], rtol=1e-6)
    none = np.zeros((3, 0), np.float32)
    assert answer("DotProduct", none, none).shape == (0,)
    assert answer("L1Distance", none, none).tolist() == [0, 0, 0]
    assert "differ" in refusal("DotProduct", "float[2,3]", "float[2,4]")


@pytest.mark.parametrize("op", ["DotProduct", "L1Distance", "SquaredL2Distance", "CosineSimilarity"])
def test_gradients_of_distances(op: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 2, 5)).astype(np.float32)
    x[:, 2], y[:, 2] = (1, -2), (-1, 1)  # far from where the absolute value has no slope
    dz = f32(2, -3)
    dx, dy = answers(f"{op}Gradient", x, y, dz, outputs=2)
    for k, given, found in ((0, (x, y), dx), (1, (x, y), dy)):
        step = np.zeros_like(x)
        step[:, 2] = 2**-7
        moved = [[a + s * step * (i == k) for i, a in enumerate(given)] for s in (1, -1)]
        slope = (answer(op, *moved[0]) - answer(op, *moved[1])) * 64
        np.testing.assert_allclose(found[:, 2], dz * slope, rtol=1e-2, atol=1e-2)


def test_padded_rows() -> None:
    x, y = f32([[1, 2]]), f32([[1, 1, 5, 7, 9]])
    assert answer("DotProductWithPadding", x, y).tolist() == [3]
    assert answer("DotProductWithPadding", x, y, pad_value=2.0).tolist() == [3 + 42]
    assert answer("DotProductWithPadding", x, y, replicate=1).tolist() == [3 + 19]
    dx, dy = answers("DotProductWithPaddingGradient", x, y[:, :4], f32([2]), outputs=2, replicate=1)
    assert (dx.tolist(), dy.tolist()) == ([[12, 16]], [[2, 4, 2, 4]])
    dx, dy = answers("DotProductWithPaddingGradient", x, y, f32([2]), outputs=2, pad_value=3.0)
    assert (dx.tolist(), dy.tolist()) == ([[2, 2]], [[2, 4, 6, 6, 6]])
    assert "multiple" in refusal("DotProductWithPaddingGradient", x, y, f32([2]), outputs=2, replicate=1)


def test_moments() -> None:
    mean, variance = answers("Moments", X, outputs=2, axes=(0, 2))
    np.testing.assert_allclose(mean, X.mean(axis=(0, 2), keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(variance, X.var(axis=(0, 2), keepdims=True), rtol=1e-6)
    one = np.ones_like(mean)
    got = answer("MomentsGradient", one, 2 * one, X, mean, axes=(0, 2))
    np.testing.assert_allclose(got, (1 + 4 * (X - mean)) / 8, rtol=1e-5)
    mu, var = answers("BatchMoments", X, outputs=2)
    np.testing.assert_allclose(var, (X * X).mean(axis=(0, 2)), rtol=1e-6)
    got = answer("BatchMomentsGradient", mu, var, X)
    np.testing.assert_allclose(got, (2 * X * var[:, None] + mu[:, None]) / 8, rtol=1e-5)
    total, squares = answers("ChannelStats", X, outputs=2, order="NHWC")
    np.testing.assert_allclose(total, X.sum(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(squares, (X * X).sum(axis=(0, 1)), rtol=1e-6)
    scale, bias = answers("ChannelBackpropStats", X, mu, var, X, outputs=2)
    np.testing.assert_allclose(scale, ((X - mu[:, None]) * var[:, None] * X).sum(axis=(0, 2)), rtol=1e-4)
    np.testing.assert_allclose(bias, X.sum(axis=(0, 2)), rtol=1e-6)


def test_a_sum_like_another_is_always_a_legacy_broadcast() -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2, np.float32)
    for broadcast in (0, 1):
        assert answer("SumReduceLike", a, b, axis=0, broadcast=broadcast).tolist() == [3, 12]
        assert "axis 7" in refusal("SumReduceLike", "float[2,3]", "float[2]", axis=7, broadcast=broadcast)
