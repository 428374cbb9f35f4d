"""Weights in bfloat16: neighbours of what they were, exact ones untouched, errors of a map that cancel."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16
from graphc.passes.half_weights import CHUNK, bfloat16_weights


@pytest.fixture
def weights() -> np.ndarray:
    """More than one chunk, of three maps a chunk; numbers of many sizes, some exact."""
    found = np.random.default_rng(0).standard_normal((8, CHUNK // 27, 9)).astype(np.float32) / 16
    found[:, ::7] = np.round(found[:, ::7] * 64) / 64
    found[:, ::11] *= 1e-6
    return found


def test_numbers_are_neighbours_and_sums_are_kept(weights: np.ndarray) -> None:
    nearest = from_bfloat16(to_bfloat16(weights)).astype(np.float64)
    bits = bfloat16_weights(weights)
    got = from_bfloat16(bits).astype(np.float64)
    assert bits.dtype == np.uint16
    assert bits.shape == weights.shape
    exact = nearest == weights
    np.testing.assert_array_equal(got[exact], weights[exact])
    # the other neighbour is one step of the bits away, beyond the weight
    steps = np.abs(bits.astype(int) - to_bfloat16(weights))
    moved = got != nearest
    assert set(np.unique(steps[moved])) == {1}
    assert (np.sign(got - weights) == -np.sign(nearest - weights))[moved].all()
    assert moved.mean() < 0.05
    errors, before = (np.abs((g - weights).sum((1, 2))) for g in (got, nearest))
    assert (errors <= before).all()
    assert errors.max() <= 0.1 * before.max()
    # little is lost where inputs have no mean
    assert ((got - weights) ** 2).sum() <= 1.01 * ((nearest - weights) ** 2).sum()


def test_a_map_by_hand() -> None:
    unit = 2.0**-7  # between two numbers from 1 on
    row = np.array([[1 + 0.45 * unit, 1 + 0.3 * unit, -(1 - 0.05 * unit), 1]], np.float32)
    got = from_bfloat16(bfloat16_weights(row))
    # nearest: 1, 1, -1, 1, off by -0.8 units; the first lies nearest to the middle and goes up: off by 0.2
    np.testing.assert_array_equal(got, [[1 + unit, 1, -1, 1]])


def test_maps_last_is_the_transpose(weights: np.ndarray) -> None:
    matrix = weights.reshape(8, -1)
    got = bfloat16_weights(np.ascontiguousarray(matrix.T), maps_last=True)
    np.testing.assert_array_equal(got, bfloat16_weights(matrix).T)


def test_special_numbers() -> None:
    row = np.array([[np.inf, -np.inf, 3.4028235e38, -0.0, 0.0, 1e-40, np.nan, 3.38e38, 0.1, 0.3]], np.float32)
    got = from_bfloat16(bfloat16_weights(row))
    assert got[0, :3].tolist() == [np.inf, -np.inf, np.inf]
    assert np.isnan(got[0, 6])
    assert np.isfinite(np.delete(got, [0, 1, 2, 6])).all()
    assert bfloat16_weights(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert bfloat16_weights(np.zeros((3, 0), np.float32)).shape == (3, 0)
