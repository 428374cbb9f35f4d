"""``Parallelize``: a model of several replicas, each with a part of the batch, which learn as one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from graphc.caffe2 import core, memonger, model_helper, scope, workspace
from graphc.caffe2.data_parallel_model.batch_norm import combine_batch_norm
from graphc.caffe2.data_parallel_model.exchange import all_reduce, blobs_to_sync, broadcast, broadcast_all
from graphc.caffe2.data_parallel_model.replicas import (
    group_by_device,
    infer_blob_devices,
    prefix,
    require_own_blobs,
    require_unique,
)
from graphc.caffe2.data_parallel_model.shared import keep_first_parameters, read_first_parameters
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.errors import EnforceError

log = logging.getLogger("data_parallel_model")

Builder = Callable[..., Any]


def Parallelize_GPU(*args: Any, **kwargs: Any) -> None:
    """``Parallelize`` with replicas called ``gpu_0`` ..., which run on the CPU."""
    Parallelize(*args, **{**kwargs, "cpu_device": False})


def Parallelize_CPU(*args: Any, **kwargs: Any) -> None:
    """``Parallelize`` with replicas called ``cpu_0`` ..."""
    Parallelize(*args, **{**kwargs, "cpu_device": True})


def Parallelize_iDeep(*args: Any, **kwargs: Any) -> None:
    """``Parallelize`` with replicas called ``ideep_0`` ..."""
    Parallelize(*args, **{**kwargs, "ideep": True})


def Parallelize(
    model_helper_obj: Any,
    input_builder_fun: Builder,
    forward_pass_builder_fun: Builder,
    param_update_builder_fun: Builder | None = None,
    optimizer_builder_fun: Builder | None = None,
    post_sync_builder_fun: Builder | None = None,
    pre_grad_net_transformer_fun: Builder | None = None,
    net_transformer_fun: Builder | None = None,
    devices: Sequence[int] | None = None,
    rendezvous: Any = None,
    net_type: str = "dag",
    broadcast_computed_params: bool = True,
    optimize_gradient_memory: bool = False,
    dynamic_memory_management: bool = False,
    blobs_to_keep: Sequence[str] | None = None,
    use_nccl: bool = False,
    max_concurrent_distributed_ops: int = 16,
    cpu_device: bool = False,
    ideep: bool = False,
    num_threads_per_device: int = 4,
    shared_model: bool = False,
    combine_spatial_bn: bool = False,
    barrier_net_timeout_sec: int = 300,
) -> None:
    """Add to an empty model a replica for each device, and operators that sum the gradients over them.

    The builders get the model and add operators in the name and device scope of a replica: ``input_builder_fun(model)``
    inputs, ``forward_pass_builder_fun(model, loss_scale)`` layers, of which it gives the losses, each to be scaled;
    ``param_update_builder_fun(model)`` updates. Instead of the last ``optimizer_builder_fun(model)`` is called once,
    outside of the scopes; without both there are no gradients. ``pre_grad_net_transformer_fun(model)``,
    ``net_transformer_fun(model, number of devices, prefix, type)`` and ``post_sync_builder_fun(model)`` are called
    before and after the gradients, and for each replica after the parameters were made equal.

    devices: numbers of the replicas. optimize_gradient_memory, dynamic_memory_management, blobs_to_keep: ``memonger``.
    shared_model: one set of parameters. combine_spatial_bn: statistics of the whole batch. use_nccl and the numbers of
    threads change no answer. Raises ``AssertionError``, and ``RuntimeError`` for several processes, which graphc does
    not connect.
    """
    model = model_helper_obj
    if not isinstance(model_helper_obj, model_helper.ModelHelper):
        raise AssertionError(f"a ModelHelper is needed, not {type(model).__name__}")
    if param_update_builder_fun is not None and optimizer_builder_fun is not None:
        raise AssertionError("Can only specify one of param_update_builder_fun, optimizer_builder_fun")
    learns = param_update_builder_fun is not None or optimizer_builder_fun is not None
    prepare_model(model, devices, rendezvous, net_type, cpu_device, ideep, num_threads_per_device, shared_model)
    before = list(model.params)
    add_replicas(model, input_builder_fun, forward_pass_builder_fun, before, learns)
    if pre_grad_net_transformer_fun is not None:
        pre_grad_net_transformer_fun(model)
    if learns:
        add_gradients(model)
    if net_transformer_fun is not None:
        net_transformer_fun(model, len(model._devices), model._device_prefix, model._device_type)
    _finish_nets(model, [model.param_init_net], [model.net])
    if not learns:
        infer_blob_devices(model)
        return
    if combine_spatial_bn:
        combine_batch_norm(model)
    _group_gradients(model, before)
    if broadcast_computed_params and len(model._devices) > 1:
        for name in model._computed_param_names:
            broadcast(model, model.net, name)
    all_reduce(model, model.net, list(reversed(model._grad_names)))
    all_params = list(model.GetParams(""))
    if shared_model:
        keep_first_parameters(model)
    _add_updates(model, param_update_builder_fun, optimizer_builder_fun)
    _make_equal(model, post_sync_builder_fun)
    _save_memory(model, optimize_gradient_memory, dynamic_memory_management, blobs_to_keep)
    if shared_model:
        read_first_parameters(model, all_params)


def prepare_model(
    model: Any,
    devices: Sequence[int] | None,
    rendezvous: Any,
    net_type: str,
    cpu_device: bool,
    ideep: bool,
    num_threads_per_device: int,
    shared_model: bool,
) -> None:
    """Note in the model what it is to be."""
    outer = scope.CurrentDeviceScope()
    if outer is not None and outer.device_type != caffe2_pb2.CPU:
        raise AssertionError(f"Parallelize must be called without device-scope, device scope was: {outer}")
    if rendezvous is not None and rendezvous["num_shards"] > 1:
        raise EnforceError(
            f"rendezvous asks for {rendezvous['num_shards']} processes, which graphc does not connect",
            "train in one process with several devices",
        )
    if shared_model and not (cpu_device or ideep):
        raise AssertionError("Shared model only supported on CPU")
    types = {"ideep": caffe2_pb2.IDEEP, "cpu": caffe2_pb2.CPU, "gpu": workspace.GpuDeviceType}
    model._device_prefix = "ideep" if ideep else "cpu" if cpu_device else "gpu"
    model._device_type = types[model._device_prefix]
    if devices is None:
        devices = range(os.cpu_count() or 1) if cpu_device or ideep else range(workspace.NumGpuDevices())
    if not devices:
        raise AssertionError("there are no devices: name them, devices=[0, 1], or use Parallelize_CPU")
    model._devices = list(devices)
    model._shared_model, model._rendezvous = shared_model, rendezvous
    model._grad_names, model._optimizer = [], None
    model._sync_barrier_net = model._broadcast_context = None
    model.net.Proto().num_workers = len(model._devices) * num_threads_per_device
    model.net.Proto().type = net_type


def for_each_device(model: Any, function: Callable[[int], Any]) -> None:
    """Call a function in the scopes of each replica."""
    for device in model._devices:
        with (
            core.DeviceScope(core.DeviceOption(model._device_type, device)),
            core.NameScope(f"{model._device_prefix}_{device}"),
        ):
            function(device)


def add_replicas(
    model: Any, input_builder: Builder, forward_builder: Builder, before: Sequence[Any], learns: bool
) -> None:
    """Add inputs and layers of all replicas, and note which parameters belong together. before: those without replica.

    Raises ``AssertionError`` where a model that learns has no list of losses.
    """
    losses: dict[int, list[Any]] = {}

    def build(device: int) -> None:
        input_builder(model)
        losses[device] = forward_builder(model, 1.0 / len(model._devices))
        fits = isinstance(losses[device], list) and all(isinstance(x, core.BlobReference) for x in losses[device])
        if learns and not fits:
            raise AssertionError("Model builder function must return list of loss blobs")

    for_each_device(model, build)
    require_unique(model.params)
    model._losses_by_gpu = losses
    model._device_grouped_blobs = group_by_device(model, model.params, before)
    computed = group_by_device(model, model.GetComputedParams(""))
    model._device_grouped_blobs.update(computed)
    model._param_names, model._computed_param_names = list(model._device_grouped_blobs), list(computed)


def add_gradients(model: Any) -> None:
    """Add the gradients of the losses of all replicas."""
    gradients: dict[str, str] = {}
    for device in model._devices:
        with core.DeviceScope(core.DeviceOption(model._device_type, device)):
            for loss in model._losses_by_gpu[device]:
                gradients[str(loss)] = str(model.net.ConstantFill(loss, f"{loss}_grad", value=1.0))
    model.AddGradientOperators(gradients)


def _group_gradients(model: Any, before: Sequence[Any]) -> None:
    """Note which gradients belong together."""
    require_unique(model.params)
    found = model.param_to_grad
    gradients = [found[p] for p in model.params if p in found]
    grouped = group_by_device(model, gradients, [found[p] for p in before if p in found])
    model._device_grouped_blobs.update(grouped)
    model._grad_names = list(grouped)
    infer_blob_devices(model)


def _add_updates(model: Any, update_builder: Builder | None, optimizer_builder: Builder | None) -> None:
    if update_builder is not None:
        for_each_device(model, lambda device: update_builder(model))
    elif optimizer_builder is not None:
        model._optimizer = optimizer_builder(model)


def _make_equal(model: Any, post_sync_builder: Builder | None) -> None:
    """Let the init net give all replicas the first one's parameters."""
    blobs, names = blobs_to_sync(model)
    model._device_grouped_blobs.update(group_by_device(model, blobs))
    infer_blob_devices(model)
    require_own_blobs(model)
    argument = model.Proto().arg.add()
    argument.name, argument.i = "first_iter_only_one_worker", 1
    broadcast_all(model, model.param_init_net, names)
    if post_sync_builder is not None:
        for_each_device(model, lambda device: post_sync_builder(model))


