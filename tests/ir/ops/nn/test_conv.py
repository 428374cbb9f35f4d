"""Convolutions by hand: groups, bias, dilation, transposition, orders, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, call, f32, refusal, types

RNG = np.random.default_rng(1)


def image(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def naive(x: np.ndarray, w: np.ndarray, stride: int, pad: int, dilation: int, group: int) -> np.ndarray:
    """Convolution by its definition, one output element at a time, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    maps, per_group, kh, kw = w.shape
    high = (x.shape[2] - dilation * (kh - 1) - 1) // stride + 1
    wide = (x.shape[3] - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((x.shape[0], maps, high, wide))
    for m in range(maps):
        first = m // (maps // group) * per_group
        for i in range(high):
            for j in range(wide):
                rows = slice(i * stride, i * stride + dilation * (kh - 1) + 1, dilation)
                columns = slice(j * stride, j * stride + dilation * (kw - 1) + 1, dilation)
                y[:, m, i, j] = (x[:, first : first + per_group, rows, columns] * w[m]).sum(axis=(1, 2, 3))
    return y


def test_against_the_definition() -> None:
    for stride, pad, dilation, group in ((1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2), (2, 1, 1, 4)):
        x, w = image(2, 4, 9, 8), image(8, 4 // group, 3, 2)
        args = {"kernel_h": 3, "kernel_w": 2, "stride": stride, "pad": pad, "dilation": dilation, "group": group}
        want = naive(x, w, stride, pad, dilation, group)
        np.testing.assert_allclose(answer("Conv", x, w, **args), want, rtol=1e-4, atol=1e-5)


def test_bias_is_optional() -> None:
    x, w = image(1, 3, 4, 4), image(2, 3, 1, 1)
    plain = answer("Conv", x, w, kernel=1)
    np.testing.assert_allclose(answer("Conv", x, w, f32(1, 2), kernel=1), plain + f32(1, 2).reshape(2, 1, 1), rtol=1e-6)
    assert "no_bias" in refusal("Conv", x, w, f32(1, 2), kernel=1, no_bias=1)
    assert "bias" in refusal("Conv", x, w, f32(1, 2, 3), kernel=1)


def test_nhwc_has_channels_last_in_weights_too() -> None:
    x, w = image(2, 4, 6, 5), image(6, 2, 3, 3)
    want = answer("Conv", x, w, kernel=3, group=2)
    got = answer(
        "Conv", x.transpose(0, 2, 3, 1).copy(), w.transpose(0, 2, 3, 1).copy(), kernel=3, group=2, order="NHWC"
    )
    np.testing.assert_allclose(got, want.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_refusals() -> None:
    assert "groups" in refusal("Conv", "float[1,4,5,5]", "float[6,1,3,3]", kernel=3, group=3)
    assert "groups" in refusal("Conv", "float[1,4,5,5]", "float[5,2,3,3]", kernel=3, group=2)
    assert "groups" in refusal("Conv", "float[1,4,5,5]", "float[4,4,3,3]", kernel=3, group=0)
    assert "input channels" in refusal("Conv", "float[1,3,5,5]", "float[8,4,3,3]", kernel=3)
    assert "kernel" in refusal("Conv", "float[1,4,5,5]", "float[8,4,3,3]", kernel=5, pad=2)
    assert "int32" in refusal("Conv", "int32[1,4,5,5]", "float[8,4,3,3]", kernel=3)
    assert "missing" in refusal("Conv", "float[1,4,5,5]", kernel=3)


def test_an_error_names_blobs() -> None:
    text = refusal("Conv", "float[1,3,5,5]", "float[8,4,3,3]", kernel=3)
    assert "'in0'" in text
    assert "'out0'" in text
    assert "help" in text


def test_transposed_convolution_is_the_convolution_backwards() -> None:
    # <conv(x), y> = <x, conv_transpose(y)> for every x and y.
    x, w, y = image(1, 3, 7, 7), image(4, 3, 3, 3), image(1, 4, 4, 4)
    forward = answer("Conv", x, w, kernel=3, stride=2, pad=1)
    backward = answer("ConvTranspose", y, w, kernel=3, stride=2, pad=1)
    assert backward.shape == x.shape
    np.testing.assert_allclose((forward * y).sum(), (x * backward).sum(), rtol=1e-4)


def test_transposed_convolution_sizes() -> None:
    weight = "float[4,5,3,3]"
    args = {"kernel": 3, "stride": 2, "pad": 1}
    assert types("ConvTranspose", "float[1,4,6,6]", weight, **args) == ["float[1,5,11,11]"]
    assert types("ConvTranspose", "float[1,4,6,6]", weight, adj=1, **args) == ["float[1,5,12,12]"]
    assert types("ConvTranspose", "float[1,4,6,6]", weight, group=2, **args) == ["float[1,10,11,11]"]
    assert "adj" in refusal("ConvTranspose", "float[1,4,6,6]", weight, adj=2, **args)
    assert "input channels" in refusal("ConvTranspose", "float[1,5,6,6]", weight, **args)


def test_transposed_groups_are_independent() -> None:
    x, w = image(1, 4, 3, 3), image(4, 2, 2, 2)
    whole = answer("ConvTranspose", x, w, kernel=2, stride=2, group=2)
    halves = [answer("ConvTranspose", x[:, i : i + 2], w[i : i + 2], kernel=2, stride=2) for i in (0, 2)]
    np.testing.assert_allclose(whole, np.concatenate(halves, axis=1), rtol=1e-5)


def test_flops_count_multiply_and_add() -> None:
    made = call("Conv", "float[1,3,8,8]", "float[16,3,3,3]", kernel=3, pad=1)
    assert made.opdef.flops
    assert made.opdef.flops(made) == 2 * 16 * 8 * 8 * 27
    fc = call("FC", "float[2,10]", "float[5,10]", "float[5]")
    assert fc.opdef.flops
    assert fc.opdef.flops(fc) == 2 * 5 * (2 * 10 + 1)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_float_and_half_are_not_mixed(op: str) -> None:
    types = ["float[1,2,4,4]", "float[2,2,1,1]", "float[2]"]
    for i in (1, 2):
        mixed = [t.replace("float", "float16") if k == i else t for k, t in enumerate(types)]
        assert "are float and float16" in refusal(op, *mixed, kernel=1)


def test_a_convolution_without_filters_has_no_channels() -> None:
    assert answer(
        "Conv", np.zeros((0, 2, 3, 3), np.float32), np.zeros((0, 1, 2, 2), np.float32), group=2, kernel=2
    ).shape == (0, 0, 2, 2)
