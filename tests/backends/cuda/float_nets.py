"""The float nets of shared/models: their files, and inputs at their own sizes or at reduced ones."""

from __future__ import annotations

from pathlib import Path

import bare_nets
import numpy as np

from graphc.frontends.netdef import Source, read_net, write_net

SIZES = {
    "alexnet_small": 0,
    "inception_v1_small": 0,
    "mnist": 0,
    "mtcnn_pnet": 40,
    "perception_v0": 0,
    "resnet50_small": 0,
    "segmentation_mobile": 32,
    "squeezenet_v1.0": 40,
    "squeezenet_v1.1": 40,
    "style_animals": 48,
    "super_resolution": 0,
    "tiny_yolo_a_small": 64,
    "vgg19_small": 0,
}
"""Net with weights -> rows and columns of a reduced picture; 0 where the net fixes its size."""
NETS = (*SIZES, *bare_nets.FLOAT, *bare_nets.RECURRENT)

Files = tuple[Source, Source]


def float_net(shared: Path, name: str, *, reduced: bool = False) -> tuple[Files, dict[str, np.ndarray]]:
    """Predict net and init net, and inputs: one image where they are reduced."""
    if name not in SIZES:
        return bare_nets.nets(shared, name), bare_nets.NETS[name].arrays()
    folder = shared / "models" / name
    with np.load(folder / "inputs.npz") as file:
        inputs = {n: file[n] for n in file.files}
    size = SIZES[name] or None
    if reduced:
        inputs = {n: a[:1, :size, :size] if a.dtype == np.uint8 else a[:1, :, :size, :size] for n, a in inputs.items()}
    predict = read_net(folder / "predict_net.pb")
    for op in predict.ops:  # the first one of style_animals asks for the CPU
        op.device = None
    return (write_net(predict), folder / "init_net.pb"), inputs
