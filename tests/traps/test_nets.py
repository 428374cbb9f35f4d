"""Traps of nets: blobs are variables with any name, nested nets see them, inputs may look like weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import operator_cases
import pytest
from one_net import answers, fill, imported, operator, reference

import graphc
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import evaluate

X = np.array([[-1, 2], [3, -4]], np.float32)


def test_trap_33_branches_see_and_write_outer_blobs() -> None:
    then = Net("then", [operator("Relu", "x", "x")])
    otherwise = Net("else", [operator("Negative", "x", "x")])
    ops = [Operator("If", ["cond"], [], {"then_net": then, "else_net": otherwise}), operator("Add", "x one", "y")]
    inputs = {"cond": np.array([True]), "x": X, "one": np.ones((2, 2), np.float32)}
    np.testing.assert_array_equal(reference(ops, inputs, "y")[0], np.maximum(X, 0) + 1)
    inputs["cond"] = np.array([False])
    np.testing.assert_array_equal(reference(ops, inputs, "y x")[1], -X)


def test_trap_33_loops_carry_outer_blobs() -> None:
    """Doubling 1 while it is below 100 gives 128."""
    loop = Net("loop", [operator("Add", "x x", "x")])
    condition = Net("cond", [operator("LT", "x limit", "c")])
    ops = [Operator("While", ["c"], [], {"loop_net": loop, "cond_net": condition})]
    inputs = {"c": np.array([True]), "x": np.array([1], np.float32), "limit": np.array([100], np.float32)}
    assert reference(ops, inputs, "x")[0].tolist() == [128]


def test_trap_33_do_binds_names() -> None:
    """Inside, the blobs are called a and b; the last input and output, the scope, are not counted."""
    net = Net("inner", [operator("Relu", "a", "b")], ["a"], ["b"])
    args = {"net": net, "inner_blobs": (b"a", b"b"), "outer_blobs_idx": (0, 1)}
    ops = [operator("CreateScope", "", "scope"), Operator("Do", ["x", "scope"], ["y", "scope"], args)]
    np.testing.assert_array_equal(reference(ops, {"x": X}, "y")[0], np.maximum(X, 0))


def test_trap_33_do_finds_what_another_left_in_the_scope() -> None:
    """Blobs without a binding stay in the workspace, apart from outer blobs of the same name; nets inside see them."""
    first = Net("first", [operator("Relu", "a", "x")])
    branch = Net("branch", [operator("Add", "x x", "b")])
    second = Net("second", [Operator("If", ["flag"], ["b"], {"then_net": branch, "else_net": branch})])
    bound = {"net": first, "inner_blobs": (b"a",), "outer_blobs_idx": (0,)}
    names = {"inner_blobs": (b"flag", b"b"), "outer_blobs_idx": (0, 1), "reuse_workspace": 1}
    ops = [
        operator("CreateScope", "", "scope"),
        Operator("Do", ["x", "scope"], ["scope"], bound),
        Operator("Do", ["yes", "scope"], ["y", "scope"], {"net": second, **names}),
    ]
    got = reference(ops, {"x": X, "yes": np.array([True])}, "y x")
    np.testing.assert_array_equal(got[0], 2 * np.maximum(X, 0))
    np.testing.assert_array_equal(got[1], X)


def test_trap_33_do_as_caffe2(shared: Path) -> None:
    """1 + 2, made by one Do and added by another."""
    case = operator_cases.golden_io(shared).load_net(str(shared / "golden_nets" / "net0387.npz"))
    got = evaluate(graphc.import_model(case.net), {}, keep_all=True)
    np.testing.assert_array_equal(got["outer_Z"], dict(case.outputs)["outer_Z"])


def test_trap_33_do_with_a_wrong_number_is_refused() -> None:
    args = {"net": Net("inner", [operator("Relu", "a", "b")]), "inner_blobs": (b"a", b"b"), "outer_blobs_idx": (0, 2)}
    ops = [operator("CreateScope", "", "scope"), Operator("Do", ["x", "scope"], ["y", "scope"], args)]
    with pytest.raises(graphc.NetError, match="points beyond its 2 inputs and outputs"):
        reference(ops, {"x": X}, "y")


def test_trap_34_gradients_of_a_fan_out_are_summed_in_order() -> None:
    """Caffe2 writes the parts as _autosplit_ blobs and sums them in place, from left to right: the order shows."""
    names = [f"x_grad_autosplit_{i}" for i in range(3)]
    parts = dict(zip(names, (np.full(4, v, np.float32) for v in (1e8, -1e8, 1))))
    total = [Operator("Sum", names, [names[0]])]
    assert answers(total, parts, names[0])[0].tolist() == [1, 1, 1, 1]
    turned = [Operator("Sum", names[::-1], [names[2]])]  # 1 - 1e8 is -1e8 in float32
    assert answers(turned, parts, names[2])[0].tolist() == [0, 0, 0, 0]


def test_trap_34_gradients_flow_through_operators_in_place() -> None:
    ops = [
        operator("Relu", "x", "y"),
        operator("ReluGradient", "y g", "g"),
        operator("Negative", "x", "g2"),
        operator("Sum", "g g2", "g"),
    ]
    g = np.full((2, 2), 5, np.float32)
    got = answers(ops, {"x": X, "g": g}, "g")[0]
    np.testing.assert_array_equal(got, np.where(X > 0, g, 0) - X)


def test_trap_36_blobs_are_variables() -> None:
    """x is written three times; the reader in between sees the second value, the user the last under its name."""
    ops = [
        operator("Relu", "x", "x"),
        operator("Negative", "x", "between"),
        operator("Add", "x between", "zero"),
        operator("Sub", "zero x", "x"),
    ]
    x, zero = answers(ops, {"x": X}, "x zero")
    np.testing.assert_array_equal(x, -np.maximum(X, 0))
    np.testing.assert_array_equal(zero, np.zeros((2, 2)))
    assert imported(ops, {"x": X}, "x zero").output_names == ["x", "zero"]


def test_trap_36_fetch_finds_the_last_value() -> None:
    net = Net("n", [operator("Sigmoid", "x", "h"), operator("Relu", "h", "h"), operator("Negative", "h", "y")], ["x"])
    net.external_outputs = ["y"]
    plan = graphc.compile(write_net(net), inputs={"x": X.shape}, outputs=["h"], threads=1)
    got = plan.run({"x": X})
    np.testing.assert_allclose(got["h"], 1 / (1 + np.exp(-X)), rtol=1e-5)
    np.testing.assert_array_equal(got["y"], -got["h"])


NAMES = ["gpu_0/data", "fire2/concat", "1", "two words", "_shared", "__m0_shared", "Relu", "%x", '"', "\u00e4"]


def test_trap_37_blobs_have_any_name() -> None:
    ops = [Operator("Relu", [NAMES[0]], [NAMES[1]], name="Relu")]
    ops += [Operator("Negative", [a], [b], name=b) for a, b in pairwise(NAMES[1:])]
    net = Net("net", ops, NAMES[:1], NAMES[-2:])
    plan = graphc.compile(write_net(net), inputs={NAMES[0]: X.shape}, threads=1)
    got = plan.run({NAMES[0]: X})
    assert list(got) == NAMES[-2:]
    np.testing.assert_array_equal(got[NAMES[-1]], np.maximum(X, 0))


def test_trap_37_a_weight_may_be_an_external_input_as_well() -> None:
    """Saved nets list their weights; a blob may have the name of an operator's type, and of the net."""
    ops = [operator("Mul", "x Mul", "n", broadcast=1)]
    got = answers(ops, {"x": X}, "n", {"Mul": np.array([2, 3], np.float32)})[0]
    np.testing.assert_array_equal(got, X * [2, 3])


