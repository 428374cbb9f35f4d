"""Layers by products of four warps in the emulator, against the reference interpreter; what kernels need all of."""

from __future__ import annotations

import re

import numpy as np
import pytest
from emulated import emulated_plan
from emulated_card import EmulatedCard
from one_net import operator
from simt_memory import Fault
from test_half_layers import CONVOLUTIONS, IMAGES, data, halves, image, of_an_image
from tiles import use_only

from graphc.backends.cuda.kernels import tensor_tile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.kernels.warpgroup_tile import TILES
from graphc.backends.cuda.target import find
from graphc.backends.cuda.tiling import Problem, Tiling


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, channels, maps, kernel, stride, pad, dilation, group, precision = case
    use_only(monkeypatch, TILES[4])
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    first, weights = image(channels)
    weights |= {"w": data(maps, channels // group, kernel, kernel), "b": data(maps)}
    args = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "group": group}
    used = halves([first, operator("Conv", "r w b", "y", **args)], {"x": data(*shape)}, weights, precision)
    assert used == ["conv", "conv_tensor", "relayout"]


@pytest.mark.parametrize("case", IMAGES[:2], ids=str)
def test_an_image_of_few_channels(case, monkeypatch: pytest.MonkeyPatch) -> None:
    use_only(monkeypatch, TILES[4])
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    assert of_an_image(case) == case[-1]


@pytest.mark.parametrize("parts", [1, 3])
def test_fc_and_epilogue(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks of warpgroups side by side; parts whose steps are not equally many."""
    use_only(monkeypatch, TILES[1])
    monkeypatch.setattr(tensor_tile, "PARTS", (parts,))
    weights = {"v": data(200, 24), "w": data(270, 200), "b": data(270), "zero": np.zeros(200, np.float32)}
    ops = [
        operator("FC", "x v zero", "r"),
        operator("FC", "r w b", "f"),
        operator("Add", "f t", "s"),
        operator("Relu", "s", "y"),
    ]
    used = halves(ops, {"x": data(140, 24), "t": data(140, 270)}, weights)
    assert used[-1] == ("conv_tensor" if parts == 1 else "tensor_join")


# what is taken out of the kernel or weakened, and what the emulator says
MISTAKES = [
    (r"\bwait\(1\)", "wait(2)", "under way"),
    (r"publish\(\)", "None", "not published"),
    (r"barrier\(\)", "None", "without a barrier|not published, with a barrier"),
    (r"wgmma_fence\(\)", "None", "without a fence"),
    (r"wgmma_commit\(\)", "None", "products under way read"),
    (r"wgmma_wait\(sums, 1\)", "wgmma_wait(sums, 2)", "products under way read"),
    (r"wgmma_wait\(sums, 0\)", "sums", "touches sums while products are under way"),
    (r"if left > 4:", "if left > 3:", "outside of what was allocated|under way"),
    (r"ahead, left = i32\(0\), i32\((\d+)\)", r"ahead, left = i32(0), i32(\1 + TURN)", "under way"),
    # all products waited for, and what they read fetched anew at once: other warps may be behind
    (
        r"wgmma_commit\(\)(\s+if left > 4:\s+)to = ring \+ ahead",
        r"wgmma_commit(); sums = wgmma_wait(sums, 0)\1to = from_",
        "another one read, without a barrier",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=lambda part: part[:30])
def test_nothing_is_too_much(old: str, new: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = TILES[4]
    use_only(monkeypatch, tile)
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    first, weights = image(64)
    weights |= {"w": data(40, 64, 3, 3)}
    ops, inputs = [first, operator("Conv", "r w", "y", kernel=3, pad=1)], {"x": data(1, 4, 5, 5)}
    plan = emulated_plan(ops, inputs, "y", weights, precision={"*": "float16", "y": "float16"})
    sources = {spec.name: source for spec, source in plan.kernels.items()}
    (spec,) = (k for k in plan.kernels if k.template == "conv_tensor")
    text, count = re.subn(old, new.replace("TURN", str(2 * tile.stage)), sources[spec.name])
    assert count == 1
    plan.code.card = EmulatedCard({**sources, spec.name: text}.__getitem__)
    with pytest.raises(Fault, match=message):
        plan.run(inputs)


# kind, pixels, maps, channels, side of the window; of FC pixels are rows
LARGE = [
    ("fc", "f2", 4096, 4096, 4096, 1),
    ("conv", "f2", 64 * 56 * 56, 64, 64, 3),
    ("conv", "bf", 64 * 28 * 28, 128, 128, 3),
    ("conv", "u1", 64 * 14 * 14, 1024, 256, 1),
    ("conv", "f2", 64 * 7 * 7, 512, 512, 3),
]


@pytest.mark.parametrize(("op", "kind", "pixels", "maps", "channels", "side"), LARGE)
def test_large_products_are_those_of_warpgroups(
    op: str, kind: str, pixels: int, maps: int, channels: int, side: int
) -> None:
    """ResNet-50's at batch 64 among them. At batch 1 and on other cards they are those of warps."""
    large = Problem(op, kind, kind, pixels, maps, channels, kernel=(side, side), cuts=True)
    small = Problem(op, kind, kind, pixels // 64, maps, channels, kernel=(side, side), cuts=True)
    assert chosen(large, "cuda:sm_90a").tile.by == "wgmma"
    assert chosen(small, "cuda:sm_90a").tile.by == chosen(large, "cuda:sm_80").tile.by == "mma"


def chosen(problem: Problem, target: str) -> Tiling:
    """The tiling of a problem that has one."""
    tiling = decide(problem, find(target))
    assert tiling is not None
    return tiling
