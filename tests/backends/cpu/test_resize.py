"""Resized images against the NumPy reference, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(10)
SCALES = [(2.0, 2.0), (1.5, 3.7), (0.5, 0.3), (1.0, 2.3)]


def check(machine: Machine, op: str, operands: list, place: Placement, constants: tuple = (), **attrs: object) -> None:
    call = build_call(op, operands, constants=constants, target=machine.target, place=place, attrs=attrs)
    np.testing.assert_array_equal(run_call(machine, call, operands, place)[0], evaluate_node(call.node, operands)[0])


def data(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 17, 9, 7), (1, 5, 40, 33)])
def test_nearest(machine: Machine, scales: tuple[float, float], slices: bool, shape: tuple[int, ...]) -> None:
    for blocked in (False, True):
        both = frozenset({0} if blocked else ())
        place = Placement(both, blocked, (1, 2, 1, 0) if slices else (0, 0, 0, 0), slices)
        check(machine, "ResizeNearest", [data(*shape)], place, height_scale=scales[0], width_scale=scales[1])


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 5, 9, 7), (1, 3, 40, 33)])
def test_bilinear(machine: Machine, scales: tuple[float, float], shape: tuple[int, ...]) -> None:
    place = Placement(slices=True, halo_out=(1, 0, 2, 3))
    check(machine, "UpsampleBilinear", [data(*shape)], place, height_scale=scales[0], width_scale=scales[1])
    check(machine, "UpsampleBilinear", [data(*shape), np.array(scales, np.float32)], place, constants=(1,))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (2, 2, 3, 4, 5)])
def test_upsample_nearest(machine: Machine, shape: tuple[int, ...]) -> None:
    for scale in (1, 2, 3):
        check(machine, "UpsampleNearest", [data(*shape)], Placement(), scale=scale)
