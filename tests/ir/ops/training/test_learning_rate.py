"""Policies of learning rates, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answers

from graphc.ir.errors import VerifyError


@pytest.mark.parametrize(
    ("args", "iteration", "factor"),
    [
        ({"policy": b"fixed"}, 9, 1.0),
        ({"policy": b"step", "stepsize": 10, "gamma": 0.5}, 25, 0.25),
        ({"policy": b"exp", "gamma": 0.5}, 3, 0.125),
        ({"policy": b"inv", "gamma": 1.0, "power": 2.0}, 1, 0.25),
        ({"policy": b"poly", "power": 2.0, "max_iter": 10}, 5, 0.25),
        ({"policy": b"linearWarmup", "num_iter": 4, "start_multiplier": 0.5}, 2, 0.75),
        ({"policy": b"constantWarmup", "num_iter": 4, "multiplier": 0.25}, 3, 0.25),
        ({"policy": b"constantWarmup", "num_iter": 4, "multiplier": 0.25}, 4, 1.0),
        ({"policy": b"alter", "active_first": 1, "active_period": 2, "inactive_period": 1}, 2, 0.0),
        ({"policy": b"alter", "active_first": 0, "active_period": 2, "inactive_period": 1}, 0, 0.0),
        ({"policy": b"gate", "num_iter": 3, "multiplier_1": 1.0, "multiplier_2": 0.5}, 3, 0.5),
    ],
)
def test_learning_rate(args: dict[str, object], iteration: int, factor: float) -> None:
    (rate,) = answers("LearningRate", np.array([iteration], np.int64), base_lr=-0.5, **args)
    assert rate.shape == ()
    assert rate == pytest.approx(-0.5 * factor)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"policy": b"step", "gamma": 0.5}, "positive argument 'stepsize'"),
        ({"policy": b"sometimes"}, "policy 'sometimes' is unknown"),
        ({}, "policy '' is unknown"),
    ],
)
def test_learning_rates_without_sense(args: dict[str, object], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        answers("LearningRate", np.array([1], np.int64), base_lr=1.0, **args)
