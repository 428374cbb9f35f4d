"""Indices, masks, buckets, keys and random choices by hand, and what they refuse."""

from __future__ import annotations

import numpy as np
import operator_cases
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError
from graphc.ir.infer import infer_node
from graphc.ir.ops.fill._twister import begin, word

TRUE, FALSE = True, False


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def masks(*values: bool) -> np.ndarray:
    return np.array(values, np.bool_)


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


def test_masks() -> None:
    x, mask = f32([[1, 2], [3, 4], [5, 6]]), masks(TRUE, FALSE, TRUE)
    rows, at = answers("BooleanMask", x, mask, outputs=2)
    assert (rows.tolist(), at.tolist()) == ([[1, 2], [5, 6]], [0, 2])
    assert answer("BooleanMaskGradient", mask, f32(7, 8)).tolist() == [7, 0, 8]
    with pytest.raises(RunError, match="more true elements"):
        answer("BooleanMaskGradient", mask, f32([7.0]))
    assert answer("BooleanMaskLengths", ints(2, 0, 1), mask).tolist() == [1, 0, 1]
    for wrong in (ints(2, 2), ints(-1, 4), ints(1, 1)):
        with pytest.raises(RunError, match="length"):
            answer("BooleanMaskLengths", wrong, mask)
    assert "mask" in refusal("BooleanMask", "float[3]", "bool[1]")


def test_unmask_takes_the_first_mask() -> None:
    first, second = masks(TRUE, FALSE, FALSE), masks(TRUE, TRUE, TRUE)
    assert answer("BooleanUnmask", first, ints(1), second, ints(2, 3)).tolist() == [1, 2, 3]
    for values, message in ((ints(2), "more true"), (ints(2, 3, 4), "fewer true")):
        with pytest.raises(RunError, match=message):
            answer("BooleanUnmask", first, ints(1), second, values)
    with pytest.raises(RunError, match="every mask is false"):
        answer("BooleanUnmask", first, ints(1))
    assert "pairs" in refusal("BooleanUnmask", "bool[2]")


def test_conditional_chooses_rows() -> None:
    got = answer("Conditional", masks(TRUE, FALSE), ints(1, 2), ints(3, 4))
    assert got.tolist() == [1, 4]
    assert "rows of DataT" in refusal("Conditional", "bool[3]", "float[2]", "float[2]")


def test_partition_and_gather_by_key_are_inverse() -> None:
    keys, rows = ints(0, 5, -3, 4), f32([[0], [5], [3], [4]])
    parts = answers("Partition", keys, rows, outputs=4)
    assert [p.ravel().tolist() for p in parts] == [[0, 4], [0, 4], [5, -3], [5, 3]]
    assert answer("GatherByKey", keys, parts[1], parts[3]).tolist() == rows.tolist()
    packed = answers("Partition", keys.astype(np.int32), outputs=2, pack_first_input=1)
    assert [p.tolist() for p in packed] == [[0, 2], [2, -2]]
    with pytest.raises(RunError, match="more keys fall"):
        answer("GatherByKey", ints(0, 2, 4, 1), parts[1], parts[3])
    assert "multiple" in refusal("Partition", "int32[2]", "float[2]", outputs=3)
    assert "one for every key" in refusal("GatherByKey", "int32[3]", "float[1]", "float[1]")


def test_members() -> None:
    assert answer("IsMemberOf", ints(1, 2, 3), value=[1, 3]).tolist() == [True, False, True]
    assert answer("IsMemberOf", np.array([b"a", b"b"], object), value=(b"b",)).tolist() == [False, True]
    assert "float" in refusal("IsMemberOf", "float[3]", value=[1])
    assert "no list" in refusal("IsMemberOf", "int32[3]", value=1)


def test_buckets() -> None:
    assert answer("Bucketize", f32(2, 4, 1, 0.1), boundaries=[0.1, 2.5]).tolist() == [1, 2, 1, 0]
    assert "ascend" in refusal("Bucketize", "float[3]", boundaries=[2.0, 1.0])
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


