"""Runs and items replaced at random: how many, and which stay."""

from __future__ import annotations

import numpy as np
from operator_calls import answers


def test_dropout_replaces_about_as_many_runs_as_the_ratio_says() -> None:
    x, lengths = np.arange(2000), np.full(1000, 2, np.int32)
    y, got = answers("SparseDropoutWithReplacement", x, lengths, outputs=2, ratio=0.3, replacement_value=-5)
    gone = got == 1
    assert 200 < gone.sum() < 400
    assert y.size == got.sum()
    assert (y == -5).sum() == gone.sum()
    np.testing.assert_array_equal(y[y >= 0].reshape(-1, 2)[:, 0] // 2, np.flatnonzero(~gone))
    items, same = answers(
        "SparseItemwiseDropoutWithReplacement", x, lengths, outputs=2, ratio=0.3, replacement_value=-5
    )
    np.testing.assert_array_equal(same, lengths)
    assert 400 < (items == -5).sum() < 800
