"""One step of a cell, by hand."""

from __future__ import annotations

import numpy as np
from operator_calls import answers, f32


def test_one_step_of_an_lstm() -> None:
    """All gates 0: input, forget and output gates are 1/2, the candidate 0; the second sequence has ended."""
    h, c = f32([[[5], [7]]]), f32([[[2], [3]]])
    gates, lengths, t = np.zeros((1, 2, 4), np.float32), np.array([2, 1], np.int32), np.array([1], np.int32)
    hidden, cell = answers("LSTMUnit", h.reshape(1, 2, 1), c.reshape(1, 2, 1), gates, lengths, t, outputs=2)
    np.testing.assert_allclose(cell.ravel(), [1, 3])
    np.testing.assert_allclose(hidden.ravel(), [0.5 * np.tanh(1), 7], rtol=1e-6)
    dropped = answers("LSTMUnit", h.reshape(1, 2, 1), c.reshape(1, 2, 1), gates, lengths, t, outputs=2, drop_states=1)
    assert dropped[0].ravel()[1] == 0
