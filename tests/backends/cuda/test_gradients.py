"""Gradients, and layers on weights that the net computes, on an emulated card against the reference interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import answers, emulated_plan
from one_net import operator

from graphc.backends.cuda.kernels import conv_products
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.frontends.netdef import Operator
from graphc.plan import Plan

RNG = np.random.default_rng(17)


def data(*shape: int) -> np.ndarray:
    """Seeded floats."""
    return RNG.standard_normal(shape).astype(np.float32)


def templates(plan: Plan) -> set[str]:
    """The templates of a plan's kernels, without those that turn NHWC order around or zero."""
    return {k.template for k in plan.kernels} - {"copy", "transpose", "zero"}


WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "strides and pads": ((2, 3, 11, 9), (5, 3, 3, 2), {"kernels": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]}),
    "dilation": ((2, 2, 9, 9), (4, 2, 3, 3), {"kernel": 3, "dilation": 2, "pad": 2}),
    "groups": ((2, 4, 6, 7), (6, 2, 3, 3), {"kernel": 3, "group": 2, "pad": 1}),
    "order": ((2, 7, 6, 3), (4, 3, 2, 3), {"kernels": [3, 2], "stride": 2, "order": "NHWC"}),
    "rows": ((2, 3, 40), (70, 3, 5), {"kernels": [5], "strides": [2]}),
    "three": ((1, 2, 5, 4, 6), (3, 2, 2, 3, 2), {"kernels": [2, 3, 2], "strides": [1, 2, 1]}),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_convolution_and_its_gradients(name: str) -> None:
    shape, filters, window = WINDOWS[name]
    x, w, b = data(*shape), data(*filters), data(filters[0])
    plan, (y,) = answers([operator("Conv", "x w b", "y", **window)], {"x": x, "w": w, "b": b}, "y")
    assert templates(plan) == {"conv_products"}
    given = {"x": x, "w": w, "dy": data(*y.shape)}
    for outputs, extra in (("dw db dx", {}), ("dw dx", {"no_bias": 1}), ("dw db", {})):
        plan, _ = answers([operator("ConvGradient", "x w dy", outputs, **window, **extra)], given, outputs)
        assert "loop" not in templates(plan)


def test_sums_over_many_pixels_are_cut() -> None:
    x, w = data(3, 2, 30, 30), data(4, 2, 3, 3)
    ops = [operator("ConvGradient", "x w dy", "dw db", kernel=3)]
    plan, _ = answers(ops, {"x": x, "w": w, "dy": data(3, 4, 28, 28)}, "dw db", tolerance=4e-6)
    assert len(plan.code.card.launches) == 3  # pieces of the filter, their sums, and the bias


