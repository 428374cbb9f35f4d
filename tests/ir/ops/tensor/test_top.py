"""The greatest elements and their gradients, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

from graphc.ir.errors import RunError


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_top_k_gradient_stops_at_missing_elements() -> None:
    values, indices = f32([[1, 2, 9]]), np.array([[2, 0, -1]])
    assert answer("TopKGradient", values, indices, np.zeros((1, 4), np.float32)).tolist() == [[2, 0, 1, 0]]
    turned = answer("TopKGradient", values.T.copy(), indices.T.copy(), np.zeros((4, 1), np.float32), axis=0)
    assert turned.ravel().tolist() == [2, 0, 1, 0]
    with pytest.raises(RunError, match="outside of X"):
        answer("TopKGradient", values, indices + 2, np.zeros((1, 4), np.float32))
    assert "k is given twice" in refusal("TopK", "float[3]", "int32[1]", outputs=2, k=2)
    assert "int32" in refusal("TopK", "int32[3]", outputs=2, k=2)


def test_flexible_top_k_and_its_gradient() -> None:
    x = f32([[3, 1, 3, 2], [0, 5, 4, 6]])
    values, indices = answers("FlexibleTopK", x, ints(3, 1), outputs=2)
    assert (values.tolist(), indices.tolist()) == ([3, 3, 2, 6], [0, 2, 3, 3])
    back = answer("FlexibleTopKGradient", x, ints(3, 1), f32(1, 2, 3, 4), indices)
    assert back.tolist() == [[1, 0, 2, 3], [0, 0, 0, 4]]
    for wrong in (ints(0, 1), ints(5, 1)):
        with pytest.raises(RunError, match="K has a number"):
            answers("FlexibleTopK", x, wrong, outputs=2)
    with pytest.raises(RunError, match="more than the gradient has"):
        answer("FlexibleTopKGradient", x, ints(3, 2), f32(1, 2, 3, 4), indices)
