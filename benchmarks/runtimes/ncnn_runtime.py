"""ncnn on the CPU. It has no batch dimension: the nets of the benchmark have batch 1."""

from __future__ import annotations

from collections.abc import Mapping

import ncnn
import numpy as np
from model_files import ModelFiles

from runtimes import Run


def load(files: ModelFiles, threads: int) -> Run:
    """float32 all through: the reduced precisions that ncnn uses by default where it can are off."""
    net = ncnn.Net()
    options = net.opt
    options.num_threads, options.use_vulkan_compute, options.use_bf16_storage = threads, False, False
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    structure, weights = files.ncnn
    if net.load_param(str(structure)) or net.load_model(str(weights)):
        raise OSError(f"ncnn does not load {structure}")
    (source,), (result,) = net.input_names(), net.output_names()

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with net.create_extractor() as extractor:
            extractor.input(source, ncnn.Mat(inputs["data"][0]))
            return [np.array(extractor.extract(result)[1])[None]]

    return run
