"""ONNX Runtime with its CPU kernels (MLAS)."""

from __future__ import annotations

import onnxruntime
from model_files import ModelFiles

from runtimes import Run


def load(files: ModelFiles, threads: int, int8: bool = False) -> Run:
    """A session with all graph optimisations, as by default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        str(files.int8_onnx if int8 else files.onnx), options, providers=["CPUExecutionProvider"]
    )
    return lambda inputs: session.run(None, inputs)
