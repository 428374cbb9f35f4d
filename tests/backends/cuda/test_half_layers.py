"""Layers of half precision for a card in the emulator, against the reference interpreter in float32."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from emulated import answers, emulated_plan
from emulated_card import EmulatedCard
from one_net import operator, reference
from simt_memory import Fault
from tiles import TILES, use_only, watch_memory

from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.kernels import tensor_tile, warpgroup_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.target import TARGETS
from graphc.backends.cuda.tiling import Problem, Tiling
from graphc.ir.schedule import KernelSpec
from graphc.plan import Plan

TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2}
"""What a few layers lose by rounding to 11 and to 8 bits."""


def data(*shape: int) -> np.ndarray:
    """Seeded floats."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def halves(ops, inputs, weights, precision: str = "float16", last: str = "y") -> list[str]:
    """The templates of a net with the output y, which is checked; last: products before answers, to be halves too."""
    named = dict.fromkeys(last.split(), precision)
    plan, _ = answers(ops, inputs, "y", weights, TOLERANCE[precision], {"*": precision, **named})
    return [k.template for k in plan.kernels]


def let_compile(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a plan that has run on an emulated card have kernels for other sizes."""
    card, more = plan.code.card, {}
    before = card._source

    def load(specs: Sequence[KernelSpec], progress: object = None) -> None:
        for s in specs:
            more[s.name] = plan.code.source(s)
            plan.code.objects.setdefault(s.name, Cubin(s.name, b"\x7fELF", s.int("threads"), 0, 0, 0, 0).pack())

    monkeypatch.setattr(plan.code, "load", load)
    monkeypatch.setattr(card, "_source", lambda name: more.get(name) or before(name))


def image(channels: int):
    """The operator and the weight that make a blocked image ``r`` of halves out of a plain one ``x`` of 4 channels."""
    return operator("Conv", "x first", "r", kernel=1), {"first": data(channels, 4, 1, 1)}


# shape, channels, maps, kernel, stride, pad, dilation, group, precision
CONVOLUTIONS = [
    ((2, 4, 5, 7), 20, 33, 1, 1, 0, 1, 1, "float16"),
    ((2, 4, 6, 7), 40, 40, 3, 1, 1, 1, 1, "bfloat16"),
    ((1, 4, 12, 11), 24, 24, 5, 2, 2, 1, 1, "float16"),
    ((1, 4, 9, 8), 48, 96, 3, 1, 2, 2, 3, "float16"),
    ((1, 4, 7, 9), 16, 16, 1, 2, 0, 1, 1, "float16"),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case) -> None:
    shape, channels, maps, kernel, stride, pad, dilation, group, precision = case
    first, weights = image(channels)
    weights |= {"w": data(maps, channels // group, kernel, kernel), "b": data(maps)}
    args = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "group": group}
    used = halves([first, operator("Conv", "r w b", "y", **args)], {"x": data(*shape)}, weights, precision)
    assert used == ["conv", "conv_tensor", "relayout"]


# shape, kernel, stride, pad, dilation, precision, templates; sums of 64 products or more, and shorter ones
BLOCKED, AS_IT_IS = ["relayout", "conv_tensor", "conv_tensor", "relayout"], ["conv", "conv_tensor", "relayout"]
IMAGES = [
    ((2, 3, 15, 18), 7, 2, 3, 1, "float16", BLOCKED),
    ((1, 3, 13, 11), 7, 2, 3, 1, "bfloat16", BLOCKED),
    ((1, 1, 17, 16), 8, 1, 0, 2, "float16", BLOCKED),
    ((2, 4, 9, 9), 4, 3, 1, 1, "float16", BLOCKED),
    ((1, 3, 9, 9), 3, 2, 1, 1, "float16", AS_IT_IS),
]


def of_an_image(case) -> list[str]:
    """The templates of a net that begins with a convolution of an image."""
    shape, kernel, stride, pad, dilation, precision, _ = case
    weights = {"w": data(33, shape[1], kernel, kernel), "b": data(33), "s": data(33), "v": data(24, 33, 1, 1)}
    ops = [
        operator("Conv", "x w b", "c", kernel=kernel, stride=stride, pad=pad, dilation=dilation),
        operator("Mul", "c s", "m", broadcast=1, axis=1),
        operator("Relu", "m", "r"),
        operator("Conv", "r v", "y", kernel=1),
    ]
    return halves(ops, {"x": data(*shape)}, weights, precision)


@pytest.mark.parametrize("case", IMAGES, ids=str)
def test_an_image_of_few_channels(case) -> None:
    """It becomes halves in blocks where sums are long."""
    assert of_an_image(case) == case[-1]


def test_an_image_that_several_read_runs_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two convolutions share what is in blocks, one is asked to stay float32; the image itself is an output, too."""
    weights = {"a": data(16, 3, 5, 5), "b": data(24, 3, 7, 7), "c": data(16, 3, 5, 5)}
    weights |= {f"v{name}": data(16, len(weights[name]), 1, 1) for name in "abc"}
    ops = [operator("Relu", "x", "i")]
    for name, kernel in (("a", 5), ("b", 7), ("c", 5)):
        ops.append(operator("Conv", f"i {name}", f"r{name}", kernel=kernel, pad=kernel // 2, stride=2))
        ops.append(operator("Conv", f"r{name} v{name}", f"y{name}", kernel=1))
    asked, outputs = {"*": "float16", "rc": "float"}, "ya yb yc i"
    plan, _ = answers(ops, {"x": data(2, 3, 11, 10)}, outputs, weights, 2e-3, asked)
    reorders = [n for n in plan.graph.nodes if n.op == "g.reorder" and n.results[0].type.layout.block > 1]
    assert [len(n.results[0].users) for n in reorders] == [2]
    let_compile(plan, monkeypatch)
    for shape in ((1, 3, 11, 10), (3, 3, 8, 13)):
        inputs = {"x": data(*shape)}
        got = plan.run(inputs)
        for name, want in zip(outputs.split(), reference(ops, inputs, outputs, weights)):
            np.testing.assert_allclose(got[name], want, rtol=0, atol=2e-3 * np.abs(want).max())


@pytest.mark.parametrize("tile", [*TILES, TensorTile(64, 64, 32, 32, 8)], ids=str)
def test_every_tile(tile: TensorTile, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pixels, maps and products than a tile has, none of them a multiple of its sizes; and no bank conflicts."""
    memories = watch_memory(monkeypatch)
    use_only(monkeypatch, tile)
    first, weights = image(40)
    weights |= {"w": data(138, 40, 3, 3)}
    halves([first, operator("Conv", "r w", "y", kernel=3, pad=1)], {"x": data(1, 4, 12, 12)}, weights)
    assert any(m.end == tile.stages * tile.stage // 4 for m in memories)
    assert not any(m.conflicts for m in memories)


def test_an_epilogue_with_a_sum_of_halves() -> None:
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
    assert halves(ops, {"x": data(2, 4, 5, 6)}, weights) == ["conv", "conv_tensor", "conv_tensor", "relayout"]


def test_pieces_of_a_concat_are_written_in_place() -> None:
    first, weights = image(16)
    weights |= {"u": data(16, 16, 1, 1), "v": data(24, 16, 3, 3), "w": data(16, 40, 1, 1) / 4}
    ops = [
        first,
        operator("Conv", "r u", "a", kernel=1),
        operator("Conv", "r v", "b", kernel=3, pad=1),
        operator("Concat", "a b", "c info", order="NCHW"),
        operator("MaxPool", "c", "p", kernel=3, stride=2, pad=1),
        operator("Conv", "p w", "y", kernel=1),
    ]
    used = halves(ops, {"x": data(2, 4, 6, 7)}, weights)
    assert sorted({*used}) == ["conv", "conv_tensor", "pool_blocked", "relayout"]


@pytest.mark.parametrize("channels", [16, 21])
def test_pools_and_pointwise_operators_of_blocks(channels: int) -> None:
    """Operands that broadcast along pixels, along channels, of one element; channels that fill no block."""
    first, weights = image(channels)
    weights |= {"w": data(16, channels, 1, 1), "s": data(channels)}
    ops = [
        first,
        operator("Sigmoid", "r", "a"),
        operator("Mul", "a s", "b", broadcast=1, axis=1),
        operator("AveragePool", "b", "c", kernel=3, stride=2, pad=1),
        operator("Mul", "r r", "q"),
        operator("AveragePool", "q", "d", global_pooling=1),
        operator("MaxPool", "q", "f", kernel=3, stride=2, pad=1),
        operator("Add", "c f", "e"),
        operator("Conv", "e w", "y1", kernel=1),
        operator("Conv", "d w", "y2", kernel=1),
        operator("Flatten", "y1", "z1"),
        operator("Flatten", "y2", "z2"),
        operator("Concat", "z1 z2", "y info", axis=1),
    ]
    used = halves(ops, {"x": data(1, 4, 7, 6)}, weights, last="y1 y2")
    assert {"pool_blocked", "pointwise_blocked", "conv_tensor"} <= {*used}


@pytest.mark.parametrize("precision", ["float", "float16"])
def test_an_average_of_whole_images_runs_other_sizes(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, weights = image(21)
    weights |= {"v": data(16, 21, 1, 1)}
    ops = [first, operator("AveragePool", "r", "p", kernel=7), operator("Conv", "p v", "y", kernel=1)]
    asked = "float" if precision == "float" else {"*": precision, "y": precision}
    plan, _ = answers(ops, {"x": data(2, 4, 7, 7)}, "y", weights, 2e-3, asked)
    used = {k.template for k in plan.kernels}
    assert ("pool_whole_blocked" if precision == "float16" else "reduce") in used
    inputs = {"x": data(2, 4, 9, 8)}
    let_compile(plan, monkeypatch)
    (want,) = reference(ops, inputs, "y", weights)
    np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=2e-3 * np.abs(want).max())


def test_depthwise_convolution() -> None:
    first, weights = image(21)
    weights |= {"w": data(21, 1, 3, 3), "b": data(21), "v": data(16, 21, 1, 1)}
    ops = [
        first,
        operator("Conv", "r w b", "c", kernel=3, stride=2, pad=1, group=21),
        operator("Relu", "c", "d"),
        operator("Conv", "d v", "y", kernel=1),
    ]
    assert halves(ops, {"x": data(2, 4, 7, 9)}, weights) == [
        "conv",
        "conv_depthwise_blocked",
        "conv_tensor",
        "relayout",
    ]


# rows, inner, columns
PRODUCTS = [(3, 64, 37, "fc_rows"), (9, 64, 37, "conv_tensor"), (70, 136, 150, "conv_tensor"), (9, 60, 36, "gemm")]


@pytest.mark.parametrize(("rows", "inner", "columns", "template"), PRODUCTS)
def test_fc(rows: int, inner: int, columns: int, template: str) -> None:
    weights = {"v": data(inner, 24), "w": data(columns, inner), "b": data(columns)}
    ops = [
        operator("FC", "x v zero", "r"),
        operator("FC", "r w b", "f"),
        operator("Add", "f t", "s"),
        operator("Relu", "s", "y"),
    ]
    inputs = {"x": data(rows, 24), "t": data(rows, columns)}
    assert template in halves(ops, inputs, weights | {"zero": np.zeros(inner, np.float32)})[-1]


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("precision", ["float", "float16"])
def test_a_row_that_is_part_of_a_longer_one(precision: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row, pieces of a Concat lie in the result, at addresses that are multiples of nothing."""
    weights = {"a": data(19, 8), "b": data(16, 8), "c": data(26, 16), "d": data(24, 61) / 8}
    weights |= {f"z{name}": data(len(w)) for name, w in weights.items()}
    ops = [
        operator("FC", "x a za", "p"),
        operator("FC", "x b zb", "q"),
        operator("FC", "q c zc", "s"),
        operator("Concat", "p q s", "r i", axis=1),
        operator("FC", "r d zd", "y"),
    ]
    asked = "float" if precision == "float" else dict.fromkeys(("*", "p", "q", "s", "y"), precision)
    plan, _ = answers(ops, {"x": data(rows, 8)}, "y", weights, 2e-3, asked)
    let_compile(plan, monkeypatch)
    assert ("conv_tensor" in {k.template for k in plan.kernels}) == (precision == "float16" and rows == 40)
    for others in {1, 3, 40} - {rows}:
        inputs = {"x": data(others, 8)}
        (want,) = reference(ops, inputs, "y", weights)
        np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=2e-3 * np.abs(want).max())


def test_float_operators_among_halves() -> None:
    """Blocked float32 values: a convolution that is asked to stay float32, and LRN."""
    first, weights = image(16)
    weights |= {"v": data(24, 16, 3, 3), "w": data(16, 24, 1, 1)}
    ops = [
        first,
        operator("Conv", "r v", "c", kernel=3, pad=1),
        operator("LRN", "c", "n", size=3, alpha=0.1, beta=0.75),
        operator("Conv", "n w", "y", kernel=1),
    ]
    precision = {"*": "float16", "r": "float16", "c": "float", "y": "float16"}
    plan, _ = answers(ops, {"x": data(1, 4, 5, 6)}, "y", weights, 2e-3, precision)
    assert {"conv", "lrn", "conv_tensor", "pointwise_blocked"} <= {k.template for k in plan.kernels}


def test_no_barrier_and_no_wait_is_too_many() -> None:
    first, weights = image(64)
    weights |= {"w": data(40, 64, 3, 3)}
    ops, inputs = [first, operator("Conv", "r w", "y", kernel=3, pad=1)], {"x": data(1, 4, 5, 5)}
    precision = {"*": "float16", "y": "float16"}
    plan = emulated_plan(ops, inputs, "y", weights, precision=precision)
    sources = {spec.name: source for spec, source in plan.kernels.items()}
    (spec,) = (k for k in plan.kernels if k.template == "conv_tensor")
    (waits,) = re.findall(r"wait\((\d+)\)", sources[spec.name])
    assert sources[spec.name].count("barrier()") == 1
    for old, new in (("barrier()", "None"), (f"wait({waits})", f"wait({int(waits) + 1})")):
        plan = emulated_plan(ops, inputs, "y", weights, precision=precision)
        plan.code.card = EmulatedCard({**sources, spec.name: sources[spec.name].replace(old, new)}.__getitem__)
        with pytest.raises(Fault, match=r"without a barrier|under way"):
            plan.run(inputs)


# shape, channels, maps, kernel, group, parts; sums of parts whose steps are not equally many, and halves added to them
DYNAMIC_SHARED = 227 << 10
"""Bytes of shared memory that a block can be launched with on cards that have ``wgmma``."""
LONG = [((1, 4, 4, 5), 72, 34, 3, 1, 4), ((2, 4, 3, 3), 64, 64, 5, 2, 6)]


@pytest.mark.parametrize("case", LONG, ids=str)
def test_long_sums_of_few_results_are_cut(case, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, channels, maps, kernel, group, parts = case
    monkeypatch.setattr(tensor_tile, "PARTS", (parts,))
    first, weights = image(channels)
    weights |= {"w": data(maps, channels // group, kernel, kernel), "b": data(maps), "t": data(maps, 4, 1, 1)}
    ops = [
        first,
        operator("Conv", "x t", "s", kernel=1),
        operator("Conv", "r w b", "c", kernel=kernel, pad=kernel // 2, group=group),
        operator("Add", "c s", "d"),
        operator("Relu", "d", "y"),
    ]
    used = halves(ops, {"x": data(*shape)}, weights, last="y")
    assert {"tensor_part", "tensor_join"} <= {*used}
    assert "conv_tensor" not in used


def test_an_fc_of_few_rows_is_cut_and_runs_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_tile, "PARTS", (1, 3))
    monkeypatch.setattr(TensorTile, "clocks", lambda self, problem, parts, target: abs(problem.pixels / 3 - parts))
    weights = {"v": data(192, 24), "w": data(37, 192), "b": data(37), "zero": np.zeros(192, np.float32)}
    ops = [operator("FC", "x v zero", "r"), operator("FC", "r w b", "y")]
    precision = {"*": "float16", "y": "float16"}
    plan, _ = answers(ops, {"x": data(9, 24)}, "y", weights, 2e-3, precision)
    kernels = {k.name for k in plan.kernels}
    assert {"tensor_part", "tensor_join"} <= {k.template for k in plan.kernels}
    x = data(5, 24)
    want = (x @ weights["v"].T) @ weights["w"].T + weights["b"]
    np.testing.assert_allclose(plan.run({"x": x})["y"], want, rtol=0, atol=2e-3 * np.abs(want).max())
    assert {k.name for k in plan.kernels} == kernels


def test_the_model_keeps_a_card_busy() -> None:
    """Large products get large tiles and whole sums; few pixels and long sums are cut so that processors have work."""
    for target in TARGETS.values():
        large = Problem("conv", "f2", "f2", 1 << 16, 256, 256, kernel=(3, 3), cuts=True)
        tiles = warpgroup_tile.TILES if target.warpgroup_products else tensor_tile.TILES
        assert decide(large, target) == Tiling(tiles[0], 1)
        small = decide(Problem("conv", "f2", "f2", 49, 512, 512, kernel=(3, 3), cuts=True), target)
        assert small is not None
        assert isinstance(small.tile, TensorTile)
        blocks = -(-49 // small.tile.pixels) * -(-512 // small.tile.maps)
        assert target.processors // 2 < blocks * small.parts <= 2 * target.processors
    assert all(tile.ring <= tensor_tile.STATIC_SHARED for tile in tensor_tile.TILES)
    assert all(tile.ring <= DYNAMIC_SHARED for tile in warpgroup_tile.TILES)
