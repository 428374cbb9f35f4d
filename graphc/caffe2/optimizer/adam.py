"""Adam, and Adagrad that forgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.optimizer.adagrad import refuse_options
from graphc.caffe2.optimizer.base import Optimizer, is_sparse, row_count


class AdamOptimizer(Optimizer):
    """Adam with bias correction.

    rowWise: one second moment for each row, sparse gradients only. use_smart_decay: rows decay for the steps in which
    they had no gradient; raises ``NotImplementedError`` together with rowWise, enableRAdam or use_lr_adaption.
    use_lr_adaption: the learning rate follows how gradients agree with updates. enableRAdam: sparse gradients only.
    """

    def __init__(
        self,
        alpha: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        policy: str = "fixed",
        use_lr_adaption: bool = False,
        lr_alpha: float = 0.01,
        normalized_lr_adaption: bool = True,
        sparse_dedup_aggregator: str | None = None,
        rowWise: bool = False,
        engine: str = "",
        enableRAdam: bool = False,
        use_smart_decay: bool = False,
        **kwargs: Any,
    ) -> None:
        conflicts = {"rowWise": rowWise, "enableRAdam": enableRAdam, "use_lr_adaption": use_lr_adaption}
        for name, given in conflicts.items():
            if use_smart_decay and given:
                raise NotImplementedError(f"Smart decay is not implemented with {name}: use one of both.")
        super().__init__()
        self.alpha = alpha
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.policy = policy
        self.use_lr_adaption = use_lr_adaption
        self.lr_alpha = lr_alpha
        self.normalized_lr_adaption = normalized_lr_adaption
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.rowWise = rowWise
        self.engine = engine
        self.enableRAdam = enableRAdam
        self.use_smart_decay = use_smart_decay
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        param, grad = param_info.blob, param_info.grad
        if self.rowWise and not is_sparse(grad):
            raise AssertionError("rowWise Adam needs a sparse gradient: make an optimizer without it for dense ones")
        if self.rowWise and self.enableRAdam:
            raise AssertionError("Currently, RowWiseSparseAdam is not supported by RAdam!")
        rate, iteration = self.build_lr(net, param_init_net, self.alpha, policy=self.policy, **self.init_kwargs)
        state = self._state(param_init_net, param)
        self._aux_params.shared.append(iteration)
        self._keep(*state)
        effective = f"{param}_effective_grad"
        outputs = [param, *(state if is_sparse(grad) else state[:2]), *([effective] if self.use_lr_adaption else [])]
        arguments: dict[str, Any] = {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}
        if is_sparse(grad):
            slices = self.dedup(net, self.sparse_dedup_aggregator, grad)
            grad = slices.values
            inputs = [param, *state, slices.indices, slices.values, rate, iteration]
            self._sparse_operator(net, arguments)(inputs, outputs, **arguments)
        else:
            net.Adam([param, *state[:2], grad, rate, iteration], outputs, **arguments)
        if self.use_lr_adaption:
            net.LearningRateAdaption(
                [rate, grad, effective],
                [rate],
                lr_alpha=self.lr_alpha,
                normalized_lr_adaption=self.normalized_lr_adaption,
            )

    def _state(self, init: core.Net, param: Any) -> list[Any]:
        """First and second moment, with smart decay also when rows were seen last."""
        first = init.ConstantFill([param], param + "_first_moment", value=0.0)
        rows = self._rows(init, param) if self.rowWise or self.use_smart_decay else 0
        if self.rowWise:
            return [first, init.ConstantFill([], param + "_avg_second_moment", shape=[rows], value=0.0)]
        second = init.ConstantFill([param], param + "_second_moment", value=0.0)
        if not self.use_smart_decay:
            return [first, second]
        last = init.ConstantFill([], param + "_last_seen", shape=[rows], value=0, dtype=core.DataType.INT64)
        return [first, second, last]

    @staticmethod
    def _rows(init: core.Net, param: Any) -> int:
        rows = row_count(init, param)
        if rows is None:
            raise AssertionError(
                f"the shape of parameter {param} is not known before {init} runs: fill it with a shape"
            )
        return rows

    def _sparse_operator(self, net: core.Net, arguments: dict[str, Any]) -> Any:
        if self.rowWise:
            return net.RowWiseSparseAdam
        if self.use_smart_decay:
            return net.SmartDecaySparseAdam
        arguments["enableRAdam"] = self.enableRAdam
        return net.SparseAdam

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.alpha *= scale


class DecayAdagradOptimizer(Optimizer):
    """Adam's moments with Adagrad's step, and weight decay; sparse gradients get SparseAdagrad."""

    def __init__(
        self,
        alpha: float = 0.01,
        beta1: float = 0.0,
        beta2: float = 0.999,
        epsilon: float = 0.1,
        weight_decay: float = 0.0,
        ema_options: Mapping[str, Any] | None = None,
        bias_correction_first: bool = True,
        policy: str = "fixed",
        engine: str = "",
        **kwargs: Any,
    ) -> None:
        refuse_options(ema_options=ema_options)
        super().__init__()
        self.alpha = alpha
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.bias_correction_first = bias_correction_first
        self.policy = policy
        self.engine = engine
        self.init_kwargs = kwargs

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        param, grad = param_info.blob, param_info.grad
        rate, iteration = self.build_lr(net, param_init_net, self.alpha, policy=self.policy, **self.init_kwargs)
        if is_sparse(grad):
            squares = param_init_net.ConstantFill([param], param + "_squared_sum", value=0.0)
            self._keep(squares)
            net.SparseAdagrad(
                [param, squares, grad.indices, grad.values, rate], [param, squares], epsilon=self.epsilon
            )  # fmt: skip
            return
        # the first name is Caffe2's, with its typing error
        first = param_init_net.ConstantFill([param], param + "_first_mo1ment", value=0.0)
        second = param_init_net.ConstantFill([param], param + "_second_moment", value=0.0)
        self._aux_params.shared.append(iteration)
        self._keep(first, second)
        net.DecayAdagrad(
            [param, first, second, grad, rate, iteration],
            [param, first, second],
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
            bias_correction_first=self.bias_correction_first,
        )

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.alpha *= scale
