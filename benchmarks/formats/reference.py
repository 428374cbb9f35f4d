"""The output that every runtime is compared with: PyTorch in float64."""

from __future__ import annotations

import numpy as np
import torch
from model_files import ModelFiles

from formats.torch_function import make_forward
from graphc.zoo.layers import Net


def write(net: Net, files: ModelFiles) -> None:
    """Write the output for ``net.example()``."""
    forward = make_forward(net, torch.float64, channels_last=False)
    with torch.inference_mode():
        np.save(files.reference_path, forward(torch.from_numpy(net.example())).numpy())
