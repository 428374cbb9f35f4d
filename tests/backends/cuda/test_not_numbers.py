"""Infinities and what is no number in images: products on tensor cores read nothing but what is in a window.

A step is filled up behind the last tap and the last channel; there weights are 0, and 0 times infinity is no number.
"""

from __future__ import annotations

import numpy as np
import pytest
from one_net import operator
from test_half_layers import CONVOLUTIONS, data, halves, image
from tiles import TILES, use_only

from graphc.backends.cuda.kernels import tensor_tile, warpgroup_tile


@pytest.mark.parametrize("together", [False, True], ids=["mma", "wgmma"])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, channels, maps, kernel, stride, pad, dilation, group, precision = case
    use_only(monkeypatch, warpgroup_tile.TILES[4] if together else TILES[0])
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    first, weights = image(channels)
    weights |= {"w": data(maps, channels // group, kernel, kernel), "b": data(maps)}
    args = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "group": group}
    x = data(*shape)
    x[0, 1, 3, 2], x[-1, 2, -1, -1] = np.inf, np.nan
    halves([first, operator("Conv", "r w b", "y", **args)], {"x": x}, weights, precision)
