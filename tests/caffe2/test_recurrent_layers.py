"""Recurrent layers against loops in NumPy, their gradients against differences, on the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import core, gru_cell, recurrent, rnn_cell, workspace
from graphc.caffe2.model_helper import ModelHelper
from graphc.caffe2.rnn.rnn_cell_test_util import _prepare_rnn, tanh

STEPS, BATCH, INPUTS, UNITS = 4, 3, 5, 2
LENGTHS = np.array([4, 2, 3], np.int32)
Blobs = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def model_of(layer: Callable[..., Any], states: int, lengths: bool = True, **kwargs: Any) -> tuple[ModelHelper, Any]:
    model = ModelHelper(name="rnn")
    data, ends = model.net.AddScopedExternalInputs("data", "lengths")
    begin = model.net.AddScopedExternalInputs(*["h0", "c0", "h1", "c1"][:states])
    found = layer(model, data, ends if lengths else None, begin, INPUTS, kwargs.pop("units", UNITS), "r", **kwargs)
    return model, found


def feeds(model: ModelHelper) -> Blobs:
    rng = np.random.default_rng(3)
    names = ("h0", "c0", "h1", "c1")
    states = {name: 0.3 * rng.standard_normal((1, BATCH, UNITS), np.float32) for name in names}
    data = rng.standard_normal((STEPS, BATCH, INPUTS), np.float32)
    return {"data": data, "lengths": LENGTHS, **states, **interpreted_nets.initial(model.param_init_net)}


def lstm(b: Blobs, ends: np.ndarray, forget_bias: float = 0, drop: bool = False) -> tuple[np.ndarray, ...]:
    h, c = b["h0"][0], b["c0"][0]
    hidden, cells = [], []
    for t in range(STEPS):
        gates = b["data"][t] @ b["r/i2h_w"].T + b["r/i2h_b"] + h @ b["r/gates_t_w"].T + b["r/gates_t_b"]
        i, f, o, z = np.split(gates, 4, 1)
        new_c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(z)
        new_h = sigmoid(o) * np.tanh(new_c)
        runs = (t < ends)[:, None]
        h, c = np.where(runs, new_h, 0 if drop else h), np.where(runs, new_c, 0 if drop else c)
        hidden.append(h)
        cells.append(c)
    return np.array(hidden), np.array(cells)


@pytest.mark.parametrize("drop", [False, True])
def test_lstm(drop: bool) -> None:
    model, (hidden, last, cells, last_cell) = model_of(rnn_cell.LSTM, 2, forget_bias=1.5, drop_states=drop)
    assert [str(b) for b in (hidden, last, cells, last_cell)] == [
        "r/hidden_state_all",
        "r/hidden_state_last",
        "r/cell_state_all",
        "r/cell_state_last",
    ]
    given = feeds(model)
    found = interpreted_nets.run(model.net, given, [hidden, last, cells, last_cell])
    want = lstm(given, LENGTHS, 1.5, drop)
    for i, blobs in enumerate(((hidden, last), (cells, last_cell))):
        np.testing.assert_allclose(found[str(blobs[0])], want[i], atol=1e-6)
        np.testing.assert_allclose(found[str(blobs[1])][0], want[i][-1], atol=1e-6)


def test_lstm_without_lengths_that_only_runs_forward() -> None:
    model, (hidden, *_, params) = model_of(rnn_cell.LSTM, 2, lengths=False, forward_only=True, return_params=True)
    assert params["recurrent"] == {"weights": "r/gates_t_w", "biases": "r/gates_t_b"}
    given = feeds(model)
    found = interpreted_nets.run(model.net, given, [hidden])
    np.testing.assert_allclose(found[str(hidden)], lstm(given, np.full(BATCH, STEPS))[0], atol=1e-6)
    operator = model.net.Proto().op[-1]
    assert not any(a.name.startswith("backward") for a in operator.arg)
    gate = np.arange(UNITS * INPUTS, dtype=np.float32).reshape(UNITS, INPUTS)
    names = rnn_cell.GetLSTMParamNames()
    values = {**dict.fromkeys(names["weights"], gate), **dict.fromkeys(names["biases"], np.ones(UNITS))}
    rnn_cell.InitFromLSTMParams(params, {"input": values})
    np.testing.assert_array_equal(workspace.FetchBlob("r/i2h_w"), np.tile(gate, (4, 1)))


def test_gru() -> None:
    for before in (False, True):
        workspace.ResetWorkspace()
        model, (hidden, last) = model_of(gru_cell.GRU, 1, linear_before_reset=before)
        b = feeds(model)
        h, want = b["h0"][0], []
        for t in range(STEPS):
            x = np.split(b["data"][t] @ b["r/i2h_w"].T + b["r/i2h_b"], 3, 1)
            weights = {g: (b[f"r/{g}_gate_t_w"], b[f"r/{g}_gate_t_b"]) for g in ("reset", "update", "output")}
            layer = lambda gate, v, weights=weights: v @ weights[gate][0].T + weights[gate][1]
            reset, update = sigmoid(x[0] + layer("reset", h)), sigmoid(x[1] + layer("update", h))
            inner = reset * layer("output", h) if before else layer("output", reset * h)
            new = update * h + (1 - update) * np.tanh(x[2] + inner)
            h = np.where((t < LENGTHS)[:, None], new, h)
            want.append(h)
        found = interpreted_nets.run(model.net, b, [hidden, last])
        np.testing.assert_allclose(found[str(hidden)], want, atol=1e-6)
        np.testing.assert_allclose(found[str(last)][0], want[-1], atol=1e-6)


@pytest.mark.parametrize(("activation", "function"), [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))])
def test_basic(activation: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    model, (hidden, _) = model_of(rnn_cell.BasicRNN, 1, activation=activation)
    b = feeds(model)
    h, want = b["h0"][0], []
    for t in range(STEPS):
        sums = b["data"][t] @ b["r/i2h_w"].T + b["r/i2h_b"] + h @ b["r/gates_t_w"].T + b["r/gates_t_b"]
        h = np.where((t < LENGTHS)[:, None], function(sums), h)
        want.append(h)
    np.testing.assert_allclose(interpreted_nets.run(model.net, b, [hidden])[str(hidden)], want, atol=1e-6)


LAYERS: dict[str, tuple[Callable[..., Any], int, dict[str, Any]]] = {
    "LSTM": (rnn_cell.LSTM, 2, {}),
    "LSTM that computes gates anew": (rnn_cell.LSTM, 2, {"memory_optimization": True}),
    "two layers": (rnn_cell.LSTM, 4, {"units": [UNITS, UNITS]}),
    "unrolled": (rnn_cell.LSTM, 2, {"static_rnn_unroll_size": STEPS}),
    "BasicRNN": (rnn_cell.BasicRNN, 1, {"activation": "tanh"}),
    "GRU": (gru_cell.GRU, 1, {}),
    "MILSTM": (rnn_cell.MILSTM, 2, {}),
    "LayerNormLSTM": (rnn_cell.LayerNormLSTM, 2, {}),
    "LayerNormMILSTM": (rnn_cell.LayerNormMILSTM, 2, {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name: str) -> None:
    """A step along a random direction changes the loss as the gradient says."""
    layer, states, kwargs = LAYERS[name]
    model, outputs = model_of(layer, states, **kwargs)
    loss = model.net.SumElements(model.net.Sqr(outputs[0], "squares"), "loss")
    gradients = model.AddGradientOperators([loss])
    given = feeds(model)
    found = interpreted_nets.run(model.net, given, [loss, *(gradients[p] for p in [*model.params, "data", "h0"])])
    rng, size = np.random.default_rng(4), 5e-3
    for blob in [*map(str, model.params), "data", "h0"]:
        direction = rng.standard_normal(given[blob].shape).astype(np.float32)
        ends = [
            interpreted_nets.run(model.net, {**given, blob: given[blob] + sign * size * direction}, [loss])["loss"]
            for sign in (1, -1)
        ]
        along = float((found[str(gradients[blob])] * direction).sum())
        assert along == pytest.approx(float(ends[0] - ends[1]) / 2 / size, rel=2e-2, abs=2e-3)


def test_initial_states_may_be_parameters() -> None:
    model = ModelHelper(name="rnn")
    rnn_cell.LSTM(model, "data", "lengths", None, INPUTS, UNITS, "r", forward_only=True)
    assert [str(p) for p in model.params][:2] == ["r/initial_hidden_state", "r/initial_cell_state"]


def test_layers_one_after_the_other_and_dropout() -> None:
    model = ModelHelper(name="rnn")
    outputs = rnn_cell.layered_LSTM(model, "data", "lengths", ("h0", "c0"), INPUTS, [UNITS, 3], "r")
    assert str(outputs[0]) == "r_layer_1/hidden_state_all"
    cell = rnn_cell.LSTMCell(INPUTS, UNITS, 0.0, False, name="r")
    dropout = rnn_cell.DropoutCell(cell, dropout_ratio=0.5, name="r", is_test=False)
    other = ModelHelper(name="rnn")
    output, _ = dropout.apply_over_sequence(other, "data", "lengths", ("h0", "c0"))
    assert other.net.Proto().op[-1].type == "Dropout"
    assert str(output) == other.net.Proto().op[-1].output[0]
    residual = rnn_cell.MultiRNNCell([cell] * 4, residual_output_layers=[2, 3], name="m")
    assert residual.output_connected_layers == [1, 2, 3]
    assert residual.get_output_state_index() == 6
    assert residual.output_indices == [2, 4, 6]


def test_refusals() -> None:
    model = ModelHelper(name="rnn")
    with pytest.raises(RuntimeError, match="unknown activation"):
        rnn_cell.BasicRNN(model, "data", None, ["h0"], INPUTS, UNITS, "r")
    with pytest.raises(Exception, match="number of states"):
        rnn_cell.LSTM(model, "data", None, ["h0"], INPUTS, UNITS, "r")
    with pytest.raises(Exception, match="have to be set"):
        gru_cell.GRU(model, "data", None, None, INPUTS, UNITS, "r")
    with pytest.raises(AssertionError, match="one input"):
        recurrent.recurrent_net(model.net, core.Net("cell"), [], [], {})
    with pytest.raises(AssertionError, match="is_test"):
        rnn_cell.DropoutCell(rnn_cell.RNNCell())
    operator = core.CreateOperator("RecurrentNetwork", [], [])
    recurrent.set_rnn_executor_config(operator, num_threads=2)
    assert (operator.arg[0].name, operator.arg[0].i) == ("rnn_executor.num_threads", 2)
    with pytest.raises(AssertionError, match="no recurrent"):
        recurrent.set_rnn_executor_config(core.CreateOperator("Relu", "x", "y"))


def test_a_layer_for_tests_has_all_that_it_reads() -> None:
    outputs, net, blobs = _prepare_rnn(
        STEPS, BATCH, 5, rnn_cell.LSTM, [0], 1.0, two_d_initial_states=True, dim_out=[UNITS]
    )
    assert [str(b) for b in blobs] == ["hidden_init_0", "cell_init_0", "test_name_scope/input_blob"]
    assert workspace.FetchBlob(blobs[1]).shape == (BATCH, UNITS)
    workspace.FeedBlob(blobs[-1], np.ones((STEPS, BATCH, 5), np.float32))
    workspace.RunNetOnce(net)
    assert workspace.FetchBlob(outputs[0]).shape == (STEPS, BATCH, UNITS)
    np.testing.assert_allclose(tanh(f32 := np.float32([-2, 0.5])), np.tanh(f32), rtol=1e-6)


def test_blobs_of_the_steps_come_into_the_workspace() -> None:
    workspace.ResetWorkspace()
    model = ModelHelper(name="outer")
    data, begin = model.net.AddExternalInputs("data", "begin")
    step = ModelHelper(name="step", param_model=model)
    x, before = step.net.AddExternalInput("x", "before")
    doubled = step.net.Scale(x, "doubled", scale=2.0)
    after = step.net.Mul([doubled, before], "after")
    step.net.AddExternalOutput(after)
    recurrent.recurrent_net(
        net=model.net, cell_net=step.net, inputs=[(x, data)], initial_cell_inputs=[(before, begin)],
        links={before: after}, scope="product",
    )  # fmt: skip
    workspace.FeedBlob("data", np.array([2, 3], np.float32).reshape(2, 1, 1))
    workspace.FeedBlob("begin", np.ones((1, 1, 1), np.float32))
    workspace.CreateNet(model.net)
    counter = model.net.AddObserver("RunCountObserver")
    workspace.RunNet(model.net)
    assert counter.debug_info() == "This operator runs 5 iterations."
    names = [name.decode() for name in recurrent.retrieve_step_blobs(model.net, "seen")]
    assert {"seen_x0", "seen_before1", "seen_after1", "seen_timestep0"} <= set(names)
    found = {name: workspace.FetchBlob(name).ravel().tolist() for name in names}
    assert (found["seen_x1"], found["seen_before1"], found["seen_after1"]) == ([3], [4], [24])
