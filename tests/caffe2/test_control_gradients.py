"""Gradients of If, While and Do: calculated by hand, and against differences of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.control_ops_grad import dedupe_g_output
from graphc.caffe2.net_builder import NetBuilder, ops

Values = Mapping[str, list[float]]


def built(body: Callable[[], None], names: list[str]) -> core.Net:
    with NetBuilder(_use_control_ops=True, initial_scope=names) as builder:
        body()
    (net,) = builder.get()
    return net


def differences(net: core.Net, loss: str, values: Values) -> dict[str, np.ndarray]:
    """The slopes of a loss, which a net without gradients computes, along each element of each blob."""

    def at(name: str, i: int, step: float) -> float:
        for other, given in values.items():
            moved = np.array(given, np.float32)
            if other == name:
                moved[i] += step
            workspace.FeedBlob(other, moved)
        workspace.RunNetOnce(net)
        return float(workspace.FetchBlob(loss).sum())

    return {n: np.array([(at(n, i, 0.05) - at(n, i, -0.05)) / 0.1 for i in range(len(v))]) for n, v in values.items()}


def check(net: core.Net, values: Values, loss: str = "loss") -> None:
    want = differences(net, loss, values)
    gradients = net.AddGradientOperators([loss])
    for name, given in values.items():
        workspace.FeedBlob(name, np.array(given, np.float32))
    workspace.CreateNet(net)
    for _ in range(2):
        for name, given in values.items():
            workspace.FeedBlob(name, np.array(given, np.float32))
        workspace.RunNet(net)
        for name in values:
            found = workspace.FetchBlob(gradients[name])
            assert np.allclose(found, want[name], rtol=0.02, atol=1e-3), (name, found, want[name])


def test_powers_in_a_loop() -> None:
    """After Caffe2's own example: x to the power of 4, y of 2 and z of 3, by a loop around branches."""

    def power(blob: str, exponent: float) -> None:
        ops.Copy(blob, f"{blob}_before")
        ops.Pow(f"{blob}_before", blob, exponent=exponent)

    def body() -> None:
        for name, value in (("i", 0), ("one", 1), ("two", 2), ("x", 2.0), ("y", 3.0), ("z", 2.0)):
            ops.Copy(ops.Const(value), name)
        with ops.WhileNet():
            with ops.Condition():
                ops.Add(["i", "one"], "i")
                ops.LE(["i", "two"])
            power("x", 2.0)
            with ops.IfNet(ops.LT(["i", "two"])):
                power("y", 2.0)
            with ops.Else():
                power("z", 3.0)
        ops.Add(["x", "y"], "x_plus_y")
        ops.Add(["x_plus_y", "z"], "s")

    net = built(body, [])
    gradients = net.AddGradientOperators(["s"])
    workspace.RunNetOnce(net)
    for name, value, slope in (("x", 16, 32), ("y", 9, 6), ("z", 8, 12)):
        assert workspace.FetchBlob(name) == value
        assert np.isclose(workspace.FetchBlob(gradients[name]), slope)
        assert np.isclose(workspace.FetchBlob(f"{name}_grad"), slope)


def counted_loop(rounds: int, body: Callable[[], None]) -> None:
    ops.Copy(ops.Const(0), "i")
    ops.Copy(ops.Const(1), "one")
    ops.Copy(ops.Const(rounds), "rounds")
    with ops.WhileNet():
        with ops.Condition():
            ops.Add(["i", "one"], "i")
            ops.LE(["i", "rounds"])
        body()


@pytest.mark.parametrize("rounds", [0, 3])
def test_a_loop_reads_a_weight_again_and_again(rounds: int) -> None:
    """y W**n: every iteration adds to the gradient of W, which is read before and behind the loop too."""

    def once() -> None:
        ops.Copy("y", "before")
        ops.Copy(ops.Mul(["before", "w"]), "y")

    def body() -> None:
        ops.Mul(["x", "w"], "y")
        counted_loop(rounds, once)
        ops.Mul(["y", "w"], "loss")

    check(built(body, ["x", "w"]), {"x": [2.0, 0.5], "w": [1.5, -1.0]})


def test_what_only_the_next_iteration_reads() -> None:
    """Nothing behind the loop reads z or the fresh u, but iterations do; u is made anew in each."""

    def once() -> None:
        ops.Copy("z", "z_before")
        ops.Copy("y", "y_before")
        ops.Copy("u", "u_before")
        ops.Copy(ops.Add([ops.Mul(["z_before", "u_before"]), "y_before"]), "y")
        ops.Copy(ops.Mul(["z_before", "w"]), "z")
        ops.Copy(ops.Mul(["w", "w"]), "u")

    def body() -> None:
        for name in ("y", "z", "u"):
            ops.Copy("x", name)
        counted_loop(3, once)
        ops.Mul(["y", "y"], "loss")

    check(built(body, ["x", "w"]), {"x": [0.8, -0.5], "w": [0.9, 1.2]})


def test_what_every_iteration_makes_anew() -> None:
    """y and, in a branch, z are overwritten unread: what they held before has no part in the loss."""

    def once() -> None:
        ops.Mul(["w", "w"], "y")
        with ops.IfNet("flag"):
            ops.Mul(["x", "w"], "z")
        with ops.Else():
            ops.Sin("w", "z")

    def body() -> None:
        for name in ("y", "z"):
            ops.Copy("x", name)
        counted_loop(3, once)
        ops.Mul([ops.Mul(["y", "z"]), "x"], "loss")

    net = built(body, ["x", "w", "flag"])
    for flag in (True, False):
        workspace.FeedBlob("flag", np.array(flag))
        check(core.Net(net.Proto()), {"x": [0.8, -0.5], "w": [0.9, 1.2]})


