"""Softmax with a loss, and its slope."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answers


def test_gradient_of_softmax_with_loss_is_the_slope() -> None:
    """Central differences of the loss, in double precision through the reference."""
    rng = np.random.default_rng(1)
    x, label = rng.normal(size=(3, 4)).astype(np.float32), np.array([1, 3, 0], np.int32)
    softmax, loss = answers("SoftmaxWithLoss", x, label, outputs=2, scale=0.5)
    (dx,) = answers("SoftmaxWithLossGradient", x, label, softmax, np.float32(1), scale=0.5)
    step = np.zeros_like(x)
    step[1, 2] = 0.125
    above, below = (answers("SoftmaxWithLoss", x + d, label, outputs=2, scale=0.5)[1] for d in (step, -step))
    assert loss.shape == ()
    assert dx[1, 2] == pytest.approx((above - below) / 0.25, rel=1e-2)
