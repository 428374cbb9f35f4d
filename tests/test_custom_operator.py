"""Operators of the user's own, in nets and in plans that another process opens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import Arg, Call, GraphcError, NamedCall, TensorType, evaluate, gradient_of, registry
from graphc.ir.opdef import CUSTOM, withdraw

MODULE = '''
"""A module of a user."""

import math

from numba import njit

import graphc


@njit
def soft_step(x, width):
    return 1 / (1 + math.exp(-x / width))


@njit
def gate(x, y, width):
    for i in range(x.size):
        y.flat[i] = x.flat[i] * soft_step(x.flat[i], width)


graphc.register_operator("Gate", gate, inputs="X", outputs="Y", args={"width": 1.0})
'''
RUN = """
import sys
import numpy as np
if "user" in sys.argv:
    import user
import graphc
plan = graphc.load("gate.plan")
np.save("got.npy", plan.run({"x": np.load("x.npy")})["y"])
"""


def scale_rows(x: np.ndarray, w: np.ndarray, y: np.ndarray, offset: float) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] * w[i] + offset


def scale_rows_gradient(x: np.ndarray, w: np.ndarray, dy: np.ndarray, dx: np.ndarray, dw: np.ndarray) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            dx[i, j] = dy[i, j] * w[i]
            dw[i] += dy[i, j] * x[i, j]


def double(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y.flat[i] = 2 * x.flat[i]


def triple(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y.flat[i] = 3 * x.flat[i]


def comprehending(x: np.ndarray, y: np.ndarray) -> None:
    y.flat[0] = sum(v for v in x)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for name in [r.name for r in registry().values() if r.family == CUSTOM]:
        withdraw(name)


def compiled(*ops: Operator, **shapes: tuple[int, ...]) -> graphc.Plan:
    return graphc.compile(write_net(Net("net", list(ops), list(shapes), ["y"])), inputs=shapes)


def _gradient_types(call: Call) -> list[TensorType]:
    return [call.type(0), call.type(1)]


def test_net_with_gradient() -> None:
    """The gradient operators that the record names compute the derivative, by central differences."""
    graphc.register_operator(
        "ScaleRows",
        scale_rows,
        inputs="X w",
        outputs="Y",
        args={"offset": 0.5},
        gradient="ScaleRowsGradient: I0 I1 GO0 -> GI0 GI1 {}",
    )
    graphc.register_operator(
        "ScaleRowsGradient", scale_rows_gradient, inputs="X w dY", outputs="dX dw", infer=_gradient_types
    )
    random = np.random.default_rng(3)
    x, w, dy = (random.standard_normal(s).astype(np.float32) for s in ((3, 4), (3,), (3, 4)))
    plan = compiled(
        Operator("ScaleRows", ["x", "w"], ["h"], {"offset": 1.5}), Operator("Relu", ["h"], ["y"]), x=(3, 4), w=(3,)
    )
    np.testing.assert_allclose(plan(x, w), np.maximum(x * w[:, None] + 1.5, 0), rtol=1e-6)

    (call,), names = gradient_of(NamedCall("ScaleRows", ("x", "w"), ("y",), {"offset": 1.5}), ["dy"])
    assert names == ["x_grad", "w_grad"]
    operator = Operator(call.type, list(call.inputs), list(call.outputs), dict(call.args))
    net = Net("gradient", [operator], list(call.inputs), list(call.outputs))
    backward = graphc.compile(write_net(net), inputs={"x": (3, 4), "w": (3,), "dy": (3, 4)})
    got = backward.run({"x": x, "w": w, "dy": dy})
    step = np.zeros_like(w)
    step[1] = 0.5
    forward = (plan_value(x, w + step) - plan_value(x, w - step)) / 1.0
    np.testing.assert_allclose(got["w_grad"][1], np.sum(forward * dy), rtol=1e-5)
    np.testing.assert_allclose(got["x_grad"], dy * w[:, None], rtol=1e-6)


def plan_value(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return compiled(Operator("ScaleRows", ["x", "w"], ["y"]), x=x.shape, w=w.shape)(x, w)


def test_the_reference_agrees() -> None:
    graphc.register_operator("Double", double, inputs="X", outputs="Y")
    plan = compiled(Operator("Double", ["x"], ["y"]), x=(2, 3))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(plan(x), 2 * x)
    np.testing.assert_array_equal(evaluate(plan.graph, {"x": x})["y"], 2 * x)
    assert str(plan.graph.outputs[0].type) == "float[2,3]"


def test_any_python_between_native_parts() -> None:
    def ordered(x: np.ndarray, descending: int) -> np.ndarray:
        return np.sort(x)[:: -1 if descending else 1]

    graphc.register_operator("Ordered", ordered, inputs="X", outputs="Y", args={"descending": 0}, host=True)
    ops = (
        Operator("Negative", ["x"], ["n"]),
        Operator("Ordered", ["n"], ["o"], {"descending": 1}),
        Operator("Exp", ["o"], ["y"]),
    )
    plan = compiled(*ops, x=(4,))
    np.testing.assert_allclose(plan(np.array([3, 1, 0, 2], np.float32)), np.exp([0.0, -1, -2, -3]), rtol=1e-6)


def test_a_plan_in_another_process(tmp_path: Path) -> None:
    """The module is imported there first; without it the plan is refused, naming the operator."""
    (tmp_path / "user.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "run.py").write_text(RUN, encoding="utf-8")
    make = (
        "import user, graphc\nfrom graphc.frontends.netdef import Net, Operator, write_net\n"
        "net = Net('net', [Operator('Gate', ['x'], ['y'], {'width': 2.0})], ['x'], ['y'])\n"
        "graphc.compile(write_net(net), inputs={'x': (2, 3)}).save('gate.plan')\n"
    )
    x = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    assert in_process(tmp_path, "-c", make) == ""
    assert in_process(tmp_path, "run.py", "user") == ""
    np.testing.assert_allclose(np.load(tmp_path / "got.npy"), x / (1 + np.exp(-x / 2)), rtol=1e-5)
    refused = in_process(tmp_path, "run.py")
    assert "PlanError: the plan uses 'Gate'" in refused
    assert "import the module that registers it" in refused


def in_process(folder: Path, *arguments: str) -> str:
    """What a Python process says on standard error."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stderr


