"""Traps of reductions, TopK and resizing. Expected values are NumPy's or by hand."""

from __future__ import annotations

import numpy as np
from one_net import answers, operator, reference
from operator_calls import answer

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_trap_21_argmax_keeps_the_last_dimension() -> None:
    x = np.array([[1, 5, 2], [7, 0, 7]], np.float32)
    got = answers([operator("ArgMax", "x", "y")], {"x": x}, "y")[0]
    assert (got.dtype, got.tolist()) == (np.dtype(np.int64), [[1], [0]])
    assert reference([operator("ArgMin", "x", "y", axis=0, keepdims=0)], {"x": x}, "y")[0].tolist() == [0, 1, 0]


def test_trap_22_topk_takes_the_lower_index_of_equals() -> None:
    x = np.array([[1, 3, 3, 2], [4, 4, 4, 4]], np.float32)
    values, indices, flat = answers([operator("TopK", "x", "v i f", k=2)], {"x": x}, "v i f")
    assert values.tolist() == [[3, 3], [4, 4]]
    assert (indices.dtype, indices.tolist()) == (np.dtype(np.int64), [[1, 2], [0, 1]])
    assert flat.tolist() == [1, 2, 4, 5]
    columns = reference([operator("TopK", "x", "v i", k=1, axis=0)], {"x": x}, "i")[0]
    assert columns.tolist() == [[1, 1, 1, 1]]


def test_trap_23_reduce_front_and_back_take_one_dimension() -> None:
    for op, want in (("ReduceFrontSum", CUBE.sum(axis=0)), ("ReduceBackMean", CUBE.mean(axis=2))):
        np.testing.assert_allclose(answers([operator(op, "x", "y")], {"x": CUBE}, "y")[0], want, rtol=1e-6)
    two = reference([operator("ReduceBackSum", "x", "y", num_reduce_dim=2)], {"x": CUBE}, "y")[0]
    np.testing.assert_array_equal(two, CUBE.sum(axis=(1, 2)))


def test_trap_23_reduce_takes_lengths() -> None:
    """Of each column only the first rows count, of each row only the first columns; the first one always does."""
    x = np.array([[1, 2, 3], [10, 20, 30]], np.float32)
    assert answer("ReduceFrontSum", x, np.array([0, 1, 2], np.int32)).tolist() == [1, 2, 33]
    assert answer("ReduceBackSum", x, np.array([1, 2], np.int32)).tolist() == [1, 30]


def test_trap_24_reduce_keeps_dimensions() -> None:
    got = answers([operator("ReduceSum", "x", "y", axes=[1])], {"x": CUBE}, "y")[0]
    np.testing.assert_array_equal(got, CUBE.sum(axis=1, keepdims=True))
    assert reference([operator("ReduceSum", "x", "y", axes=[0, 2], keepdims=0)], {"x": CUBE}, "y")[0].shape == (3,)
    assert reference([operator("ReduceSum", "x", "y")], {"x": CUBE}, "y")[0].shape == (1, 1, 1)


def test_trap_25_resize_nearest_rounds_down_twice() -> None:
    """3 * 1.5 = 4.5 gives 4 pixels; 0, 0.67, 1.33, 2 are pixels 0, 0, 1, 2."""
    x = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 3)
    got = answers([operator("ResizeNearest", "x", "y", width_scale=1.5)], {"x": x}, "y")[0]
    assert got.tolist() == [[[[1, 1, 2, 3]]]]
    scales = np.array([1, 1.5], np.float32)
    np.testing.assert_array_equal(
        reference([operator("ResizeNearest", "x s", "y")], {"x": x}, "y", {"s": scales})[0], got
    )


def test_trap_26_upsample_nearest_doubles() -> None:
    x = np.array([[1, 2], [3, 4]], np.float32)[None, None]
    got = answers([operator("UpsampleNearest", "x", "y")], {"x": x}, "y")[0]
    np.testing.assert_array_equal(got, x.repeat(2, axis=2).repeat(2, axis=3))
    assert reference([operator("UpsampleNearest", "x", "y", scale=3)], {"x": x}, "y")[0].shape == (1, 1, 6, 6)


def test_trap_27_upsample_bilinear_aligns_corners() -> None:
    """From 0 to 3 in four steps of one: the first and the last pixel stay."""
    x = np.array([0, 3], np.float32).reshape(1, 1, 1, 2)
    got = answers([operator("UpsampleBilinear", "x", "y", width_scale=2.0)], {"x": x}, "y")[0]
    np.testing.assert_allclose(got.ravel(), [0, 1, 2, 3], rtol=1e-6)
