"""``Parallelize_BMUF``: replicas that learn by themselves for a while, and then move together with a momentum.

Blockwise model-update filtering (Chen and Huo, ICASSP 2016): with the mean of the replicas' parameters ``m``, the
common parameters ``g`` and the speed ``v``, ``v = block_momentum v + block_learning_rate (m - g)`` and ``g = g + v``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core, model_helper
from graphc.caffe2.data_parallel_model.exchange import all_reduce, broadcast_all
from graphc.caffe2.data_parallel_model.helpers import AddBlobSync
from graphc.caffe2.data_parallel_model.parallelize import (
    Builder,
    add_gradients,
    add_replicas,
    for_each_device,
    prepare_model,
    share_gradient_memory,
)
from graphc.caffe2.data_parallel_model.replicas import infer_blob_devices


def Parallelize_GPU_BMUF(*args: Any, **kwargs: Any) -> None:
    """``Parallelize_BMUF`` with replicas called ``gpu_0`` ..., which run on the CPU."""
    Parallelize_BMUF(*args, **{**kwargs, "cpu_device": False})


def Parallelize_CPU_BMUF(*args: Any, **kwargs: Any) -> None:
    """``Parallelize_BMUF`` with replicas called ``cpu_0`` ..."""
    Parallelize_BMUF(*args, **{**kwargs, "cpu_device": True})


def Parallelize_BMUF(
    model_helper_obj: Any,
    input_builder_fun: Builder,
    forward_pass_builder_fun: Builder,
    param_update_builder_fun: Builder,
    block_learning_rate: float = 1.0,
    block_momentum: float | None = None,
    devices: Sequence[int] | None = None,
    rendezvous: Any = None,
    net_type: str = "dag",
    master_device: int | None = None,
    use_nccl: bool = False,
    nesterov: bool = False,
    optimize_gradient_memory: bool = False,
    reset_momentum_sgd: bool = False,
    warmup_iterations: int | None = None,
    max_concurrent_distributed_ops: int = 4,
    add_blobs_to_sync: Sequence[str] | None = None,
    num_threads_per_device: int = 4,
    cpu_device: bool = False,
    barrier_net_timeout_sec: int = 300,
) -> None:
    """Add to an empty model a replica for each device, and a net that joins them, which ``RunNet`` runs last.

    The builders are those of ``Parallelize``. block_momentum: ``1 - 1 / devices`` by default. nesterov: the common
    parameters are those ahead by the momentum. warmup_iterations: what ``RunWarmup`` runs before. reset_momentum_sgd:
    the replicas' own momentum begins anew. add_blobs_to_sync: further blobs to be made equal.
    """
    model = model_helper_obj
    if not isinstance(model_helper_obj, model_helper.ModelHelper):
        raise AssertionError(f"a ModelHelper is needed, not {type(model).__name__}")
    prepare_model(model, devices, rendezvous, net_type, cpu_device, False, num_threads_per_device, False)
    master = model._devices[0] if master_device is None else master_device
    before = list(model.params)
    add_replicas(model, input_builder_fun, forward_pass_builder_fun, before, True)
    add_gradients(model)
    infer_blob_devices(model)
    for_each_device(model, lambda device: param_update_builder_fun(model))
    names = list(model._device_grouped_blobs)
    params = [model._device_grouped_blobs[name][master] for name in names]
    init_net, update_net = (_net(model, name) for name in ("global_model_init", "global_model"))
    model._global_model_init_net, model._global_model_param_updates_net = init_net, update_net
    option = core.DeviceOption(model._device_type, master)
    if warmup_iterations is not None:
        model._warmup_iterations, model._warmup_broadcast = warmup_iterations, _net(model, "warmup-broadcast")
        broadcast_all(model, model._warmup_broadcast, names)
        with core.DeviceScope(option):
            for param in params:
                model._warmup_broadcast.Copy(param, f"{param}_g")
    momentum = 1.0 - 1.0 / len(model._devices) if block_momentum is None else block_momentum
    all_reduce(model, update_net, names)
    with core.DeviceScope(option):
        for param in params:
            _begin(init_net, param, nesterov)
            _move(update_net, param, 1.0 / len(model._devices), block_learning_rate, momentum, nesterov)
    broadcast_all(model, update_net, names)
    if add_blobs_to_sync is not None:
        AddBlobSync(model, add_blobs_to_sync, net=update_net)
    if reset_momentum_sgd:
        _reset_momentum(model.net, update_net)
    if optimize_gradient_memory:
        share_gradient_memory(model, set(), False, None)
    model._data_parallel_model_init_nets = [model.param_init_net, init_net]
    model._data_parallel_model_nets = [model.net, (update_net, 1)]


def _net(model: Any, name: str) -> Any:
    net = core.Net(name)
    net.Proto().type, net.Proto().num_workers = model.net.Proto().type, model.net.Proto().num_workers
    return net


def _begin(net: Any, param: Any, nesterov: bool) -> None:
    """Add what the common parameter and its speed are at first."""
    net.ConstantFill(param, f"{param}_v", value=0.0)
    net.Copy(param, f"{param}_g")
    if nesterov:
        net.ConstantFill(param, f"{param}_v_prev", value=0.0)


def _move(net: Any, param: Any, mean: float, rate: float, momentum: float, nesterov: bool) -> None:
    """Add the update of the common parameter from the sum of the replicas', which is in ``param``."""
    speed, common, previous = (core.BlobReference(f"{param}_{tail}") for tail in ("v", "g", "v_prev"))
    net.Scale(param, param, scale=mean)
    net.Sub([param, common], param)
    net.Scale(param, param, scale=rate)
    net.Scale(speed, speed, scale=momentum)
    net.Add([speed, param], speed)
    net.Add([common, speed], common)
    if nesterov:
        net.Sub([speed, previous], previous)
        net.Scale(previous, previous, scale=momentum)
        net.Sub([common, previous], common)
        net.Copy(speed, previous)
    net.Copy(common, param)


def _reset_momentum(net: Any, update_net: Any) -> None:
    for op in net.Proto().op:
        if op.type == "MomentumSGDUpdate":
            with core.DeviceScope(op.device_option):
                blob = core.BlobReference(op.input[1])
                update_net.ConstantFill([blob], blob, value=0.0)
