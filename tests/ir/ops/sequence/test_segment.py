"""Segment reductions and gradients: by hand, with NumPy, and by finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, f32, refusal, types

from graphc.ir.errors import RunError

DATA = f32([[1, 2], [3, 4], [5, 6], [7, 8]])


def ids(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def test_sorted_segments():
    np.testing.assert_array_equal(answer("SortedSegmentSum", DATA, ids(0, 0, 1, 1)), [[4, 6], [12, 14]])
    np.testing.assert_array_equal(answer("SortedSegmentMean", DATA, ids(0, 1, 1, 1)), [[1, 2], [5, 6]])
    np.testing.assert_array_equal(
        answer("SortedSegmentWeightedSum", DATA, f32([1, 2, 3, 4]), ids(0, 0, 1, 1)), [[7, 10], [43, 50]]
    )
    assert answer("SortedSegmentSum", DATA[:0], ids()).shape == (0, 2)


def test_unsorted_segments_may_leave_ids_out():
    np.testing.assert_array_equal(
        answer("UnsortedSegmentSum", DATA, ids(3, 0, 3, 0)), [[10, 12], [0, 0], [0, 0], [6, 8]]
    )
    np.testing.assert_array_equal(answer("UnsortedSegmentMean", DATA, ids(1, 1, 1, 0)), [[7, 8], [3, 4]])
    got = answer("UnsortedSegmentMean", DATA, ids(1, 2, 1, 2), num_segments=4)
    np.testing.assert_array_equal(got, [[0, 0], [3, 4], [5, 6], [0, 0]])


def test_sparse_segments_look_rows_up():
    rows = np.array([3, 0, 0])
    np.testing.assert_array_equal(answer("SparseSortedSegmentSum", DATA, rows, ids(0, 0, 1)), [[8, 10], [1, 2]])
    np.testing.assert_array_equal(answer("SparseUnsortedSegmentMean", DATA, rows, ids(1, 0, 1)), [[1, 2], [4, 5]])
    for op in ("SparseSortedSegmentSum", "SparseUnsortedSegmentSum"):
        with pytest.raises(RunError, match="INDICES"):
            answer(op, DATA, np.array([0, 4]), ids(0, 0))


@pytest.mark.parametrize("bad", [(1, 1, 1, 1), (0, 2, 2, 2), (0, 1, 0, 1), (-1, 0, 0, 0)])
def test_ids_that_are_not_sorted_are_an_error(bad: tuple[int, ...]):
    for op in ("SortedSegmentSum", "SortedSegmentRangeMax"):
        with pytest.raises(RunError, match=rf"{op}.*sorted"):
            answer(op, DATA, ids(*bad))


def test_ids_outside_of_the_segments_are_an_error():
    with pytest.raises(RunError, match="not below"):
        answer("UnsortedSegmentSum", DATA, ids(0, 1, 2, 0), num_segments=2)
    with pytest.raises(RunError, match="negative"):
        answer("UnsortedSegmentMean", DATA, ids(0, -1, 2, 0))


def test_types_of_segments():
    assert types("UnsortedSegmentSum", "float[N,3]", "int32[N]", num_segments=7) == ["float[7,3]"]
    assert types("SortedSegmentMean", "float[N,3]", "int32[N]") == ["float[?,3]"]
    assert types("SparseSortedSegmentMeanGradient", "float[K,3]", "int32[N]") == ["float[N,3]"]
    assert "number of rows" in refusal("SortedSegmentSum", "float[3,2]", "int32[4]")


@pytest.mark.parametrize("prefix", ["Sorted", "Unsorted"])
@pytest.mark.parametrize("name", ["Sum", "Mean", "WeightedSum"])
def test_gradients_are_the_transposed_sums(prefix: str, name: str):
    segments = ids(0, 0, 0, 1) if prefix == "Sorted" else ids(1, 0, 1, 1)
    weights = [f32([0.5, -2, 3, 1])] if name == "WeightedSum" else []
    grads = f32([[1, 2], [3, 4]])
    got = answer(f"{prefix}Segment{name}Gradient", *weights, grads, segments)
    for i in range(4):
        unit = np.zeros((4, 2), np.float32)
        unit[i, 1] = 1
        slope = (answer(f"{prefix}Segment{name}", unit, *weights, segments) * grads).sum()
        assert got[i, 1] == pytest.approx(slope)


RANGES = {
    "Sum": lambda x: x.sum(0),
    "Mean": lambda x: x.mean(0),
    "Max": lambda x: x.max(0),
    "LogSumExp": lambda x: np.log(np.exp(x).sum(0)),
    "LogMeanExp": lambda x: np.log(np.exp(x).mean(0)),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_and_their_gradients(name: str):
    segments, grads = ids(0, 0, 0, 1), f32([[1, 2], [3, 4]])
    data = f32([[0.1, 2], [0.3, -1], [0.2, 1], [4, 5]])
    y = answer(f"SortedSegmentRange{name}", data, segments)
    want = np.stack([RANGES[name](data[:3].astype(np.float64)), RANGES[name](data[3:].astype(np.float64))])
    np.testing.assert_allclose(y, want, rtol=1e-6)
    got = answer(f"SortedSegmentRange{name}Gradient", data, y, grads, segments)
    for i in range(4):
        for j in range(2):
            lines = []
            for step in (1e-4, -1e-4):
                x = data.astype(np.float64)
                x[i, j] += step
                lines.append((np.stack([RANGES[name](x[:3]), RANGES[name](x[3:])]) * grads).sum())
            assert got[i, j] == pytest.approx((lines[0] - lines[1]) / 2e-4, abs=1e-3)


def test_scalars_of_a_gradient_are_a_vector() -> None:
    for op in ("UnsortedSegmentWeightedSumGradient", "SortedSegmentWeightedSumGradient"):
        assert "wants 1" in refusal(op, "float[4,1]", "float[3,8]", "int32[4]")
        assert "number of SCALARS" in refusal(op, "float[3]", "float[3,8]", "int32[4]")


def test_rows_of_gradients_count_by_their_elements() -> None:
    data, ids = np.ones((3, 2), np.float32), np.zeros(3, np.int32)
    grads = np.array([[[5, 7]]], np.float32)  # one row, as a plane of one row
    got = answer("SortedSegmentRangeSumGradient", data, data[:1], grads, ids)
    assert got.tolist() == [[[5, 7]]] * 3
    assert "elements of a row" in refusal(
        "SortedSegmentRangeSumGradient", "float[3,2]", "float[1,2]", "float[1,3]", "int32[3]"
    )
    assert "number of rows of DATA_OUT" in refusal(
        "SortedSegmentRangeSumGradient", "float[3,2]", "float[2,2]", "float[1,2]", "int32[3]"
    )
