"""Ranges of a vector, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32

from graphc.ir.errors import RunError


def test_ranges() -> None:
    data, ranges = f32([0, 1, 2, 3, 4]), np.array([[[1, 2], [4, 1]], [[0, 0], [0, 1]]])
    y, lengths = answers("GatherRanges", data, ranges, outputs=2)
    np.testing.assert_array_equal(y, [1, 2, 4, 0])
    np.testing.assert_array_equal(lengths, [3, 1])
    for bad in ([4, 2], [-1, 1], [0, -1], [0, 6]):
        with pytest.raises(RunError, match="RANGES"):
            answer("GatherRanges", data, np.array([[bad]]))


def test_ranges_to_dense_sort_by_key() -> None:
    data, keys = f32([0, 1, 2, 3]), np.array([7, 6, 5, 9])
    ranges = np.array([[[0, 3], [3, 1]], [[0, 0], [2, 1]]])
    args = {"lengths": [3, 1], "max_mismatched_ratio": 1.0}
    first, second = answers("GatherRangesToDense", data, ranges, keys, outputs=2, **args)
    np.testing.assert_array_equal(first, [[2, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(second, [[3], [2]])
    with pytest.raises(RunError, match="max_empty_ratio"):
        answers("GatherRangesToDense", data, ranges, outputs=2, min_observation=1, max_empty_ratio=0.1, **args)
