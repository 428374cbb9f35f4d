"""Recurrent cells and layers: gradients by finite differences, an LSTM by hand, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

import graphc
from graphc.frontends.netdef import import_net, read_net
from graphc.ir import Graph, TensorType, evaluate, infer_types
from graphc.ir.errors import RunError, VerifyError

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


STEP_NET = """
op { type: "Mul" input: "h_prev" input: "w" output: "scaled" arg { name: "broadcast" i: 1 } }
op { type: "Add" input: "scaled" input: "x_t" output: "h" }
external_input: "x_t" external_input: "h_prev" external_input: "w" external_input: "timestep" external_output: "h" """
BACKWARD_NET = """
op { type: "Mul" input: "h_grad" input: "w" output: "h_prev_grad" arg { name: "broadcast" i: 1 } }
op { type: "Mul" input: "h_grad" input: "h_prev" output: "share" }
op { type: "ReduceFrontSum" input: "share" output: "w_grad" arg { name: "num_reduce_dim" i: 2 } }
op { type: "Copy" input: "h_grad" output: "x_t_grad" }
external_input: "h_grad" external_input: "h_prev" external_input: "w" external_input: "x_t_grad" """


def names(name: str, *values: str) -> str:
    return f'arg {{ name: "{name}" ' + " ".join(f'strings: "{v}"' for v in values) + " } "


def numbers(name: str, *values: int) -> str:
    return f'arg {{ name: "{name}" ' + " ".join(f"ints: {v}" for v in values) + " } "


RECURRENT_ARGS = (
    f'arg {{ name: "step_net" n {{ name: "step" {STEP_NET} }} }} '
    + f'arg {{ name: "backward_step_net" n {{ name: "back" {BACKWARD_NET} }} }} '
    + names("recurrent_states", "states")
    + numbers("initial_recurrent_state_ids", 1)
    + names("link_internal", "x_t", "h_prev", "h")
    + names("link_external", "x", "states", "states")
    + numbers("link_offset", 0, 0, 1)
    + names("backward_link_internal", "x_t_grad", "h_grad", "h_prev_grad")
    + names("backward_link_external", "x_grad", "states_grad", "states_grad")
    + numbers("backward_link_offset", 0, 1, 0)
    + names("alias_src", "states", "states")
    + names("alias_dst", "all", "last")
    + numbers("alias_offset", 1, -1)
    + numbers("param", 2)
    + names("param_grads", "w_grad")
    + numbers("outputs_with_grads", 0, 1)
)
"""h[t] = w h[t - 1] + x[t], with the gradients of all its outputs."""


def recurrent_net(first: str) -> Graph:
    """The net and its gradient; ``first`` is the type of the initial state. The weight goes through a Copy, which
    compilation removes."""
    text = f"""name: "net" external_input: "x" external_input: "h0" external_input: "weight"
      external_input: "all_grad" external_input: "last_grad" external_output: "all" external_output: "x_grad"
      external_output: "w_grad" external_output: "h0_grad"
      op {{ type: "Copy" input: "weight" output: "w" }}
      op {{ type: "RecurrentNetwork" input: "x" input: "h0" input: "w" output: "all" output: "last" output: "spaces"
        {RECURRENT_ARGS} }}
      op {{ type: "RecurrentNetworkGradient" input: "all_grad" input: "last_grad" input: "x" input: "h0" input: "w"
        input: "all" input: "last" input: "spaces" output: "x_grad" output: "w_grad" output: "h0_grad"
        {RECURRENT_ARGS} }}"""
    types = {"x": "float[3,2,1]", "h0": first, "weight": "float[1]", "all_grad": "float[3,2,1]"}
    types["last_grad"] = "float[1,2,1]"
    return import_net(read_net(text.encode()), inputs={n: TensorType.parse(t) for n, t in types.items()})


def run(graph: Graph, inputs: dict[str, np.ndarray], target: str) -> dict[str, np.ndarray]:
    if target == "cpu":
        return graphc.compile_graph(graph, threads=1).run(inputs)
    infer_types(graph)
    return evaluate(graph, inputs)


@pytest.mark.parametrize("target", ["reference", "cpu"])
@pytest.mark.parametrize("first", ["float[1,2,1]", "float[2,1]", "float[1]"])
def test_the_gradient_of_a_recurrent_network(first: str, target: str) -> None:
    """By hand: g[t] = all_grad[t] + w g[t + 1], with last_grad at the end."""
    x, given, last = random(3, 2, 1), random(3, 2, 1, seed=1), random(1, 2, 1, seed=2)
    graph, w = recurrent_net(first), 0.5
    h0 = random(*graph.inputs[1].type.static_shape, seed=3)
    inputs = {"x": x, "h0": h0, "weight": f32([w]), "all_grad": given, "last_grad": last}
    states, slopes = [np.broadcast_to(h0, (1, 2, 1))[0]], [given[2] + last[0]]
    for t in range(3):
        states.append(w * states[-1] + x[t])
    for t in (1, 0):
        slopes.insert(0, given[t] + w * slopes[0])
    got = run(graph, inputs, target)
    np.testing.assert_allclose(got["all"], states[1:], rtol=1e-5)
    np.testing.assert_allclose(got["x_grad"], slopes, rtol=1e-5)
    np.testing.assert_allclose(got["w_grad"].sum(), np.sum(np.multiply(slopes, states[:3])), rtol=1e-5)
    slope0 = w * slopes[0]
    want = slope0.sum(0) if h0.ndim == 1 else slope0.reshape(h0.shape)
    np.testing.assert_allclose(got["h0_grad"], want, rtol=1e-5)


def test_gradients_have_the_shapes_of_the_inputs() -> None:
    graph = recurrent_net("float[2,1]")
    infer_types(graph)
    shapes = {n: str(v.type) for n, v in zip(graph.output_names, graph.outputs)}
    assert shapes == {"all": "float[3,2,1]", "x_grad": "float[3,2,1]", "w_grad": "float[1]", "h0_grad": "float[2,1]"}


def recurrent_step(first: str, x: str = "float[3,2,1]", state: str = "states") -> Graph:
    """The network alone. first: the type of the initial state. state: its name."""
    args = RECURRENT_ARGS.replace('"states"', f'"{state}"', 1)
    text = f"""name: "net" external_input: "x" external_input: "h0" external_input: "w" external_output: "all"
      op {{ type: "RecurrentNetwork" input: "x" input: "h0" input: "w" output: "all" output: "last" output: "spaces"
        {args} }}"""
    types = {"x": x, "h0": first, "w": "float[1]"}
    return import_net(read_net(text.encode()), inputs={n: TensorType.parse(t) for n, t in types.items()})


@pytest.mark.parametrize(("first", "message"), [("float[1,12,1]", "a batch of 12"), ("float[1,1,2,1]", "1 to 3")])
def test_initial_states_of_another_shape_are_refused(first: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        infer_types(recurrent_step(first))


def test_aliases_of_what_is_no_state_are_refused() -> None:
    with pytest.raises(VerifyError, match="'states', which is no recurrent state"):
        infer_types(recurrent_step("float[2,1]", state="other"))


def test_a_state_that_changes_its_width_is_refused() -> None:
    inputs = {"x": random(3, 2, 4), "h0": random(1, 2, 1), "w": np.ones(1, np.float32)}
    with pytest.raises(VerifyError, match=r"step 0 gives 'h' the shape \(1, 2, 4\)"):
        evaluate(recurrent_step("float[1,2,1]", x="float[3,2,4]"), inputs)
