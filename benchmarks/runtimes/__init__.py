"""Adapters, one module a runtime: ``load(files, threads, **options)`` gives a function from inputs to outputs.

A runtime is told to compute in float32 and with how many threads, and else keeps its defaults for low latency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Run = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Runtime:
    """module: of this package. formats: modules of ``formats``. options: for ``load``."""

    module: str
    formats: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)


RUNTIMES: Mapping[str, Runtime] = {
    "graphc": Runtime("graphc_runtime", ("caffe2",)),
    "graphc_int8": Runtime("graphc_runtime", ("caffe2", "int8_plan"), {"int8": True}),
    "onnxruntime": Runtime("onnxruntime_runtime", ("onnx_file",)),
    "onnxruntime_int8": Runtime("onnxruntime_runtime", ("onnx_file", "int8_onnx"), {"int8": True}),
    "openvino": Runtime("openvino_runtime", ("onnx_file",)),
    "openvino_int8": Runtime("openvino_runtime", ("onnx_file", "int8_onnx"), {"int8": "onnx"}),
    "openvino_nncf": Runtime("openvino_runtime", ("onnx_file", "int8_openvino"), {"int8": "nncf"}),
    "ncnn": Runtime("ncnn_runtime", ("ncnn_files",)),
    "torch": Runtime("torch_runtime", ()),
    "inductor": Runtime("torch_runtime", (), {"compiled": True}),
}
"""``inductor`` is ``torch.compile``, which needs a C++ compiler."""

DEFAULT = ("graphc", "onnxruntime", "openvino", "ncnn", "torch")
FASTEST_OF = ("onnxruntime", "openvino", "ncnn")
"""The peers whose fastest is the one to beat."""
