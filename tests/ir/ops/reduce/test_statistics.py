"""Histograms, quantiles, percentiles, transforms and checks, by hand and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, call, f32, refusal

from graphc.ir.errors import RunError
from graphc.ir.opdef import Trait
from graphc.ir.reference import evaluate_node

X = np.random.default_rng(5).standard_normal((4, 25))


def test_histograms() -> None:
    edges = (-2.0, -0.5, 0.0, 0.75, 3.0)
    want = np.histogram(np.concatenate([X.ravel(), X[0]]), edges)[0]
    assert answer("Histogram", X, X[0], bin_edges=edges).tolist() == want.tolist()
    assert "increasing" in refusal("Histogram", "float[2]", bin_edges=(0.0, 0.0))
    assert "double" in refusal("Histogram", "float[2]", "double[2]", bin_edges=(0.0, 1.0))
    current, every = answers(
        "AccumulateHistogram", f32(-1, 0, 0.4, 0.5, 1, 7), outputs=2, lower_bound=0.0, upper_bound=1.0, num_buckets=2
    )
    assert current.tolist() == every.tolist() == [1, 2, 1, 2]
    with pytest.raises(RunError, match="not a number"):
        answers("AccumulateHistogram", f32([np.nan]), outputs=2)


def test_histograms_that_choose_their_bins() -> None:
    edges, counts = answers("SelfBinningHistogram", X, X[1], outputs=2, num_bins=4, bin_spacing="linear")
    np.testing.assert_allclose(edges[[0, 2]], [X.min(), (X.min() + X.max()) / 2], atol=1e-3)
    assert counts[-1] == 0
    assert counts.sum() == 125
    edges, counts = answers("SelfBinningHistogram", f32(1, 8, 64), outputs=2, num_bins=2, bin_spacing="logarithmic")
    np.testing.assert_allclose(edges, [1, 8, 64], rtol=1e-3)
    assert counts.tolist() in ([1, 2, 0], [2, 1, 0])
    edges, counts = answers("SelfBinningHistogram", f32(3, 3), outputs=2, num_bins=2)
    assert counts.tolist() == [2, 0, 0]
    assert "linear" in refusal("SelfBinningHistogram", "float[2]", outputs=2, num_bins=2, bin_spacing="cubic")


def test_quantiles() -> None:
    many = np.arange(1000, dtype=np.float64).reshape(10, 100)
    got = answer("Quantile", many, -many.ravel(), quantile=0.75, tol=1e-5)
    np.testing.assert_allclose(got, [749], atol=1)
    assert answer("Quantile", many, quantile=0.0).tolist() == [0]
    assert answer("Quantile", many, quantile=1.0).tolist() == [999]
    assert answer("Quantile", f32(-5, 1), quantile=1.0).tolist() == [5]
    assert answer("Quantile", f32(-5, 1), quantile=1.0, abs=0).tolist() == [1]
    assert "0 to 1" in refusal("Quantile", "float[3]")


def test_percentiles() -> None:
    pairs = f32([[3, 0.2], [5, 0.5], [1, 0.3], [3, 0.6]])
    got = answer("Percentile", f32([[3, 5, 3], [5, 1, 6]]), pairs, np.array([2, 1, 1], np.int32))
    np.testing.assert_allclose(got, f32([[0.2, 1, 0.6], [0.5, 0.3, 1]]))
    np.testing.assert_allclose(
        answer("Percentile", f32([[4, 0, 0]]), pairs, np.array([2, 1, 1], np.int32)), f32([[0.35, 0, 0]])
    )
    with pytest.raises(RunError, match="sum"):
        answer("Percentile", f32([[4, 0, 0]]), pairs, np.array([2, 1, 2], np.int32))
    lists = {
        "percentile_raw": (1.0, 2.0, 0.0),
        "percentile_mapping": (0.25, 0.75, 0.5),
        "percentile_lower": (0.1, 0.6, 0.0),
        "percentile_upper": (0.4, 0.9, 1.0),
        "lengths": (2, 1),
    }
    got = answer("BisectPercentile", f32([[1, 0], [1.5, 1], [3, -1], [0, 0]]), **lists)
    np.testing.assert_allclose(got, f32([[0.25, 0.5], [0.5, 1], [1, 0], [0, 0.5]]))
    assert "number of features" in refusal("BisectPercentile", "float[2,3]", **lists)


def test_pieces() -> None:
    lines = {"bounds": (0.0, 1.0, 3.0), "slopes": (1.0, 2.0), "intercepts": (0.0, -1.0)}
    got = answer("PiecewiseLinearTransform", f32([[-1], [0.5], [1], [2], [9]]), **lines)
    assert got.tolist() == [[0], [0.5], [1], [3], [5]]
    pieces = [np.array(v, np.float32) for v in lines.values()]
    got = answer("PiecewiseLinearTransform", f32([[9, 0.25], [9, 2]]), *pieces, binary=1)
    assert got.tolist() == [[0.75, 0.25], [-2, 3]]
    assert "missing" in refusal("PiecewiseLinearTransform", "float[2,1]")
    assert "sorted" in refusal("PiecewiseLinearTransform", "float[2,1]", **(lines | {"bounds": (0.0, 3.0, 1.0)}))


def test_transforms() -> None:
    x = np.array([[1.0, 3.0], [-5.0, 0.0]])
    got = answer("BatchBoxCox", x, np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(got, [[np.log(2), 7.5], [np.log(1e-6), 0]])
    np.testing.assert_allclose(answer("Perplexity", f32(0.5, 0.125)), 4, rtol=1e-6)
    low, high = answers("StumpFuncIndex", f32(1, 5, 2, 7), outputs=2, threshold=2.0)
    assert (low.tolist(), high.tolist()) == ([0, 2], [1, 3])


def test_checks() -> None:
    assert answer("NanCheck", f32(1, 2), f32([[np.nan]])).tolist() == [1, 2]
    with pytest.raises(RunError, match="not a number"):
        answer("NanCheck", f32(1, np.inf))
    for op, good, bad in (
        ("EnforceFinite", X, np.array([np.nan])),
        ("Assert", np.array([1, -1], np.int32), np.array([True, False])),
    ):
        assert Trait.EFFECT in call(op, good, outputs=0).opdef.traits
        assert evaluate_node(call(op, good, outputs=0).node, [good]) == []
        with pytest.raises(RunError, match=op):
            evaluate_node(call(op, bad, outputs=0).node, [bad])


def test_clipping() -> None:
    x = f32([[-3, 3], [-3, 3]])
    assert answer("EnsureClipped", x, min=-1.0, max=2.0).tolist() == [[-1, 2], [-1, 2]]
    assert answer("EnsureClipped", x, np.array([1]), x[:1], min=-1.0, max=2.0).tolist() == [[-3, 3], [-1, 2]]
    with pytest.raises(RunError, match="indices"):
        answer("EnsureClipped", x, np.array([2]), x[:1])
    assert answer("ClipTensorByScaling", x[0], f32(6).reshape(()), threshold=2.0).tolist() == [-1, 1]
    assert answer("ClipTensorByScaling", x[0], f32([6]), f32([3]), threshold=2.0).tolist() == [-3, 3]
    assert "above 0" in refusal("ClipTensorByScaling", "float[2]", "float[1]")
    assert answer("Accumulate", x, gamma=0.5).tolist() == x.tolist()
