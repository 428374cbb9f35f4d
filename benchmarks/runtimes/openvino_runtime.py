"""OpenVINO with its CPU plugin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import openvino
from model_files import ModelFiles

from runtimes import Run


def load(files: ModelFiles, threads: int, int8: str = "") -> Run:
    """One stream, tuned for latency; float32 is asked for, because some processors would get bfloat16 otherwise.

    int8: ``onnx`` for the file that ONNX Runtime's tool made, ``nncf`` for NNCF's.
    """
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    path = {"": files.onnx, "onnx": files.int8_onnx, "nncf": files.int8_openvino}[int8]
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        request.infer(inputs, share_inputs=True)
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return run
