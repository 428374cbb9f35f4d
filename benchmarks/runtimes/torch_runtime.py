"""PyTorch: eager, or ``torch.compile`` with its weights frozen; planes in channels-last order, its fastest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from formats.torch_function import make_forward
from model_files import ModelFiles
from nets import NETS

from runtimes import Run


def load(files: ModelFiles, threads: int, compiled: bool = False) -> Run:
    """The net as PyTorch's own operators."""
    torch.set_num_threads(threads)
    forward = make_forward(NETS[files.name](), torch.float32, channels_last=True)
    if compiled:
        forward = torch.compile(forward, dynamic=False, options={"freezing": True})

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            return [forward(torch.from_numpy(inputs["data"])).numpy()]

    return run
