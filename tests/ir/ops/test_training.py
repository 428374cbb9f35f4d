"""Losses, metrics, optimisers and learning rates by hand."""

from __future__ import annotations

import numpy as np
import operator_cases
import pytest

from graphc.ir.errors import RunError, VerifyError


def answers(op: str, *inputs: object, n: int = 1, **args: object) -> list[np.ndarray]:
    arrays = [np.asarray(x) for x in inputs]
    call = operator_cases.make_call(op, arrays, [f"out{i}" for i in range(n)], dict(args))
    return operator_cases.run(call, arrays)


def floats(*values: object) -> np.ndarray:
    return np.array(values, np.float32)


P = floats([0.2, 0.5, 0.3], [0.6, 0.3, 0.1])


def test_cross_entropy_and_its_gradient() -> None:
    label = np.array([2, 0], np.int32)
    (y,) = answers("LabelCrossEntropy", P, label)
    np.testing.assert_allclose(y, -np.log([0.3, 0.6]), rtol=1e-6)
    (dx,) = answers("LabelCrossEntropyGradient", P, label, floats(1, 2))
    np.testing.assert_allclose(dx, [[0, 0, -1 / 0.3], [-2 / 0.6, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("op", ["LabelCrossEntropy", "Accuracy", "SoftmaxWithLoss"])
def test_labels_outside_the_classes_are_refused(op: str) -> None:
    with pytest.raises(RunError, match="a label is not the number of a class"):
        answers(op, P, np.array([0, 3], np.int32), n=2 if op == "SoftmaxWithLoss" else 1)


def test_probability_zero_has_a_finite_loss() -> None:
    (y,) = answers("LabelCrossEntropy", floats([0, 1]), np.array([0], np.int32))
    np.testing.assert_allclose(y, [-np.log(1e-20)], rtol=1e-6)


def test_accuracy_of_ties_prefers_the_lower_index() -> None:
    x = floats([0.5, 0.5, 0.0], [0.1, 0.2, 0.7])
    assert answers("Accuracy", x, np.array([0, 2], np.int32))[0] == 1
    assert answers("Accuracy", x, np.array([1, 0], np.int32))[0] == 0
    assert answers("Accuracy", x, np.array([1, 0], np.int32), top_k=2)[0] == 0.5


def test_gradient_of_softmax_with_loss_is_the_slope() -> None:
    """Central differences of the loss, in double precision through the reference."""
    rng = np.random.default_rng(1)
    x, label = rng.normal(size=(3, 4)).astype(np.float32), np.array([1, 3, 0], np.int32)
    softmax, loss = answers("SoftmaxWithLoss", x, label, n=2, scale=0.5)
    (dx,) = answers("SoftmaxWithLossGradient", x, label, softmax, np.float32(1), scale=0.5)
    step = np.zeros_like(x)
    step[1, 2] = 0.125
    above, below = (answers("SoftmaxWithLoss", x + d, label, n=2, scale=0.5)[1] for d in (step, -step))
    assert loss.shape == ()
    assert dx[1, 2] == pytest.approx((above - below) / 0.25, rel=1e-2)


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


def test_weighted_sum_is_a_step_of_sgd() -> None:
    (w,) = answers("WeightedSum", floats(1, 2), floats(1), floats(10, 20), floats(-0.5))
    assert w.tolist() == [-4, -8]
    with pytest.raises(VerifyError, match="come in pairs"):
        answers("WeightedSum", floats(1), floats(1), floats(1))


def test_counters() -> None:
    assert answers("Iter")[0].tolist() == [1]
    assert answers("Iter", np.array([4], np.int64))[0].tolist() == [5]


def test_summary_divides_by_n_minus_1() -> None:
    np.testing.assert_allclose(answers("Summarize", floats(1, 2, 3))[0], [1, 3, 2, 1])


def test_one_step_of_an_lstm() -> None:
    """All gates 0: input, forget and output gates are 1/2, the candidate 0; the second sequence has ended."""
    h, c = floats([[5], [7]]), floats([[2], [3]])
    gates, lengths, t = np.zeros((1, 2, 4), np.float32), np.array([2, 1], np.int32), np.array([1], np.int32)
    hidden, cell = answers("LSTMUnit", h.reshape(1, 2, 1), c.reshape(1, 2, 1), gates, lengths, t, n=2)
    np.testing.assert_allclose(cell.ravel(), [1, 3])
    np.testing.assert_allclose(hidden.ravel(), [0.5 * np.tanh(1), 7], rtol=1e-6)
    dropped = answers("LSTMUnit", h.reshape(1, 2, 1), c.reshape(1, 2, 1), gates, lengths, t, n=2, drop_states=1)
    assert dropped[0].ravel()[1] == 0
