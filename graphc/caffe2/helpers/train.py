"""Helpers for training: counters, accuracy, weight decay."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core, scope
from graphc.caffe2.proto import caffe2_pb2


def iter(model: Any, blob_out: Any, **kwargs: Any) -> Any:
    """A counter of runs of the net, int64 and on the CPU, 0 before the first."""
    kwargs.pop("device_option", None)
    cpu = core.DeviceOption(caffe2_pb2.CPU, 0)
    model.param_init_net.ConstantFill(
        [], blob_out, shape=[1], value=0, dtype=core.DataType.INT64, device_option=cpu, **kwargs
    )
    return model.net.Iter(blob_out, blob_out, **kwargs)


def accuracy(model: Any, blob_in: Any, blob_out: Any, **kwargs: Any) -> Any:
    """The share of rows of ``blob_in[0]`` whose ``top_k`` largest elements, 1 unless it is said, have the label.

    The labels are ``blob_in[1]``. Of the arguments only ``top_k`` and ``device_option`` count.
    """
    device = kwargs.get("device_option", scope.CurrentDeviceScope())
    top_k = {"top_k": kwargs["top_k"]} if kwargs.get("top_k", 1) > 1 else {}
    if device is None or device.device_type == caffe2_pb2.CPU or not top_k:
        return model.net.Accuracy(blob_in, blob_out, **top_k)
    copies = [model.net.CopyGPUToCPU(blob, blob + "_host") for blob in blob_in[:2]]
    return model.net.Accuracy(copies, blob_out, device_option=core.DeviceOption(caffe2_pb2.CPU, 0), **top_k)


def add_weight_decay(model: Any, weight_decay: float) -> None:
    """Add ``weight_decay * w`` to the gradient of each weight in the current name scope."""
    if weight_decay <= 0.0:
        return
    decay = model.param_init_net.ConstantFill([], "wd", shape=[1], value=weight_decay)
    one = model.param_init_net.ConstantFill([], "ONE", shape=[1], value=1.0)
    current = scope.CurrentNameScope()
    for weight in [w for w in model.weights if not current or w.GetNameScope() == current]:
        gradient = model.param_to_grad[weight]
        model.net.WeightedSum([gradient, one, weight, decay], gradient)
