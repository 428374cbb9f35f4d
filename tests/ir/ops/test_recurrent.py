"""Recurrent cells and layers: gradients by finite differences, an LSTM by hand, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

from graphc.ir.errors import RunError

LENGTHS, STEP = np.array([2, 5], np.int32), np.array([3], np.int32)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def slope(outputs: object, inputs: list[np.ndarray], which: int, index: tuple[int, ...]) -> float:
    """The derivative of a sum of outputs, by central differences."""
    values = []
    for sign in (1, -1):
        moved = [a.copy() for a in inputs]
        moved[which][index] += sign * 1e-2
        values.append(float(outputs(*moved)))  # type: ignore[operator]
    return (values[0] - values[1]) / 2e-2


def test_lstm_gradient_is_the_slope() -> None:
    states, weights = [random(1, 2, 3), random(1, 2, 3, seed=1), random(1, 2, 12, seed=2)], random(2, 1, 2, 3, seed=3)
    forward = answers("LSTMUnit", *states, LENGTHS, STEP, outputs=2, forget_bias=0.5)
    got = answers("LSTMUnitGradient", *states, LENGTHS, STEP, *forward, *weights, outputs=3, forget_bias=0.5)

    def total(*inputs: np.ndarray) -> float:
        made = answers("LSTMUnit", *inputs, LENGTHS, STEP, outputs=2, forget_bias=0.5)
        return sum(float(np.sum(w * m.astype(np.float64))) for w, m in zip(weights, made))

    for which, gradient in enumerate(got):
        for index in [(0, 0, 1), (0, 1, 0), (0, 1, gradient.shape[2] - 1)]:
            assert gradient[index] == pytest.approx(slope(total, states, which, index), abs=2e-3)


def test_gru_gradient_is_the_slope_and_its_reset_gate_has_none() -> None:
    inputs, weight = [random(1, 2, 3), random(1, 2, 9, seed=1)], random(1, 2, 3, seed=2)
    hidden = answer("GRUUnit", *inputs, LENGTHS, STEP)
    dh, dg = answers("GRUUnitGradient", *inputs, LENGTHS, STEP, hidden, weight, outputs=2)

    def total(*moved: np.ndarray) -> float:
        return float(np.sum(weight * answer("GRUUnit", *moved, LENGTHS, STEP).astype(np.float64)))

    assert not dg[0, :, :3].any()
    for index in [(0, 0, 2), (0, 1, 1)]:
        assert dh[index] == pytest.approx(slope(total, inputs, 0, index), abs=2e-3)
        assert dg[0, 1, 3 + index[2]] == pytest.approx(slope(total, inputs, 1, (0, 1, 3 + index[2])), abs=2e-3)


def test_states_of_ended_sequences_stay_or_become_zero() -> None:
    h, gates = f32([[[1, 2], [3, 4]]]), np.zeros((1, 2, 6), np.float32)
    assert answer("GRUUnit", h, gates, LENGTHS, STEP)[0, 0].tolist() == [1, 2]
    assert answer("GRUUnit", h, gates, LENGTHS, STEP, drop_states=1)[0, 0].tolist() == [0, 0]
    assert answer("GRUUnit", h, gates, LENGTHS, STEP)[0, 1].tolist() == [1.5, 2]


def test_lengths_and_widths_have_to_fit() -> None:
    state, gates = "float[1,2,3]", "float[1,2,12]"
    assert "15" in refusal("LSTMUnit", state, state, "float[1,2,15]", "int32[2]", "int32[1]", outputs=2)
    assert "3 where 2" in refusal("LSTMUnit", state, state, gates, "int32[3]", "int32[1]", outputs=2)
    assert "missing" in refusal("LSTMUnit", state, state, gates, "int32[2]", outputs=2)


def layer(x: np.ndarray, h: np.ndarray, c: np.ndarray, params: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """One layer in one direction, in float64."""
    rows = []
    for step in x:
        i, f, g, o = np.split(step @ params[0].T + h @ params[1].T + sum(params[2:]), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        rows.append(h)
    return np.array(rows), h, c


@pytest.mark.parametrize("batch_first", [0, 1])
def test_two_layers_in_both_directions(batch_first: int) -> None:
    steps, batch, width, size = 3, 2, 4, 5
    x, h, c = random(steps, batch, width), random(4, batch, size, seed=1), random(4, batch, size, seed=2)
    params = []
    for columns in (width, width, 2 * size, 2 * size):
        shapes = [(4 * size, columns), (4 * size, size), (4 * size,), (4 * size,)]
        params.append([random(*s, seed=10 + len(params)) for s in shapes])
    want, hidden, cell = x.astype(np.float64), [], []
    for k in (0, 2):
        ahead = layer(want, h[k], c[k], params[k])
        back = layer(want[::-1], h[k + 1], c[k + 1], params[k + 1])
        want = np.concatenate([ahead[0], back[0][::-1]], axis=2)
        hidden += [ahead[1], back[1]]
        cell += [ahead[2], back[2]]
    given = x.transpose(1, 0, 2) if batch_first else x
    flat = [p for group in params for p in group]
    args = {"num_layers": 2, "bidirectional": 1, "batch_first": batch_first}
    got = answers("InferenceLSTM", np.ascontiguousarray(given), h, c, *flat, outputs=3, **args)
    np.testing.assert_allclose(got[0].transpose(1, 0, 2) if batch_first else got[0], want, atol=1e-5)
    np.testing.assert_allclose(got[1], hidden, atol=1e-5)
    np.testing.assert_allclose(got[2], cell, atol=1e-5)


def test_inference_lstm_counts_its_parameters() -> None:
    state = "float[1,2,3]"
    assert "5 are needed" in refusal("InferenceLSTM", "float[4,2,6]", state, state, has_biases=0, outputs=3).replace(
        "need 5", "5 are needed"
    )
    wrong = refusal(
        "InferenceLSTM", "float[4,2,6]", state, state, "float[12,5]", "float[12,3]", has_biases=0, outputs=3
    )
    assert "columns of input 3: 5 where 6" in wrong


def test_links_of_a_step() -> None:
    whole, step = np.arange(8, dtype=np.float32).reshape(4, 1, 2), np.array([1], np.int32)
    inner, same = answers("rnn_internal_apply_link", step, whole, outputs=2, offset=1, window=2)
    assert inner.tolist() == [[[4, 5]], [[6, 7]]]
    assert (same == whole).all()
    summed = answer("rnn_internal_accumulate_gradient_input", step, whole, whole, offset=1)
    assert summed.ravel().tolist() == [0, 1, 2, 3, 6, 8, 6, 7]
    with pytest.raises(RunError, match="timestep lies outside"):
        answers("rnn_internal_apply_link", np.array([3], np.int32), whole, outputs=2, offset=1, window=1)
