"""Running models of several replicas, their checkpoints, and what else scripts ask of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core, model_helper, scope, workspace
from graphc.caffe2.data_parallel_model.exchange import blobs_to_sync, broadcast_all
from graphc.caffe2.data_parallel_model.parallelize import share_gradient_memory
from graphc.caffe2.data_parallel_model.replicas import prefix, stripBlobName
from graphc.caffe2.proto import caffe2_pb2


def CreateNet(model: Any, overwrite: bool = False) -> None:
    """Create the nets in the workspace."""
    for part in model._data_parallel_model_nets:
        workspace.CreateNet(part[0] if isinstance(part, tuple) else part, overwrite=overwrite)


def RunInitNet(model: Any) -> None:
    """Run the init nets and create the others."""
    for net in model._data_parallel_model_init_nets:
        workspace.RunNetOnce(net)
    CreateNet(model)


def RunWarmup(model: Any) -> None:
    """Run the warm-up of ``Parallelize_BMUF``."""
    workspace.RunNet(model.net, model._warmup_iterations)
    workspace.RunNetOnce(model._warmup_broadcast)


def RunNet(model: Any, num_iterations: int) -> None:
    """Run so many steps of training, and what comes after them."""
    for part in model._data_parallel_model_nets:
        net, rounds = part if isinstance(part, tuple) else (part, num_iterations)
        workspace.RunNet(net.Proto().name, rounds)


def Synchronize(model: Any, timeout_sec: int = 300) -> None:
    """Nothing: there is one process. Deprecated in Caffe2, too."""
    warnings.warn("The Synchronize API has been deprecated.", category=DeprecationWarning, stacklevel=2)


def ConvertNetForDevice(net: Any, device: Any = None) -> Any:
    """A copy of a net whose blobs and operators are those of a replica: of a device option, else of the current scope.

    Raises ``NotImplementedError`` for recurrent nets.
    """
    clone = copy.deepcopy(net)
    device = scope.CurrentDeviceScope() if device is None else device
    kind = "ideep" if device.device_type == caffe2_pb2.IDEEP else "cpu"
    own = f"{'gpu' if core.IsGPUDeviceType(device.device_type) else kind}_{device.device_id}/"
    proto = clone.Proto()
    for op in proto.op:
        if "RecurrentNetwork" in op.type:
            raise NotImplementedError("RecurrentNetwork conversion not yet supported")
        for blobs in (op.input, op.output, op.control_input):
            blobs[:] = [own + blob for blob in blobs]
        op.device_option.CopyFrom(device)
    for blobs in (proto.external_input, proto.external_output):
        blobs[:] = [own + blob for blob in blobs]
    return clone


def ExtractPredictorNet(model: Any, inputs: Sequence[Any], outputs: Sequence[Any], device: Any) -> tuple[Any, Any]:
    """The part of the first replica from inputs to outputs, which keep their names without prefix, and its blobs."""
    own = prefix(model, model._devices[0])
    plain = [[str(blob) for blob in blobs] for blobs in (inputs, outputs)]
    full = [[own + name for name in names] for names in plain]
    found: tuple[Any, Any] = model_helper.ExtractPredictorNet(
        net_proto=model.net.Proto(),
        input_blobs=full[0],
        output_blobs=full[1],
        device=device,
        renames=dict(zip(full[0] + full[1], plain[0] + plain[1])),
    )
    return found


def GetCheckpointParams(model: Any) -> set[Any]:
    """The blobs to save: those of the first replica that the init net makes, and counters of iterations."""
    blobs, _ = blobs_to_sync(model)
    own = prefix(model, model._devices[0])
    counters = {
        op.output[0]
        for op in model.net.Proto().op
        if op.type in ("Iter", "AtomicIter") and not op.output[0].startswith(f"{model._device_prefix}_")
    }
    return {blob for blob in blobs if str(blob).startswith(own)} | counters


def FinalizeAfterCheckpoint(model: Any, blobs: Sequence[Any] | None = None, cpu_mode: bool = False) -> None:
    """Give all replicas the first one's blobs, by default all that the init net makes, after these were loaded."""
    if not hasattr(model, "_checkpoint_net"):
        names = blobs_to_sync(model)[1] if blobs is None else {stripBlobName(blob) for blob in blobs}
        _note_replicas(model, names)
        model._checkpoint_net = core.Net("checkpoint_sync_net")
        if not cpu_mode:
            model._checkpoint_net.RunAllOnGPU()
        broadcast_all(model, model._checkpoint_net, names)
        workspace.CreateNet(model._checkpoint_net)
    workspace.RunNet(model._checkpoint_net.Proto().name)


def _note_replicas(model: Any, names: Any) -> None:
    for name in names:
        blobs = {d: core.BlobReference(prefix(model, d) + name) for d in model._devices}
        model._device_grouped_blobs.setdefault(name, blobs)


def GetLearningRateBlobNames(model: Any) -> list[str]:
    """The blobs of learning rates."""
    optimizer = model._optimizer
    if optimizer is None:
        return [op.output[0] for op in model.net.Proto().op if op.type == "LearningRate"]
    if core.IsGPUDeviceType(model._device_type):
        return [optimizer.get_gpu_blob_name("lr", gpu, "") for gpu in model._devices]
    return [optimizer.get_cpu_blob_name("lr")]


def AddBlobSync(model: Any, blobs: Sequence[str], net: Any = None) -> None:
    """Let a net give all replicas the first one's blobs, which are named without prefix."""
    for blob in blobs:
        if str(blob).startswith(model._device_prefix):
            raise AssertionError(f"Provide unprefixed blob name: {blob}")
    _note_replicas(model, blobs)
    broadcast_all(model, model.net if net is None else net, set(map(str, blobs)))


def AddDistributedBlobSync(model: Any, blobs: Sequence[Any]) -> None:
    """Nothing: there is one process."""


def OptimizeGradientMemory(
    model: Any, input_shapes: dict[str, Any] | None, excluded_blobs: Sequence[str], recycle_activations: bool
) -> None:
    """Let gradients, and with ``recycle_activations`` what layers give, share memory.

    input_shapes: shapes of the inputs, named without prefix; {} or None if they are not known. excluded_blobs: blobs to
    be looked at, named without prefix.
    """
    shapes = None
    if input_shapes is not None:
        every = {prefix(model, d) + name: shape for name, shape in input_shapes.items() for d in model._devices}
        shapes, _ = workspace.InferShapesAndTypes([model.param_init_net, model.net], every)
    share_gradient_memory(model, set(map(str, excluded_blobs)), recycle_activations, shapes)
