"""A net of the benchmark as an ONNX file, for the runtimes that do not read Caffe2's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from model_files import ModelFiles
from onnx import TensorProto, helper, numpy_helper

from graphc.zoo.layers import EPSILON, LRN_ALPHA, LRN_BETA, LRN_BIAS, LRN_SIZE, Layer, Net

OPSET = 17
NAMES = {"fc": "Gemm", "batch_norm": "BatchNormalization", "relu6": "Clip", "mean": "GlobalAveragePool", "lrn": "LRN"}
NAMES |= {k: k.capitalize() for k in ("conv", "relu", "add", "concat", "flatten", "softmax")} | {"max_pool": "MaxPool"}
RELU6 = {"zero": np.float32(0), "six": np.float32(6)}


def write(net: Net, files: ModelFiles) -> None:
    """Write ``NAME.onnx``."""
    write_onnx(net, files.onnx)


def write_onnx(net: Net, path: Path) -> None:
    """Write the net; its input and output have the same names as in the NetDef."""
    bounds = RELU6 if any(layer.kind == "relu6" for layer in net.layers) else {}
    graph = helper.make_graph(
        [_node(layer) for layer in net.layers],
        net.name,
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, net.shapes["data"])],
        [helper.make_tensor_value_info(net.output, TensorProto.FLOAT, net.shapes[net.output])],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in (net.weights | bounds).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _node(layer: Layer) -> onnx.NodeProto:
    more = tuple(RELU6) if layer.kind == "relu6" else layer.weights
    return helper.make_node(
        NAMES[layer.kind], [*layer.inputs, *more], [layer.output], layer.output, **_attributes(layer)
    )


def _attributes(layer: Layer) -> dict[str, object]:
    if layer.kind in ("conv", "max_pool"):
        o = layer.options
        window = {"kernel_shape": [o["kernel"]] * 2, "strides": [o["stride"]] * 2, "pads": [o["pad"]] * 4}
        return {**window, **({"group": o["group"]} if layer.kind == "conv" else {"ceil_mode": o["ceil"]})}
    fixed: dict[str, dict[str, object]] = {
        "fc": {"transB": 1},
        "batch_norm": {"epsilon": EPSILON},
        "lrn": {"size": LRN_SIZE, "alpha": LRN_ALPHA, "beta": LRN_BETA, "bias": LRN_BIAS},
        "concat": {"axis": 1},
        "flatten": {"axis": 1},
        "softmax": {"axis": 1},
    }
    return fixed.get(layer.kind, {})