@pytest.mark.parametrize("tile", conv_products.TILES, ids=str)
def test_every_tile(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows and columns than a tile has, in all three products."""
    monkeypatch.setattr(conv_products, "TILES", (tile,))
    x, w = data(1, 130, 12, 12), data(131, 130, 1, 2)
    plan, (y,) = answers([operator("Conv", "x w", "y", kernels=[1, 2])], {"x": x, "w": w}, "y")
    (spec,) = plan.kernels
    assert {(name, value) for name, value in tile.static().items()} <= set(spec.params)
    given = {"x": x, "w": w, "dy": data(*y.shape)}
    answers([operator("ConvGradient", "x w dy", "dw dx", kernels=[1, 2], no_bias=1)], given, "dw dx")


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_transposed_convolution(order: str) -> None:
    x, w = data(2, 3, 5, 4), data(3, 4, 3, 3)
    if order == "NHWC":
        x, w = x.transpose(0, 2, 3, 1).copy(), w.transpose(0, 2, 3, 1).copy()
    window: dict[str, Any] = {"kernel": 3, "strides": [2, 3], "pads": [1, 0, 1, 1], "adjs": [1, 2], "order": order}
    plan, (y,) = answers([operator("ConvTranspose", "x w b", "y", **window)], {"x": x, "w": w, "b": data(4)}, "y")
    assert templates(plan) == {"conv_products"}
    ops = [operator("ConvTransposeGradient", "x w dy", "dw db dx", **window)]
    plan, _ = answers(ops, {"x": x, "w": w, "dy": data(*y.shape)}, "dw db dx")
    assert "loop" not in templates(plan)


def test_what_follows_a_convolution_is_part_of_it() -> None:
    ops: list[Operator] = [
        operator("Conv", "x w b", "c", kernel=3, pad=1),
        operator("Add", "c r", "s"),
        operator("Relu", "s", "y"),
    ]
    given = {"x": data(2, 3, 6, 5), "w": data(4, 3, 3, 3), "b": data(4), "r": data(2, 4, 6, 5)}
    plan, _ = answers(ops, given, "y")
    assert len(plan.kernels) == 1


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_of_products(transposed: bool) -> None:
    name, w = ("FCTransposedGradient", data(70, 33)) if transposed else ("FCGradient", data(33, 70))
    given = {"x": data(5, 7, 10), "w": w, "dy": data(5, 33)}
    for outputs in ("dw db dx", "dw db"):
        plan, _ = answers([operator(name, "x w dy", outputs)], given, outputs)
        assert "loop" not in templates(plan)


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_pooling_and_its_gradient(kind: str, order: str) -> None:
    shape = (2, 3, 7, 8) if order == "NCHW" else (2, 7, 8, 3)
    for window in ({"kernel": 3, "stride": 2, "pad": 1}, {"kernels": [2, 3], "strides": [3, 1]}, {"global_pooling": 1}):
        x, attrs = np.round(data(*shape), 1), {**window, "order": order}  # some are alike
        if kind == "Average" and "pad" in attrs:
            attrs["count_include_pad"] = 1
        _, (y,) = answers([operator(f"{kind}Pool", "x", "y", **attrs)], {"x": x}, "y")
        op = operator(f"{kind}PoolGradient", "x y dy", "dx", **attrs)
        plan, _ = answers([op], {"x": x, "y": y, "dy": data(*y.shape)}, "dx")
        assert "pool_sweep" in templates(plan)


def test_pooling_in_three_dimensions() -> None:
    x = data(2, 2, 5, 6, 4)
    for kind in ("Max", "Average"):
        window: dict[str, Any] = {"kernels": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 0, 1, 0, 1, 0]}
        _, (y,) = answers([operator(f"{kind}Pool3D", "x", "y", **window)], {"x": x}, "y")
        op = operator(f"{kind}Pool3DGradient", "x y dy", "dx", **window)
        answers([op], {"x": x, "y": y, "dy": data(*y.shape)}, "dx")


@pytest.mark.parametrize("shape", [(3, 2, 40, 50), (30, 5, 1), (2, 40, 50, 3)])
def test_normalisation_of_batches(shape: tuple[int, ...]) -> None:
    order = "NHWC" if shape[-1] == 3 else "NCHW"
    c = shape[-1] if order == "NHWC" else shape[1]
    given = {"x": data(*shape) + 3, "s": data(c), "b": data(c), "m": data(c), "v": np.abs(data(c))}
    ops = [operator("SpatialBN", "x s b m v", "y m v sm sv", order=order)]
    plan, (_, _, _, mean, inverse) = answers(ops, given, "y m v sm sv", tolerance=4e-6)
    assert templates(plan) == {"batch_moments", "batch_statistics", "batch_results"}
    assert (plan.code.card.launches[0].params[3] > 1) == (given["x"].size > 10000)  # pieces of a channel
    ops = [operator("SpatialBNGradient", "x s dy sm sv", "dx ds db", order=order)]
    back = {"x": given["x"], "s": given["s"], "dy": data(*shape), "sm": mean, "sv": inverse}
    plan, _ = answers(ops, back, "dx ds db", tolerance=2e-5)
    assert templates(plan) == {"batch_products", "batch_join", "batch_back"}


def test_a_batch_of_several_runs_on_the_card_by_its_loop() -> None:
    given = {name: data(4) for name in "sbmv"} | {"x": data(2, 4, 3, 3), "p": data(4), "q": np.abs(data(4)) + 9}
    ops = [operator("SpatialBN", "x s b m v p q", "y m v sm sv", num_batches=2)]
    plan = emulated_plan(ops, given, "y", {})
    assert templates(plan) == {"loop"}
