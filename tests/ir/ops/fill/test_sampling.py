"""Random choices: how often, and how many."""

from __future__ import annotations

import numpy as np
from operator_calls import answer, answers, f32, refusal


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_choices_follow_the_weights() -> None:
    weights = np.tile(f32([[1, 0, 3]]), (400, 1))
    indexes, values = answers("WeightedSample", weights, weights, outputs=2)
    assert indexes.shape == (400, 1)
    assert (values != 0).all()
    assert 60 < (indexes == 0).sum() < 140
    drawn = answer("WeightedMultiSampling", f32(1, 1, 4), num_samples=400)
    assert drawn.dtype == np.int32
    assert set(drawn.tolist()) <= {0, 2}
    assert "given twice" in refusal("WeightedMultiSampling", "float[3]", "float[2]", num_samples=3)


def test_unique_numbers() -> None:
    got = answer("UniqueUniformFill", ints(20), np.array([1, 2, 3], np.int32), input_as_shape=1, min=1, max=23)
    assert sorted(got.tolist()) == list(range(4, 24))
    assert "different numbers" in refusal("UniqueUniformFill", shape=(4,), min=1, max=3)
    wide = answer("UniqueUniformFill", shape=(5,), min=0, max=2**40, dtype=10)
    assert wide.dtype == np.int64
    assert len(set(wide.tolist())) == 5
