"""Gradient descent, with momentum and in half precision; weight decay."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.optimizer.base import Optimizer, current_device, is_sparse


def _require_positive(rate: float) -> None:
    if rate <= 0:
        raise AssertionError(f"Expect positive base learning rate, got {rate}")


class SgdOptimizer(Optimizer):
    """``w += lr g``; with momentum m: ``v = m v - lr g``, ``w += v``, or Nesterov's form of it.

    A base learning rate of 0 leaves parameters as they are. lars: the offset of LARS. kwargs: those of the policy.
    Raises ``AssertionError`` for a negative rate.
    """

    def __init__(
        self,
        base_learning_rate: float = 0.01,
        policy: str = "fixed",
        momentum: float = 0.0,
        nesterov: bool = True,
        sparse_dedup_aggregator: str | None = None,
        lars: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.base_learning_rate = base_learning_rate
        self.policy = policy
        self.momentum = momentum
        self.nesterov = nesterov
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.lars = lars
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.base_learning_rate == 0:
            return
        _require_positive(self.base_learning_rate)
        self._set_lars(net, param_init_net, param_info, self.lars)
        # the operators with momentum subtract: their rate is positive
        rate = self._rate(net, param_init_net, -1 if self.momentum else 1)
        device = current_device()
        one_name = f"ONE_{device.device_type}_{device.device_id}{device.node_name}"
        one = param_init_net.ConstantFill([], one_name, shape=[1], value=1.0)
        self._aux_params.shared.append(one)
        if self.momentum > 0:
            self._with_momentum(net, param_init_net, param_info, rate)
        elif is_sparse(param_info.grad):
            grad = self.dedup(net, self.sparse_dedup_aggregator, param_info.grad)
            net.ScatterWeightedSum([param_info.blob, one, grad.indices, grad.values, rate], param_info.blob)
        else:
            net.WeightedSum([param_info.blob, one, param_info.grad, rate], param_info.blob)

    def _rate(self, net: core.Net, param_init_net: core.Net, sign: int) -> Any:
        base = self.base_learning_rate * sign
        return self.build_lr(net, param_init_net, base, policy=self.policy, **self.init_kwargs)[0]

    def _with_momentum(self, net: core.Net, init: core.Net, info: ParameterInfo, rate: Any) -> None:
        param, grad = info.blob, info.grad
        momentum = init.ConstantFill(param, f"{param}_momentum", value=0.0)
        self._keep(momentum)
        arguments = {"momentum": self.momentum, "nesterov": self.nesterov}
        if is_sparse(grad):
            grad = self.dedup(net, self.sparse_dedup_aggregator, grad)
            inputs = [grad.values, momentum, rate, param, grad.indices]
            net.SparseMomentumSGDUpdate(inputs, [grad.values, momentum, param], **arguments)
        else:
            net.MomentumSGDUpdate([grad, momentum, rate, param], [grad, momentum, param], **arguments)

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.base_learning_rate *= scale


class MultiPrecisionSgdOptimizer(SgdOptimizer):
    """Parameters of half precision are updated in their float32 copy, others as ``SgdOptimizer`` does it.

    Raises ``AssertionError`` for sparse gradients of half precision.
    """

    def __init__(
        self,
        base_learning_rate: float = 0.1,
        momentum: float = 0.0,
        policy: str = "fixed",
        nesterov: bool = True,
        sparse_dedup_aggregator: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(base_learning_rate, policy, momentum, nesterov, sparse_dedup_aggregator, **kwargs)

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if param_info.blob_copy is None:
            super()._run(net, param_init_net, param_info)
            return
        if self.base_learning_rate == 0:
            return
        _require_positive(self.base_learning_rate)
        if is_sparse(param_info.grad):
            raise AssertionError("MultiPrecisionSgd does not support sparse gradients")
        param, full = param_info.blob, param_info.blob_copy[core.DataType.FLOAT]
        rate = self._rate(net, param_init_net, -1)
        momentum = param_init_net.ConstantFill(full, f"{param}_momentum", value=0.0)
        self._keep(momentum)
        grad = net.HalfToFloat(param_info.grad, param_info.grad + "_fp32")
        net.MomentumSGDUpdate(
            [grad, momentum, rate, full], [grad, momentum, full], momentum=self.momentum, nesterov=self.nesterov
        )
        net.FloatToHalf(full, param)


class FP16SgdOptimizer(SgdOptimizer):
    """Updates in half precision, with weight decay; in float32 for parameters without a copy and for SpatialBN's.

    Raises ``AssertionError`` for sparse gradients.
    """

    def __init__(
        self,
        base_learning_rate: float = 0.1,
        momentum: float = 0.0,
        policy: str = "fixed",
        nesterov: bool = True,
        weight_decay: float = 0.0001,
        sparse_dedup_aggregator: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(base_learning_rate, policy, momentum, nesterov, sparse_dedup_aggregator, **kwargs)
        self.weight_decay = weight_decay

    def _run(
        self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo, fp32_update: bool = False
    ) -> None:
        if self.base_learning_rate == 0:
            return
        _require_positive(self.base_learning_rate)
        if is_sparse(param_info.grad):
            raise AssertionError("FP16Sgd does not support sparse gradients")
        copies = param_info.blob_copy
        in_full = fp32_update or "spatbn" in str(param_info.blob) or copies is None
        param = full = param_info.blob
        if not in_full and copies is not None:
            param, full = copies.get(core.DataType.FLOAT16, param), copies.get(core.DataType.FLOAT, full)
        rate = self._rate(net, param_init_net, -1)
        momentum_full = param_init_net.ConstantFill(full, f"{param}_momentum_fp32", value=0.0)
        momentum = param_init_net.FloatToHalf(momentum_full, f"{param}_momentum")
        self._keep(momentum)
        update = net.FP32MomentumSGDUpdate if in_full else net.FP16MomentumSGDUpdate
        state = momentum_full if in_full else momentum
        update(
            [param_info.grad, state, rate, param],
            [param_info.grad, state, param],
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


class WeightDecayBuilder(Optimizer):
    """``g += weight_decay w``; raises ``ValueError`` for a sparse gradient."""

    def __init__(self, weight_decay: float) -> None:
        self.weight_decay = weight_decay
        self._lr_multiplier = None

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if is_sparse(param_info.grad):
            raise ValueError("Weight decay does not yet support sparse gradients")
        device = current_device()
        tail = f"{device.device_type}_{device.device_id}"
        one = param_init_net.ConstantFill([], f"ONE_{tail}", shape=[1], value=1.0)
        decay = param_init_net.ConstantFill([], f"wd_{tail}", shape=[1], value=self.weight_decay)
        net.WeightedSum([param_info.grad, one, param_info.blob, decay], param_info.grad)
