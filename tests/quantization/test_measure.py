"""Differences between a float net and an int8 one, by hand."""

from __future__ import annotations

import math

import numpy as np

from graphc.quantization.measure import Difference, output_loss


class Given:
    """A plan that gives what it was made of."""

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs = outputs

    def run(self, batch: object) -> dict[str, np.ndarray]:
        return self.outputs


def test_relative_errors_are_of_sums_of_squares() -> None:
    found = Difference()
    found.add(np.array([3.0, 0.0], np.float32), np.array([3.0, 0.5], np.float32))
    found.add(np.array([4.0]), np.array([4.0]))
    assert (found.signal, found.noise, found.largest) == (25.0, 0.25, 0.5)
    assert found.relative == 0.1
    assert found.sqnr == 20.0


def test_what_is_not_finite() -> None:
    """A bound on the loss has to see a NaN, and infinities of the float net are no signal."""
    for exact, wrong in ((1.0, math.nan), (1.0, math.inf), (math.nan, 1.0), (math.inf, -math.inf), (-math.inf, 0.0)):
        found = Difference()
        found.add(np.array([exact, 2.0]), np.array([wrong, 2.0]))
        assert found.relative == math.inf
    same = Difference()
    same.add(np.array([math.nan, math.inf, 3.0, 4.0]), np.array([math.nan, math.inf, 3.0, 4.5]))
    assert same.relative == 0.1


def test_classes_are_right_or_wrong() -> None:
    exact = {"class": np.array([3, 900, 5, 7]), "score": np.array([1.0, 1.0]), "known": np.array([True])}
    int8 = Given(**{"class": np.array([3, 1, 5, 7]), "score": np.array([1.0, 0.9]), "known": np.array([False])})
    assert output_loss(int8, [{}], [exact]) == 0.5  # type: ignore[arg-type]
