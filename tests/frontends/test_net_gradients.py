"""Gradients of whole NetDefs, against the nets that real Caffe2 made, and the numbers that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from graphc.frontends.netdef import (
    Device,
    Net,
    Operator,
    add_gradient_operators,
    check,
    import_net,
    read_net,
    write_net,
)
from graphc.ir import DType, TensorType, evaluate


def _recorded(net: Net) -> tuple[list[str], list[Operator]] | None:
    """The losses of a recorded net, and its operators from the first gradient on; None for a net without gradients."""
    fills = [i for i, op in enumerate(net.ops) if op.type == "ConstantFill" and "_autogen_grad" in op.outputs[0]]
    return ([net.ops[i].inputs[0] for i in fills], net.ops[fills[0] :]) if fills else None


def _is_remade(net: Net) -> bool:
    """The forward operators of a recorded net give its gradient operators, in all that a NetDef says of them."""
    recorded = _recorded(net)
    if recorded is None:
        return False
    losses, backward = recorded
    forward = len(net.ops) - len(backward)
    made = Net(net.name, net.ops[:forward])
    add_gradient_operators(made, losses)
    got, want = made.ops[forward:], backward[: len(made.ops) - forward]
    assert got == want
    assert [list(op.args) for op in got] == [list(op.args) for op in want]
    rest = backward[len(got) :]
    return not any(op.is_gradient for op in rest)


@pytest.mark.parametrize("name", ["lenet_sgd", "mlp_adagrad", "resblock_sgd"])
def test_training_nets(shared: Path, name: str) -> None:
    assert _is_remade(read_net(shared / "training" / name / "train_net.pb"))


def test_nets_of_caffe2s_tests(shared: Path) -> None:
    """Recurrent nets, several losses, sparse gradients, fan-out: all that the recordings have."""
    remade = 0
    for path in sorted((shared / "golden_nets").glob("*.npz")):
        with np.load(path) as file:
            net = read_net(bytes(file["net"]))
        if check(net).ok:
            remade += _is_remade(net)
    assert remade >= 40


def test_device_of_a_sum() -> None:
    """That of the gradients, with a mark; a fill is where its loss is."""
    gpu = Device(1, 2, random_seed=5)
    net = Net("n", [Operator("Mul", ["x", "x"], ["y"], device=gpu, engine="E")])
    assert add_gradient_operators(net, ["y"]) == {"y": "y_autogen_grad", "x": "x_grad"}
    fill, product, total = net.ops[1:]
    assert (fill.device, product.device, product.engine) == (gpu, gpu, "E")
    assert total.device == Device(1, 2, random_seed=5, extra_info=("is_auto_gen_sum_ops:1",))
    assert [op.is_gradient for op in net.ops] == [False, False, True, False]
    assert read_net(write_net(net)) == net


def test_skip() -> None:
    """The operators at the head have no gradients, and need none."""
    net = Net("n", [Operator("Ceil", ["a"], ["x"]), Operator("Relu", ["x"], ["y"])])
    assert add_gradient_operators(net, ["y"], skip=1) == {"y": "y_autogen_grad", "x": "x_grad"}


NETS: dict[str, list[Operator]] = {
    "branches": [
        Operator("Relu", ["x"], ["x"]),
        Operator("FC", ["x", "w", "b"], ["p"]),
        Operator("Sigmoid", ["p"], ["p"]),
        Operator("FC", ["x", "w", "b"], ["q"]),
        Operator("Mul", ["p", "q"], ["r"]),
        Operator("Sum", ["r", "x", "q"], ["y"]),
    ],
    "one operator twice": [Operator("Mul", ["x", "x"], ["y"])],
    "a sum of one blob": [Operator("Tanh", ["x"], ["t"]), Operator("Sum", ["t", "t", "t"], ["y"])],
    "sum in place": [
        Operator("Tanh", ["x"], ["h"]),
        Operator("FC", ["h", "w", "b"], ["f"]),
        Operator("Sum", ["f", "h"], ["f"]),
        Operator("Tanh", ["f"], ["y"]),
    ],
    "split and concat": [
        Operator("Split", ["x"], ["l", "r"], {"axis": 1}),
        Operator("Tanh", ["l"], ["l"]),
        Operator("Concat", ["r", "l", "r"], ["c", "sizes"], {"axis": 1}),
        Operator("Split", ["c"], ["u", "v", "m"], {"axis": 1}),
        Operator("Mul", ["u", "v"], ["h"]),
        Operator("Sum", ["h", "m"], ["y"]),
    ],
    "a stop": [
        Operator("Tanh", ["x"], ["t"]),
        Operator("StopGradient", ["t"], ["s"]),
        Operator("ConstantFill", ["s"], ["k"], {"value": 3.0}),
        Operator("Mul", ["t", "k"], ["y"]),
    ],
    "steps under one name": [
        Operator("Pow", ["x"], ["p"], {"exponent": 3.0}),
        Operator("Sigmoid", ["x"], ["s"]),
        Operator("Sqrt", ["s"], ["q"]),
        Operator("Pow", ["s"], ["u"], {"exponent": 2.0}),
        Operator("Sum", ["p", "q", "u", "x"], ["y"]),
    ],
    "squares of what a sum passes on": [
        Operator("Sqr", ["x"], ["p"]),
        Operator("Sqr", ["w"], ["q"]),
        Operator("Sum", ["p", "q", "x", "w"], ["y"]),
    ],
    "zeros": [Operator("ZeroGradient", ["x"], []), Operator("Tanh", ["w"], ["y"])],
    "a square in place": [
        Operator("Sqr", ["x"], ["p"]),
        Operator("Scale", ["p"], ["p"], {"scale": 3.0}),
        Operator("Sum", ["x", "p"], ["y"]),
    ],
}
"""Forward operators from x, w of shape (4, 4) and b (4) to y."""


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_differences(name: str) -> None:
    """Of the sum of y, by central differences."""
    net = Net("n", list(NETS[name]), ["x", "w", "b"])
    random = np.random.default_rng(3)
    feeds = {n: random.uniform(0.3, 1.3, s).astype(np.float32) for n, s in (("x", (4, 4)), ("w", (4, 4)), ("b", (4,)))}
    read = {n: feeds[n] for n in feeds if any(n in op.inputs for op in net.ops)}
    forward = Net("n", list(net.ops))
    gradients = add_gradient_operators(net, ["y"])
    wanted = {n: gradients[n] for n in read if n in gradients}
    assert wanted
    got = _values(net, read, list(wanted.values()))
    for blob, gradient in wanted.items():
        want = _differences(forward, read, blob)
        np.testing.assert_allclose(got[gradient], 0 if name == "zeros" and blob == "x" else want, rtol=5e-3, atol=5e-3)


def _differences(net: Net, feeds: Mapping[str, np.ndarray], blob: str, step: float = 2**-6) -> np.ndarray:
    result = np.zeros(feeds[blob].shape)
    for i in np.ndindex(*result.shape):
        sides = []
        for sign in (1, -1):
            moved = feeds[blob].copy()
            moved[i] += sign * step
            sides.append(_values(net, {**feeds, blob: moved}, ["y"])["y"].astype(np.float64).sum())
        result[i] = (sides[0] - sides[1]) / (2 * step)
    return result


def _values(net: Net, feeds: Mapping[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    types = {name: TensorType(DType.FLOAT, array.shape) for name, array in feeds.items()}
    return evaluate(import_net(Net(net.name, net.ops, list(feeds), names), None, types), dict(feeds))
