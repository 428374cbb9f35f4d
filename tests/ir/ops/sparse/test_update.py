"""Rows updated by index, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

from graphc.ir.errors import RunError


def i32(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def test_rows_are_normalised_and_made_smaller() -> None:
    x = f32([[3, 4], [0.3, 0.4]])
    np.testing.assert_allclose(answer("SparseNormalize", x, i32(0, 1)), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(answer("SparseNormalize", x, i32(1), use_max_norm=0), [[3, 4], [0.6, 0.8]], rtol=1e-6)
    got = answer("Float16SparseNormalize", x.astype(np.float16), i32(0), norm=10.0, use_max_norm=0)
    np.testing.assert_array_equal(got[0], [6, 8])
    np.testing.assert_allclose(
        answer("SparseLpRegularizer", x, i32(1), p=1.0, reg_lambda=0.35)[1], [0, 0.05], atol=1e-6
    )
    np.testing.assert_allclose(answer("SparseLpRegularizer", x, i32(0), reg_lambda=0.5)[0], [1.5, 2])
    assert "argument p" in refusal("SparseLpRegularizer", "float[2,2]", "int32[1]", p=3.0)


def test_rows_are_replaced_and_added() -> None:
    x = f32([[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(answer("ScatterAssign", x, i32(2), f32([[8, 9]])), [[1, 1], [2, 2], [8, 9]])
    got = answer("ScatterWeightedSum", x, f32([2]), i32(0, 2), x[:2], f32([10]), x[1:], f32([100]))
    np.testing.assert_array_equal(got, [[212, 212], [2, 2], [326, 326]])
    np.testing.assert_array_equal(answer("CopyRowsToTensor", x, np.array([1]), f32([7, 8]))[1], [7, 8])
    for op, rest in (("ScatterAssign", [x]), ("ScatterWeightedSum", [x, f32([1])])):
        first = [x, f32([1])] if op == "ScatterWeightedSum" else [x]
        with pytest.raises(RunError, match="INDICES"):
            answer(op, *first, i32(0, 1, 3), *rest)


def test_counters_of_rows_halve() -> None:
    last, counts = answers(
        "RowWiseCounter", np.array([0, 2]), np.array([4.0, 8.0]), i32(1), np.array([5]), outputs=2, counter_halflife=3
    )
    np.testing.assert_array_equal(last, [0, 5])
    np.testing.assert_allclose(counts, [4, 5])


def test_coalesced_tensors() -> None:
    got = answers("UnsafeCoalesce", f32([[1, 2]]), f32([3]), outputs=3)
    assert [a.tolist() for a in got] == [[[1, 2]], [3], [1, 2, 3]]
