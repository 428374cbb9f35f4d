"""Traps of fully connected layers, softmax, normalisation and dropout. Expected values come from NumPy and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import operator_cases
from one_net import answers, operator, reference
from operator_calls import refusal

from graphc.ir import lookup

RANDOM = np.random.default_rng(1)
X = RANDOM.standard_normal((2, 3, 2)).astype(np.float32)
TOLERANCE = 1e-5
"""Relative to the largest element: sums of a few products of about unit size in float32."""


def test_trap_08_fc_multiplies_by_the_transposed_weight() -> None:
    """X becomes a matrix at axis 1: rows of 6."""
    w = RANDOM.standard_normal((4, 6)).astype(np.float32)
    b = RANDOM.standard_normal(4).astype(np.float32)
    got = answers([operator("FC", "x w b", "y")], {"x": X}, "y", {"w": w, "b": b}, TOLERANCE)[0]
    np.testing.assert_allclose(got, X.reshape(2, 6) @ w.T + b, rtol=TOLERANCE, atol=TOLERANCE)
    turned = {"w": np.ascontiguousarray(w.T), "b": b}
    again = answers([operator("FCTransposed", "x w b", "y")], {"x": X}, "y", turned, TOLERANCE)[0]
    np.testing.assert_allclose(again, got, rtol=TOLERANCE, atol=TOLERANCE)


def test_trap_08_fc_keeps_the_dimensions_before_axis() -> None:
    w = RANDOM.standard_normal((5, 2)).astype(np.float32)
    b = np.zeros(5, np.float32)
    got = answers([operator("FC", "x w b", "y", axis=2)], {"x": X}, "y", {"w": w, "b": b}, TOLERANCE)[0]
    np.testing.assert_allclose(got, X @ w.T, rtol=TOLERANCE, atol=TOLERANCE)
    deep = {"w": w.reshape(5, 1, 2), "b": b}
    np.testing.assert_array_equal(reference([operator("FC", "x w b", "y", axis=2)], {"x": X}, "y", deep)[0], got)
    apart = {"w": w.reshape(5, 1, 2), "b": b}  # at axis_w 2 this is 5 rows, too
    assert reference([operator("FC", "x w b", "y", axis=2, axis_w=2)], {"x": X}, "y", apart)[0].shape == (2, 3, 5)


def test_trap_09_softmax_flattens_behind_axis() -> None:
    """The four elements behind axis 1 share one denominator: no softmax along a dimension would give quarters."""
    equal = np.zeros((2, 2, 2), np.float32)
    np.testing.assert_array_equal(answers([operator("Softmax", "x", "y")], {"x": equal}, "y")[0], equal + 0.25)
    np.testing.assert_array_equal(reference([operator("Softmax", "x", "y", axis=2)], {"x": equal}, "y")[0], equal + 0.5)


def test_trap_09_softmax_keeps_the_shape_of_an_image_of_one_pixel() -> None:
    x = np.log(np.array([1, 2, 5], np.float32)).reshape(1, 3, 1, 1)
    got = answers([operator("Softmax", "x", "y")], {"x": x}, "y")[0]
    assert got.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(got.ravel(), [1 / 8, 2 / 8, 5 / 8], rtol=1e-6)


BN = {"s": np.array([2.0, 3.0]), "b": np.array([1.0, -1.0]), "m": np.array([0.5, 2.0]), "v": np.array([4.0, 0.0])}
PARAMETERS = {name: a.astype(np.float32) for name, a in BN.items()}


def test_trap_10_batch_norm_at_test_time() -> None:
    """Inputs in the order scale, bias, mean, variance; epsilon 1e-5 shows where the variance is 0."""
    x = RANDOM.standard_normal((2, 2, 1, 3)).astype(np.float32)
    got = answers([operator("SpatialBN", "x s b m v", "y", is_test=1)], {"x": x}, "y", PARAMETERS, 1e-5)[0]
    s, b, m, v = (a[None, :, None, None] for a in BN.values())
    np.testing.assert_allclose(got, s * (x - m) / np.sqrt(v + 1e-5) + b, rtol=1e-4, atol=1e-4)


def test_trap_10_batch_norm_trains_unless_told() -> None:
    """is_test is 0: five outputs; the one that trainers call "riv" is the running variance, not its inverse."""
    x = np.array([1, 3, 10, 30], np.float32).reshape(2, 1, 1, 2)
    weights = {name: np.array([value], np.float32) for name, value in {"s": 1, "b": 0, "m": 5, "v": 7}.items()}
    ops = [operator("SpatialBN", "x s b m v", "y m v mean inv")]
    _, m, v, mean, inverse = reference(ops, {"x": x}, "y m v mean inv", weights)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, [11], rtol=1e-6)
    np.testing.assert_allclose(m, [0.9 * 5 + 0.1 * 11], rtol=1e-6)
    np.testing.assert_allclose(v, [0.9 * 7 + 0.1 * exact.var(ddof=1)], rtol=1e-6)
    np.testing.assert_allclose(inverse, [1 / np.sqrt(exact.var() + 1e-5)], rtol=1e-5)
    assert "5" in refusal("SpatialBN", "float[2,1,1,2]", *["float[1]"] * 4)


def test_trap_10_batch_norm_as_caffe2(shared: Path) -> None:
    checked = 0
    io = operator_cases.golden_io(shared)
    for case in io.cases(shared / "golden" / "SpatialBN.npz"):
        text = operator_cases.operator(case.op)
        if text.args.get("is_test", 0) or any(isinstance(v, bytes) for _, v in case.inputs):
            continue
        inputs, names = [v for _, v in case.inputs], [n for n, _ in case.outputs]
        got = operator_cases.run(operator_cases.make_call("SpatialBN", inputs, names, text.args), inputs)
        for have, (_, want) in zip(got, case.outputs):
            assert io.close(have, want, rtol=1e-3, atol=1e-4)
        checked += 1
    assert checked


def test_trap_11_lrn_divides_alpha_by_the_window() -> None:
    """Squares 1, 4, 9; sums over windows of three: 5, 14, 13; scale = 1 + 3 / 3 * sum."""
    x = np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)
    ops = [operator("LRN", "x", "y scale", size=3, alpha=3.0, beta=0.5, bias=1.0)]
    got = answers(ops, {"x": x}, "y", tolerance=1e-5)[0]
    np.testing.assert_allclose(got.ravel(), np.array([1, 2, 3]) / np.sqrt([6, 15, 14]), rtol=1e-5)
    np.testing.assert_allclose(reference(ops, {"x": x}, "scale")[0].ravel(), [6, 15, 14], rtol=1e-6)
    defaults = {name: lookup("LRN").arg(name).default for name in ("size", "alpha", "beta", "bias")}
    assert defaults == {"size": 0, "alpha": 0.0, "beta": 0.0, "bias": 1.0}


def test_trap_12_dropout_is_the_identity_at_test_time() -> None:
    ops = [operator("Dropout", "x", "d mask", is_test=1, ratio=0.9), operator("Relu", "d", "y")]
    np.testing.assert_array_equal(answers(ops, {"x": X}, "y")[0], np.maximum(X, 0))
    alone = [operator("Dropout", "x", "y", is_test=1)]  # the mask is optional
    np.testing.assert_array_equal(answers(alone, {"x": X}, "y")[0], X)


def test_trap_12_dropout_scales_what_it_keeps() -> None:
    ops = [operator("Dropout", "x", "y mask", ratio=0.75)]
    x = np.ones((40, 50), np.float32)
    y, mask = reference(ops, {"x": x}, "y mask")
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(y, np.where(mask, np.float32(4), np.float32(0)))
    assert 0.15 < mask.mean() < 0.35  # 2000 draws: ten standard deviations around a quarter
