"""Layers and nets on a real card, at the sizes of real nets. Skipped where there is none."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import numpy as np
import pytest
from one_net import nets, operator, reference

import graphc
from graphc.backends.cuda.target import TARGETS
from graphc.runtime.nvidia import NvidiaCard

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not glob("/dev/nvidia[0-9]*"), reason="this machine has no CUDA device"),
]


@pytest.fixture(scope="module")
def target() -> str:
    """The target that this machine's card runs."""
    for name, target in TARGETS.items():
        try:
            NvidiaCard(target.arch, target.serves)
        except graphc.PlanError:
            continue
        return name
    pytest.skip("graphc has no target for this machine's card")


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


# shape, maps, kernel, stride, pad, group
CONVOLUTIONS = [
    ((8, 64, 56, 56), 64, 3, 1, 1, 1),
    ((8, 256, 56, 56), 128, 1, 2, 0, 1),
    ((8, 3, 224, 224), 64, 7, 2, 3, 1),
    ((8, 512, 7, 7), 512, 3, 1, 1, 1),
    ((4, 32, 28, 28), 64, 3, 1, 1, 2),
    ((4, 96, 28, 28), 96, 3, 2, 1, 96),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, target: str) -> None:
    shape, maps, kernel, stride, pad, group = case
    weights = {"w": data(maps, shape[1] // group, kernel, kernel), "b": data(maps)}
    ops = [
        operator("Conv", "x w b", "c", kernel=kernel, stride=stride, pad=pad, group=group),
        operator("Relu", "c", "y"),
    ]
    check(ops, {"x": data(*shape)}, weights, target)


@pytest.mark.parametrize("rows", [1, 64])
def test_fc_and_softmax(rows: int, target: str) -> None:
    ops = [operator("FC", "x w b", "f"), operator("Softmax", "f", "y")]
    check(ops, {"x": data(rows, 2048)}, {"w": data(1000, 2048) / 50, "b": data(1000)}, target)


def test_pointwise_and_reductions(target: str) -> None:
    ops = [
        operator("Tanh", "x", "a"),
        operator("Mul", "a c", "b", broadcast=1, axis=1),
        operator("ReduceMean", "b", "y", axes=[2, 3], keepdims=0),
    ]
    check(ops, {"x": data(16, 256, 56, 56), "c": data(256)}, {}, target)


def check(ops, inputs: dict[str, np.ndarray], weights: dict[str, np.ndarray], target: str) -> None:
    """A net with the output y, against the reference up to 1e-4 of the largest element."""
    predict, init = nets(ops, inputs, "y", weights)
    plan = graphc.compile(predict, init if weights else None, inputs=inputs, target=target)
    (want,) = reference(ops, inputs, "y", weights)
    got = plan.run(inputs)["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * float(np.abs(want).max()))


@pytest.mark.parametrize("name", ["squeezenet_v1.1", "resnet50_small", "vgg19_small", "segmentation_mobile"])
def test_real_nets_give_caffe2s_answers(name: str, shared: Path, target: str) -> None:
    folder = shared / "models" / name
    inputs, outputs = np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")
    given = {k: inputs[k] for k in inputs.files}
    plan = graphc.compile(str(folder / "predict_net.pb"), str(folder / "init_net.pb"), inputs=given, target=target)
    got = plan.run({k: given[k] for k in plan.inputs})
    for key in outputs.files:
        np.testing.assert_allclose(got[key], outputs[key], rtol=0, atol=1e-4 * float(np.abs(outputs[key]).max()))