SCALE = np.array([2, 3], np.float32)


def scaled(externals: list[str], dummy: np.ndarray | None, **named: np.ndarray) -> graphc.Graph:
    """The graph of y = x * w, whose init net fills x, too."""
    predict = Net("n", [operator("Mul", "x w", "y", broadcast=1)], externals, ["y"])
    init = Net("i", [fill("w", SCALE)] + ([fill("x", dummy)] if dummy is not None else []))
    return graphc.import_model(write_net(predict), write_net(init), named)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_trap_40_a_placeholder_in_the_init_net_is_an_input(shape: tuple[int, ...]) -> None:
    graph = scaled(["x", "w"], np.zeros(shape, np.float32))
    assert ([v.name for v in graph.inputs], [v.name for v in graph.constants]) == (["x"], ["w"])
    assert any("'x' is an input, though the init net fills it" in note for note in graph.notes)
    plan = graphc.compile_graph(scaled(["x", "w"], np.zeros(shape, np.float32), x=X), threads=1)
    np.testing.assert_array_equal(plan.run({"x": X})["y"], X * SCALE)


def test_trap_40_what_the_user_names_is_an_input() -> None:
    graph = scaled(["w", "x"], X, x=X)
    assert [v.name for v in graph.inputs] == ["x"]
    assert any("named by the caller" in note for note in graph.notes)
    assert [v.name for v in scaled(["w", "x"], np.ones(1, np.float32), w=SCALE).inputs] == ["w"]


def test_trap_41_inputs_come_in_the_order_of_external_input() -> None:
    """Positional inputs bind to it, whatever order the operators read them in; weights in between do not count."""
    predict = Net("n", [operator("Sub", "second first", "d"), operator("Mul", "d w", "y", broadcast=1)])
    predict.external_inputs, predict.external_outputs = ["first", "w", "second"], ["y"]
    init = Net("i", [fill("w", SCALE)])
    shapes = {"second": X.shape, "first": X.shape}
    plan = graphc.compile(write_net(predict), write_net(init), inputs=shapes, threads=1)
    assert list(plan.inputs) == ["first", "second"]
    np.testing.assert_array_equal(plan(X, 3 * X), 2 * X * SCALE)


@pytest.mark.parametrize("engine", ["CUDNN", "DEPTHWISE_3x3,NNPACK", "MADE_UP"])
def test_trap_42_engines_are_preferences(engine: str) -> None:
    ops = [Operator("Mul", ["x", "w"], ["y"], {"broadcast": 1}, engine=engine)]
    np.testing.assert_array_equal(answers(ops, {"x": X}, "y", {"w": SCALE})[0], X * SCALE)
    assert imported(ops, {"x": X}, "y", {"w": SCALE}).nodes[0].engine == engine
