"""Buckets, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, f32, refusal

from graphc.ir.errors import RunError


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_buckets() -> None:
    assert answer("Bucketize", f32(2, 4, 1, 0.1), boundaries=[0.1, 2.5]).tolist() == [1, 2, 1, 0]
    assert "ascend" in refusal("Bucketize", "float[3]", boundaries=[2.0, 1.0])
    assert "ascend" in refusal("Bucketize", "float[3]", boundaries=[float("nan")])
    x, lengths = f32([[0.5, 9], [3, 1]]), np.array([2, 1], np.int32)
    got = answer("BatchBucketize", x, np.array([0, 1], np.int32), f32(1, 2, 5), lengths)
    assert got.tolist() == [[0, 1], [2, 0]]
    with pytest.raises(RunError, match="no column"):
        answer("BatchBucketize", x, np.array([0, 2], np.int32), f32(1, 2, 5), lengths)
    with pytest.raises(RunError, match="add up"):
        answer("BatchBucketize", x, np.array([0, 1], np.int32), f32(1, 2), lengths)
    hot = answer("BatchBucketOneHot", x, lengths, f32(1, 2, 5))
    assert hot.tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0]]
    assert answer("BatchOneHot", np.array([[1, 5], [2, 6]]), lengths, ints(1, 2, 6)).tolist() == [[1, 0, 0], [0, 1, 1]]
