"""Optimizers with a step size of their own: Wngrad, Storm, Adadelta, RmsProp, YellowFin."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core, utils
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.optimizer.base import Optimizer, current_device, is_sparse

_YELLOWFIN_SCALARS = 5
"""Numbers that the operator YellowFin keeps."""


class WngradOptimizer(Optimizer):
    """Wngrad: one number for each parameter grows with its gradients and divides the learning rate."""

    def __init__(
        self,
        alpha: float = 1.0,
        epsilon: float = 1e-9,
        policy: str = "fixed",
        sparse_dedup_aggregator: str | None = None,
        engine: str = "",
        moment_init: float = 100.0,
        lars: float | None = None,
        output_effective_lr: bool = False,
        output_effective_lr_and_update: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.epsilon = epsilon
        self.policy = policy
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.engine = engine
        self.moment_init = moment_init
        self.lars = lars
        self.output_effective_lr = output_effective_lr
        self.output_effective_lr_and_update = output_effective_lr_and_update
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        param, grad = param_info.blob, param_info.grad
        self._set_lars(net, param_init_net, param_info, self.lars)
        rate, _ = self.build_lr(net, param_init_net, self.alpha, policy=self.policy, **self.init_kwargs)
        moment = param_init_net.ConstantFill([], f"{param}_moment", shape=[1], value=self.moment_init)
        self._keep(moment)
        arguments = {"epsilon": self.epsilon, "engine": self.engine}
        if is_sparse(grad):
            grad = self.dedup(net, self.sparse_dedup_aggregator, grad)
            net.SparseWngrad([param, moment, grad.indices, grad.values, rate], [param, moment], **arguments)
            return
        outputs = [param, moment]
        if self.output_effective_lr or self.output_effective_lr_and_update:
            outputs.append(f"{param}_effective_lr")
        if self.output_effective_lr_and_update:
            outputs.append(f"{param}_update")
        net.Wngrad([param, moment, grad, rate], outputs, **arguments)

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.alpha *= scale


class StormOptimizer(Optimizer):
    """STORM: momentum whose size follows the sum of the squares of the gradients."""

    def __init__(
        self,
        lr: float = 0.1,
        momentum: float = 10.0,
        beta: float = 0.1,
        grad_sq_init: float = 0.01,
        policy: str = "fixed",
        sparse_dedup_aggregator: str | None = None,
        lars: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.lr = lr
        self.momentum = momentum
        self.beta = beta
        self.grad_sq_init = grad_sq_init
        self.policy = policy
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.lars = lars
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.lr <= 0:
            return
        param, grad = param_info.blob, param_info.grad
        self._set_lars(net, param_init_net, param_info, self.lars)
        rate, _ = self.build_lr(net, param_init_net, self.lr, policy=self.policy, **self.init_kwargs)
        moment = param_init_net.ConstantFill(param, f"{param}_moment", value=0.0)
        squares = param_init_net.ConstantFill([], f"{param}_grad_sq_sum", shape=[1], value=self.grad_sq_init)
        self._keep(moment, squares)
        state = [param, moment, squares]
        arguments = {"momentum": self.momentum, "beta": self.beta}
        if is_sparse(grad):
            grad = self.dedup(net, self.sparse_dedup_aggregator, grad)
            net.SparseStorm([*state, grad.values, grad.indices, rate], state, **arguments)
        else:
            net.Storm([*state, grad, rate], state, **arguments)

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.lr *= scale


class AdadeltaOptimizer(Optimizer):
    """Adadelta: steps of the size of earlier steps, by running means of squares with factor ``decay``."""

    def __init__(
        self,
        alpha: float = 0.01,
        epsilon: float = 1e-4,
        decay: float = 0.95,
        policy: str = "fixed",
        sparse_dedup_aggregator: str | None = None,
        engine: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.epsilon = epsilon
        self.decay = decay
        self.policy = policy
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.engine = engine
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        param, grad = param_info.blob, param_info.grad
        rate, _ = self.build_lr(net, param_init_net, self.alpha, policy=self.policy, **self.init_kwargs)
        moments = [
            param_init_net.ConstantFill([param], f"{param}{tail}", value=0.0)
            for tail in ("_squared_moment", "_squared_moment_update")
        ]
        self._keep(*moments)
        state = [param, *moments]
        arguments = {"epsilon": self.epsilon, "decay": self.decay, "engine": self.engine}
        if is_sparse(grad):
            grad = self.dedup(net, self.sparse_dedup_aggregator, grad)
            net.SparseAdadelta([*state, grad.indices, grad.values, rate], state, **arguments)
        else:
            net.Adadelta([*state, grad, rate], state, **arguments)

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.alpha *= scale


class RmsPropOptimizer(Optimizer):
    """RMSProp: gradients divided by the root of a running mean of their squares.

    The momentum is that of the operator RmsProp; the step behind it, MomentumSGDUpdate, has none. Raises
    ``AssertionError`` for a sparse gradient.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        decay: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-5,
        policy: str = "fixed",
        engine: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.decay = decay
        self.momentum = momentum
        self.epsilon = epsilon
        self.policy = policy
        self.engine = engine
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            raise AssertionError(f"RmsProp needs a positive learning rate, not {self.alpha}")
        if is_sparse(param_info.grad):
            raise AssertionError("RmsPropOptimizer doesn't support sparse gradients")
        param, grad = param_info.blob, param_info.grad
        device = current_device()
        one = param_init_net.ConstantFill(
            [], f"ONE_{device.device_type}_{device.device_id}", shape=[1], value=1.0
        )  # fmt: skip
        rate, _ = self.build_lr(net, param_init_net, -self.alpha, policy=self.policy, **self.init_kwargs)
        # the argument has no effect under this name, which is Caffe2's: fills are zero without one
        step, squares, momentum = (
            param_init_net.ConstantFill([param], f"{param}{tail}", values=0.0)
            for tail in ("_grad_o", "_mean_squares", "_momentum")
        )
        self._keep(squares, momentum)
        net.RmsProp(
            [grad, squares, momentum, one],
            [step, squares, momentum],
            decay=self.decay,
            momentum=self.momentum,
            epsilon=self.epsilon,
            engine=self.engine,
        )
        net.MomentumSGDUpdate([step, momentum, rate, param], [step, momentum, param])

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.alpha *= scale


