"""Reductions for a card in the emulator, against the reference interpreter: each way of sharing the work out."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers, data
from one_net import operator

TOLERANCE = 5e-6
"""Sums of some ten thousand floats."""


WAYS = {
    "a warp a result": ((5, 70), [1], {"reduce"}),
    "a block a result": ((3, 2, 700), [2], {"reduce"}),
    "neighbours, eight threads a result": ((50, 3, 37), [0], {"reduce_columns"}),
    "neighbours, a thread a result": ((7, 90), [0], {"reduce"}),
    "pieces of rows": ((2, 9000), [1], {"reduce"}),
    "pieces of columns": ((3000, 33), [0], {"reduce", "reduce_columns"}),
    "three reduced dimensions": ((4, 3, 5, 2, 6), [0, 2, 4], {"reduce"}),
    "everything": ((90, 100), [0, 1], {"reduce"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceL2", "ReduceMax"])
def test_ways_to_share_the_work(way: str, op: str) -> None:
    shape, axes, templates = WAYS[way]
    plan, _ = answers([operator(op, "x", "y", axes=axes, keepdims=0)], {"x": data(*shape)}, "y", tolerance=TOLERANCE)
    assert {k.template for k in plan.kernels} == templates
    assert len(plan.schedules[0].steps) == 1 + ("pieces" in way or way == "everything")


def test_other_batches_need_no_other_kernels() -> None:
    plan, _ = answers([operator("ReduceSum", "x", "y", axes=[1])], {"x": data(2, 9000)}, "y", tolerance=TOLERANCE)
    for rows in (1, 300):
        x = data(rows, 900)
        got = plan.run({"x": x})["y"]
        np.testing.assert_allclose(got, x.sum(1, keepdims=True, dtype=np.float64), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 5, 13, 13), (1, 3, 40, 41), (2, 3, 17)], ids=str)
def test_averages_of_whole_images(shape: tuple[int, ...]) -> None:
    plan, _ = answers([operator("AveragePool", "x", "y", global_pooling=1)], {"x": data(*shape)}, "y")
    assert {k.template for k in plan.kernels} == {"reduce"}


def test_averages_of_whole_images_among_others() -> None:
    """The operand is a part of another value."""
    weights = {"v": data(5, 4, 1, 1), "w": data(6, 4, 3, 3)}
    ops = [
        operator("Conv", "x v", "a", kernel=1),
        operator("Conv", "x w", "b", kernel=3, pad=1),
        operator("Concat", "a b", "c info", order="NCHW"),
        operator("AveragePool", "b", "y", global_pooling=1),
        operator("Relu", "c", "z"),
    ]
    answers(ops, {"x": data(2, 4, 6, 7)}, "y z", weights)
