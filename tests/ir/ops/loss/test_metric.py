"""Accuracy, by hand."""

from __future__ import annotations

import numpy as np
from operator_calls import answers, f32


def test_accuracy_of_ties_prefers_the_lower_index() -> None:
    x = f32([0.5, 0.5, 0.0], [0.1, 0.2, 0.7])
    assert answers("Accuracy", x, np.array([0, 2], np.int32))[0] == 1
    assert answers("Accuracy", x, np.array([1, 0], np.int32))[0] == 0
    assert answers("Accuracy", x, np.array([1, 0], np.int32), top_k=2)[0] == 0.5
