"""Traps of convolution and pooling windows: how arguments are spelled, sizes are rounded and borders are counted.

Expected values are worked out by hand on small images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from one_net import answers, operator, reference
from operator_calls import refusal, types

ROWS = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
"""0 ... 5 in the first row, 6 ... 11 in the second, and so on."""
ONES = np.ones((1, 1, 2, 2), np.float32)
X = {"x": ROWS}


def conv(**args: Any) -> np.ndarray:
    return reference([operator("Conv", "x w", "y", **args)], X, "y", {"w": ONES})[0]


def pool(op: str, x: np.ndarray, **args: Any) -> np.ndarray:
    return answers([operator(op, "x", "y", **args)], {"x": x}, "y")[0]


def test_trap_01_window_arguments_in_all_spellings() -> None:
    """A window of ones adds four pixels; without bias, in NCHW order unless told otherwise."""
    plain = ROWS[0, 0, :-1, :-1] + ROWS[0, 0, :-1, 1:] + ROWS[0, 0, 1:, :-1] + ROWS[0, 0, 1:, 1:]
    for kernel in ({"kernel": 2}, {"kernels": [2, 2]}, {"kernel_h": 2, "kernel_w": 2}):
        np.testing.assert_array_equal(conv(**kernel)[0, 0], plain)
    for stride in ({"stride": 2}, {"strides": [2, 2]}, {"stride_h": 2, "stride_w": 2}):
        np.testing.assert_array_equal(conv(kernel=2, **stride)[0, 0], plain[::2, ::2])
    corners = ROWS[0, 0, :-2, :-2] + ROWS[0, 0, :-2, 2:] + ROWS[0, 0, 2:, :-2] + ROWS[0, 0, 2:, 2:]
    for dilation in ({"dilation": 2}, {"dilations": [2, 2]}, {"dilation_h": 2, "dilation_w": 2}):
        np.testing.assert_array_equal(conv(kernel=2, **dilation)[0, 0], corners)
    for pad in ({"pad": 1}, {"pads": [1, 1, 1, 1]}):
        assert conv(kernel=2, **pad).shape == (1, 1, 7, 7)


def test_trap_01_pads_are_heads_then_tails() -> None:
    """t, l, b, r: pads [1, 0, 0, 2] add a row above and two columns to the right."""
    args = {"kernel": 2, "pads": [1, 0, 0, 2]}
    got = answers([operator("Conv", "x w", "y", **args)], X, "y", {"w": ONES})[0][0, 0]
    assert got.shape == (6, 7)
    np.testing.assert_array_equal(got[0], [1, 3, 5, 7, 9, 5, 0])  # sums of neighbours in the first row, then borders
    np.testing.assert_array_equal(conv(kernel=2, pad_t=1, pad_l=0, pad_b=0, pad_r=2)[0, 0], got)


def test_trap_01_groups_see_their_own_channels() -> None:
    x = np.concatenate([ROWS, 2 * ROWS], axis=1)
    w = np.concatenate([ONES, -ONES])
    got = answers([operator("Conv", "x w", "y", kernel=2, group=2)], {"x": x}, "y", {"w": w})[0]
    assert got[0, :, 0, 0].tolist() == [0 + 1 + 6 + 7, -2 * (0 + 1 + 6 + 7)]


def test_trap_02_output_sizes_round_down_in_float32() -> None:
    assert types("MaxPool", "float[1,1,8,9]", kernel=3, stride=2) == ["float[1,1,3,4]"]
    assert types("Conv", "float[1,1,10,10]", ONES, kernel=2, dilation=3) == ["float[1,1,7,7]"]
    # 25165823 / 3 + 1 is 8388608.67, but the nearest float32 of the dividend is 25165824.
    assert types("MaxPool", "float[1,1,1,25165824]", kernel=1, stride=3) == ["float[1,1,1,8388609]"]


def test_trap_03_legacy_pad_caffe_rounds_up() -> None:
    """(6 - 3) / 2 + 1 = 2.5 becomes 3; the last windows hang over the edge."""
    got = pool("MaxPool", ROWS, kernel=3, stride=2, legacy_pad=3)
    np.testing.assert_array_equal(got[0, 0], [[14, 16, 17], [26, 28, 29], [32, 34, 35]])
    assert types("MaxPool", "float[1,1,6,6]", kernel=3, stride=2) == ["float[1,1,2,2]"]


def test_trap_03_legacy_pad_caffe_drops_windows_in_the_border() -> None:
    """3 pixels, pad 1, kernel 2, stride 2: 2.5 becomes 3, but the third window would start behind the image."""
    assert types("MaxPool", "float[1,1,3,3]", kernel=2, stride=2, pad=1, legacy_pad=3) == ["float[1,1,2,2]"]
    assert types("MaxPool", "float[1,1,4,4]", kernel=2, stride=2, pad=1, legacy_pad=3) == ["float[1,1,3,3]"]


def test_trap_04_legacy_pad_same() -> None:
    """6 pixels, kernel 3, stride 2: 3 windows need 7 pixels; the missing one is behind the image."""
    got = pool("MaxPool", ROWS, kernel=3, stride=2, legacy_pad=2)
    np.testing.assert_array_equal(got[0, 0], [[14, 16, 17], [26, 28, 29], [32, 34, 35]])
    # Kernel 4, stride 1: 3 pixels are missing, one before the image and two behind.
    assert reference([operator("MaxPool", "x", "y", kernel=4, legacy_pad=2)], X, "y")[0][0, 0, 0, 0] == 14


def test_trap_05_max_pooling_ignores_the_border() -> None:
    """All pixels are negative: a border of zeros would win."""
    x = np.array([[[[-1, -2], [-3, -4]]]], np.float32)
    np.testing.assert_array_equal(pool("MaxPool", x, kernel=3, pad=1), np.full((1, 1, 2, 2), -1, np.float32))


@pytest.mark.parametrize(("args", "mean"), [({}, 10 / 4), ({"count_include_pad": 1}, 10 / 9)])
def test_trap_06_average_pooling_counts_the_pixels_of_the_image(args: dict[str, int], mean: float) -> None:
    x = np.array([[[[1, 2], [3, 4]]]], np.float32)
    np.testing.assert_allclose(pool("AveragePool", x, kernel=3, pad=1, **args), np.full((1, 1, 2, 2), mean), rtol=1e-6)


def test_trap_07_global_pooling_takes_the_whole_image() -> None:
    x = np.concatenate([ROWS, -ROWS], axis=1)
    np.testing.assert_allclose(pool("AveragePool", x, global_pooling=1).ravel(), [17.5, -17.5], rtol=1e-6)
    np.testing.assert_array_equal(pool("MaxPool", x, global_pooling=1).ravel(), [35, 0])
    assert reference([operator("MaxPool", "x", "y", global_pooling=1, kernel=2, stride=1)], X, "y")[0].shape[2:] == (
        1,
        1,
    )
    assert "global_pooling" in refusal("MaxPool", "float[1,1,6,6]", global_pooling=1, stride=2)