@pytest.mark.parametrize("flag", [True, False])
def test_a_branch_overwrites_what_it_does_not_read(flag: bool) -> None:
    """The If names y among its inputs, because without the branch y stays as it is."""
    then = core.Net("then")
    then.Mul(["x", "w"], "y")
    net = core.Net("overwrites")
    net.Sin("x", "y")
    net.If(["flag", "x", "w", "y"], ["y"], then_net=then.Proto())
    net.Mul(["y", "x"], "loss")
    workspace.FeedBlob("flag", np.array(flag))
    check(net, {"x": [0.7, -1.1], "w": [2.0, 0.5]})


def test_loops_in_loops() -> None:
    """Workspaces in workspaces: the inner loop's are those of one iteration of the outer one."""

    def inner() -> None:
        ops.Copy("y", "before")
        ops.Copy(ops.Mul(["before", "w"]), "y")

    def outer() -> None:
        ops.Copy(ops.Const(0), "j")
        with ops.WhileNet():
            with ops.Condition():
                ops.Add(["j", "one"], "j")
                ops.LE(["j", "i"])
            inner()
        ops.Copy("y", "between")
        ops.Copy(ops.Sin("between"), "y")

    def body() -> None:
        ops.Copy("x", "y")
        counted_loop(2, outer)
        ops.Mul(["y", "y"], "loss")

    check(built(body, ["x", "w"]), {"x": [0.8, -0.5], "w": [0.9, 1.2]})


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("has_else", [True, False])
def test_a_branch_of_a_builder(flag: bool, has_else: bool) -> None:
    """A branch may leave y alone, which keeps its gradient; x is read in front of the branches and behind them."""

    def body() -> None:
        ops.Mul(["x", "x"], "h")
        ops.Copy("x", "y")
        ops.Copy("x", "t")
        with ops.IfNet("flag"):
            ops.Copy("y", "y_before")
            ops.Copy(ops.Mul([ops.Mul(["h", "w"]), "y_before"]), "y")
        if has_else:
            with ops.Else():
                ops.Copy("t", "t_before")
                ops.Sin("t_before", "t")
        ops.Mul([ops.Mul(["y", "t"]), "x"], "loss")

    net = built(body, ["x", "w", "flag"])
    workspace.FeedBlob("flag", np.array(flag))
    check(net, {"x": [0.7, -1.1], "w": [2.0, 0.5]})


@pytest.mark.parametrize("flag", [True, False])
def test_a_branch_without_do_is_compiled(flag: bool) -> None:
    """Nets that share the blobs around them; the gradient needs nothing but what is outside."""
    then, other = core.Net("then"), core.Net("other")
    then.Mul(["x", "w"], "y")
    other.Mul(["x", "x"], "y")
    net = core.Net("branches")
    net.If(["flag", "x", "w"], ["y"], then_net=then.Proto(), else_net=other.Proto())
    net.Mul(["y", "x"], "loss")
    workspace.FeedBlob("flag", np.array(flag))
    check(net, {"x": [0.7, -1.1], "w": [2.0, 0.5]})
    assert [op.type for op in net.Proto().op if op.type == "If"] == ["If", "If"]


def test_shared_gradients_are_copied() -> None:
    op = core.CreateOperator("Do", ["a", "ws"], ["x", "y", "ws"])
    made, gradients = dedupe_g_output(op, ["g", "g", None])
    assert gradients == ["g", "y_g_DEDUP", None]
    assert [(o.type, list(o.input), list(o.output)) for o in made] == [("Copy", ["g"], ["y_g_DEDUP"])]


def test_refusals() -> None:
    def overwrites() -> None:
        ops.Mul(["x", "w"], "x")

    def loses() -> None:
        counted_loop(2, overwrites)
        ops.Copy("x", "loss")

    with pytest.raises(RuntimeError, match="is computed in place"):
        built(loses, ["x", "w"]).AddGradientOperators(["loss"])

    def perhaps() -> None:
        with ops.IfNet("flag"):
            ops.Mul(["w", "w"], "y")

    def leaves() -> None:
        ops.Copy("x", "y")
        counted_loop(2, perhaps)
        ops.Copy("y", "loss")

    with pytest.raises(RuntimeError, match="writes 'y' or leaves it as it is, and does not say so"):
        built(leaves, ["x", "w", "flag"]).AddGradientOperators(["loss"])
    loop = core.Net("loop")
    loop.Mul(["x", "w"], "x")
    net = core.Net("plain")
    net.While(["go", "x", "w"], ["x"], loop_net=loop.Proto())
    with pytest.raises(RuntimeError, match="its loop_net is not one Do"):
        net.AddGradientOperators(["x"])


def test_a_gradient_apart_from_its_net() -> None:
    """The workspaces that Do leaves last as long as its own net."""

    def body() -> None:
        ops.ConstantFill([], "y", shape=[1])
        with ops.IfNet("flag"):
            ops.Mul(["x", ops.Mul(["x", "x"])], "y")

    net = built(body, ["x", "flag"])
    forward = len(net.Proto().op)
    net.AddGradientOperators(["y"])
    backward = core.Net("backward")
    backward.Proto().op.extend(net.Proto().op[forward:])
    workspace.FeedBlob("x", np.ones(1, np.float32))
    workspace.FeedBlob("flag", np.array(True))
    first = core.Net("forward")
    first.Proto().op.extend(net.Proto().op[:forward])
    workspace.RunNetOnce(first)
    with pytest.raises(RuntimeError):
        workspace.RunNetOnce(backward)
