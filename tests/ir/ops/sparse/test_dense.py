"""Sparse rows made dense and back, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError


def i32(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def test_sparse_to_dense() -> None:
    rows = f32([[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(answer("SparseToDense", np.array([2, 0, 2]), rows), [[3, 4], [0, 0], [6, 8]])
    like = np.zeros((4, 7), np.float32)
    assert answer("SparseToDense", np.array([2, 0, 2]), rows, like).shape == (4, 2)
    assert types("SparseToDense", "int32[K]", "int64[K,2]", output_first_dim=5) == ["int64[5,2]"]
    for bad in (-1, 4):
        with pytest.raises(RunError, match="indices"):
            answer("SparseToDense", np.array([0, 0, bad]), rows, like)
    assert "number of rows" in refusal("SparseToDense", "int32[4]", "int32[3]")


def test_sparse_to_dense_with_a_mask_and_its_gradient() -> None:
    indices, values = np.array([2, 7, 2, 5]), f32([1, 2, 3, 4])
    y, mask = answers(
        "SparseToDenseMask", indices, values, np.float32(9), i32(3, 1), outputs=2, mask=[5, 2], return_presence_mask=1
    )
    np.testing.assert_array_equal(y, [[9, 3], [4, 9]])
    np.testing.assert_array_equal(mask, [[False, True], [True, False]])
    got = answer("SparseToDenseMaskGradient", indices, f32([[10, 20], [30, 40]]), i32(3, 1), mask=[5, 2])
    np.testing.assert_array_equal(got, [0, 0, 20, 30])
    with pytest.raises(RunError, match="max_skipped_indices"):
        answer("SparseToDenseMask", np.array([-1, -1]), f32([1, 2]), np.float32(0), mask=[1], max_skipped_indices=2)
    assert "mask" in refusal("SparseToDenseMask", "int32[2]", "float[2]", "float[]", mask=[1, 1])


def test_batches_of_sparse_rows() -> None:
    lengths, indices = np.array([2, 0, 1]), np.array([0, 2, 1])
    dense = answer("BatchSparseToDense", lengths, indices, f32([5, 6, 7]), dense_last_dim=3, default_value=-1.0)
    np.testing.assert_array_equal(dense, [[5, -1, 6], [-1, -1, -1], [-1, 7, -1]])
    np.testing.assert_array_equal(answer("BatchDenseToSparse", lengths, indices, dense), [5, 6, 7])
    with pytest.raises(RunError, match="last dimension"):
        answer("BatchSparseToDense", lengths, indices, f32([5, 6, 7]), dense_last_dim=2)
    assert "dense_last_dim" in refusal("BatchSparseToDense", "int64[2]", "int64[3]", "float[3]")


def test_columns_of_what_does_not_round_to_nothing() -> None:
    lengths, ids = answers("DenseVectorToIdList", f32([[0, 1, 0.4], [2, 0, 0.6]]), outputs=2)
    np.testing.assert_array_equal(lengths, [1, 2])
    np.testing.assert_array_equal(ids, [1, 0, 2])
