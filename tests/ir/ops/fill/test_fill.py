"""Fills by hand: shapes, element types, errors."""

from __future__ import annotations

import numpy as np
import operator_cases
import pytest
from operator_calls import refusal

from graphc.frontends.netdef import Operator
from graphc.ir.errors import RunError, VerifyError
from graphc.ir.opdef import Call, lookup
from graphc.ir.types import DType
from graphc.operators import run_operator


def call(op: str, *inputs: np.ndarray, **args: object) -> Call:
    return operator_cases.make_call(op, list(inputs), ["Y"], dict(args))


def answer(op: str, *inputs: np.ndarray, **args: object) -> np.ndarray:
    return operator_cases.run(call(op, *inputs, **args), list(inputs))[0]


@pytest.mark.parametrize(
    ("args", "dtype"),
    [
        ({}, DType.FLOAT),
        ({"value": 2.0}, DType.FLOAT),
        ({"value": 2}, DType.INT64),
        ({"value": 2.0, "dtype": 13}, DType.DOUBLE),
        ({"value": 1, "dtype": 5}, DType.BOOL),
        ({"value": 1.0, "dtype": b"INT32"}, DType.INT32),
    ],
)
def test_constant_fill_takes_its_type_from_dtype_or_value(args: dict[str, object], dtype: DType) -> None:
    y = answer("ConstantFill", shape=(2,), **args)
    assert y.dtype == dtype.numpy
    assert y.tolist() == [args.get("value", 0)] * 2


@pytest.mark.parametrize("v", [np.array([7], np.int32), np.array(-1.5), np.array([True])])
def test_a_second_input_holds_the_element(v: np.ndarray) -> None:
    x, dtype = np.zeros((2, 3), np.int8), DType.of(v.dtype).value
    y = answer("ConstantFill", x, v, dtype=dtype)
    assert (y.dtype, y.tolist()) == (v.dtype, [[v.item()] * 3] * 2)
    op = Operator("ConstantFill", ["x", "v"], ["y"], {"dtype": dtype})
    (compiled,) = run_operator(op, [x, v])
    np.testing.assert_array_equal(compiled, y)
    assert "elements of V" in refusal("ConstantFill", "float[2]", "float[2]")


def test_shape_from_the_input() -> None:
    x = np.zeros((2, 3), np.float32)
    assert answer("ConstantFill", x, value=1.0).shape == (2, 3)
    assert answer("ConstantFill", x, value=1.0, extra_shape=(4,)).shape == (2, 3, 4)
    dims = np.array([5, 1])
    assert answer("ConstantFill", dims, value=1.0, input_as_shape=1, extra_shape=(2,)).shape == (5, 1, 2)
    inferred = call("ConstantFill", dims, value=1.0, input_as_shape=1).node.results[0].type
    assert str(inferred) == "float[?,?]"


@pytest.mark.parametrize(
    ("inputs", "args", "message"),
    [
        ([], {"shape": 3}, "a list is needed"),
        ([], {"input_as_shape": 1}, "need an input"),
        ([np.zeros(2)], {"shape": (2,)}, "exclude each other"),
        ([], {"shape": (2,), "dtype": 99}, "argument 'dtype' is 99"),
    ],
)
def test_wrong_fills(inputs: list[np.ndarray], args: dict[str, object], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        call("ConstantFill", *inputs, **args)


def test_given_tensor_counts_its_values() -> None:
    assert answer("GivenTensorFill", shape=(2, 1), values=(1.0, 2.0)).tolist() == [[1], [2]]
    with pytest.raises(VerifyError, match="'values' has 2 elements"):
        call("GivenTensorFill", shape=(3,), values=(1.0, 2.0))


@pytest.mark.parametrize(
    ("bounds", "want"),
    [([4], [0, 1, 2, 3]), ([2, 5], [2, 3, 4]), ([5, 0, -1], [5, 4, 3, 2, 1]), ([5, 0, -2], [5, 3]), ([3, 3], [])],
)
def test_range(bounds: list[int], want: list[int]) -> None:
    """Of integers that go down by more than 1 Caffe2 leaves the last out where the step does not end on ``stop``."""
    assert answer("Range", *(np.array(b) for b in bounds)).tolist() == want


@pytest.mark.parametrize("op", ["XavierFill", "MSRAFill", "GaussianFill", "UniformFill", "UniformIntFill"])
def test_random_fills_repeat_themselves(op: str) -> None:
    first, again = answer(op, shape=(50, 40)), answer(op, shape=(50, 40))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) > 1
    assert lookup(op).args[-3].name == "shape"


def test_xavier_is_uniform_within_its_bound() -> None:
    y = answer("XavierFill", shape=(100, 3, 5, 5))
    bound = np.sqrt(3 / 75)
    assert abs(y).max() <= bound
    assert y.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_diagonals_go_on_where_a_matrix_is_high() -> None:
    assert answer("DiagonalFill", shape=(4, 2), value=1.0).tolist() == [[1, 0], [0, 1], [0, 0], [1, 0]]
    assert "negative size" in refusal("ConstantFill", shape=(-2, 3))


def test_a_range_of_whole_numbers_is_exact() -> None:
    """Beyond 2**53, where float64 has gaps; compiled, too, where absent inputs have another type."""
    big = np.array([2**60 + 1]), np.array([2**60 + 4])
    assert answer("Range", *big).tolist() == [2**60 + 1, 2**60 + 2, 2**60 + 3]
    (compiled,) = run_operator(Operator("Range", ["a", "b"], ["y"]), big)
    assert compiled.tolist() == [2**60 + 1, 2**60 + 2, 2**60 + 3]
    for far in (2**31, 2**63 - 1):
        with pytest.raises(RunError, match=r"more than 2\*\*31"):
            run_operator(Operator("Range", ["a"], ["y"]), [np.array([far])])
