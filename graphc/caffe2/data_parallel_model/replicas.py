"""What replicas of a model are called: ``cpu_0/NAME``, ``cpu_1/NAME`` ..., and which blobs belong together.

``Parallelize`` notes in the model: ``_devices`` (the numbers), ``_device_prefix`` (``cpu``), ``_device_type``, and
``_device_grouped_blobs``: name without the prefix -> number -> blob.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def prefix(model: Any, device: int) -> str:
    """What the names of a replica's blobs begin with."""
    return f"{model._device_prefix}_{device}/"


def stripBlobName(param: Any) -> str:
    """The name of a blob without its first scope; of a sparse gradient those of indices and values."""
    if isinstance(param, core.GradientSlice):
        return f"{stripBlobName(param.indices)}:{stripBlobName(param.values)}"
    return str(param).split("/", 1)[1]


def replica_of(model: Any, blob: Any) -> int:
    """The number of the replica that a blob belongs to; raises ``AssertionError`` for one that belongs to none."""
    parts = [blob.indices, blob.values] if isinstance(blob, core.GradientSlice) else [blob]
    found = {d for d in model._devices for part in parts if str(part).startswith(prefix(model, d))}
    if len(found) != 1:
        raise AssertionError(f"Param {blob} expected to have namescope '{model._device_prefix}_N/'")
    return int(found.pop())


def group_by_device(model: Any, params: Sequence[Any], leave_out: Sequence[Any] = ()) -> dict[str, dict[int, Any]]:
    """The blobs of all replicas by name, without those before the model was parallel."""
    grouped: dict[str, dict[int, Any]] = {}
    for param in params[len(leave_out) :]:
        if not isinstance(param, core.BlobReference | core.GradientSlice):
            raise AssertionError(f"Param {param} is not BlobReference or GradientSlice")
        grouped.setdefault(stripBlobName(param), {})[replica_of(model, param)] = param
    return grouped


def require_unique(params: Collection[Any]) -> None:
    """Raise ``AssertionError`` for parameters that are there twice."""
    names = [str(param) for param in params]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AssertionError(f"Duplicate entries in params: {twice}")


def infer_blob_devices(model: Any) -> None:
    """Note the device of every blob in the model: that of the first operator that names it; counters are on the CPU."""
    found: dict[str, Message] = {}
    cpu = core.DeviceOption(caffe2_pb2.CPU)
    for proto in (model.param_init_net.Proto(), model.net.Proto()):
        _note_devices(proto, cpu, found)
    model._blob_to_device = found


def _note_devices(proto: Message, cpu: Message, found: dict[str, Message]) -> None:
    for op in proto.op:
        for blob in [*op.input, *op.output]:
            found.setdefault(blob, cpu if op.type == "Iter" else op.device_option)
        for arg in op.arg if op.type.startswith("RecurrentNetwork") else ():
            if arg.name.endswith("step_net"):
                _note_devices(arg.n, cpu, found)


def is_gpu_blob(model: Any, name: str) -> bool:
    """The blob, or the first replica's of this name, is noted for a GPU."""
    for known in (name, prefix(model, model._devices[0]) + name):
        if known in model._blob_to_device:
            return core.IsGPUDeviceType(model._blob_to_device[known].device_type)
    return core.IsGPUDeviceType(model._device_type)


def require_own_blobs(model: Any) -> None:
    """Raise ``Exception`` for an operator on a GPU that names blobs of another replica, unless it exchanges them."""
    for op in model.Proto().op:
        exchanges = any(part in op.type for part in ("NCCL", "Copy", "Concat")) or (op.type, op.name) == ("Sum", "dpm")
        if exchanges or not core.IsGPUDeviceType(op.device_option.device_type):
            continue
        own = prefix(model, op.device_option.device_id)
        for blob in [*op.input, *op.output]:
            if blob.startswith(f"{model._device_prefix}_") and not blob.startswith(own):
                raise Exception(f"Blob {blob} of op {op.type}, should have namescope {own}. Op: {op}")
