"""Convolutions whose sums are cut into pieces, for a card in the emulator, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers
from one_net import operator

from graphc.backends.cuda.kernels import conv, conv_tile
from graphc.backends.cuda.kernels.conv_tile import TILES, Tile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.target import find
from graphc.backends.cuda.tiling import Problem, Tiling
from graphc.plan import Plan


def data(*shape: int) -> np.ndarray:
    """Seeded floats."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def cheap_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums so short that the emulator is quick are cut, too."""
    monkeypatch.setattr("graphc.backends.cuda.kernels.conv_tile.JOIN", 0)


def pieces(plan: Plan) -> int:
    """Into how many pieces the sums of a plan's convolution are cut, as its task says."""
    (task,) = (t for step in plan.schedules[0].steps for t in step if t.kernel.template == "conv_pieces")
    return int(task.params[len(conv.NAMES)])


# shape, maps, kernel, stride, pad, group
LAYERS = [
    ((1, 64, 7, 7), 40, 3, 1, 1, 1),
    ((1, 300, 5, 5), 70, 1, 1, 0, 1),
    ((2, 60, 6, 5), 34, 3, 2, 1, 2),
]


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_layers_with_few_results(case) -> None:
    shape, maps, kernel, stride, pad, group = case
    weights = {"w": data(maps, shape[1] // group, kernel, kernel), "b": data(maps)}
    ops = [
        operator("Conv", "x w b", "c", kernel=kernel, stride=stride, pad=pad, group=group),
        operator("Relu", "c", "y"),
    ]
    plan, _ = answers(ops, {"x": data(*shape)}, "y", weights, tolerance=3e-6)
    assert {k.template for k in plan.kernels} == {"conv_pieces", "conv_join"}
    assert pieces(plan) > 1
    for n in (1, 3):  # other sizes need no other kernels
        x = data(n, shape[1], 9, 8)
        answers(ops, {"x": x}, "y", weights, tolerance=3e-6)
        plan.run({"x": x})


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """More maps and pixels than a tile has, none a multiple of its sizes."""
    monkeypatch.setattr(conv_tile, "TILES", (tile,))
    monkeypatch.setattr(conv_tile, "SUM", 0)
    weights = {"w": data(130, 40, 3, 3)}
    x = {"x": data(1, 40, 12, 12)}
    plan, _ = answers([operator("Conv", "x w", "y", kernel=3, pad=1)], x, "y", weights, tolerance=3e-6)
    (spec,) = (k for k in plan.kernels if k.template == "conv_pieces")
    assert {(name, value) for name, value in tile.static().items()} <= set(spec.params)
    assert pieces(plan) > 1


def test_an_epilogue_comes_last() -> None:
    weights = {"w": data(20, 64, 3, 3), "s": data(20)}
    ops = [
        operator("Conv", "x w", "c", kernel=3, pad=1),
        operator("Mul", "c s", "d", broadcast=1, axis=1),
        operator("Add", "d r", "e"),
        operator("Relu", "e", "y"),
    ]
    plan, _ = answers(ops, {"x": data(1, 64, 5, 7), "r": data(1, 20, 5, 7)}, "y", weights, tolerance=3e-6)
    assert {k.template for k in plan.kernels} == {"conv_pieces", "conv_join"}


def test_only_sums_that_leave_the_card_idle_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    target = find("cuda:sm_90a")

    def best(maps: int, pixels: int, channels: int, side: int) -> Tiling:
        found = decide(Problem("conv", "f4", "f4", pixels, maps, channels, kernel=(side, side), cuts=True), target)
        assert found is not None
        return found

    assert best(512, 49, 512, 3).parts > 1
    assert best(256, 64 * 56 * 56, 64, 3) == Tiling(TILES[0], 1)
    assert best(64, 56 * 56, 64, 1).parts == 1
