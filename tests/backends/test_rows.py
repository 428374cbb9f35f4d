"""Tensors as rows, against NumPy's reshape."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.rows import around, flattened

X = np.zeros((2, 3, 4, 5))


@pytest.mark.parametrize(("axis", "want"), [(0, (1, 2, 60)), (1, (2, 3, 20)), (3, (24, 5, 1)), (-2, (6, 4, 5))])
def test_around_a_dimension(axis: int, want: tuple[int, int, int]) -> None:
    assert around(X.shape, axis) == want
    assert X.reshape(want).shape[1] == X.shape[axis]


@pytest.mark.parametrize(("axis", "want"), [(0, (1, 120)), (1, (2, 60)), (-1, (24, 5)), (4, (120, 1))])
def test_flattened_before_a_dimension(axis: int, want: tuple[int, int]) -> None:
    assert flattened(X.shape, axis) == want
    assert X.reshape(want).size == X.size
