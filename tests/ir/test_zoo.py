"""Real nets through the IR: text, inference, verifier, drawing; the oracle against real Caffe2's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from whole_nets import whole_nets_but

from graphc.frontends.netdef import import_net, read_net
from graphc.ir import (
    DType,
    Graph,
    TensorType,
    constant_arrays,
    evaluate,
    graph_json,
    graph_svg,
    infer_types,
    parse,
    print_graph,
    verify,
)

NETS = whole_nets_but("style_animals", "super_resolution", "vgg19_small")
EVALUATED = ("alexnet_small", "inception_v1_small", "mnist", "mtcnn_pnet", "perception_v0", "resnet50_small")
"""Those that NumPy runs in a fraction of a second."""

TOLERANCE = 5e-6
"""Of the greatest answer: float32 sums of some thousand products, in another order than Caffe2's."""


def load(shared: Path, name: str) -> tuple[Graph, dict[str, np.ndarray]]:
    folder = shared / "models" / name
    with np.load(folder / "inputs.npz") as archive:
        inputs = dict(archive)
    types = {blob: TensorType(DType.of(x.dtype), x.shape) for blob, x in inputs.items()}
    return import_net(read_net(folder / "predict_net.pb"), read_net(folder / "init_net.pb"), types), inputs


def comes_back(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse(text, constant_arrays(graph))
    assert print_graph(again) == text
    assert all(v.data is w.data for v, w in zip(graph.constants, again.constants) if v.type.size > 16)


@pytest.mark.parametrize("name", NETS)
def test_a_net_comes_back_from_text_at_each_stage(shared: Path, name: str) -> None:
    graph, _ = load(shared, name)
    verify(graph)
    comes_back(graph)
    infer_types(graph)
    verify(graph)
    comes_back(graph)
    assert all(v.type.is_static for v in graph.outputs)
    assert graph_svg(graph).count("<rect") == len(graph.nodes) + len(graph.inputs) + len(graph.outputs)
    assert graph_json(graph)["total_flops"] > 0


@pytest.mark.parametrize("name", EVALUATED)
def test_the_oracle_gives_caffe2s_answers(shared: Path, name: str) -> None:
    graph, inputs = load(shared, name)
    answers = evaluate(graph, {v.name: inputs[v.name] for v in graph.inputs})
    with np.load(shared / "models" / name / "outputs.npz") as expected:
        for blob in expected.files:
            scale = np.abs(expected[blob]).max()
            np.testing.assert_allclose(answers[blob], expected[blob], rtol=0, atol=TOLERANCE * scale, err_msg=blob)
