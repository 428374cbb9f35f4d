"""``Optimizer``: what all optimizers have in common, above all the learning rate."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from graphc.caffe2 import core, scope, utils, workspace
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

_optimizer_instance_count: dict[str, int] = defaultdict(int)
"""How many optimizers of a class were made, by the name of the class: a part of the names of their blobs."""


class AuxOptimizerParams(NamedTuple):
    """Blobs that an optimizer keeps from step to step: ``local`` ones for each parameter, and ``shared`` ones."""

    local: list[Any]
    shared: list[Any]


def reset_optimizer_instance_count() -> None:
    """Number optimizers from 0 again."""
    _optimizer_instance_count.clear()


def current_device() -> Message:
    """The device of the current scope, the CPU outside of any."""
    scoped = scope.CurrentDeviceScope()
    return core.DeviceOption(caffe2_pb2.CPU) if scoped is None else scoped


def is_sparse(gradient: Any) -> bool:
    """The gradient is a ``GradientSlice``: it concerns some rows."""
    return isinstance(gradient, core.GradientSlice)


def row_count(param_init_net: core.Net, param: Any) -> int | None:
    """Rows of a parameter that the init net makes, None if they are not known before it runs."""
    shape = parameter_shape(param_init_net, param)
    return shape[0] if shape else None


def parameter_shape(param_init_net: core.Net, param: Any) -> list[int] | None:
    """Shape of a parameter that the init net makes, None if it is not known before it runs."""
    shapes, _ = workspace.InferShapesAndTypes([param_init_net])
    found: list[int] | None = shapes.get(str(param))
    return found


class Optimizer:
    """``optimizer(net, param_init_net, param, grad)`` adds the operators that update a parameter by its gradient.

    A subclass has ``_run(net, param_init_net, param_info)``. Blobs get names such as ``SgdOptimizer_0_lr_cpu``, of the
    class and a number that counts its objects.
    """

    def __init__(self) -> None:
        self._aux_params = AuxOptimizerParams(local=[], shared=[])
        self._instance_num = _optimizer_instance_count[self.__class__.__name__]
        _optimizer_instance_count[self.__class__.__name__] += 1
        self._lr_multiplier: Any = None
        self._local_lr_multiplier: Any = None
        self._local_lr_multiplier_on_gpu = False
        self._use_dedicated_lr_iteration_counter = False

    def __call__(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> None:
        """Add the operators; param: a ``ParameterInfo`` with a gradient, or, with ``grad``, a blob or its name."""
        if grad is not None:
            blob = core.BlobReference(param) if isinstance(param, str) else param
            param = ParameterInfo(None, blob, grad=grad)
        if not isinstance(param, ParameterInfo):
            raise AssertionError(f"Expected parameter to be of type ParameterInfo, got {param}")
        if param.grad is None:
            raise AssertionError(f"parameter {param} has no gradient")
        self._run(net, param_init_net, param)

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        raise Exception("Not Implemented")

    @property
    def attributes(self) -> dict[str, Any]:
        """A copy of what the optimizer was made with."""
        found = copy.deepcopy(self.__dict__)
        found.pop("_instance_num", None)
        return found

    @property
    def use_dedicated_lr_iteration_counter(self) -> bool:
        """The learning rate follows a counter of its own, ``optimizer_iteration_lr``."""
        return self._use_dedicated_lr_iteration_counter

    @use_dedicated_lr_iteration_counter.setter
    def use_dedicated_lr_iteration_counter(self, val: bool) -> None:
        self._use_dedicated_lr_iteration_counter = val

    # ---- names -------------------------------------------------------------------------------------------------------

    def get_cpu_blob_name(self, base_str: str, node_name: str = "") -> str:
        """The name of a blob of this optimizer on the CPU."""
        return f"{self.__class__.__name__}_{self._instance_num}_{base_str}{node_name}_cpu"

    def get_gpu_blob_name(self, base_str: str, gpu_id: int, node_name: str) -> str:
        """The name of a blob of this optimizer on a GPU."""
        return f"{self.__class__.__name__}_{self._instance_num}_{base_str}{node_name}_gpu{gpu_id}"

    def make_unique_blob_name(self, base_str: str) -> str:
        """The name of a blob of this optimizer on the current device."""
        device = current_device()
        if core.IsGPUDeviceType(device.device_type):
            return self.get_gpu_blob_name(base_str, device.device_id, device.node_name)
        return self.get_cpu_blob_name(base_str, device.node_name)

    # ---- learning rate -----------------------------------------------------------------------------------------------

    def build_lr(
        self,
        net: core.Net,
        param_init_net: core.Net,
        base_learning_rate: float,
        learning_rate_blob: str | None = None,
        policy: str = "fixed",
        iter_val: int = 0,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """The blob of the learning rate, which is negative: ``-base_learning_rate`` by a policy; and the counter.

        The operators are added once for each name. Multipliers of the optimizer come behind them, each time.
        """
        name = self.make_unique_blob_name("lr") if learning_rate_blob is None else learning_rate_blob
        own = {"iter": utils.OPTIMIZER_ITERATION_LR_NAME, "iter_mutex": utils.ITERATION_MUTEX_LR_NAME}
        dedicated = own if self._use_dedicated_lr_iteration_counter else {}
        iteration = utils.BuildUniqueMutexIter(param_init_net, net, iter_val=iter_val, **dedicated)
        if net.BlobIsDefined(name):
            rate: Any = net.GetBlobRef(name)
        else:
            rate = net.LearningRate([iteration], name, base_lr=-base_learning_rate, policy=policy, **kwargs)
        return self._multiplied(net, rate), iteration

    def _multiplied(self, net: core.Net, rate: Any) -> Any:
        if self._lr_multiplier is not None:
            factor = net.CopyFromCPUInput(self._lr_multiplier, self.make_unique_blob_name("lr_multiplier"))
            rate = net.Mul([rate, factor], self.make_unique_blob_name("scaled_lr"), broadcast=1)
        if self._local_lr_multiplier is None:
            return rate
        factor = self._local_lr_multiplier
        if core.IsGPUDeviceType(current_device().device_type) and not self._local_lr_multiplier_on_gpu:
            factor = net.CopyFromCPUInput(factor, self.make_unique_blob_name("local_lr_multiplier"))
        return net.Mul([rate, factor], self.make_unique_blob_name("local_scaled_lr"), broadcast=1)

    def build_non_lr_iter(self, net: core.Net, param_init_net: core.Net, iter_val: int = 0) -> Any:
        """The counter of steps beside the one of the learning rate; raises ``AssertionError`` if that has none.

        A learning rate that nobody reads marks where the counter belongs, as in Caffe2.
        """
        if not self._use_dedicated_lr_iteration_counter:
            raise AssertionError("This method is for optimizers with a dedicated learning rate iteration counter.")
        iteration = utils.BuildUniqueMutexIter(param_init_net, net, iter_val=iter_val)
        hint = self.make_unique_blob_name("iter_placement_hint")
        if not net.BlobIsDefined(hint):
            net.LearningRate([iteration], hint, base_lr=1.0, policy="fixed")
        return iteration

    def add_lr_multiplier(self, lr_multiplier: Any) -> None:
        """Multiply the learning rate of all parameters by a blob on the CPU, or None."""
        self._lr_multiplier = lr_multiplier

    def _add_local_lr_multiplier(self, local_lr_multiplier: Any, is_gpu_blob: bool = False) -> None:
        """Multiply the learning rate of one parameter by a blob."""
        self._local_lr_multiplier = local_lr_multiplier
        self._local_lr_multiplier_on_gpu = is_gpu_blob

    def _clear_local_lr_multiplier(self) -> None:
        self._add_local_lr_multiplier(None)

    def scale_learning_rate(self, *args: Any, **kwargs: Any) -> None:
        """Multiply the base learning rate of operators yet to be added by a number."""
        raise NotImplementedError("Optimizer Need to Implement `scale_learning_rate` method.")

    # ---- parts of optimizers -----------------------------------------------------------------------------------------

    def create_lars_inputs(self, param_init_net: core.Net, weight_decay: float, trust: float, lr_max: float) -> Any:
        """Three blobs of one element that the operator Lars reads."""
        values = {"weight_decay": weight_decay, "trust": trust, "lr_max": lr_max}
        return tuple(param_init_net.ConstantFill([], n, shape=[1], value=v) for n, v in values.items())

    def _set_lars(self, net: core.Net, param_init_net: core.Net, info: ParameterInfo, offset: float | None) -> None:
        """Let the learning rate of a parameter follow its norm and that of its gradient (LARS), if there is an offset.

        Sparse gradients go without; raises ``AssertionError`` for a negative offset.
        """
        self._clear_local_lr_multiplier()
        if offset is None or is_sparse(info.grad):
            return
        if offset < 0:
            raise AssertionError(f"Lars offset must be nonnegative, got {offset}")
        inputs = self.create_lars_inputs(param_init_net, 0.0, 1.0, np.finfo(np.float32).max)
        name = self.make_unique_blob_name(f"{info.blob}_lars")
        factor = net.Lars([info.blob, info.grad, *inputs], name, offset=offset, lr_min=0.0)
        self._add_local_lr_multiplier(factor, core.IsGPUDeviceType(current_device().device_type))

    @staticmethod
    def dedup(net: core.Net, sparse_dedup_aggregator: str | None, grad: Any) -> Any:
        """A sparse gradient that names each row once: rows summed (``"sum"``) or averaged (``"mean"``); as it is
        without an aggregator. Raises ``AssertionError`` for a dense one."""
        if not is_sparse(grad):
            raise AssertionError(f"Dedup only works for sparse gradient, got {grad}")
        if not sparse_dedup_aggregator:
            return grad
        return net.DeduplicateGradientSlices(grad, aggregator=sparse_dedup_aggregator)

    def get_auxiliary_parameters(self) -> AuxOptimizerParams:
        """The blobs that the optimizer keeps from step to step."""
        return self._aux_params

    def _keep(self, *blobs: Any) -> None:
        """Note blobs that belong to one parameter."""
        self._aux_params.local.extend(blobs)
