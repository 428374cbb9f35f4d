"""Nets of the Python API on the reference interpreter: nothing is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.caffe2 import core, workspace
from graphc.frontends.netdef import import_net, read_net
from graphc.ir import DType, TensorType, evaluate

HOST = {"CreateMutex": np.zeros(1, np.float32)}
"""What stands for the outputs of operators that the interpreter does not have."""


def run(net: Any, feeds: Mapping[str, Any], wanted: Iterable[Any]) -> dict[str, np.ndarray]:
    """The blobs that are wanted, after one run of a net (``core.Net`` or NetDef) on these blobs."""
    proto = getattr(net, "Proto", lambda: net)()
    plain = read_net(proto)
    read = core.get_undefined_blobs(core.get_ssa(proto)[0])
    arrays = {n: np.asarray(a) for n, a in feeds.items() if n in read}
    plain.external_outputs = list(dict.fromkeys(map(str, wanted)))
    graph = import_net(plain, None, {n: TensorType(DType.of(a.dtype), a.shape) for n, a in arrays.items()})
    found = evaluate(graph, {value.name: arrays[value.name] for value in graph.inputs})
    return {name: np.array(found[name]) for name in plain.external_outputs}


def initial(param_init_net: Any) -> dict[str, np.ndarray]:
    """The blobs that an init net makes; the workspace evaluates fills without compiling."""
    workspace.RunNetOnce(param_init_net)
    made = {name for op in param_init_net.Proto().op for name in op.output}
    stand_ins = {n: HOST[op.type] for op in param_init_net.Proto().op if op.type in HOST for n in op.output}
    return {**{name: workspace.FetchBlob(name) for name in made - stand_ins.keys()}, **stand_ins}


def steps(net: Any, state: Mapping[str, Any], feeds: Iterable[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
    """What a training net's parameters, gradients and other outputs are after each step.

    Blobs that the net reads and writes are carried from step to step.
    """
    proto = net.Proto()
    written = list(dict.fromkeys(name for op in proto.op for name in op.output))
    held, found = dict(state), []
    for batch in feeds:
        made = run(net, {**held, **batch}, written)
        held.update({name: array for name, array in made.items() if name in held})
        found.append(made)
    return found
