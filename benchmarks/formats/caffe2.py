"""A net of the benchmark as a Caffe2 NetDef pair."""

from __future__ import annotations

from model_files import ModelFiles

from graphc.zoo.layers import Net
from graphc.zoo.netdef import write_nets


def write(net: Net, files: ModelFiles) -> None:
    """Write ``predict_net.pb`` and ``init_net.pb``."""
    write_nets(net, files.predict_net, files.init_net)
