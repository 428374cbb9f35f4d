"""Int8 operators by hand: rounding, clamping, scales that must agree, unknown types."""

from __future__ import annotations

import math

import numpy as np
import operator_cases
import pytest

from graphc.ir.errors import RunError, VerifyError
from graphc.ir.graph import Node, Value
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.types import TensorType


def int8(values: object, scale: float, zero: int) -> tuple[str, np.ndarray, float, int]:
    return ("int8", np.array(values, np.uint8), scale, zero)


def answer(op: str, *inputs: object, **args: object) -> np.ndarray:
    call = operator_cases.make_call(op, list(inputs), ["Y"], dict(args))
    return evaluate_node(call.node, [operator_cases.array_of(v) for v in inputs])[0]


def test_halves_go_to_the_even_neighbour_and_the_ends_clamp() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -20, 300], np.float32)
    assert answer("Int8Quantize", x, Y_scale=1.0, Y_zero_point=10).tolist() == [10, 12, 12, 10, 0, 255]


def test_convolution_is_exact_in_integers() -> None:
    """(3-1) * (5-4) + (7-1) * (2-4) + 6 = -4 units of 0.5 * 0.25; the result's unit is 0.125."""
    x, w = int8([[[[3, 7]]]], 0.5, 1), int8([[[[5, 2]]]], 0.25, 4)
    bias = ("int8", np.array([6], np.int32), 0.125, 0)
    args = {"kernel": 1, "Y_scale": 0.125, "Y_zero_point": 9}
    assert answer("Int8Conv", x, w, bias, **args).tolist() == [[[[5]]]]
    assert answer("Int8ConvRelu", x, w, bias, **args).tolist() == [[[[9]]]]


def test_matrix_product() -> None:
    x, w = int8([[3, 7]], 0.5, 1), int8([[5, 2], [4, 6]], 0.25, 4)
    bias = ("int8", np.array([6, 0], np.int32), 0.125, 0)
    assert answer("Int8FC", x, w, bias, Y_scale=0.125, Y_zero_point=9).tolist() == [[5, 21]]
    with pytest.raises(VerifyError, match="a row of X has 2 elements, one of W 3"):
        answer("Int8FC", x, int8([[1, 2, 3]], 1.0, 0), ("int8", np.zeros(1, np.int32), 1.0, 0))


def test_sum_of_different_scales() -> None:
    a, b = int8([10, 0], 0.5, 4), int8([3, 9], 0.25, 7)
    assert answer("Int8Sum", a, b, Y_scale=0.5, Y_zero_point=100).tolist() == [104, 97]
    assert answer("Int8SumRelu", a, b, Y_scale=0.5, Y_zero_point=100).tolist() == [104, 100]


def test_softmax_in_units_of_a_256th() -> None:
    x = int8([[10, 10, 10, 10], [0, 0, 0, 255]], 1.0, 0)
    assert answer("Int8Softmax", x, Y_scale=1 / 256).tolist() == [[64] * 4, [0, 0, 0, 255]]
    with pytest.raises(VerifyError, match="Y_scale = 1/256"):
        answer("Int8Softmax", x, Y_scale=0.5)


def test_relu_keeps_scale_and_zero_point() -> None:
    assert answer("Int8Relu", int8([0, 5, 9], 0.5, 5), Y_scale=0.5, Y_zero_point=5).tolist() == [5, 5, 9]
    with pytest.raises(VerifyError, match=r"X has scale 0\.5 and zero point 5"):
        answer("Int8Relu", int8([0], 0.5, 5), Y_scale=0.25, Y_zero_point=5)


def test_unquantised_input_is_refused() -> None:
    with pytest.raises(VerifyError, match=r"input 0 \(X\) is not quantised"):
        answer("Int8Dequantize", np.zeros(2, np.uint8))


def test_unknown_weights_leave_unknown_channels() -> None:
    operands = [Value(TensorType.parse("uint8[N,H,W,3]{scale=0.5,zero=1}")), Value(TensorType()), Value(TensorType())]
    args = {"kernel": 3, "stride": 2, "pad": 1, "Y_scale": 0.5, "Y_zero_point": 0}
    node = Node("Int8Conv", operands, [Value(TensorType(), "y")], args)
    (y,) = node.opdef.infer(Call(node))
    assert str(y) == "uint8[N,(H-1)//2+1,(W-1)//2+1,?]{scale=0.5,zero=0}"


def test_order_nchw_is_refused() -> None:
    x, w = int8(np.zeros((1, 2, 2, 1)), 1.0, 0), int8(np.zeros((1, 1, 1, 1)), 1.0, 0)
    with pytest.raises(VerifyError, match="order 'NCHW' is not supported"):
        answer("Int8Conv", x, w, kernel=1, order=b"NCHW")


@pytest.mark.parametrize("scale", [0.0, 1e-45, math.inf, math.nan])
def test_scales_of_a_result_are_normal_numbers(scale: float) -> None:
    with pytest.raises(VerifyError, match="a finite scale of at least"):
        answer("Int8AveragePool", int8(np.ones((1, 2, 2, 1)), 1.0, 0), kernel=2, Y_scale=scale)


def test_scales_of_inputs_are_positive() -> None:
    with pytest.raises(VerifyError, match="a positive finite one is needed"):
        answer("Int8AveragePool", int8(np.ones((1, 2, 2, 1)), -1.0, 0), kernel=2)


@pytest.mark.parametrize("zero", [-1, 256])
def test_zero_points_of_weights_are_bytes(zero: int) -> None:
    x, w = int8(np.ones((1, 2, 2, 1)), 1.0, 0), int8(np.ones((1, 1, 1, 1)), 1.0, zero)
    with pytest.raises(VerifyError, match=rf"input 1 \(filter\) has the zero point {zero}, 0 ... 255 is possible"):
        answer("Int8Conv", x, w, np.zeros(1, np.int32), kernel=1)


def test_a_mean_beyond_all_numbers_is_the_greatest() -> None:
    x = int8(np.full((1, 2, 2, 1), 255), 3e38, 0)
    assert answer("Int8AveragePool", x, kernel=2, Y_scale=2e-38).ravel().tolist() == [255]


def test_an_infinite_scale_of_an_image_is_refused() -> None:
    with pytest.raises(VerifyError, match="positive finite scales"):
        answer("Int8ResizeNearest", int8(np.ones((1, 2, 2, 1)), 1.0, 0), height_scale=math.inf)


@pytest.mark.parametrize("size", [5e5, 1e30, math.inf, math.nan])
def test_boxes_too_large_to_be_sampled(size: float) -> None:
    x, box = int8(np.ones((1, 2, 2, 1)), 1.0, 0), np.array([[0, 0, size, size]], np.float32)
    with pytest.raises(RunError, match="too large to be sampled"):
        answer("Int8RoIAlign", x, box)
    with pytest.raises(VerifyError, match="sampling_ratio"):
        answer("Int8RoIAlign", x, box, sampling_ratio=10**6)
