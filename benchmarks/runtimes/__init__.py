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
    "onnxruntime": Runtime("onnxruntime_runtime", ("onnx_file",)),
    "openvino": Runtime("openvino_runtime", ("onnx_file",)),
    "ncnn": Runtime("ncnn_runtime", ("ncnn_files",)),
    "torch": Runtime("torch_runtime", ()),
    "inductor": Runtime("torch_runtime", (), {"compiled": True}),
}
"""``inductor`` is ``torch.compile``, which needs a C++ compiler."""

DEFAULT = ("graphc", "onnxruntime", "openvino", "ncnn", "torch")
FASTEST_OF = ("onnxruntime", "openvino", "ncnn")
"""The peers whose fastest is the one to beat."""
