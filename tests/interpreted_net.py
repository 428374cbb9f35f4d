"""Nets on blobs of the workspace, evaluated by the reference interpreter: nothing is compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc
from graphc.caffe2 import workspace
from graphc.caffe2.proto import caffe2_pb2
from graphc.ir import evaluate, infer_types


def interpreted(net: Any, *outputs: str) -> list[np.ndarray]:
    """Blobs that a ``core.Net`` or NetDef makes of the workspace's blobs."""
    proto = caffe2_pb2.NetDef()
    proto.CopyFrom(net.Proto() if hasattr(net, "Proto") else net)
    proto.external_output[:] = outputs
    inputs = {name: workspace.FetchBlob(name) for name in proto.external_input}
    graph = graphc.import_model(proto.SerializeToString(), None, inputs)
    infer_types(graph)
    found = evaluate(graph, inputs)
    return [found[name] for name in outputs]
