"""Replicas that share one set of parameters: those of the first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphc.caffe2.data_parallel_model.replicas import prefix, stripBlobName


def keep_first_parameters(model: Any) -> None:
    """Let only the first replica's parameters be updated."""
    model.params = model.GetParams(prefix(model, model._devices[0]))
    kept = set(model.params)
    model.param_to_grad = {p: g for p, g in model.param_to_grad.items() if p in kept}
    model.weights = [w for w in model.weights if w in kept]
    model.biases = [b for b in model.biases if b in kept]


def read_first_parameters(model: Any, all_params: Collection[Any]) -> None:
    """Let all replicas read the first one's parameters; the operators that make others go."""
    kept = {str(param) for param in model.GetParams()}
    others = {str(param) for param in all_params} - kept
    names = {other: prefix(model, model._devices[0]) + stripBlobName(other) for other in others}
    for net in (model.param_init_net, model.net):
        ops = [op for op in net.Proto().op if not others.intersection(op.output)]
        for op in ops:
            op.input[:] = [names.get(blob, blob) for blob in op.input]
        kept_inputs = [blob for blob in net.Proto().external_input if blob not in others]
        del net.Proto().op[:]
        net.Proto().op.extend(ops)
        net.Proto().external_input[:] = kept_inputs
