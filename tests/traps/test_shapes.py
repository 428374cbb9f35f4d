"""Traps of broadcasting, cutting, joining and reshaping, fills and casts. Expected values are NumPy's or by hand."""

from __future__ import annotations

import numpy as np
import pytest
from one_net import answers, operator, reference
from operator_calls import answer, types

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(("op", "by"), [("Add", np.add), ("Mul", np.multiply)])
def test_trap_13_broadcast_at_axis(op: str, by: np.ufunc) -> None:
    """Old nets: the second operand's dimensions are those of the first from ``axis`` on (densenet121)."""
    b = np.array([1, 10, 100], np.float32)
    got = answers([operator(op, "x b", "y", broadcast=1, axis=1)], {"x": CUBE}, "y", {"b": b})[0]
    np.testing.assert_array_equal(got, by(CUBE, b[:, None]))


def test_trap_13_broadcast_without_axis_aligns_at_the_end() -> None:
    got = answers([operator("Sub", "x b", "y", broadcast=1)], {"x": CUBE}, "y", {"b": TABLE})[0]
    np.testing.assert_array_equal(got, CUBE - TABLE)


def test_trap_13_new_nets_broadcast_as_numpy() -> None:
    column = np.array([[1], [2], [4]], np.float32)
    got = answers([operator("Div", "b x", "y")], {"x": CUBE + 1}, "y", {"b": column})[0]
    np.testing.assert_allclose(got, column / (CUBE + 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("starts", "ends", "want"),
    [
        ([0, 1], [-1, -1], TABLE[:, 1:]),  # -1 is the end, not one before it
        ([0, 0], [-2, 3], TABLE[:2, :3]),
        ([-2, -3], [-1, -1], TABLE[2:, 2:]),  # -2 is the last row
        ([1, 1], [2, 3], TABLE[1:2, 1:3]),
    ],
)
def test_trap_14_slice_counts_from_behind_the_end(starts: list[int], ends: list[int], want: np.ndarray) -> None:
    np.testing.assert_array_equal(answer("Slice", TABLE, starts=starts, ends=ends), want)
    bounds = [np.array(v, np.int32) for v in (starts, ends)]
    np.testing.assert_array_equal(answer("Slice", TABLE, *bounds), want)


def test_trap_14_slice_compiled() -> None:
    ops = [operator("Slice", "x", "y", starts=[0, -3], ends=[-2, -1])]
    np.testing.assert_array_equal(answers(ops, {"x": TABLE}, "y")[0], TABLE[:2, 2:])
    bounds = {"starts": np.array([0, -3], np.int32), "ends": np.array([-2, -1], np.int32)}
    np.testing.assert_array_equal(
        answers([operator("Slice", "x starts ends", "y")], {"x": TABLE}, "y", bounds)[0], TABLE[:2, 2:]
    )


def test_trap_15_concat_has_a_second_output() -> None:
    ops = [operator("Concat", "x y", "z info", axis=1)]
    inputs = {"x": TABLE, "y": TABLE[:, :1]}
    z, info = answers(ops, inputs, "z info")
    np.testing.assert_array_equal(z, np.concatenate([TABLE, TABLE[:, :1]], axis=1))
    assert (info.dtype, info.tolist()) == (np.dtype(np.int32), [4, 1])


def test_trap_15_concat_joins_channels_of_the_order() -> None:
    image = "float[1,2,3,4]"
    assert types("Concat", image, image)[0] == "float[1,4,3,4]"
    assert types("Concat", image, image, order="NHWC")[0] == "float[1,2,3,8]"
    assert types("Concat", image, image, axis=2)[0] == "float[1,2,6,4]"


def test_trap_15_concat_stacks_along_a_new_dimension() -> None:
    ops = [operator("Concat", "x y", "z info", axis=1, add_axis=1)]
    z = answers(ops, {"x": TABLE, "y": -TABLE}, "z")[0]
    np.testing.assert_array_equal(z, np.stack([TABLE, -TABLE], axis=1))


def test_trap_15_split() -> None:
    equal = answers([operator("Split", "x", "a b", axis=1)], {"x": TABLE}, "a b")
    for got, want in zip(equal, np.split(TABLE, 2, axis=1)):
        np.testing.assert_array_equal(got, want)
    parts = answers([operator("Split", "x", "a b", axis=1, split=[3, 1])], {"x": TABLE}, "a b")
    told = answers([operator("Split", "x s", "a b", axis=1)], {"x": TABLE}, "a b", {"s": np.array([3, 1], np.int32)})
    for got, same, want in zip(parts, told, (TABLE[:, :3], TABLE[:, 3:])):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(same, want)


def test_trap_15_split_undoes_concat() -> None:
    """split_info is what the second input of Split takes."""
    ops = [operator("Concat", "x y", "z info", axis=0), operator("Split", "z info", "a b", axis=0)]
    got = answers(ops, {"x": TABLE, "y": TABLE[:1]}, "a b")
    np.testing.assert_array_equal(got[0], TABLE)
    np.testing.assert_array_equal(got[1], TABLE[:1])


def test_trap_16_reshape_keeps_and_infers_dimensions() -> None:
    y, old = answers([operator("Reshape", "x", "y old", shape=[0, -1])], {"x": CUBE}, "y old")
    np.testing.assert_array_equal(y, CUBE.reshape(2, 12))
    assert (old.dtype, old.tolist()) == (np.dtype(np.int64), [2, 3, 4])


def test_trap_16_reshape_takes_the_shape_as_input() -> None:
    shape = {"shape": np.array([4, 0, -1], np.int64)}
    y = answers([operator("Reshape", "x shape", "y old")], {"x": CUBE}, "y", shape)[0]
    np.testing.assert_array_equal(y, CUBE.reshape(4, 3, 2))


def test_trap_17_constant_fill() -> None:
    def filled(x: np.ndarray | None = None, **args: object) -> np.ndarray:
        return answer("ConstantFill", *([] if x is None else [x]), **args)

    assert filled(shape=[2, 3]).tolist() == [[0.0] * 3] * 2
    assert filled(shape=[2]).dtype == np.float32
    assert filled(shape=[2], value=7, dtype=10).dtype == np.int64
    assert filled(shape=[2], value=7, dtype=2).tolist() == [7, 7]
    assert filled(shape=[1], value=1, dtype=5).dtype == np.bool_
    assert filled(CUBE, value=2.5).shape == CUBE.shape
    assert filled(CUBE, extra_shape=[5]).shape == (2, 3, 4, 5)
    assert filled(np.array([3, 2], np.int64), input_as_shape=1).shape == (3, 2)


def test_trap_17_constant_fill_takes_its_type_from_the_value() -> None:
    assert answer("ConstantFill", shape=[2], value=7).dtype == np.int64
    assert answer("ConstantFill", shape=[2], value=7.0).dtype == np.float32


def test_trap_17_constant_fill_compiled() -> None:
    ops = [operator("ConstantFill", "", "c", shape=[4], value=0.5), operator("Mul", "x c", "y", broadcast=1)]
    np.testing.assert_array_equal(answers(ops, {"x": TABLE}, "y")[0], TABLE / 2)


def test_trap_18_cast_truncates() -> None:
    x = np.array([1.9, -1.9, 0.5, -0.5], np.float32)
    for to in (2, "INT32", "int32"):
        got = answer("Cast", x, to=to)
        assert (got.dtype, got.tolist()) == (np.dtype(np.int32), [1, -1, 0, 0])
    assert answers([operator("Cast", "x", "y", to=2)], {"x": x}, "y")[0].tolist() == [1, -1, 0, 0]


def test_trap_19_flatten_and_dims() -> None:
    def shape(op: str, **args: object) -> tuple[int, ...]:
        return answers([operator("Relu", "x", "r"), operator(op, "r", "y", **args)], {"x": CUBE}, "y")[0].shape

    assert shape("Flatten") == (2, 12)
    assert shape("Flatten", axis=2) == (6, 4)
    assert shape("Flatten", axis=0) == (1, 24)
    assert shape("FlattenToVec") == (24,)
    assert shape("ExpandDims", dims=[0, 2]) == (1, 2, 1, 3, 4)
    assert shape("ExpandDims", dims=[2, 0, 2]) == (1, 2, 1, 3, 4)  # a set, in order
    assert types("Squeeze", "float[1,2,1,3]", dims=[2, 0, 2]) == ["float[2,3]"]


def test_trap_20_clip_has_the_bounds_of_the_type() -> None:
    x = np.array([-3e38, -1, 2, 3e38], np.float32)
    np.testing.assert_array_equal(reference([operator("Clip", "x", "y")], {"x": x}, "y")[0], x)
    np.testing.assert_array_equal(answers([operator("Clip", "x", "y", min=0.0)], {"x": x}, "y")[0], np.maximum(x, 0))
