"""The LSTM of Caffe2's rnn_cell.LSTM as a net, and the same function for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import graphc
from graphc.frontends.netdef import Net, Operator, write_net

Arrays = Mapping[str, np.ndarray]
GATES = ("i2h_w", "i2h_b", "gates_t_w", "gates_t_b")


def _step() -> Net:
    cell = ["hidden_t_prev", "cell_t_prev", "gates_t", "seq_lengths", "timestep"]
    ops = [
        Operator("FC", ["hidden_t_prev", "gates_t_w", "gates_t_b"], ["gates_t"], {"axis": 2}),
        Operator("Sum", ["gates_t", "input_t"], ["gates_t"]),
        Operator("LSTMUnit", cell, ["hidden_t", "cell_t"], {"sequence_lengths": 1}),
    ]
    read = ["input_t", "timestep", "hidden_t_prev", "cell_t_prev", "gates_t_w", "gates_t_b", "seq_lengths"]
    return Net("step", ops, read, ["hidden_t", "cell_t"])


def _net() -> Net:
    states = {"hidden": b"hidden_states", "cell": b"cell_states"}
    args = {
        "recurrent_states": tuple(states.values()),
        "initial_recurrent_state_ids": (1, 2),
        "link_internal": (b"hidden_t_prev", b"hidden_t", b"cell_t_prev", b"cell_t", b"input_t"),
        "link_external": (states["hidden"],) * 2 + (states["cell"],) * 2 + (b"i2h",),
        "link_offset": (0, 1, 0, 1, 0),
        "alias_src": (states["hidden"], states["cell"]),
        "alias_dst": (b"hidden_all", b"cell_last"),
        "alias_offset": (1, -1),
        "step_net": _step(),
        "timestep": b"timestep",
    }
    ops = [
        Operator("FC", ["x", "i2h_w", "i2h_b"], ["i2h"], {"axis": 2}),
        Operator(
            "RecurrentNetwork",
            ["i2h", "h0", "c0", "gates_t_w", "gates_t_b", "seq_lengths"],
            ["hidden_all", "cell_last"],
            args,
        ),
    ]
    return Net("lstm", ops, ["x", "h0", "c0", "seq_lengths", *GATES], ["hidden_all", "cell_last"])


def lstm_graphc(
    steps: int, batch: int, inputs: int, hidden: int, threads: int
) -> tuple[Callable[[], object], Arrays, Arrays]:
    """A call of the compiled net, the arrays that it runs on, and its weights (gates: input, forget, output, cell)."""
    rng = np.random.default_rng(0)
    shapes = ((4 * hidden, inputs), (4 * hidden,), (4 * hidden, hidden), (4 * hidden,))
    weights = {n: (rng.standard_normal(s) * 0.1).astype(np.float32) for n, s in zip(GATES, shapes)}
    fills = [Operator("GivenTensorFill", [], [n], {"shape": w.shape, "values": w.ravel()}) for n, w in weights.items()]
    init = Net("init", fills, [], list(GATES))
    arrays = {
        "x": rng.standard_normal((steps, batch, inputs)).astype(np.float32),
        "h0": np.zeros((1, batch, hidden), np.float32),
        "c0": np.zeros((1, batch, hidden), np.float32),
        "seq_lengths": np.full(batch, steps, np.int32),
    }
    plan = graphc.compile(write_net(_net()), write_net(init), inputs=arrays, threads=threads)
    return lambda: plan.run(arrays), arrays, weights


def lstm_onnxruntime(arrays: Arrays, weights: Arrays, threads: int) -> Callable[[], object]:
    """The same function as ONNX's LSTM, whose gates come in the order input, output, forget, cell."""

    def reordered(name: str) -> np.ndarray:
        i, f, o, c = np.split(weights[name], 4)
        return np.concatenate([i, o, f, c])

    bias = np.concatenate([reordered("i2h_b"), reordered("gates_t_b")])
    constants = {"W": reordered("i2h_w"), "R": reordered("gates_t_w"), "B": bias}
    hidden = arrays["h0"].shape[-1]
    names = ("x", "h0", "c0")
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h0", "c0"], ["y", "h", "c"], hidden_size=hidden)
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, arrays[n].shape) for n in names],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * rank) for n, rank in zip("yhc", (4, 3, 3))],
        [numpy_helper.from_array(a[None], n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {n: arrays[n] for n in names}
    return lambda: session.run(None, given)