def _save_memory(model: Any, share: bool, release: bool, blobs_to_keep: Sequence[str] | None) -> None:
    if share and release:
        raise AssertionError("choose one of optimize_gradient_memory and dynamic_memory_management")
    if share:
        share_gradient_memory(model, set(), False, None)
    if release:
        kept = {prefix(model, device) + name for device in model._devices for name in blobs_to_keep or ()}
        model.net._net = memonger.release_blobs_when_used(model.net.Proto(), kept)


def share_gradient_memory(model: Any, excluded: set[str], recycle_activations: bool, shapes: Any) -> None:
    """Let gradients of each replica share memory, but for the blobs excluded, named without prefix."""
    gradients = set(map(str, model.param_to_grad.values()))
    for device in model._devices:
        own = prefix(model, device)
        model.net._net = memonger.share_grad_blobs(
            model.net,
            model._losses_by_gpu[device],
            gradients,
            own,
            dont_share_blobs={own + name for name in excluded},
            share_activations=recycle_activations,
            blob_shapes=shapes,
        )


def _finish_nets(model: Any, init_nets: list[Any], nets: list[Any]) -> None:
    """Note which nets ``RunInitNet`` and ``RunNet`` run; a pair is a net and how often it runs."""
    model._data_parallel_model_init_nets, model._data_parallel_model_nets = init_nets, nets
