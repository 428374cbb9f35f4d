"""cuDNN and cublasLt on a real card, beside graphc's own kernels. Skipped where there is none, or not the extra."""

from __future__ import annotations

from glob import glob
from importlib.util import find_spec

import numpy as np
import pytest
import test_on_card
from one_net import nets, operator, reference
from test_on_card import CONVOLUTIONS, data

import graphc
from graphc.frontends.netdef import Operator

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not glob("/dev/nvidia[0-9]*"), reason="this machine has no CUDA device"),
    pytest.mark.skipif(not (find_spec("cudnn") and find_spec("nvmath")), reason="needs pip install 'graphc[cudnn]'"),
]
target = test_on_card.target
TOLERANCES = {"float": 1e-4, "tf32": 4e-3, "float16": 4e-3, "bfloat16": 3e-2}
"""Of the largest result. TF32 has as many bits as float16; libraries do not say how they round to it."""


def check(ops: list[Operator], weights: dict[str, np.ndarray], x: np.ndarray, target: str, precision: str) -> None:
    """A net that asks libraries for what they do, beside the reference."""
    predict, init = nets(ops, {"x": x}, "y", weights)
    halves = precision in ("float16", "bfloat16")
    requests = {"*": precision, "r": precision, "y": precision} if halves else precision
    plan = graphc.compile(predict, init, inputs={"x": x}, target=target, precision=requests, engine="CUDNN")
    (want,) = reference(ops, {"x": x}, "y", weights)
    for _ in range(2):
        got = plan.run({"x": x})["y"]
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCES[precision] * np.abs(want).max())
    kinds = [str(kernel["kinds"]) for kernel in plan.kernels if kernel.library]
    assert any(kind.startswith("tf") for kind in kinds) if precision == "tf32" else kinds


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case: tuple[tuple[int, ...], int, int, int, int, int], precision: str, target: str) -> None:
    """Three in a row: in halves, the one in the middle reads and writes them."""
    shape, maps, kernel, stride, pad, group = case
    weights = {
        "u": data(shape[1], shape[1], 1, 1) / np.float32(shape[1] ** 0.5),
        "w": data(maps, shape[1] // group, kernel, kernel) / np.float32((shape[1] // group) ** 0.5 * kernel),
        "b": data(maps),
        "v": data(maps, maps, 1, 1) / np.float32(maps**0.5),
    }
    ops = [
        operator("Conv", "x u", "a", kernel=1),
        operator("Conv", "a w b", "c", kernel=kernel, stride=stride, pad=pad, group=group),
        operator("Relu", "c", "r"),
        operator("Conv", "r v", "y", kernel=1),
    ]
    check(ops, weights, data(*shape), target, precision)


@pytest.mark.parametrize("precision", ["float", "tf32"])
def test_kernels_behind_convolutions(precision: str, target: str) -> None:
    """A Relu without a bias, and a residual."""
    ops = [
        operator("Conv", "x u", "a", kernel=1),
        operator("Relu", "a", "r"),
        operator("Conv", "r w b", "c", kernel=3, pad=1),
        operator("Add", "c r", "s"),
        operator("Relu", "s", "y"),
    ]
    weights = {"u": data(60, 60, 1, 1) / np.float32(8), "w": data(60, 60, 3, 3) / np.float32(24), "b": data(60)}
    check(ops, weights, data(4, 60, 28, 28), target, precision)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 4096, 1000), (64, 2048, 1000), (128, 1024, 24)])
def test_fc(rows: int, inner: int, columns: int, precision: str, target: str) -> None:
    weights = {
        "u": data(inner, inner) / np.float32(inner**0.5),
        "w": data(columns, inner) / np.float32(inner**0.5),
        "b": data(columns),
        "c": data(inner),
    }
    ops = [operator("FC", "x u c", "a"), operator("Relu", "a", "r"), operator("FC", "r w b", "y")]
    check(ops, weights, data(rows, inner), target, precision)
