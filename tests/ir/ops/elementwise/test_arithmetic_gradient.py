"""Gradients of operators of several operands, by hand: broadcasting of both kinds, sums over it, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError

A = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
G = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def test_broadcast_operands_get_sums() -> None:
    row, column = f32(1, 2, 4), f32([[1], [2]])
    da, db = answers("AddGradient", G, A, row, outputs=2)
    assert da.tolist() == G.tolist()
    assert db.tolist() == [5, 7, 9]
    assert answers("SubGradient", G, A, column, outputs=2)[1].tolist() == [[-6], [-15]]
    da, db = answers("MulGradient", G, row, A, outputs=2)
    assert da.tolist() == [17, 29, 45]
    assert db.tolist() == (G * row).tolist()
    assert answers("AddGradient", G, A, np.array(2, np.float32), outputs=2)[1].tolist() == 21


def test_legacy_broadcasting() -> None:
    rows = f32(10, 20)
    da, db = answers("MulGradient", G, A, rows, outputs=2, broadcast=1, axis=0)
    assert da.tolist() == [[10, 20, 30], [80, 100, 120]]
    assert db.tolist() == [14, 77]
    assert answers("AddGradient", G, A, f32([[3.0]]), outputs=2, broadcast=1)[1].tolist() == [[21]]
    assert "axis" in refusal("AddGradient", "float[2,3]", "float[2,3]", "float[2]", outputs=2, axis=0)
    assert "shape of the result" in refusal("AddGradient", "float[3]", "float[2,3]", "float[3]", outputs=2)


def test_quotients() -> None:
    b = f32(1, 2, 4)
    da, db = answers("DivGradient", G, A, b, A / b, outputs=2)
    np.testing.assert_allclose(da, G / b)
    np.testing.assert_allclose(db, -(G * A / (b * b)).sum(axis=0))
    again = answers("DivGradient", b, A / b, G, outputs=2)
    np.testing.assert_array_equal(again[0], da)
    np.testing.assert_array_equal(again[1], db)


def test_integers() -> None:
    a, b = np.array([7, -7, -(2**31)], np.int32), np.array([2, 2, -1], np.int32)
    assert answer("Div", a, b).tolist() == [3, -3, -(2**31)]
    with pytest.raises(RunError, match="divisor is zero"):
        answer("Div", a, np.array([1, 0, 1], np.int32))
    with pytest.raises(RunError, match="divisor is zero"):
        answers("DivGradient", a, a, np.array([1, 0, 1], np.int32), a, outputs=2)
    big = np.array([2**53 + 1, 5])
    assert answers("AddGradient", big, big, np.array([1]), outputs=2)[1].tolist() == [2**53 + 6]
    assert answer("Mod", np.array([-7, 7]), divisor=3).tolist() == [-1, 1]
    assert answer("Mod", np.array([-7, 7]), divisor=-3, sign_follow_divisor=1).tolist() == [-1, -2]


def test_nothing_to_sum() -> None:
    none = np.zeros((0, 3), np.float32)
    da, db = answers("MulGradient", none, none, f32(1, 2, 3), outputs=2)
    assert da.shape == (0, 3)
    assert db.tolist() == [0, 0, 0]


def test_choices_and_means() -> None:
    y, dy = f32(3, 5), f32(1, 2)
    got = answers("MaxGradient", y, dy, f32(3, 4), f32(3, 5), outputs=2)
    assert [g.tolist() for g in got] == [[1, 0], [1, 2]]
    assert [g.tolist() for g in answers("MeanGradient", dy, outputs=2)] == [[0.5, 1], [0.5, 1]]
    assert "outputs" in refusal("MinGradient", y, dy, y, outputs=2)


def test_dropout() -> None:
    x = np.ones((40, 50), np.float32)
    y, mask = answers("Dropout", x, outputs=2, ratio=0.75)
    assert mask.dtype == np.bool_
    assert 0.2 < mask.mean() < 0.3
    np.testing.assert_array_equal(y, np.where(mask, 4, 0))
    assert (answers("Dropout", x + 1, outputs=2, ratio=0.75)[1] != mask).any()
    assert answer("DropoutGrad", f32(1, 2), np.array([True, False]), ratio=0.75).tolist() == [4, 0]
    assert answer("DropoutGrad", f32(1, 2), is_test=1).tolist() == [1, 2]
    assert "mask" in refusal("DropoutGrad", "float[2]")


def test_repeated_elements() -> None:
    assert answer("ExpandGradient", G, f32([[1], [1]])).tolist() == [[6], [15]]
    assert answer("ExpandGradient", G, f32(1, 1, 1)).tolist() == [5, 7, 9]
    assert answer("TileGradient", G, tiles=3, axis=1).tolist() == [[6], [15]]
    assert answer("TileGradient", G, np.array([2]), np.array([0])).tolist() == [[5, 7, 9]]
    assert "share" in refusal("TileGradient", "float[2,3]", tiles=2, axis=1)
    assert types("TileGradient", "float[2,3]", "int32[1]") == ["float[?,?]"]
    assert answer("MakeTwoClassGradient", f32([[1, 5], [2, 2]])).tolist() == [4, 0]


def test_parameters_of_channels() -> None:
    x = np.array([[[1, -2], [-3, 4]]], np.float32)
    dx, dslope = answers("PReluGradient", x, np.ones_like(x), x, f32(0.5, 2), outputs=2)
    assert dx.tolist() == [[[1, 0.5], [2, 1]]]
    assert dslope.tolist() == [-2, -3]
    assert answers("PReluGradient", x, np.ones_like(x), x, f32([0.5]), outputs=2)[1].tolist() == [-5]
    got = answers("AffineChannelGradient", np.ones_like(x), x, f32(2, 3), outputs=3, is_learnable=1)
    assert [g.tolist() for g in got] == [[[[2, 2], [3, 3]]], [-1, 1], [2, 2]]
    assert answer("AffineChannelGradient", np.ones_like(x), f32(2, 3)).tolist() == [[[2, 2], [3, 3]]]
    assert "is_learnable=1" in refusal("AffineChannelGradient", x, f32(2, 3), outputs=3, is_learnable=1)
    dx, dw, db = answers("ElementwiseLinearGradient", G, A, f32(1, 2, 3), outputs=3)
    assert (dx.tolist(), dw.tolist(), db.tolist()) == ([[1, 4, 9], [4, 10, 18]], [17, 29, 45], [5, 7, 9])


def test_gates_and_roots() -> None:
    assert answer("Glu", f32([[2, 4, 0, 100]])).tolist() == [[1, 4]]
    assert answer("Glu", f32([[2], [0]]), dim=0).tolist() == [[1]]
    got = answer("SquareRootDivide", f32([[2, 4], [3, 3]]), np.array([4, 0]))
    assert got.tolist() == [[1, 2], [3, 3]]
    with pytest.raises(RunError, match="below 0"):
        answer("SquareRootDivide", f32([[1]]), f32([-1]))
    assert answer("SumRelu", np.array([-5, 3], np.int32), np.array([1, 1], np.int32)).tolist() == [0, 4]
