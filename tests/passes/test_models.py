"""Every level on real nets with weights: text round trip and honest passes throughout, outputs as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from whole_nets import WHOLE

from graphc.frontends.netdef import import_net, read_net
from graphc.ir import DType, Graph, Sym, TensorType
from graphc.ir.reference import evaluate
from graphc.passes import LEVELS, run_pipeline, with_block

WITHOUT_WEIGHTS = (
    "char_lstm/lstm_predict_net.pbtxt",
    "detectron_faster_rcnn_R50_C4_1x/predict_net.pbtxt",
    "mask_rcnn_2go_fp32/model.pb",
    "mobilenet_v2_quantized/predict_net.pb",
    "shufflenet/predict_net.pb",
)
ROUNDING = 1e-5
"""Relative to the largest output: folded weights are rounded once more, in nets of up to 53 convolutions."""


def load(folder: Path, symbolic: bool) -> tuple[Graph, dict[str, np.ndarray]]:
    """The imported net and the first image of its inputs."""
    inputs = {name: a[:1] for name, a in np.load(folder / "inputs.npz").items()}
    types = {
        name: TensorType(DType.of(a.dtype), (Sym("N") if symbolic else 1, *a.shape[1:])) for name, a in inputs.items()
    }
    return import_net(read_net(folder / "predict_net.pb"), read_net(folder / "init_net.pb"), types), inputs


@pytest.mark.parametrize("model", WHOLE)
@pytest.mark.parametrize("level", [0, 2])
def test_outputs_stay(shared: Path, model: str, level: int) -> None:
    graph, inputs = load(shared / "models" / model, symbolic=False)
    expected = evaluate(graph, inputs)
    run_pipeline(graph, with_block(LEVELS[level], 16), check=2)
    got = evaluate(graph, inputs)
    assert list(got) == list(expected)
    for name, a in expected.items():
        np.testing.assert_allclose(got[name], a, rtol=0, atol=ROUNDING * float(np.abs(a).max()), err_msg=name)


@pytest.mark.parametrize("model", ["squeezenet_v1.1", "resnet50_small"])
def test_a_symbolic_batch_is_optimised_like_a_known_one(shared: Path, model: str) -> None:
    known, _ = load(shared / "models" / model, symbolic=False)
    symbolic, inputs = load(shared / "models" / model, symbolic=True)
    expected = evaluate(symbolic, inputs)
    for graph in (known, symbolic):
        run_pipeline(graph, LEVELS[2])
    assert [(n.op, sorted(n.attrs)) for n in symbolic.nodes] == [(n.op, sorted(n.attrs)) for n in known.nodes]
    got = evaluate(symbolic, inputs)
    for name, a in expected.items():
        np.testing.assert_allclose(got[name], a, rtol=0, atol=ROUNDING * float(np.abs(a).max()), err_msg=name)


def test_a_residual_net_is_convolutions_and_little_else(shared: Path) -> None:
    graph, _ = load(shared / "models" / "resnet50_small", symbolic=False)
    run_pipeline(graph, LEVELS[2])
    ops = [n.op for n in graph.nodes]
    assert ops.count("Conv") == 53
    assert len(ops) == 53 + len(["MaxPool", "AveragePool", "g.reorder", "FC", "Softmax"])
    assert sum("epilogue" in n.attrs for n in graph.nodes) == 49  # all but the four that only adapt a shortcut


FOLDED = {"Copy", "Alias", "Shape", "ConstantFill", "GivenTensorIntFill", "Int8Relu"}
"""Evaluated, or part of the operator before."""


@pytest.mark.parametrize("net", WITHOUT_WEIGHTS)
def test_passes_leave_what_they_know_nothing_of(shared: Path, net: str) -> None:
    """Detection, control flow, int8, a recurrent net; no type is known, no weight is there."""
    predict = read_net(shared / "models" / "without_weights" / net)
    graph = import_net(predict, None, {name: TensorType() for name in predict.external_inputs})
    before = sorted(n.op for n in graph.nodes)
    run_pipeline(graph, LEVELS[2], check=2)
    assert set(before) - FOLDED <= {n.op for n in graph.nodes}
