"""Layers that multiply in TF32 for a card in the emulator: against the reference interpreter, which rounds what they
multiply, and against float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from emulated import data, emulated_plan
from one_net import operator, reference
from test_half_layers import image
from tiles import TILES, use_only, watch_memory

import graphc
from graphc.backends.cuda.kernels import tensor_tile, warpgroup_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.target import TARGETS
from graphc.backends.cuda.tiling import Problem, Tiling
from graphc.frontends.netdef import Operator
from graphc.ir.reference import run_graph
from graphc.plan import Plan

EXACT = 2e-6
"""What sums of some hundred products lose in float32, of the largest result: as of other kernels."""
ROUNDED = 2e-3
"""Two operands are rounded to 11 bits, each by at most 2^-11 = 5e-4 of itself, in two layers behind one another."""


def tf32(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    precision: graphc.compiler.Precision = "tf32",
) -> tuple[Plan, list[str]]:
    """The plan of a net with the output y, and its templates; y is checked."""
    plan = emulated_plan(ops, inputs, "y", weights, precision=precision)
    check(plan, ops, inputs, weights)
    return plan, [k.template for k in plan.kernels]


def check(
    plan: Plan, ops: Sequence[Operator], inputs: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> None:
    """Run a plan, whose answers are those of rounded operands, near float32's and not equal to them."""
    got = plan.run(inputs)["y"]
    (rounded,) = run_graph(plan.graph, [inputs[v.name] for v in plan.graph.inputs])
    (exact,) = reference(ops, inputs, "y", weights)
    scale = float(np.abs(exact).max())
    np.testing.assert_allclose(got, rounded, rtol=0, atol=EXACT * scale)
    np.testing.assert_allclose(got, exact, rtol=0, atol=ROUNDED * scale)
    assert np.abs(got - exact).max() > 10 * EXACT * scale


