"""Layers for a card in the emulator, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers, data, emulated_plan
from emulated_card import EmulatedCard
from one_net import operator
from simt_memory import Fault

from graphc.backends.cuda.kernels import conv_tile
from graphc.backends.cuda.kernels.conv_tile import Tile

# shape, maps, kernel, stride, pad, dilation, group
CONVOLUTIONS = [
    ((1, 16, 8, 8), 32, 1, 1, 0, 1, 1),
    ((2, 5, 9, 7), 33, 3, 2, 1, 1, 1),
    ((1, 24, 6, 7), 36, 3, 1, 2, 2, 3),
    ((3, 3, 12, 11), 7, 5, 3, 2, 1, 1),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case) -> None:
    shape, maps, kernel, stride, pad, dilation, group = case
    weights = {"w": data(maps, shape[1] // group, kernel, kernel), "b": data(maps)}
    ops = [operator("Conv", "x w b", "y", kernel=kernel, stride=stride, pad=pad, dilation=dilation, group=group)]
    answers(ops, {"x": data(*shape)}, "y", weights)


@pytest.mark.parametrize("tile", conv_tile.TILES, ids=str)
def test_every_tile_of_convolution(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_tile, "TILES", (tile,))
    weights = {"w": data(130, 5, 3, 3), "b": data(130)}
    answers([operator("Conv", "x w b", "y", kernel=3, pad=1)], {"x": data(1, 5, 12, 12)}, "y", weights)


def test_convolution_with_an_epilogue() -> None:
    weights = {"w": data(20, 6, 3, 3), "b": data(20), "s": data(20), "t": data(20)}
    ops = [
        operator("Conv", "x w b", "c", kernel=3, pad=1),
        operator("Mul", "c s", "d", broadcast=1, axis=1),
        operator("Add", "d r", "e"),
        operator("Relu", "e", "y"),
    ]
    plan, _ = answers(ops, {"x": data(2, 6, 5, 8), "r": data(2, 20, 5, 8)}, "y", weights)
    assert [k.template for k in plan.kernels] == ["conv"]


def test_convolution_in_one_dimension() -> None:
    weights = {"w": data(9, 4, 3)}
    answers([operator("Conv", "x w", "y", kernels=[3], pads=[1, 1])], {"x": data(2, 4, 21)}, "y", weights)


def test_pieces_of_a_concat_are_written_in_place() -> None:
    weights = {"v": data(5, 4, 1, 1), "w": data(6, 4, 3, 3)}
    ops = [
        operator("Conv", "x v", "a", kernel=1),
        operator("Conv", "x w", "b", kernel=3, pad=1),
        operator("Concat", "a b", "c info", order="NCHW"),
        operator("MaxPool", "c", "y", kernel=3, stride=2, pad=1),
    ]
    plan, _ = answers(ops, {"x": data(2, 4, 6, 7)}, "y", weights)
    assert {k.template for k in plan.kernels} == {"conv", "pool"}


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("args", [{"kernel": 3, "stride": 2, "pad": 1}, {"global_pooling": 1}], ids=str)
def test_pooling(op: str, args: dict[str, int]) -> None:
    answers([operator(op, "x", "y", **args)], {"x": data(2, 5, 9, 8)}, "y")


@pytest.mark.parametrize("shape", [(3, 5), (1, 1000), (2, 33, 2, 2)], ids=str)
def test_softmax(shape) -> None:
    answers([operator("Softmax", "x", "y")], {"x": 10 * data(*shape)}, "y")


def test_pointwise_chains() -> None:
    ops = [
        operator("Sigmoid", "x", "a"),
        operator("Mul", "a x", "b"),
        operator("Add", "b c", "d", broadcast=1),
        operator("Tanh", "d", "y"),
    ]
    answers(ops, {"x": data(2, 3, 5, 7), "c": data(5, 7)}, "y")
    answers(ops, {"x": data(1, 1, 50, 7), "c": data(50, 7)}, "y")


FUNCTIONS = ("Relu", "Exp", "Sqr", "Abs", "Negative", "Floor", "Ceil", "Sin", "Cos", "Elu", "Softplus", "Gelu", "Erf")


def test_a_single_number_is_computed_in_its_place() -> None:
    """Threads without a number of their own do not read what the first one stores to."""
    ops = [operator("BatchMatMul", "a b", "m", trans_b=1), operator("Sigmoid", "m", "y")]
    plan, _ = answers(ops, {"a": data(1, 1, 8), "b": np.ones((1, 1, 8), np.float32)}, "y")
    assert {k.template for k in plan.kernels} == {"gemm", "pointwise"}


@pytest.mark.parametrize("op", FUNCTIONS)
def test_pointwise_functions(op: str) -> None:
    answers([operator(op, "x", "y")], {"x": data(3, 7)}, "y")


def test_what_is_no_number_stays_so() -> None:
    x = np.array([np.nan, -1, 2, np.inf, -np.inf], np.float32)
    _, (y,) = answers([operator("Relu", "x", "y")], {"x": x}, "y")
    assert np.isnan(y[0])


def test_movement() -> None:
    ops = [
        operator("Transpose", "x", "t", axes=[0, 2, 3, 1]),
        operator("Slice", "t", "s", starts=[0, 1, 0, 2], ends=[-1, 4, -1, 5]),
        operator("Concat", "s s", "c info", axis=2),
        operator("Tile", "c", "y", tiles=2, axis=1),
    ]
    answers(ops, {"x": data(2, 6, 5, 4)}, "y")


def test_channels_are_shuffled() -> None:
    answers([operator("ChannelShuffle", "x", "y", group=3, order="NCHW")], {"x": data(2, 6, 3, 2)}, "y")


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolution(multiplier: int) -> None:
    weights = {"w": data(6 * multiplier, 1, 3, 3), "b": data(6 * multiplier)}
    ops = [operator("Conv", "x w b", "c", kernel=3, stride=2, pad=1, group=6), operator("Relu", "c", "y")]
    plan, _ = answers(ops, {"x": data(2, 6, 7, 9)}, "y", weights)
    assert [k.template for k in plan.kernels] == ["conv_depthwise"]


@pytest.mark.parametrize(("rows", "template"), [(1, "fc_rows"), (3, "fc_rows"), (9, "conv")])
def test_fc(rows: int, template: str) -> None:
    weights = {"w": data(37, 140), "b": data(37)}
    ops = [operator("FC", "x w b", "f"), operator("Add", "f r", "s"), operator("Relu", "s", "y")]
    plan, _ = answers(ops, {"x": data(rows, 140), "r": data(rows, 37)}, "y", weights)
    assert [k.template for k in plan.kernels] == [template]


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("axes", [[0], [1, 3], [0, 2], [0, 1, 2, 3]], ids=str)
def test_reductions(op: str, axes: list[int]) -> None:
    answers([operator(op, "x", "y", axes=axes, keepdims=0)], {"x": data(3, 4, 5, 70)}, "y")


def test_local_response_normalisation() -> None:
    ops = [operator("LRN", "x", "y s", size=5, alpha=0.3, beta=0.75, bias=1.5)]
    answers(ops, {"x": data(2, 7, 3, 4)}, "y s")
    answers([operator("LRN", "x", "y", size=3, alpha=1.0, beta=0.5)], {"x": data(2, 7, 3, 4)}, "y")


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_products_of_computed_matrices(trans_a: int, trans_b: int) -> None:
    x, w = data(*((35, 70) if trans_a else (70, 35))), data(*((66, 35) if trans_b else (35, 66)))
    ops = [operator("MatMul", "x w", "p", trans_a=trans_a, trans_b=trans_b), operator("Add", "p r", "y")]
    plan, _ = answers(ops, {"x": x, "w": w, "r": data(70, 66)}, "y")
    assert [k.template for k in plan.kernels] == ["gemm"]


@pytest.mark.parametrize("shapes", [((3, 5, 7), (3, 7, 4)), ((2, 1, 5, 7), (1, 3, 7, 4)), ((4,), (4, 3))], ids=str)
def test_batches_of_products(shapes) -> None:
    ops, inputs = [operator("BatchMatMul", "x w", "y", broadcast=1)], {"x": data(*shapes[0]), "w": data(*shapes[1])}
    _, (y,) = answers(ops, inputs, "y")
    ops = [operator("BatchMatMul", "x w", "p", broadcast=1), operator("Add", "p r", "y")]
    answers(ops, inputs | {"r": data(*y.shape)}, "y")


def test_fc_with_computed_weights() -> None:
    inputs = {"x": data(3, 20), "w": data(9, 20), "b": data(9)}
    answers([operator("Relu", "w", "v"), operator("FC", "x v b", "y")], inputs, "y")


BARRIERS = [
    ([operator("Conv", "x w", "y", kernel=3)], {"x": data(1, 20, 5, 5)}, {"w": data(8, 20, 3, 3)}, 2),
    ([operator("MatMul", "x w", "y")], {"x": data(9, 40), "w": data(40, 9)}, {}, 2),
    ([operator("Softmax", "x", "y")], {"x": data(2, 300)}, {}, 4),
]


@pytest.mark.parametrize(("ops", "inputs", "weights", "count"), BARRIERS, ids=lambda v: str(v)[:30])
def test_no_barrier_is_too_many(ops, inputs, weights, count: int) -> None:
    """Without any single one of its barriers each kernel has a race, which the emulator finds."""
    plan = emulated_plan(ops, inputs, "y", weights)
    ((spec, source),) = plan.kernels.items()
    parts = source.split("barrier()")
    assert len(parts) == count + 1
    for i in range(count - 1 if "Softmax" in str(ops) else count):  # behind its last one a kernel has no more to do
        broken = "barrier()".join([*parts[:i], parts[i] + "None" + parts[i + 1], *parts[i + 2 :]])
        plan = emulated_plan(ops, inputs, "y", weights)
        plan.code.card = EmulatedCard({spec.name: broken}.__getitem__)
        with pytest.raises(Fault, match="without a barrier"):
            plan.run(inputs)
