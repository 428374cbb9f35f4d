"""Operators of a backward pass: they carry all arguments of their forward operator, read or not."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.frontends.netdef import Net, Operator, import_net, read_net, write_net
from graphc.ir import GraphcError, NamedCall, evaluate, gradient_of


def graph_of(op: Operator) -> dict[str, object]:
    graph = import_net(read_net(write_net(Net("net", [op], list(op.inputs), list(op.outputs)))), None, {})
    return graph.nodes[0].attrs


def test_arguments_that_the_gradient_operator_does_not_read() -> None:
    args = {"scale": 2.0, "told_the_forward_operator": 1}
    assert graph_of(Operator("Scale", ["dy"], ["dx"], args, is_gradient=True)) == {"scale": 2.0}
    with pytest.raises(GraphcError, match="told_the_forward_operator"):
        graph_of(Operator("Scale", ["dy"], ["dx"], args))


def test_convolution_without_the_gradient_of_its_input() -> None:
    """As Caffe2's first layers are written: the argument is kept, changes no answer, and leaves out dX."""
    args = {"kernel": 1, "no_gradient_to_input": 1}
    op = Operator("Conv", ["x", "w", "b"], ["y"], args)
    assert graph_of(op)["no_gradient_to_input"] == 1
    (made,), given = gradient_of(NamedCall("Conv", ("x", "w", "b"), ("y",), args), ["dy"])
    assert given == [None, "w_grad", "b_grad"]
    assert "no_gradient_to_input" in made.args
    assert set(made.attrs) <= {"kernel", "no_gradient_to_input"}
    backward = Operator(made.type, list(made.inputs), list(made.outputs), dict(made.args), is_gradient=True)
    graph = import_net(read_net(write_net(Net("net", [backward], list(made.inputs), list(made.outputs)))), None, {})
    x, w = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2), np.ones((2, 3, 1, 1), np.float32)
    dy = np.array([1, 0, 0, 2, 0, 1, 0, 0], np.float32).reshape(1, 2, 2, 2)
    got = evaluate(graph, {"x": x, "w": w, "dy": dy})
    assert got["b_grad"].tolist() == [3, 1]
    assert got["w_grad"].reshape(2, 3).tolist() == [[0 + 2 * 3, 4 + 2 * 7, 8 + 2 * 11], [1, 5, 9]]