class YellowFinOptimizer(Optimizer):
    """YellowFin: gradient descent that tunes learning rate and momentum itself, for each parameter.

    alpha, mu: both at first. Raises ``AssertionError`` for a sparse gradient.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        mu: float = 0.0,
        beta: float = 0.999,
        curv_win_width: int = 20,
        zero_debias: bool = True,
        epsilon: float = 0.1**6,
        policy: str = "fixed",
        sparse_dedup_aggregator: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.mu = mu
        self.beta = beta
        self.curv_win_width = curv_win_width
        self.zero_debias = zero_debias
        self.epsilon = epsilon
        self.policy = policy
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            raise AssertionError(f"YellowFin needs a positive learning rate, not {self.alpha}")
        if is_sparse(param_info.grad):
            raise AssertionError("YellowFin does not support sparse gradients")
        state = self._state(param_init_net, param_info.blob)
        iteration = utils.BuildUniqueMutexIter(param_init_net, net, iter_val=0)
        self._aux_params.shared.append(iteration)
        self._keep(*state)
        blobs = [param_info.blob, *state]
        net.YellowFin(
            [*blobs, param_info.grad, iteration],
            blobs,
            beta=self.beta,
            epsilon=self.epsilon,
            curv_win_width=self.curv_win_width,
            zero_debias=self.zero_debias,
        )

    def _state(self, init: core.Net, param: Any) -> list[Any]:
        """What the operator keeps, in its order."""

        def like_parameter(tail: str) -> Any:
            return init.ConstantFill([param], param + tail, value=0.0)

        def vector(tail: str, size: int, value: float) -> Any:
            return init.ConstantFill([], param + tail, shape=[size], value=value)

        return [
            like_parameter("_moment"),
            vector("_lr_avg", 1, float(self.alpha)),
            vector("_mu_avg", 1, float(self.mu)),
            vector("_curv_win", self.curv_win_width, 0.0),
            like_parameter("_g_avg"),
            like_parameter("_g2_avg"),
            vector("_scalars_memory", _YELLOWFIN_SCALARS, 0.0),
        ]

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the learning rate at first."""
        self.alpha *= scale
