"""A described net as a Caffe2 NetDef pair."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from graphc.frontends.netdef import Net as NetDef
from graphc.frontends.netdef import Operator, write_net
from graphc.frontends.netdef.net import ArgValue
from graphc.zoo.layers import EPSILON, LRN_ALPHA, LRN_BETA, LRN_BIAS, LRN_SIZE, Layer, Net

CAFFE_POOLING = 3
"""The ``legacy_pad`` that rounds output sizes up."""
FLOAT = 1
"""``TensorProto.FLOAT``"""

NAMES = {"fc": "FC", "batch_norm": "SpatialBN", "relu6": "Clip", "mean": "AveragePool", "add": "Sum", "lrn": "LRN"}
NAMES |= {k: k.capitalize() for k in ("conv", "relu", "concat", "flatten", "softmax")}
NAMES |= {"max_pool": "MaxPool", "average_pool": "AveragePool"}


def write_model(net: Net, folder: Path) -> None:
    """Write ``predict_net.pb``, ``init_net.pb`` and ``value_info.json`` (type and shape of the input) to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_nets(net, folder / "predict_net.pb", folder / "init_net.pb")
    (folder / "value_info.json").write_text(json.dumps({"data": [FLOAT, net.shapes["data"]]}), encoding="utf-8")


def write_nets(net: Net, predict_net: Path, init_net: Path) -> None:
    """Write the two NetDefs.

    The init net is written weight by weight: serialised messages that follow each other are one message, and so
    the memory needed is that of the largest weight, not of them all.
    """
    described = NetDef(net.name, [_operator(layer) for layer in net.layers], ["data", *net.weights], [net.output])
    predict_net.write_bytes(write_net(described))
    with init_net.open("wb") as file:
        file.write(write_net(NetDef(f"{net.name}_init")))
        for name, value in net.weights.items():
            file.write(write_net(NetDef(ops=[_fill(name, value)])))


def _fill(name: str, value: np.ndarray) -> Operator:
    return Operator("GivenTensorFill", [], [name], {"shape": value.shape, "values": value.ravel()})


def _operator(layer: Layer) -> Operator:
    side = {"concat": [layer.output + "_split"], "lrn": [layer.output + "_scale"]}.get(layer.kind, [])
    inputs = [*layer.inputs, *layer.weights]
    return Operator(NAMES[layer.kind], inputs, [layer.output, *side], _arguments(layer))


def _arguments(layer: Layer) -> dict[str, ArgValue]:
    options = dict(layer.options)
    if layer.kind in ("max_pool", "average_pool") and options.pop("ceil"):
        options["legacy_pad"] = CAFFE_POOLING
    fixed: dict[str, dict[str, ArgValue]] = {
        "conv": {"order": b"NCHW"},
        "max_pool": {"order": b"NCHW"},
        "average_pool": {"order": b"NCHW"},
        "mean": {"order": b"NCHW", "global_pooling": 1},
        "batch_norm": {"order": b"NCHW", "is_test": 1, "epsilon": EPSILON},
        "relu6": {"min": 0.0, "max": 6.0},
        "concat": {"axis": 1},
        "lrn": {"order": b"NCHW", "size": LRN_SIZE, "alpha": LRN_ALPHA, "beta": LRN_BETA, "bias": LRN_BIAS},
    }
    return {**options, **fixed.get(layer.kind, {})}