def test_registered_again() -> None:
    graphc.register_operator("Times", double, inputs="X", outputs="Y")
    x = np.ones(3, np.float32)
    assert compiled(Operator("Times", ["x"], ["y"]), x=(3,))(x).tolist() == [2, 2, 2]
    graphc.register_operator("Times", triple, inputs="X", outputs="Y")
    assert compiled(Operator("Times", ["x"], ["y"]), x=(3,))(x).tolist() == [3, 3, 3]


def test_refused() -> None:
    with pytest.raises(GraphcError, match="there is an operator 'Relu' already"):
        graphc.register_operator("Relu", double, inputs="X", outputs="Y")
    with pytest.raises(GraphcError, match=r"takes 2 arguments \(x, y\)\n.*x?.*width"):
        graphc.register_operator("Wide", double, inputs="X", outputs="Y", args={"width": 1.0})
    with pytest.raises(GraphcError, match=r"Sorted cannot be compiled(.|\n)*host=True"):
        graphc.register_operator("Sorted", comprehending, inputs="X", outputs="Y")
    with pytest.raises(GraphcError, match="tells no kind"):
        graphc.register_operator("Empty", double, inputs="X", outputs="Y", args={"sizes": ()})
    assert "Wide" not in registry()
    graphc.register_operator("Sizes", scale_rows, inputs="X w", outputs="Y", args=(Arg("offset", "float", 0.0),))
    with pytest.raises(GraphcError, match="Twice"):
        compiled(Operator("Twice", ["x"], ["y"]), x=(3,))
