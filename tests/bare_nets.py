"""Nets of shared/models that come without weights, with small inputs and with weights of our making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
from made_weights import Made, init_net, made_types, made_values

import graphc
from graphc.frontends.netdef import read_net, write_net
from graphc.ir import Graph

CONTRAST = 100


@dataclass(frozen=True)
class Case:
    """A net. inputs: the shapes of its float data, images as small as the net allows. given: other inputs.

    window: a window for the last pooling, in place of its own of 7 by 7, so that the picture can be small where the
    meaning of the operators is slow to evaluate. seed: of the data; where boxes are chosen by score, one of which
    no two scores are as close as rounding.
    """

    file: str
    inputs: Mapping[str, tuple[int, ...]]
    given: Mapping[str, list[int] | list[list[int]]] = field(default_factory=dict)
    window: int = 0
    seed: int = 1

    def arrays(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Seeded inputs."""
        rng = np.random.default_rng(self.seed if seed is None else seed)
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
    "detectron_faster_rcnn_R50_C4_1x": Case("predict_net.pbtxt", {"data": (1, 3, 96, 64)}, IM_INFO, seed=2),
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