def test_parts_with_sizes_from_data() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert answer("SliceGradient", x, f32([[7], [8]]), starts=[0, 1], ends=[-1, 2]).tolist() == [[0, 7, 0], [0, 8, 0]]
    by_input = answer("SliceGradient", x, ints(0, -3), ints(-1, -2), f32([[7], [8]]))
    assert by_input.tolist() == [[0, 7, 0], [0, 8, 0]]
    with pytest.raises(RunError, match="bounds"):
        answer("SliceGradient", x, f32([[7], [8]]), starts=[0, 2], ends=[-1, 2])
    assert answer("NumpyTile", x[:, :1], ints(2, 2)).tolist() == [[0, 0], [3, 3], [0, 0], [3, 3]]
    assert answer("Expand", x[:, :1], ints(2, 1, 2)).tolist() == [[[0, 0], [3, 3]], [[0, 0], [3, 3]]]
    assert answer("Append", x, x[:1]).shape == (3, 3)
    assert answer("Append", np.zeros(0, np.float32), x).shape == (2, 3)
    assert "rows of A and B" in refusal("Append", "float[2,3]", "float[1,2]")
    assert types("SplitByLengths", "float[4]", "int32[2]", outputs=2, axis=0) == ["float[?]"] * 2
    assert "bool" in refusal("Tile", "bool[2]", tiles=2)


def test_words_of_the_loop_are_those_of_the_generator() -> None:
    state = np.zeros(625, np.int64)
    begin(state, 5489)
    words = [int(word(state)) for _ in range(1000)]
    want = np.random.RandomState(5489).randint(0, 1 << 32, 1000, np.uint32)
    assert words == want.tolist()


@pytest.mark.parametrize("op", ["UniformFill", "GaussianFill", "XavierFill", "MSRAFill", "UniformIntFill"])
def test_loops_of_fills_draw_what_numpy_draws(op: str) -> None:
    made = operator_cases.make_call(op, [], ["Y"], {"shape": (3, 5)})
    made.node.device = "cpu:0 random_seed=11"
    (want,) = operator_cases.run(made, [])
    got, state = np.zeros((3, 5), want.dtype), np.zeros(625, np.int64)
    assert made.opdef.loop is not None
    absent = [np.zeros(0, np.float32)] * len(made.opdef.inputs)
    infer_node(made.node)
    made.opdef.loop(*absent, got, state, *made.opdef.loop_arguments(made))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_choices_follow_the_weights() -> None:
    weights = np.tile(f32([[1, 0, 3]]), (400, 1))
    indexes, values = answers("WeightedSample", weights, weights, outputs=2)
    assert indexes.shape == (400, 1)
    assert (values != 0).all()
    assert 60 < (indexes == 0).sum() < 140
    drawn = answer("WeightedMultiSampling", f32(1, 1, 4), num_samples=400)
    assert drawn.dtype == np.int32
    assert set(drawn.tolist()) <= {0, 2}
    assert "given twice" in refusal("WeightedMultiSampling", "float[3]", "float[2]", num_samples=3)


def test_unique_numbers() -> None:
    got = answer("UniqueUniformFill", ints(20), np.array([1, 2, 3], np.int32), input_as_shape=1, min=1, max=23)
    assert sorted(got.tolist()) == list(range(4, 24))
    assert "different numbers" in refusal("UniqueUniformFill", shape=(4,), min=1, max=3)
    wide = answer("UniqueUniformFill", shape=(5,), min=0, max=2**40, dtype=10)
    assert wide.dtype == np.int64
    assert len(set(wide.tolist())) == 5


def test_diagonals_go_on_where_a_matrix_is_high() -> None:
    assert answer("DiagonalFill", shape=(4, 2), value=1.0).tolist() == [[1, 0], [0, 1], [0, 0], [1, 0]]
    assert "negative size" in refusal("ConstantFill", shape=(-2, 3))
