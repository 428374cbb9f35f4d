"""A net of the benchmark in int8 by NNCF's quantisation after training, as OpenVINO's files."""

from __future__ import annotations

import nncf
import openvino
from model_files import ModelFiles

from graphc.zoo.layers import Net


def write(net: Net, files: ModelFiles) -> None:
    """Write ``NAME.int8.xml`` and its weights."""
    model = openvino.Core().read_model(str(files.onnx))
    data = nncf.Dataset([{"data": net.example()}])
    made = nncf.quantize(model, data, preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=1)
    openvino.save_model(made, str(files.int8_openvino), compress_to_fp16=False)
