"""Dense and sparse, ranges, equal elements, rows updated by index: by hand, with NumPy, and with plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError


def i32(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def test_sparse_to_dense():
    rows = f32([[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(answer("SparseToDense", np.array([2, 0, 2]), rows), [[3, 4], [0, 0], [6, 8]])
    like = np.zeros((4, 7), np.float32)
    assert answer("SparseToDense", np.array([2, 0, 2]), rows, like).shape == (4, 2)
    assert types("SparseToDense", "int32[K]", "int64[K,2]", output_first_dim=5) == ["int64[5,2]"]
    for bad in (-1, 4):
        with pytest.raises(RunError, match="indices"):
            answer("SparseToDense", np.array([0, 0, bad]), rows, like)
    assert "number of rows" in refusal("SparseToDense", "int32[4]", "int32[3]")


def test_sparse_to_dense_with_a_mask_and_its_gradient():
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


def test_batches_of_sparse_rows():
    lengths, indices = np.array([2, 0, 1]), np.array([0, 2, 1])
    dense = answer("BatchSparseToDense", lengths, indices, f32([5, 6, 7]), dense_last_dim=3, default_value=-1.0)
    np.testing.assert_array_equal(dense, [[5, -1, 6], [-1, -1, -1], [-1, 7, -1]])
    np.testing.assert_array_equal(answer("BatchDenseToSparse", lengths, indices, dense), [5, 6, 7])
    with pytest.raises(RunError, match="last dimension"):
        answer("BatchSparseToDense", lengths, indices, f32([5, 6, 7]), dense_last_dim=2)
    assert "dense_last_dim" in refusal("BatchSparseToDense", "int64[2]", "int64[3]", "float[3]")


def test_columns_of_what_does_not_round_to_nothing():
    lengths, ids = answers("DenseVectorToIdList", f32([[0, 1, 0.4], [2, 0, 0.6]]), outputs=2)
    np.testing.assert_array_equal(lengths, [1, 2])
    np.testing.assert_array_equal(ids, [1, 0, 2])


def test_ranges():
    data, ranges = f32([0, 1, 2, 3, 4]), np.array([[[1, 2], [4, 1]], [[0, 0], [0, 1]]])
    y, lengths = answers("GatherRanges", data, ranges, outputs=2)
    np.testing.assert_array_equal(y, [1, 2, 4, 0])
    np.testing.assert_array_equal(lengths, [3, 1])
    for bad in ([4, 2], [-1, 1], [0, -1], [0, 6]):
        with pytest.raises(RunError, match="RANGES"):
            answer("GatherRanges", data, np.array([[bad]]))


def test_ranges_to_dense_sort_by_key():
    data, keys = f32([0, 1, 2, 3]), np.array([7, 6, 5, 9])
    ranges = np.array([[[0, 3], [3, 1]], [[0, 0], [2, 1]]])
    args = {"lengths": [3, 1], "max_mismatched_ratio": 1.0}
    first, second = answers("GatherRangesToDense", data, ranges, keys, outputs=2, **args)
    np.testing.assert_array_equal(first, [[2, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(second, [[3], [2]])
    with pytest.raises(RunError, match="max_empty_ratio"):
        answers("GatherRangesToDense", data, ranges, outputs=2, min_observation=1, max_empty_ratio=0.1, **args)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_unique_find_and_duplicates_against_numpy(dtype: type):
    x = np.random.default_rng(1).integers(-5, 6, 50).astype(dtype)
    values, places = answers("Unique", x, outputs=2)
    want, inverse = np.unique(x, return_inverse=True)
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(places, inverse)
    _, first = np.unique(x, return_index=True)
    np.testing.assert_array_equal(answer("FindDuplicateElements", x), np.setdiff1d(np.arange(50), first))
    query = np.arange(-8, 8).astype(dtype)
    last = {v: i for i, v in enumerate(x.tolist())}
    np.testing.assert_array_equal(answer("Find", x, query, missing_value=-7), [last.get(v, -7) for v in query.tolist()])


def test_what_is_not_a_number_has_no_duplicate():
    np.testing.assert_array_equal(answer("FindDuplicateElements", f32([np.nan, 1, np.nan, 1, 0, -0.0])), [3, 5])


def _hash(value: int, size: int, seed: int, modulo: int) -> int:
    wrap, half = 1 << 8 * size, 1 << 8 * size - 1
    h = seed * 0xDEADBEEF
    for byte in (value % wrap).to_bytes(size, "little"):
        h = h * 65537 + (byte - 256 if byte > 127 else byte)
    return ((h + half) % wrap - half) % modulo


@pytest.mark.parametrize(("dtype", "size"), [(np.int32, 4), (np.int64, 8)])
def test_hashes_wrap_around_as_the_element_type_does(dtype: type, size: int):
    x = np.array([0, 1, -1, 255, 128, 2**31 - 1, -(2**31)], dtype)
    got = answer("IndexHash", x, seed=12345, modulo=1000003)
    np.testing.assert_array_equal(got, [_hash(int(v), size, 12345, 1000003) for v in x])
    assert "modulo" in refusal("IndexHash", "int32[3]", modulo=2**31)


def test_keys_are_split():
    got = answers("KeySplit", np.array([1, 0, 1]), outputs=3, categorical_limit=3)
    assert [a.tolist() for a in got] == [[1], [0, 2], []]
    with pytest.raises(RunError, match="categorical_limit"):
        answers("KeySplit", np.array([3]), outputs=3, categorical_limit=3)


def test_rows_are_normalised_and_made_smaller():
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


def test_rows_are_replaced_and_added():
    x = f32([[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(answer("ScatterAssign", x, i32(2), f32([[8, 9]])), [[1, 1], [2, 2], [8, 9]])
    got = answer("ScatterWeightedSum", x, f32([2]), i32(0, 2), x[:2], f32([10]), x[1:], f32([100]))
    np.testing.assert_array_equal(got, [[212, 212], [2, 2], [326, 326]])
    np.testing.assert_array_equal(answer("CopyRowsToTensor", x, np.array([1]), f32([7, 8]))[1], [7, 8])
    for op, rest in (("ScatterAssign", [x]), ("ScatterWeightedSum", [x, f32([1])])):
        first = [x, f32([1])] if op == "ScatterWeightedSum" else [x]
        with pytest.raises(RunError, match="INDICES"):
            answer(op, *first, i32(0, 1, 3), *rest)


def test_counters_of_rows_halve():
    last, counts = answers(
        "RowWiseCounter", np.array([0, 2]), np.array([4.0, 8.0]), i32(1), np.array([5]), outputs=2, counter_halflife=3
    )
    np.testing.assert_array_equal(last, [0, 5])
    np.testing.assert_allclose(counts, [4, 5])


def test_coalesced_tensors():
    got = answers("UnsafeCoalesce", f32([[1, 2]]), f32([3]), outputs=3)
    assert [a.tolist() for a in got] == [[[1, 2]], [3], [1, 2, 3]]


def test_dropout_replaces_about_as_many_runs_as_the_ratio_says():
    x, lengths = np.arange(2000), np.full(1000, 2, np.int32)
    y, got = answers("SparseDropoutWithReplacement", x, lengths, outputs=2, ratio=0.3, replacement_value=-5)
    gone = got == 1
    assert 200 < gone.sum() < 400
    assert y.size == got.sum()
    assert (y == -5).sum() == gone.sum()
    np.testing.assert_array_equal(y[y >= 0].reshape(-1, 2)[:, 0] // 2, np.flatnonzero(~gone))
    items, same = answers(
        "SparseItemwiseDropoutWithReplacement", x, lengths, outputs=2, ratio=0.3, replacement_value=-5
    )
    np.testing.assert_array_equal(same, lengths)
    assert 400 < (items == -5).sum() < 800


def test_codes_choose_numbers_and_the_codebook_has_a_gradient():
    book, a, b = f32([10, 20, 30]), np.array([[2, 0]], np.uint8), np.array([1], np.int32)
    got = answers("QuantDecode", book, a, b, outputs=2)
    assert [g.tolist() for g in got] == [[[30, 10]], [20]]
    np.testing.assert_array_equal(answer("QuantDecodeGradient", book, a, b, f32([[1, 2]]), f32([4])), [2, 4, 1])
    with pytest.raises(RunError, match="codebook"):
        answer("QuantDecode", book, np.array([3], np.uint8))


def test_look_ups_in_a_tensor_train_are_those_in_its_table():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=s).astype(np.float32) for s in ((2, 1, 2, 3), (3, 3, 2, 4), (2, 4, 3, 1)))
    table = np.einsum("ixam,jmbn,kncy->kjiabc", a, b, c).reshape(12, 12)
    indices, lengths = np.array([11, 0, 7, 3]), i32(3, 0, 1)
    sizes = {"factor_i": [2, 3, 2], "factor_j": [2, 2, 3], "ranks": [1, 3, 4, 1], "emb_size": 12}
    y, first, second, places = answers("TTSparseLengthsSum", a, b, c, indices, lengths, outputs=4, **sizes)
    np.testing.assert_allclose(y, [table[[11, 0, 7]].sum(0), np.zeros(12), table[3]], rtol=1e-4, atol=1e-5)
    grads = rng.normal(size=(3, 12)).astype(np.float32)
    rest = (lengths, first, second, places, grads)
    slopes = answers("TTSparseLengthsSumGradient", a, b, c, *rest, outputs=3, **sizes)
    for core, slope in zip((a, b, c), slopes):
        for at in ((0, 0, 0, 0), (1, 0, 1, 0)):
            unit = [np.zeros_like(x) if x is core else x for x in (a, b, c)]
            next(u for u, x in zip(unit, (a, b, c)) if x is core)[at] = 1
            line = answers("TTSparseLengthsSum", *unit, indices, lengths, outputs=4, **sizes)[0]
            assert slope[at] == pytest.approx((line * grads).sum(), rel=1e-3, abs=1e-4)
    with pytest.raises(RunError, match="rows of the table"):
        answers("TTSparseLengthsSum", a, b, c, np.array([12]), i32(1), outputs=4, **sizes)
