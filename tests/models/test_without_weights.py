"""Nets that come without weights: types with open channel counts, and the compiled net with weights of our making."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from made_weights import Made, init_net, made_types, made_values

import graphc
from graphc.frontends.netdef import read_net, write_net
from graphc.ir import Graph, Sym, evaluate, infer_types
from graphc.ir.types import UNKNOWN

SEED = 1
CONTRAST = 100


@dataclass(frozen=True)
class Case:
    """A net. inputs: the shapes of its float data, images as small as the net allows. given: other inputs.

    window: a window for the last pooling, in place of its own of 7 by 7, so that the picture can be small where the
    meaning of the operators is slow to evaluate.
    """

    file: str
    inputs: Mapping[str, tuple[int, ...]]
    given: Mapping[str, list[int] | list[list[int]]] = field(default_factory=dict)
    window: int = 0

    def arrays(self, seed: int = SEED) -> dict[str, np.ndarray]:
        """Seeded inputs."""
        rng = np.random.default_rng(seed)
        made = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in self.inputs.items()}
        kinds = {"seq_lengths": np.int32, "im_info": np.float32}
        return made | {name: np.array(value, kinds[name]) for name, value in self.given.items()}


IM_INFO = {"im_info": [[96, 64, 1]]}
STATES = {"input_blob": (3, 2, 5), "hidden_init": (1, 2, 4), "cell_init": (1, 2, 4)}
FLOAT = {
    "bvlc_alexnet": Case("predict_net.pbtxt", {"data": (1, 3, 99, 99)}),
    "inception_v1": Case("predict_net.pbtxt", {"data": (1, 3, 224, 224)}),
    "mnist_lenet_plan": Case("mnist_predict_net.pbtxt", {"data": (2, 1, 28, 28)}),
    "mobilenetv1_onnx": Case("predict_net.pb", {"data_0": (1, 3, 64, 64)}),
    "resnet18v1_onnx": Case("predict_net.pb", {"data": (1, 3, 64, 64)}),
    "resnet50": Case("predict_net.pbtxt", {"gpu_0/data": (1, 3, 193, 193)}),
    "shufflenet": Case("predict_net.pb", {"data": (1, 3, 193, 193)}),
    "tiny_yolo_a": Case("predict_net.pb", {"data": (1, 3, 64, 64)}),
    "vgg19": Case("predict_net.pbtxt", {"data": (1, 3, 32, 32)}),
}
DETECTION = {
    "detectron_faster_rcnn_R50_C4_1x": Case("predict_net.pbtxt", {"data": (1, 3, 96, 64)}, IM_INFO),
    "mask_rcnn_2go_fp32": Case("model.pb", {"data": (1, 3, 96, 64)}, IM_INFO),
}
INT8 = {
    "mobilenet_v2_quantized": Case("predict_net.pb", {"data": (1, 3, 33, 33)}, window=2),
    "resnet50_quantized": Case("predict_net.pb", {"gpu_0/data_0": (1, 3, 33, 33)}, window=2),
}
RECURRENT = {"char_lstm": Case("lstm_predict_net.pbtxt", STATES, {"seq_lengths": [3, 2]})}
NETS = FLOAT | DETECTION | INT8 | RECURRENT


def predict_net(shared: Path, name: str) -> bytes:
    """The net, with the window of its case."""
    net = read_net(shared / "models" / "without_weights" / name / NETS[name].file)
    for op in net.ops:
        if NETS[name].window and op.type.endswith("AveragePool"):
            op.args["kernel"] = NETS[name].window
    return write_net(net)


def load(predict: bytes, inputs: Mapping[str, np.ndarray]) -> Graph:
    return graphc.import_model(predict, inputs=inputs)


@cache
def made(shared: Path, name: str) -> Made:
    return made_types(partial(load, predict_net(shared, name), NETS[name].arrays()))


def nets(shared: Path, name: str, bias: Mapping[str, float] | None = None) -> tuple[bytes, bytes]:
    """The predict net and the init net that fills its weights. bias: what is added to element 0 of weights.

    Boxes get unequal scores, so that how many are above the threshold depends on the image.
    """
    weights = made(shared, name)
    values = made_values(weights)
    if name in DETECTION:
        values["cls_score_w"] *= CONTRAST
    for weight, added in (bias or {}).items():
        values[weight][0] += added
    return predict_net(shared, name), write_net(init_net(weights, values))


def wanted(files: tuple[bytes, bytes], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by the meaning of the operators."""
    graph = graphc.import_model(*files, inputs)
    infer_types(graph)
    return evaluate(graph, inputs)


