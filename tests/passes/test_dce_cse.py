from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph, Location, Origin
from graphc.ir.builder import Builder
from graphc.passes import Cse, Dce

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
X = {"x": np.array([-1, 2], np.float32)}


def test_dce_removes_unread_chains_and_their_weights(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    dead = b.op("Add", [b.op("Tanh", [x]), b.constant("w", [1.0, 2.0])])
    b.op("Relu", [dead])
    b.output(b.op("Relu", [x], {}, "y"))
    assert check(Dce(), graph, X) == ["Relu"]
    assert graph.constants == []


def test_dce_keeps_effects_and_unread_results_of_live_operators(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[1,2]")
    y = b.node("Dropout", [x], {"is_test": 1}, ["y", "mask"])
    b.output(y.results[0])
    assert check(Dce(), graph, {"x": X["x"].reshape(1, 2)}, changed=False) == ["Dropout"]


@pytest.mark.parametrize("biased", [True, False])
def test_dce_leaves_out_the_gradient_of_the_first_input(net: Net, check: Check, biased: bool) -> None:
    """And only that: the gradients of weights and bias stay, read or not."""
    graph, b = net
    x, w, dy = b.input("x", "float[1,1,3,3]"), b.input("w", "float[1,1,2,2]"), b.input("dy", "float[1,1,2,2]")
    names = ["dw", "db", "dx"] if biased else ["dw", "dx"]
    made = b.node("ConvGradient", [x, w, dy], {"kernel": 2, "no_bias": int(not biased)}, names)
    layer = b.node(
        "FCGradient", [b.op("Flatten", [x]), b.input("v", "float[2,9]"), b.input("dz", "float[1,2]")], {}, "abc"
    )
    b.output(made.results[0])
    b.output(layer.results[0])
    random = np.random.default_rng(0)
    feeds = {v.name: random.random(v.type.static_shape, dtype=np.float32) for v in graph.inputs}
    check(Dce(), graph, feeds)
    assert [r.name for r in made.results] == names[:-1]
    assert [r.name for r in layer.results] == ["a", "b"]
    assert not Dce().run(graph)


def test_cse_merges_equal_calls_and_their_users(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    origins = [Location((Origin("n", i, "Tanh"),)) for i in range(2)]
    t = [b.op("Tanh", [x], {}, f"t{i}", origins[i]) for i in range(2)]
    b.output(b.op("Add", [b.op("Relu", [t[0]]), b.op("Relu", [t[1]])], {}, "y"))
    b.output(t[1], "second")
    assert check(Cse(), graph, X) == ["Tanh", "Relu", "Add"]
    assert graph.nodes[0].location == origins[0].join(origins[1])


def test_cse_tells_arguments_operands_and_types_of_numbers_apart(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    values = [
        b.op("LeakyRelu", [x], {"alpha": 1}),
        b.op("LeakyRelu", [x], {"alpha": 1.0}),
        b.op("LeakyRelu", [x], {"alpha": 0.0}),
        b.op("LeakyRelu", [x], {"alpha": -0.0}),
        b.op("Relu", [x]),
    ]
    b.output(b.op("Sum", values, {}, "y"))
    assert len(check(Cse(), graph, X, changed=False)) == 6


def test_cse_merges_weights_that_are_one_array(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    w = np.array([1, 2], np.float32)
    b.output(b.op("Add", [b.op("Mul", [x, b.constant("a", w)]), b.op("Mul", [x, b.constant("b", w)])], {}, "y"))
    assert check(Cse(), graph, X) == ["Mul", "Add"]


def test_cse_keeps_random_operators_apart() -> None:
    graph = Graph("net", "typed")
    b = Builder(graph)
    a, c = (b.op("GaussianFill", [], {"shape": (2,)}, n) for n in "ac")
    b.output(b.op("Sub", [a, c], {}, "y"))
    assert not Cse().run(graph)
