"""Sums over lengths, look-ups, gradients, and lengths turned into other things: by hand, NumPy and differences."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError

DATA = f32([[1, 2], [3, 4], [5, 6], [7, -8]])
LENGTHS = np.array([2, 0, 2], np.int32)
ROWS = [np.array([0, 1]), np.array([], int), np.array([2, 3])]


def i32(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def test_runs_of_rows_are_summed_averaged_and_maximised():
    np.testing.assert_array_equal(answer("LengthsSum", DATA, LENGTHS), [[4, 6], [0, 0], [12, -2]])
    np.testing.assert_array_equal(answer("LengthsMean", DATA, LENGTHS), [[2, 3], [0, 0], [6, -1]])
    np.testing.assert_array_equal(answer("LengthsMax", DATA, LENGTHS), [[3, 4], [0, 0], [7, 6]])
    weights = f32([1, 10, 100, 1000])
    np.testing.assert_array_equal(
        answer("LengthsWeightedSum", DATA, weights, LENGTHS), [[31, 42], [0, 0], [7500, -7400]]
    )


def test_a_maximum_of_negative_rows_is_negative():
    np.testing.assert_array_equal(answer("LengthsMax", f32([-3, -2]), i32(2)), [-2])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_look_ups_take_floats_and_halves_and_rows_of_any_rank(dtype: type):
    table = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    indices, lengths = np.array([3, 0, 3, 1], dtype), i32(3, 0, 1)
    want = [table[[3, 0, 3]].sum(0), np.zeros((3, 2)), table[1]]
    np.testing.assert_array_equal(answer("SparseLengthsSum", table, indices, lengths), want)
    np.testing.assert_array_equal(answer("SparseLengthsSum", table.astype(np.float16), indices, lengths), want)
    np.testing.assert_allclose(answer("SparseLengthsMean", table, indices, lengths)[0], want[0] / 3, rtol=1e-6)
    np.testing.assert_array_equal(answer("SparseLengthsMax", table, indices, lengths)[0], table[3])
    weights = f32([1, 2, 3, 4])
    np.testing.assert_array_equal(
        answer("SparseLengthsWeightedSum", table, weights, indices, lengths)[0], 4 * table[3] + 2 * table[0]
    )


def test_positional_weights_begin_anew_with_every_run():
    got = answer("SparseLengthsPositionalWeightedSum", f32([1, 10]), f32([2, 3]), i32(0, 1, 1), i32(2, 1))
    np.testing.assert_array_equal(got, [32, 20])
    with pytest.raises(RunError, match="fewer weights"):
        answer("SparseLengthsPositionalWeightedSum", f32([1, 10]), f32([2]), i32(0, 1), i32(2))


@pytest.mark.parametrize("lengths", [(1, 2), (5,), (-1, 5), (4, 1)])
def test_lengths_that_do_not_divide_the_rows_are_an_error(lengths: tuple[int, ...]):
    with pytest.raises(RunError, match=r"LengthsSum.*LENGTHS"):
        answer("LengthsSum", DATA, i32(*lengths))


@pytest.mark.parametrize("index", [-1, 4])
def test_indices_outside_of_the_table_are_an_error(index: int):
    with pytest.raises(RunError, match="INDICES"):
        answer("SparseLengthsSum", DATA, i32(0, index), i32(2))


def test_types_of_sums():
    assert types("LengthsSum", "float[N,3,4]", "int32[M]") == ["float[M,3,4]"]
    assert types("SparseLengthsMean", "float16[N,3]", "int64[K]", "int32[M]") == ["float[M,3]"]
    assert types("LengthsMeanGradient", "float[M,3]", "int32[M]") == ["float[?,3]"]
    assert types("LengthsWeightedSumGradient", "float[K]", "float[M,3]", "int32[M]") == ["float[K,3]"]
    assert "int64" in refusal("LengthsSum", "float[3,2]", "int64[2]")
    assert "SCALARS" in refusal("SparseLengthsWeightedSum", "float[3,2]", "float[3]", "int64[2]", "int32[1]")
    assert "dimensions" in refusal("SparseLengthsSum", "float[3,2]", "int64[2,1]", "int32[1]")


@pytest.mark.parametrize(
    ("forward", "gradient", "weighted"),
    [
        ("LengthsSum", "LengthsSumGradient", False),
        ("LengthsMean", "LengthsMeanGradient", False),
        ("LengthsMean", "LengthsIndicesInGradientMeanGradient", False),
        ("LengthsWeightedSum", "LengthsWeightedSumGradient", True),
    ],
)
def test_gradients_are_the_transposed_sums(forward: str, gradient: str, weighted: bool):
    weights = [f32([0.5, -2, 3, 1])] if weighted else []
    grads = f32([[1, 2], [3, 4], [5, -6]])
    extra = [DATA] if "Indices" in gradient else []
    got = answer(gradient, *weights, grads, LENGTHS, *extra)
    for i in range(4):
        for j in range(2):
            unit = np.zeros((4, 2), np.float32)
            unit[i, j] = 1
            slope = (answer(forward, unit, *weights, LENGTHS) * grads).sum()
            assert got[i, j] == pytest.approx(slope)


def test_gradients_of_weights_and_maxima():
    weights, grads, indices = f32([1, 2, 3]), f32([[1, 10], [2, 20]]), np.array([3, 0, 3])
    rows, slopes = answers(
        "SparseLengthsWeightedSumWithMainInputGradient", weights, grads, i32(2, 1), DATA, indices, outputs=2
    )
    np.testing.assert_array_equal(rows, [[1, 10], [2, 20], [6, 60]])
    np.testing.assert_array_equal(slopes, [7 - 80, 1 + 20, 14 - 160])
    maxima = answer("LengthsMax", DATA, i32(4))
    got = answer("LengthsMaxWithMainInputAndForwardOutputGradient", maxima, f32([[9, 8]]), i32(4), DATA)
    np.testing.assert_array_equal(got, [[0, 0], [0, 0], [0, 8], [9, 0]])


def test_lengths_become_ranges_ids_offsets_and_weights():
    np.testing.assert_array_equal(answer("LengthsToRanges", LENGTHS), [[0, 2], [2, 0], [2, 2]])
    np.testing.assert_array_equal(answer("LengthsToSegmentIds", LENGTHS), [0, 0, 2, 2])
    np.testing.assert_array_equal(answer("LengthsToOffsets", LENGTHS), [0, 2, 2])
    np.testing.assert_array_equal(answer("LengthsToOffsets", LENGTHS, include_last_offset=1), [0, 2, 2, 4])
    np.testing.assert_allclose(answer("LengthsToWeights", i32(4, 0, 1)), [0.5] * 4 + [1])
    np.testing.assert_array_equal(answer("LengthsToShape", i32(7, 7)), [2, 7])
    with pytest.raises(RunError, match="equal"):
        answer("LengthsToShape", i32(7, 8))
    with pytest.raises(RunError, match="negative"):
        answer("LengthsToSegmentIds", i32(1, -1))


def test_ids_become_lengths_and_ranges():
    ids = np.array([0, 0, 2, 3])
    np.testing.assert_array_equal(answer("SegmentIdsToLengths", ids), [2, 0, 1, 1])
    np.testing.assert_array_equal(answer("SegmentIdsToRanges", ids), [[0, 2], [2, 0], [2, 1], [3, 1]])
    np.testing.assert_array_equal(answer("SegmentIdsToLengths", ids, np.zeros((5, 2), np.float32)), [2, 0, 1, 1, 0])
    assert answer("SegmentIdsToLengths", ids[:0]).shape == (0,)
    for bad in ([1, 0], [-1, 0], [0, 9]):
        with pytest.raises(RunError, match="segment_ids"):
            answer("SegmentIdsToLengths", np.array(bad), np.zeros((3,), np.float32))


def test_rows_are_repeated_padded_gathered_and_split():
    np.testing.assert_array_equal(answer("LengthsTile", f32([1, 2, 3]), LENGTHS), [1, 1, 3, 3])
    got = answer("LengthsPad", np.array([1, 2, 3]), i32(1, 0, 2), target_length=2, padding_value=-1.0)
    np.testing.assert_array_equal(got, [1, -1, -1, -1, 2, 3])
    with pytest.raises(RunError, match="longer"):
        answer("LengthsPad", f32([1, 2, 3]), i32(3), target_length=2)
    np.testing.assert_array_equal(
        answer("LengthsGather", f32([1, 2, 3, 4]), LENGTHS, np.array([2, 0, 2, 1])), [3, 4, 1, 2, 3, 4]
    )
    with pytest.raises(RunError, match="INDICES"):
        answer("LengthsGather", f32([1, 2, 3, 4]), LENGTHS, np.array([3]))
    np.testing.assert_array_equal(answer("LengthsSplit", i32(9, 4), n_split=3), [3, 3, 3, 2, 1, 1])
    assert "n_split" in refusal("LengthsSplit", "int32[2]")


def test_largest_of_every_run():
    values, places = answers("LengthsTopK", f32([1, 3, 3, 2, 5]), i32(4, 0, 1), outputs=2, k=2)
    np.testing.assert_array_equal(values, [[3, 3], [0, 0], [5, 0]])
    np.testing.assert_array_equal(places, [[1, 2], [-1, -1], [0, -1]])
    got = answer("LengthsTopKGradient", i32(4, 0, 1), places, f32([[1, 2], [3, 4], [5, 6]]), k=2)
    np.testing.assert_array_equal(got, [0, 1, 2, 0, 5])


def test_one_hots_of_runs():
    got = answer("SegmentOneHot", i32(2, 0, 1), np.array([0, 2, 1]), np.array([3]))
    np.testing.assert_array_equal(got, [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    with pytest.raises(RunError, match="index_size_tensor"):
        answer("SegmentOneHot", i32(1), np.array([3]), np.array([3]))


def test_partition_sends_rows_where_their_keys_belong():
    keys, rows = np.array([0, 1, 3, 2]), f32([[1], [2], [3], [4]])
    got = answers("LengthsPartition", i32(2, 2), keys, rows, outputs=6)
    for a, want in zip(got, ([1, 1], [0, 2], [[1], [4]], [1, 1], [1, 3], [[2], [3]])):
        np.testing.assert_array_equal(a, want)
    packed = answers("LengthsPartition", i32(2, 2), keys, outputs=4, pack_first_input=1)
    np.testing.assert_array_equal(packed[3], [0, 1])
    assert "multiple" in refusal("LengthsPartition", "int32[2]", "int64[4]", outputs=3)


def test_weights_of_lengths_to_an_infinite_power() -> None:
    lengths = np.array([1, 2], np.int32)
    assert answer("LengthsToWeights", lengths, power=float("-inf")).tolist() == [1, np.inf, np.inf]
    assert answer("LengthsToWeights", lengths, power=float("inf")).tolist() == [1, 0, 0]
