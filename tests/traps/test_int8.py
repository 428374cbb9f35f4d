"""Traps of Caffe2's 8-bit operators: rounding, zero points, order of dimensions. Expected values are by hand."""

from __future__ import annotations

import numpy as np
from one_net import operator, reference
from operator_calls import refusal

from graphc.frontends.netdef import Operator


def quantised(x: list[float], scale: float, zero: int) -> list[int]:
    ops = [operator("Int8Quantize", "x", "y", Y_scale=scale, Y_zero_point=zero)]
    return reference(ops, {"x": np.array(x, np.float32)}, "y")[0].tolist()


def test_trap_38_int8_rounds_halves_to_even() -> None:
    assert quantised([0.5, 1.5, 2.5, 3.5], 1.0, 0) == [0, 2, 2, 4]
    assert quantised([-0.5, -1.5, 0.25, 100], 0.5, 10) == [9, 7, 10, 210]  # 0.25 / 0.5 is a half, too
    assert quantised([-1000, 1000], 1.0, 128) == [0, 255]


def test_trap_38_int8_there_and_back() -> None:
    ops = [
        operator("Int8Quantize", "x", "q", Y_scale=0.25, Y_zero_point=100),
        operator("Int8Dequantize", "q", "y"),
    ]
    x = np.array([-25, -0.25, 0, 0.3, 38.75], np.float32)
    assert reference(ops, {"x": x}, "y")[0].tolist() == [-25, -0.25, 0, 0.25, 38.75]


def test_trap_38_int8_convolution_is_nhwc_and_subtracts_zero_points() -> None:
    """Two channels of one pixel: real 0.5 and -1, weights 2 and 3, bias 1: -1, which is 124 in quarters from 128."""
    filter = {"shape": (1, 1, 1, 2), "values": bytes([130, 131]), "Y_scale": 1.0, "Y_zero_point": 128}
    bias = {"shape": (1,), "values": (2,), "Y_scale": 0.5, "Y_zero_point": 0}
    ops = [
        Operator("Int8GivenTensorFill", [], ["w"], filter),
        Operator("Int8GivenIntTensorFill", [], ["b"], bias),
        operator("Int8Quantize", "x", "q", Y_scale=0.5, Y_zero_point=4),
        operator("Int8Conv", "q w b", "r", kernel=1, order="NHWC", Y_scale=0.25, Y_zero_point=128),
        operator("Int8Dequantize", "r", "y"),
    ]
    x = np.array([0.5, -1], np.float32).reshape(1, 1, 1, 2)
    q, r, y = reference(ops, {"x": x}, "q r y")
    assert q.ravel().tolist() == [5, 2]
    assert r.ravel().tolist() == [124]
    assert y.tolist() == [[[[-1]]]]
    operands = ("uint8[1,2,1,1]{scale=0.5,zero=4}", "uint8[1,1,1,2]{scale=1.0,zero=128}", "int32[1]{scale=0.5,zero=0}")
    assert "NHWC" in refusal("Int8Conv", *operands, kernel=1, order="NCHW")


def test_trap_38_int8_softmax_has_one_scale() -> None:
    x = "uint8[1,4]{scale=0.1,zero=0}"
    for wrong in ({"Y_scale": 0.5, "Y_zero_point": 0}, {"Y_scale": 1 / 256, "Y_zero_point": 1}):
        assert "256" in refusal("Int8Softmax", x, **wrong)
    ops = [
        operator("Int8Quantize", "x", "q", Y_scale=0.1, Y_zero_point=0),
        operator("Int8Softmax", "q", "y", Y_scale=1 / 256, Y_zero_point=0),
    ]
    assert reference(ops, {"x": np.zeros((1, 4), np.float32)}, "y")[0].tolist() == [[64] * 4]