def assert_close(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> None:
    """1e-4 of the largest magnitude, because sums run in another order; results of int8 nets are exact."""
    assert got.keys() == want.keys()
    for name, answer in want.items():
        assert (got[name].shape, got[name].dtype) == (answer.shape, answer.dtype), name
        scale = float(np.abs(answer).max(initial=0))
        np.testing.assert_allclose(got[name], answer, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("name", NETS)
def test_types_without_any_weight(shared: Path, name: str) -> None:
    """Nothing is known of the weights, not even their ranks: neither is then the rank of a product with one."""
    graph = load(predict_net(shared, name), NETS[name].arrays())
    infer_types(graph)
    assert all(node.results[0].type.rank in (4, None) for node in graph.nodes if node.op == "Conv")


@pytest.mark.parametrize("name", NETS)
def test_open_channel_counts_are_symbols(shared: Path, name: str) -> None:
    graph = load(predict_net(shared, name), NETS[name].arrays())
    Made().walk(graph)
    weights = [v.type for v in graph.inputs if v.name not in NETS[name].arrays()]
    assert weights
    assert all(type.shape is not None and not type.is_static for type in weights)
    for node in graph.nodes:
        if node.op != "If":
            for result in node.results:
                known = result.type.shape is not None and UNKNOWN not in result.type.shape
                assert known or result.name == "LSTM/step_workspaces", result
    scores = graph.outputs[0].type.shape
    assert scores
    assert isinstance(scores[0 if name in DETECTION else 1 if name not in RECURRENT else 2], Sym)


@pytest.mark.parametrize("name", NETS)
def test_compiled_with_made_weights(shared: Path, name: str, tmp_path: Path) -> None:
    files, inputs = nets(shared, name), NETS[name].arrays()
    plan = graphc.compile(*files, inputs=inputs, threads=1)
    got = plan.run(inputs)
    assert all(array.size for array in got.values())
    assert_close(got, wanted(files, inputs))
    plan.save(tmp_path / "plan.pkl")
    again = graphc.load(tmp_path / "plan.pkl").run(inputs)
    for blob, array in got.items():
        np.testing.assert_array_equal(again[blob], array)


@pytest.mark.parametrize("name", INT8)
def test_int8_net_with_its_own_window(shared: Path, name: str) -> None:
    case = NETS[name]
    inputs = {blob: np.zeros((1, 3, 193, 193), np.float32) for blob in case.inputs}
    folder = shared / "models" / "without_weights" / name
    plan = graphc.compile(folder / case.file, nets(shared, name)[1], inputs=inputs, threads=2)
    (probabilities,) = plan.run(inputs).values()
    np.testing.assert_allclose(probabilities.sum(), 1, atol=0.02)


@pytest.mark.parametrize("name", DETECTION)
def test_no_proposals(shared: Path, name: str) -> None:
    """An image without size has no box inside: zero rows reach the second half of the net."""
    files, inputs = nets(shared, name), NETS[name].arrays()
    plan = graphc.compile(*files, inputs=inputs, threads=2)
    empty = inputs | {"im_info": np.array([[0, 0, 1]], np.float32)}
    got = plan.run(empty)
    assert [got[blob].shape for blob in plan.outputs[:3]] == [(0,), (0, 4), (0,)]
    assert_close(got, wanted(files, empty))
    assert_close(plan.run(inputs), wanted(files, inputs))


@pytest.mark.parametrize("name", DETECTION)
def test_proposals_without_a_detection(shared: Path, name: str) -> None:
    """All boxes are background."""
    files, inputs = nets(shared, name, {"cls_score_b": 1000.0}), NETS[name].arrays()
    got = graphc.compile(*files, inputs=inputs, threads=1).run(inputs)
    assert got["score_nms"].size == 0
    assert_close(got, wanted(files, inputs))


@pytest.mark.parametrize("name", DETECTION)
def test_other_numbers_of_boxes_need_no_other_kernels(shared: Path, name: str) -> None:
    files, inputs = nets(shared, name), NETS[name].arrays()
    plan = graphc.compile(*files, inputs=inputs, threads=1)
    plan.run(inputs)
    compiled, counts = dict(plan.code.addresses), set()
    for seed in range(2, 8):
        image = NETS[name].arrays(seed)
        began = time.perf_counter()
        scores = plan.run(image)["score_nms"]
        first = time.perf_counter()
        plan.run(image)
        print(f"{name}: {scores.size} boxes, {first - began:.4f} s at first, {time.perf_counter() - first:.4f} s then")
        counts.add(scores.size)
    assert len(counts) > 1
    assert plan.code.addresses == compiled
