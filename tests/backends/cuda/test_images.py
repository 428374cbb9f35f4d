"""Layers of nets that make pictures, for a card in the emulator, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers, data
from one_net import operator

# shape, maps, kernel, stride, pad, adj, group
TRANSPOSED = [
    ((2, 6, 5, 7), 9, 3, 2, 1, 1, 1),
    ((1, 8, 6, 5), 6, 4, 2, 1, 0, 2),
    ((1, 5, 4, 6), 3, 3, 1, 0, 0, 1),
    ((1, 4, 5, 3), 7, 2, 3, 0, 2, 1),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed_convolution(case) -> None:
    shape, maps, kernel, stride, pad, adj, group = case
    weights = {"w": data(shape[1], maps // group, kernel, kernel), "b": data(maps)}
    args = {"kernel": kernel, "stride": stride, "pad": pad, "adj": adj, "group": group}
    x = data(*shape)
    answers([operator("ConvTranspose", "x w b", "y", **args)], {"x": x}, "y", weights)


def test_transposed_convolution_with_an_epilogue() -> None:
    weights = {"w": data(5, 6, 3, 3), "s": data(6)}
    ops = [
        operator("ConvTranspose", "x w", "c", kernel=3, stride=2),
        operator("Mul", "c s", "d", broadcast=1, axis=1),
        operator("Add", "d r", "e"),
        operator("Relu", "e", "y"),
    ]
    plan, _ = answers(ops, {"x": data(2, 5, 4, 6), "r": data(2, 6, 9, 13)}, "y", weights)
    assert {k.template for k in plan.kernels} == {"conv"}


def test_a_place_between_the_taps_holds_the_bias() -> None:
    """A stride beyond the kernel leaves places that meet no input, even where the input is not finite."""
    weights = {"w": np.ones((1, 1, 1, 1), np.float32), "b": np.full(1, 7, np.float32)}
    x = np.full((1, 1, 2, 2), np.inf, np.float32)
    _, (y,) = answers([operator("ConvTranspose", "x w b", "y", kernel=1, stride=2)], {"x": x}, "y", weights)
    assert y[0, 0].tolist() == [[np.inf, 7, np.inf], [7, 7, 7], [np.inf, 7, np.inf]]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
@pytest.mark.parametrize("pads", [(1, 2, 3, 0), (2, -1, -2, 3)], ids=str)
def test_pad_image(mode: str, order: str, pads: tuple[int, ...]) -> None:
    top, left, bottom, right = pads
    args = {"pad_t": top, "pad_l": left, "pad_b": bottom, "pad_r": right, "mode": mode, "order": order, "value": 1.5}
    answers([operator("PadImage", "x", "y", **args)], {"x": data(2, 5, 6, 7)}, "y")


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_photos_become_planes_and_planes_photos(noise: float) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (2, 5, 7, 4)).astype(np.uint8)
    weights = {"mean": np.array([103.5, 116.25, 123.75], np.float32)}
    before = operator("PackedInt8BGRANHWCToNCHWCStylizerPreprocess", "x mean", "p", noise_std=noise, noise_size=11)
    after = operator("BRGNCHWCToPackedInt8BGRAStylizerDeprocess", "p mean", "y")
    answers([before], {"x": photo}, "p", weights)
    planes = 300 * data(2, 3, 5, 7)
    planes[0, 0, 0, 0] = np.inf
    answers([after], {"p": planes}, "y", weights)
    answers([before, after], {"x": photo}, "y", weights)
