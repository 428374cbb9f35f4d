"""Parts and repetitions of tensors, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_parts_with_sizes_from_data() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert answer("SliceGradient", x, f32([[7], [8]]), starts=[0, 1], ends=[-1, 2]).tolist() == [[0, 7, 0], [0, 8, 0]]
    by_input = answer("SliceGradient", x, ints(0, -3), ints(-1, -2), f32([[7], [8]]))
    assert by_input.tolist() == [[0, 7, 0], [0, 8, 0]]
    with pytest.raises(RunError, match="bounds"):
        answer("SliceGradient", x, f32([[7], [8]]), starts=[0, 2], ends=[-1, 2])
    assert answer("NumpyTile", x[:, :1], ints(2, 2)).tolist() == [[0, 0], [3, 3], [0, 0], [3, 3]]
    assert answer("Expand", x[:, :1], ints(2, 1, 2)).tolist() == [[[0, 0], [3, 3]], [[0, 0], [3, 3]]]
    assert answer("Expand", x[None], ints(4, -1, 0)).tolist() == [x.tolist()] * 4
    assert answer("Append", x, x[:1]).shape == (3, 3)
    assert answer("Append", np.zeros(0, np.float32), x).shape == (2, 3)
    assert "rows of A and B" in refusal("Append", "float[2,3]", "float[1,2]")
    assert types("SplitByLengths", "float[4]", "int32[2]", outputs=2, axis=0) == ["float[?]"] * 2
    assert types("Expand", "float[2,1]", "int64[3]") == ["float[?,2,?]"]
    assert types("Expand", "float[2,1]", "int64[?]") == ["float[*]"]
    assert "do not broadcast" in refusal("Expand", "float[2,3]", shape=[2])
    assert "bool" in refusal("Tile", "bool[2]", tiles=2)


def test_parts_without_outputs() -> None:
    assert "no outputs" in refusal("SplitByLengths", "float[4]", "int32[2]", outputs=0, axis=0)


def test_sizes_of_parts_are_a_vector_with_one_for_each() -> None:
    assert "number of sizes" in refusal("Split", "float[4,3]", "int32[3]", outputs=2)
    for op, inputs in (("Split", ["int32[]"]), ("Slice", ["int64[1]", "int64[]"])):
        assert "wants 1" in refusal(op, "float[4,3]", *inputs, outputs=1)
    assert "no outputs" in refusal("Split", "float[4,2]", outputs=0)


def test_sizes_of_single_parts_are_not_read() -> None:
    """As in Caffe2: with add_axis every part is one element."""
    x = f32([[1, 2], [3, 4]])
    got = answers("Split", x, np.array([7, -5], np.int32), outputs=2, axis=0, add_axis=1)
    assert [a.tolist() for a in got] == [[1, 2], [3, 4]]
