"""Normalisation for a card in the emulator, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers
from one_net import operator

TOLERANCE = 5e-6
"""Deviations of some thousand numbers, then a division by them."""


def data(*shape: int) -> np.ndarray:
    """Seeded floats, not around 0."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) + np.float32(2)


def kernels(ops, inputs: dict[str, np.ndarray], outputs: str = "y") -> set[str]:
    plan, _ = answers(ops, inputs, outputs, tolerance=TOLERANCE)
    return {k.template for k in plan.kernels}


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 30, 31), (3, 4, 9)], ids=str)
def test_instance_norm(shape: tuple[int, ...]) -> None:
    inputs = {"x": data(*shape), "s": data(shape[1]), "b": data(shape[1])}
    assert kernels([operator("InstanceNorm", "x s b", "y", epsilon=0.01)], inputs) == {"norm"}
    kernels([operator("InstanceNorm", "x s b", "y mean deviation")], inputs, "y mean deviation")


def test_few_long_stretches_are_cut() -> None:
    inputs = {"x": data(1, 2, 93, 90), "s": data(2), "b": data(2)}
    got = kernels([operator("InstanceNorm", "x s b", "y mean deviation")], inputs, "y mean deviation")
    assert got == {"norm_pieces", "norm_join"}
    inputs = {"x": data(1, 6, 64, 65), "s": data(6), "b": data(6)}
    assert kernels([operator("GroupNorm", "x s b", "y", group=2)], inputs) == {"norm_pieces", "norm_join"}


@pytest.mark.parametrize("group", [1, 2, 6])
def test_group_norm(group: int) -> None:
    inputs = {"x": data(2, 6, 5, 7), "s": data(6), "b": data(6)}
    kernels([operator("GroupNorm", "x s b", "y mean deviation", group=group)], inputs, "y mean deviation")


@pytest.mark.parametrize("columns", [5, 700])
def test_layer_norm(columns: int) -> None:
    inputs = {"x": data(4, 3, columns), "s": data(columns), "b": data(columns)}
    outputs = "y mean deviation"
    kernels([operator("LayerNorm", "x", outputs, axis=2)], inputs, outputs)
    kernels([operator("LayerNorm", "x s b", outputs, axis=2, elementwise_affine=1)], inputs, outputs)


def test_batch_norm_that_was_not_folded() -> None:
    inputs = {"x": data(2, 5, 3, 4), "s": data(5), "b": data(5), "m": data(5), "v": np.abs(data(5))}
    assert kernels([operator("SpatialBN", "x s b m v", "y", is_test=1)], inputs) == {"pointwise_nest"}
