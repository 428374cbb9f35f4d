"""Windows of convolution and pooling: argument forms, sizes, legacy padding, refusals, symbolic images."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, call, f32, refusal, types

from graphc.ir.ops._window import window

IMAGE = "float[1,4,10,12]"


@pytest.mark.parametrize(
    "args",
    [
        {"kernel": 3, "stride": 2, "pad": 1},
        {"kernels": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_h": 3, "kernel_w": 3, "stride_h": 2, "stride_w": 2, "pad_t": 1, "pad_l": 1, "pad_b": 1, "pad_r": 1},
    ],
)
def test_the_three_forms_of_arguments_are_one(args: dict) -> None:
    w = window(call("MaxPool", IMAGE, **args))
    assert (w.kernel, w.stride, w.pads) == ((3, 3), (2, 2), (1, 1, 1, 1))
    assert types("MaxPool", IMAGE, **args) == ["float[1,4,5,6]"]


def test_pads_are_all_heads_then_all_tails() -> None:
    w = window(call("MaxPool", IMAGE, kernel=5, pads=[1, 2, 3, 4]))
    assert (w.heads, w.tails) == ((1, 2), (3, 4))
    assert types("MaxPool", IMAGE, kernel=5, pads=[1, 2, 3, 4]) == ["float[1,4,10,14]"]


def test_sizes_round_down_and_legacy_pad_3_rounds_up() -> None:
    assert types("MaxPool", "float[1,1,6,6]", kernel=3, stride=2) == ["float[1,1,2,2]"]
    assert types("MaxPool", "float[1,1,6,6]", kernel=3, stride=2, legacy_pad=3) == ["float[1,1,3,3]"]
    assert window(call("MaxPool", "float[1,1,6,6]", kernel=3, stride=2, legacy_pad=3)).pads == (0, 0, 2, 2)


def test_legacy_pad_3_drops_a_window_that_starts_in_the_border() -> None:
    # ceil((4 + 2 - 2) / 3 + 1) = 3 windows at -1, 2, 5; the third starts at or behind the end, 4, and is dropped.
    assert types("MaxPool", "float[1,1,4,4]", kernel=2, stride=3, pad=1, legacy_pad=3) == ["float[1,1,2,2]"]


def test_legacy_pad_3_values() -> None:
    x = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    got = answer("MaxPool", x, kernel=3, stride=2, legacy_pad=3)
    assert got[0, 0].tolist() == [[14, 16, 17], [26, 28, 29], [32, 34, 35]]


def test_legacy_pad_same_pads_the_tail_more() -> None:
    w = window(call("MaxPool", "float[1,1,5,6]", kernel=4, stride=1, legacy_pad=2))
    assert w.pads == (1, 1, 2, 2)
    assert types("MaxPool", "float[1,1,5,6]", kernel=3, stride=2, legacy_pad=2) == ["float[1,1,3,3]"]


def test_legacy_pad_valid_has_no_border() -> None:
    assert types("AveragePool", "float[1,1,7,8]", kernel=3, stride=2, legacy_pad=1) == ["float[1,1,3,3]"]


def test_sizes_are_computed_in_float32() -> None:
    # 2**24 + 1 does not exist in float32: Caffe2 loses the odd pixel, and so does graphc.
    assert types("MaxPool", f"float[1,1,1,{2**24 + 2}]", kernel_h=1, kernel_w=2) == [f"float[1,1,1,{2**24}]"]


def test_average_counts_only_pixels_of_the_image() -> None:
    x = np.ones((1, 1, 3, 3), np.float32)
    assert answer("AveragePool", x, kernel=3, pad=1, stride=2)[0, 0].tolist() == [[1, 1], [1, 1]]
    whole = answer("AveragePool", x, kernel=3, pad=1, stride=2, count_include_pad=1)[0, 0]
    np.testing.assert_allclose(whole, np.full((2, 2), 4 / 9), rtol=1e-6)


def test_max_pool_ignores_the_border() -> None:
    assert answer("MaxPool", -np.ones((1, 1, 2, 2), np.float32), kernel=3, pad=1)[0, 0].tolist() == [[-1, -1], [-1, -1]]


def test_global_pooling_takes_the_image() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    assert answer("AveragePool", x, global_pooling=1).ravel().tolist() == [2.5, 8.5]
    assert answer("MaxPool", x, global_pooling=1).shape == (1, 2, 1, 1)
    assert types("AveragePool", "float[N,C,H,W]", global_pooling=1) == ["float[N,C,1,1]"]
    assert "global_pooling" in refusal("AveragePool", IMAGE, global_pooling=1, pad=1)
    assert "global_pooling" in refusal("AveragePool", IMAGE, global_pooling=1, stride=2)


def test_nhwc_is_the_same_image() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32)
    for op in ("MaxPool", "AveragePool"):
        plain = answer(op, x, kernel=3, stride=2, pad=1)
        last = answer(op, x.transpose(0, 2, 3, 1).copy(), kernel=3, stride=2, pad=1, order="NHWC")
        np.testing.assert_array_equal(last, plain.transpose(0, 2, 3, 1))


def test_symbolic_images() -> None:
    assert types("Conv", "float[N,3,H,W]", "float[8,3,3,3]", kernel=3, pad=1) == ["float[N,8,H,W]"]
    assert types("MaxPool", "float[N,3,H,W]", kernel=2, stride=2) == ["float[N,3,(H-2)//2+1,(W-2)//2+1]"]
    assert types("MaxPool", "float[N,3,H,W]", kernel=3, stride=2, legacy_pad=3) == ["float[N,3,?,?]"]
    assert types("Conv", "float[*]", "float[8,3,3,3]", kernel=3) == ["float[*]"]
    assert types("ConvTranspose", "float[N,4,H,W]", "float[4,5,2,2]", kernel=2, stride=2) == ["float[N,5,H*2,W*2]"]


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"kernel": 0},
        {"kernel": -1},
        {"kernel": 2**40},
        {"kernel": 3, "stride": 0},
        {"kernel": 3, "stride": -1},
        {"kernel": 3, "pad": -1},
        {"kernel": 3, "pad": 2**40},
        {"kernel": 3, "dilation": 0},
        {"kernel": 11},
        {"kernel": 3, "pads": [1, 1]},
        {"kernels": [3, 3, 3]},
        {"kernel": 3, "legacy_pad": 4},
        {"kernel": 3, "legacy_pad": 2, "pad": 1},
        {"kernel": 3, "order": "NCWH"},
    ],
)
def test_absurd_windows_are_refused(args: dict) -> None:
    for op, weight in (("MaxPool", ()), ("Conv", ("float[8,4,3,3]",))):
        assert refusal(op, IMAGE, *weight, **args)


def test_pooling_refuses_what_caffe2_refuses() -> None:
    assert "not smaller" in refusal("MaxPool", IMAGE, kernel=2, pad=2)
    assert "dilation" in refusal("AveragePool", IMAGE, kernel=2, dilation=2)


def test_one_and_three_dimensions() -> None:
    x = f32([[[1, 2, 3, 4]]])
    assert answer("MaxPool1D", x, kernels=[2], strides=[2]).tolist() == [[[2, 4]]]
    assert answer("Conv1D", x, f32([[[1, -1]]]), kernels=[2]).tolist() == [[[-1, -1, -1]]]
    cube = np.ones((1, 1, 3, 3, 3), np.float32)
    assert answer("Conv3D", cube, np.ones((1, 1, 2, 2, 2), np.float32), kernels=[2, 2, 2]).max() == 8


def test_lp_pool() -> None:
    assert answer("LpPool", f32([[[[3, 4], [0, 0]]]]), kernel=2).tolist() == [[[[5]]]]
