"""Step nets that read a state in which they have just written, and whole states as outputs, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphc
from graphc.frontends.netdef import Net, Operator, import_net
from graphc.frontends.netdef.state_outputs import order_aliases
from graphc.ir import TensorType, evaluate, infer_types


def _net(window: int) -> Net:
    """Every step doubles its input into a state, and adds up the ``window`` last elements of that state."""
    step = Net(
        "step",
        [
            Operator("Scale", ["x_t"], ["new"], {"scale": 2.0}),
            Operator("ReduceFrontSum", ["view"], ["flat"]),
            Operator("ExpandDims", ["flat"], ["sum"], {"dims": (0,)}),
        ],
        ["x_t", "view"],
        ["new", "sum"],
    )
    links = {
        "link_internal": (b"x_t", b"new", b"view", b"sum"),
        "link_external": (b"x", b"state", b"state", b"sums"),
        "link_offset": (0, 1, 2 - window, 1),
        "link_window": (1, 1, window, 1),
    }
    states = {"recurrent_states": (b"state", b"sums"), "initial_recurrent_state_ids": (1, 2)}
    aliases = {"alias_src": (b"sums",), "alias_dst": (b"all",), "alias_offset": (1,)}
    args = {"step_net": step, "backward_step_net": (), **links, **states, **aliases}  # () is a name only: no net
    op = Operator("RecurrentNetwork", ["x", "first", "zero"], ["all", "spaces"], args)
    return Net("net", [op], ["x", "first", "zero"], ["all"])


@pytest.mark.parametrize("target", ["reference", "cpu"])
@pytest.mark.parametrize(("window", "want"), [(1, [2, 4, 6]), (2, [5 + 2, 2 + 4, 4 + 6])])
def test_a_view_shows_what_its_step_has_written(window: int, want: list[float], target: str) -> None:
    inputs = {"x": np.array([1, 2, 3]), "first": np.array([5]), "zero": np.array([0])}
    arrays = {name: a.astype(np.float32).reshape(-1, 1, 1) for name, a in inputs.items()}
    types = {name: TensorType.parse(f"float[{len(a)},1,1]") for name, a in arrays.items()}
    graph = import_net(_net(window), inputs=types)
    if target == "cpu":
        found = graphc.compile_graph(graph, threads=1).run(arrays)["all"]
    else:
        infer_types(graph)
        found = evaluate(graph, arrays)["all"]
    assert found.ravel().tolist() == want


def test_outputs_may_be_whole_states_and_stand_in_any_order() -> None:
    net = _net(1)
    op = net.ops[0]
    op.args |= {"alias_src": (b"sums", b"state"), "alias_dst": (b"all", b"last"), "alias_offset": (1, -1)}
    op.outputs = ["last", "state", "all", "spaces"]
    net.external_outputs = op.outputs[:3]
    inputs = {"x": np.array([1, 2]), "first": np.array([5]), "zero": np.array([0])}
    arrays = {name: a.astype(np.float32).reshape(-1, 1, 1) for name, a in inputs.items()}
    graph = import_net(net, inputs={name: TensorType.parse(f"float[{len(a)},1,1]") for name, a in arrays.items()})
    infer_types(graph)
    found = evaluate(graph, arrays)
    assert {n: a.ravel().tolist() for n, a in found.items()} == {"last": [4], "state": [5, 2, 4], "all": [2, 4]}


def test_the_gradient_knows_the_outputs_among_its_inputs() -> None:
    """A state may be called like the input that it begins with."""
    states = {"recurrent_states": (b"h",), "initial_recurrent_state_ids": (1,), "outputs_with_grads": (1,)}
    aliases = {"alias_src": (b"h", b"h"), "alias_dst": (b"all", b"last"), "alias_offset": (1, -1)}
    inputs = ["last_grad", "x", "h", "last", "all", "spaces"]
    op = Operator("RecurrentNetworkGradient", inputs, ["x_grad", "h_grad"], {**states, **aliases})
    found = order_aliases(op).args
    assert (found["alias_dst"], found["alias_offset"]) == ((b"last", b"all"), (-1, 1))
    assert order_aliases(replace(op, inputs=[*inputs[:3], "all", "last", "spaces"])).args == op.args