# shape, channels, maps, kernel, stride, pad, dilation, group: channels that fill blocks of eight, half of the last one,
# a part of its first piece, a part of its second one
CONVOLUTIONS = [
    ((2, 4, 5, 7), 24, 33, 1, 1, 0, 1, 1),
    ((2, 4, 6, 7), 40, 40, 3, 1, 1, 1, 1),
    ((1, 4, 9, 8), 20, 24, 3, 2, 1, 1, 1),
    ((1, 4, 6, 8), 18, 20, 3, 1, 1, 1, 1),
    ((1, 4, 6, 8), 23, 21, 1, 1, 1, 1, 1),
    ((1, 4, 12, 11), 24, 24, 5, 2, 2, 1, 1),
    ((1, 4, 9, 8), 48, 96, 3, 1, 2, 2, 3),
    ((1, 4, 7, 9), 16, 16, 1, 2, 0, 1, 1),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    shape, channels, maps, kernel, stride, pad, dilation, group = case
    first, weights = image(channels)
    weights |= {"w": data(maps, channels // group, kernel, kernel), "b": data(maps)}
    args = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "group": group}
    _, used = tf32([first, operator("Conv", "r w b", "y", **args)], {"x": data(*shape)}, weights)
    assert used == ["conv", "conv_tensor", "relayout"]


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile(tile: TensorTile, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pixels, maps and products than a tile has, none of them a multiple of its sizes; and no bank conflicts."""
    memories = watch_memory(monkeypatch)
    use_only(monkeypatch, tile)
    first, weights = image(36)
    weights |= {"w": data(138, 36, 3, 3)}
    tf32([first, operator("Conv", "r w", "y", kernel=3, pad=1)], {"x": data(1, 4, 12, 12)}, weights)
    assert any(m.end == tile.stages * tile.stage // 4 for m in memories)
    assert not any(m.conflicts for m in memories)


def test_an_epilogue_with_a_sum() -> None:
    first, weights = image(24)
    weights |= {"w": data(24, 24, 3, 3) / 4, "v": data(40, 24, 1, 1), "b": data(24), "s": data(24)}
    ops = [
        first,
        operator("Conv", "r w b", "c", kernel=3, pad=1),
        operator("Mul", "c s", "d", broadcast=1, axis=1),
        operator("Add", "d r", "e"),
        operator("Relu", "e", "f"),
        operator("Conv", "f v", "y", kernel=1),
    ]
    _, used = tf32(ops, {"x": data(2, 4, 5, 6)}, weights)
    assert used == ["conv", "conv_tensor", "conv_tensor", "relayout"]


def test_long_sums_of_few_results_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (4,))
    first, weights = image(72)
    weights |= {"w": data(34, 72, 3, 3), "b": data(34), "t": data(34, 4, 1, 1)}
    ops = [
        first,
        operator("Conv", "x t", "s", kernel=1),
        operator("Conv", "r w b", "c", kernel=3, pad=1),
        operator("Add", "c s", "d"),
        operator("Relu", "d", "y"),
    ]
    _, used = tf32(ops, {"x": data(1, 4, 4, 5)}, weights)
    assert {"tensor_part", "tensor_join"} <= {*used}
    assert "conv_tensor" not in used


def test_pieces_of_a_concat_and_pools_of_blocks() -> None:
    first, weights = image(16)
    weights |= {"u": data(16, 16, 1, 1), "v": data(24, 16, 3, 3), "w": data(16, 40, 1, 1) / 4}
    ops = [
        first,
        operator("Conv", "r u", "a", kernel=1),
        operator("Conv", "r v", "b", kernel=3, pad=1),
        operator("Concat", "a b", "c info", order="NCHW"),
        operator("MaxPool", "c", "p", kernel=3, stride=2, pad=1),
        operator("Sigmoid", "p", "q"),
        operator("Conv", "q w", "y", kernel=1),
    ]
    _, used = tf32(ops, {"x": data(2, 4, 6, 7)}, weights)
    assert {"conv", "conv_tensor", "pool_blocked", "pointwise_blocked", "relayout"} <= {*used}


# rows, inner, columns; a row of 60 numbers is whole pieces and no whole blocks, one of 62 neither
PRODUCTS = [
    (9, 64, 37, "conv_tensor"),
    (70, 136, 150, "conv_tensor"),
    (9, 60, 36, "conv_tensor"),
]


@pytest.mark.parametrize(("rows", "inner", "columns", "template"), PRODUCTS)
def test_fc(rows: int, inner: int, columns: int, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    weights = {"w": data(columns, inner), "b": data(columns)}
    ops = [operator("FC", "x w b", "f"), operator("Add", "f t", "s"), operator("Relu", "s", "y")]
    _, used = tf32(ops, {"x": data(rows, inner), "t": data(rows, columns)}, weights)
    assert used == [template]


@pytest.mark.parametrize(("rows", "inner", "template"), [(3, 64, "fc_rows"), (9, 62, "conv")])
def test_what_tensor_cores_do_not_do_is_computed_in_float32(rows: int, inner: int, template: str) -> None:
    """Few rows, whose time is that of reading the weights; rows that are no whole pieces."""
    weights, x = {"w": data(37, inner), "b": data(37)}, data(rows, inner)
    plan = emulated_plan([operator("FC", "x w b", "y")], {"x": x}, "y", weights, precision="tf32")
    assert [k.template for k in plan.kernels] == [template]
    np.testing.assert_allclose(plan.run({"x": x})["y"], x @ weights["w"].T + weights["b"], rtol=1e-5, atol=1e-5)


def test_an_fc_is_cut_and_runs_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (1, 3))
    monkeypatch.setattr(TensorTile, "clocks", lambda self, problem, parts, target: abs(problem.pixels / 3 - parts))
    weights, ops = {"w": data(37, 192), "b": data(37)}, [operator("FC", "x w b", "y")]
    plan, used = tf32(ops, {"x": data(9, 192)}, weights)
    assert used == ["tensor_part", "tensor_join"]
    check(plan, ops, {"x": data(2, 192)}, weights)
    check(plan, ops, {"x": data(150, 192)}, weights)


def test_one_operator_of_a_net_of_halves() -> None:
    """Its values are float32, those before and behind it halves."""
    first, weights = image(24)
    weights |= {"u": data(24, 24, 3, 3) / 4, "v": data(32, 24, 3, 3) / 4, "w": data(40, 32, 1, 1)}
    ops = [
        first,
        operator("Conv", "r u", "a", kernel=3, pad=1),
        operator("Conv", "a v", "b", kernel=3, pad=1),
        operator("Conv", "b w", "y", kernel=1),
    ]
    inputs, precision = {"x": data(1, 4, 6, 7)}, {"*": "float16", "b": "tf32", "y": "float16"}
    plan = emulated_plan(ops, inputs, "y", weights, precision=precision)
    kinds = [str(k["kind"]) for k in plan.kernels if k.template == "conv_tensor"]
    assert sorted(kinds) == ["f2", "f2", "tf"]
    (want,) = reference(ops, inputs, "y", weights)
    np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=ROUNDED * np.abs(want).max())


def test_infinite_numbers_and_such_that_are_none_stay_so() -> None:
    weights, x = {"w": data(32, 64), "b": data(32)}, data(9, 64)
    x[1, 3], x[2, 5], x[3, 7] = np.inf, np.nan, np.finfo(np.float32).max  # the last one rounds to infinity
    plan = emulated_plan([operator("FC", "x w b", "y")], {"x": x}, "y", weights, precision="tf32")
    (want,) = run_graph(plan.graph, [x])
    with np.errstate(invalid="ignore"):
        got = plan.run({"x": x})["y"]
    assert np.isinf(want[[1, 3]]).all()
    assert np.isnan(want[2]).all()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_the_model_takes_whole_tiles_and_half_the_rate() -> None:
    """A step of a tile is as long for 16 numbers as for 32 halves, and large products take the largest tile."""
    for target in TARGETS.values():
        large = Problem("conv", "tf", "f4", 1 << 16, 256, 256, kernel=(3, 3), cuts=True)
        halves = Problem("conv", "f2", "f4", 1 << 16, 256, 256, kernel=(3, 3), cuts=True)
        tile = (warpgroup_tile if target.warpgroup_products else tensor_tile).TILES[0]
        assert decide(large, target) == Tiling(tile, 1)
        assert tile.clocks(large, 1, target) / tile.clocks(halves, 1, target) == pytest.approx(2, rel=0.05)
