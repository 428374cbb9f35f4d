"""Elements chosen by index, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, call, f32, refusal, types

from graphc.ir.errors import RunError
from graphc.ir.infer import infer_node
from graphc.ir.loops import run_loop


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_rows_chosen_twice_get_both_gradients() -> None:
    data, grad = np.zeros((2, 3), np.float32), f32([[1, 2, 3], [4, 5, 6]])
    got = answer("BatchGatherGradient", data, ints(0, 0, 2), grad)
    assert got.tolist() == [[3, 0, 3], [9, 0, 6]]
    matched = answer("BatchGatherGradient", data, np.array([[0, 1, 2], [2, 2, 2]]), grad, match_outer=1)
    assert matched.tolist() == [[1, 2, 3], [0, 0, 15]]
    with pytest.raises(RunError, match="INDICES"):
        answer("BatchGatherGradient", data, ints(0, 0, 3), grad)
    assert "shape of the gradient" in refusal("BatchGatherGradient", "float[2,3]", "int64[2]", "float[2,3]")


def test_one_hot_takes_no_index_beyond_its_size() -> None:
    assert answer("OneHot", ints(1, 0), ints(2)).tolist() == [[0, 1], [1, 0]]
    assert answer("OneHot", ints(), ints(0)).shape == (0, 0)
    with pytest.raises(RunError, match="not below index_size_tensor"):
        answer("OneHot", ints(2), ints(2))
    assert types("OneHot", "int64[N]", "int64[1]") == ["float[N,?]"]


def test_scatter_replaces_along_a_dimension() -> None:
    data = np.zeros((2, 3), np.float32)
    got = answer("Scatter", data, np.array([[2], [0]]), f32([[5], [7]]), axis=1)
    assert got.tolist() == [[0, 0, 5], [7, 0, 0]]
    with pytest.raises(RunError, match="INDICES"):
        answer("Scatter", data, np.array([[3], [0]]), f32([[5], [7]]), axis=1)
    assert "only axis" in refusal("Scatter", "float[2,3]", "int64[3,1]", "float[3,1]", axis=1)


def test_indices_are_checked_for_an_empty_batch_too() -> None:
    """By the NumPy form, and by the loop, as it is compiled."""
    data = np.zeros((0, 3, 2), np.float32)
    assert answer("BatchGather", data, ints(2)).shape == (0, 1, 2)
    with pytest.raises(RunError, match="from 3 to 3"):
        answer("BatchGather", data, ints(3))
    made = call("BatchGather", data, ints(3))
    infer_node(made.node)
    with pytest.raises(RunError, match="index"):
        run_loop(made, [data, ints(3)])
