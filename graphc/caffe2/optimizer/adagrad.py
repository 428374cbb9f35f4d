"""Adagrad."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.optimizer.base import Optimizer, is_sparse, parameter_shape, row_count

FP16_ENGINES = ["SIMD_Q_FP16", "SIMD_Q_STOC_FP16", "SIMD_Q_STOC_MKL_FP16"]
"""Engines whose sums of squares are of half precision."""

_Options = Mapping[str, Any] | None


def refuse_options(**options: _Options) -> None:
    """Raise ``NotImplementedError`` for options that need operators which only Facebook's own Caffe2 had."""
    needs = {"pruning_options": "MaskedAdagrad", "swa_options": "SWA", "ema_options": "EMA"}
    for name, given in options.items():
        if given:
            raise NotImplementedError(
                f"{name} needs the operator {needs[name]}, which neither Caffe2's public code nor graphc has: "
                "leave the option out"
            )


class AdagradOptimizer(Optimizer):
    """``h = decay h + g^2``, ``w += lr g / (sqrt(h) + epsilon)``.

    rowWise: one sum for each row, of the mean of its squares; sparse gradients only. weight_decay: parameters of one
    axis go without. counter_halflife: counts how often rows were updated, rowWise only. weight_scale: an object with
    ``stepsize``, ``upper_bound_iter``, ``scale`` and ``to_aux``. alpha of 0 or less leaves parameters as they are.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        epsilon: float = 1e-4,
        decay: float = 1,
        weight_decay: float = 0.0,
        policy: str = "fixed",
        sparse_dedup_aggregator: str | None = None,
        rowWise: bool = False,
        engine: str = "",
        lars: float | None = None,
        output_effective_lr: bool = False,
        output_effective_lr_and_update: bool = False,
        pruning_options: _Options = None,
        swa_options: _Options = None,
        ema_options: _Options = None,
        weight_scale: Any = None,
        counter_halflife: int = -1,
        use_dedicated_lr_iteration_counter: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_options(pruning_options=pruning_options, swa_options=swa_options, ema_options=ema_options)
        super().__init__()
        self.alpha = alpha
        self.epsilon = epsilon
        self.decay = decay
        self.weight_decay = float(weight_decay)
        self.policy = policy
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.rowWise = rowWise
        self.engine = engine
        self.lars = lars
        self.output_effective_lr = output_effective_lr
        self.output_effective_lr_and_update = output_effective_lr_and_update
        self.counter_halflife = counter_halflife
        self.init_kwargs = kwargs
        self.weight_scale = weight_scale
        self.use_dedicated_lr_iteration_counter = use_dedicated_lr_iteration_counter

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        self._check(param_info)
        self._set_lars(net, param_init_net, param_info, self.lars)
        rate, rate_iteration = self.build_lr(
            net, param_init_net, self.alpha, policy=self.policy, **self.init_kwargs
        )  # fmt: skip
        dedicated = self._use_dedicated_lr_iteration_counter
        iteration = self.build_non_lr_iter(net, param_init_net) if dedicated else rate_iteration
        squares = self._squares(param_init_net, param_info.blob)
        self._keep(squares)
        if is_sparse(param_info.grad):
            self._sparse(net, param_init_net, param_info, squares, rate, iteration)
        else:
            self._dense(net, param_init_net, param_info, squares, rate)
        self._scale_weights(net, param_info.blob, squares, iteration)

    def _check(self, info: ParameterInfo) -> None:
        if self.lars is not None and not is_sparse(info.grad) and self.weight_decay:
            raise AssertionError("weight decay is not implemented for LARS yet")
        if self.rowWise and not is_sparse(info.grad):
            raise AssertionError("rowWise Adagrad needs a sparse gradient: make an optimizer without it for dense ones")
        if is_sparse(info.grad) and self.decay != 1.0:
            raise AssertionError("Decay is not implemented for SparseAdagrad and must be set to 1")

    def _squares(self, init: core.Net, param: Any) -> Any:
        """The blob of the sums of squares."""
        if self.rowWise:
            return _rows(init, param, "_avg_squared_sum", value=0.0)
        if self.engine in FP16_ENGINES:
            shape = parameter_shape(init, param)
            if self.weight_decay or shape is None:
                raise AssertionError(f"engine {self.engine} needs {param} of a known shape, and no weight decay")
            return init.Float16ConstantFill([], f"{param}_squared_sum", value=0.0, shape=shape)
        return init.ConstantFill([param], f"{param}_squared_sum", value=0.0)

    def _decay_of(self, init: core.Net, param: Any) -> dict[str, float]:
        """The argument for weight decay; none for parameters of one axis."""
        if not self.weight_decay:
            return {}
        shape = parameter_shape(init, param)
        if shape is not None and len(shape) == 1:
            logging.warning("no weight decay for parameter %s, which has one axis", param)
            return {}
        return {"weight_decay": self.weight_decay}

    def _dense(self, net: core.Net, init: core.Net, info: ParameterInfo, squares: Any, rate: Any) -> None:
        param = info.blob
        outputs = [param, squares]
        if self.output_effective_lr or self.output_effective_lr_and_update:
            outputs.append(f"{param}_effective_lr")
        if self.output_effective_lr_and_update:
            outputs.append(f"{param}_update")
        net.Adagrad(
            [param, squares, info.grad, rate],
            outputs,
            epsilon=self.epsilon,
            decay=float(self.decay),
            **self._decay_of(init, param),
            engine=self.engine,
        )

    def _sparse(
        self, net: core.Net, init: core.Net, info: ParameterInfo, squares: Any, rate: Any, iteration: Any
    ) -> None:  # fmt: skip
        param, arguments = info.blob, self._decay_of(init, info.blob)
        counts = self._counts(init, param, iteration)
        grad = self.dedup(net, self.sparse_dedup_aggregator, info.grad)
        inputs = [param, squares, grad.indices, grad.values, rate]
        if self.rowWise:
            inputs += counts[:1]
        if arguments and counts:
            arguments = {**arguments, "counter_halflife": self.counter_halflife}
        update = net.RowWiseSparseAdagrad if self.rowWise else net.SparseAdagrad
        update(inputs, [param, squares], epsilon=self.epsilon, engine=self.engine, **arguments)
        if counts:
            count, last = counts
            net.RowWiseCounter(
                [last, count, grad.indices, iteration], [last, count], counter_halflife=self.counter_halflife
            )

    def _counts(self, init: core.Net, param: Any, iteration: Any) -> list[Any]:
        """How often rows were updated, and when last; nothing without a half-life."""
        if self.counter_halflife <= 0:
            return []
        self._aux_params.shared.append(iteration)
        counts = [
            _rows(init, param, "_update_counter", value=0.0, dtype=core.DataType.DOUBLE),
            _rows(init, param, "_prev_update_iter", value=0, dtype=core.DataType.INT64),
        ]
        self._keep(*counts)
        return counts

    def _scale_weights(self, net: core.Net, param: Any, squares: Any, iteration: Any) -> None:
        given = self.weight_scale
        for blob in [param, squares] if given and given.to_aux else [param] if given else []:
            net.WeightScale(
                [blob, iteration],
                [blob],
                stepsize=given.stepsize,
                upper_bound_iter=given.upper_bound_iter,
                scale=float(given.scale),
            )

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the base learning rate."""
        self.alpha *= scale


def _rows(init: core.Net, param: Any, tail: str, **fill: Any) -> Any:
    """A blob ``PARAM_tail`` with an element for each row of a parameter."""
    rows = row_count(init, param)
    if rows is not None:
        return init.ConstantFill([], f"{param}{tail}", shape=[rows], **fill)
    shape = init.Shape(param, f"{param}_shape")
    count = init.Slice([shape], f"{shape}_numrows", starts=[0], ends=[1])
    return init.ConstantFill(count, f"{param}{tail}", input_as_shape=1, **fill)
