"""Optimizers for all parameters of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from graphc.caffe2 import core, workspace
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.optimizer.adagrad import AdagradOptimizer
from graphc.caffe2.optimizer.adam import AdamOptimizer, DecayAdagradOptimizer
from graphc.caffe2.optimizer.adaptive import (
    AdadeltaOptimizer,
    RmsPropOptimizer,
    StormOptimizer,
    WngradOptimizer,
    YellowFinOptimizer,
)
from graphc.caffe2.optimizer.base import Optimizer
from graphc.caffe2.optimizer.ftrl import FtrlOptimizer, GFtrlOptimizer
from graphc.caffe2.optimizer.sgd import (
    FP16SgdOptimizer,
    MultiPrecisionSgdOptimizer,
    SgdOptimizer,
    WeightDecayBuilder,
)
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

_LEARNING_RATE_INJECTION = "lr_injection"
_CPU = core.DeviceOption(caffe2_pb2.CPU)
AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)


# ---- devices ---------------------------------------------------------------------------------------------------------


def _get_param_to_device(model: Any) -> dict[str, Message]:
    """The device of every blob of a model, that of the operator which makes it."""
    return {**core.InferBlobDevices(model.net), **core.InferBlobDevices(model.param_init_net)}


def get_param_device(
    param_name: str,
    grad: Any,
    param_to_device: Mapping[str, Message] | None = None,
    default_device: Message | None = None,
) -> Message:
    """The device of a parameter, else that of its gradient, else the given one; raises ``AssertionError``."""
    known = param_to_device or {}
    gradients = [grad.values, grad.indices] if isinstance(grad, core.GradientSlice) else [grad]
    for name in (param_name, *map(str, gradients)):
        if name in known:
            return known[name]
    if default_device is None:
        raise AssertionError(f"Cannot infer device for {param_name}: no op creates it")
    return default_device


# ---- learning rates --------------------------------------------------------------------------------------------------


def get_lr_injection() -> Any:
    """The factor of all learning rates, in a model built with ``allow_lr_injection``: an array of one element."""
    return workspace.FetchBlob(_LEARNING_RATE_INJECTION)


def set_lr_injection(lr_injection_value: float) -> None:
    """Set the factor of all learning rates, in a model built with ``allow_lr_injection``."""
    workspace.FeedBlob(_LEARNING_RATE_INJECTION, np.array([float(lr_injection_value)], np.float32))


def _calc_norm_ratio(
    model: Any, params: Sequence[ParameterInfo], name_scope: str, devices: Mapping[str, Message], max_norm: float
) -> Any:
    """The factor, at most 1, by which gradients have to shrink so that the norm of them all is at most ``max_norm``."""
    net = model.net
    with core.NameScope(name_scope):
        sums = []
        for i, param in enumerate(params):
            with core.DeviceScope(get_param_device(str(param.blob), param.grad, devices)):
                grad = param.grad.values if isinstance(param.grad, core.GradientSlice) else param.grad
                sums.append(net.EnsureCPUOutput(net.SumSqrElements(grad, f"grad_{i}_squared_sum")))
        with core.DeviceScope(_CPU):
            norm = net.Pow(net.Sum(sums, "grad_squared_full_sum"), "global_norm", exponent=0.5)
            limit = model.param_init_net.ConstantFill([], "clip_norm", shape=[], value=float(max_norm))
            return net.Div([limit, net.Max([norm, limit], "max_norm")], "norm_ratio")


def _lr_multiplier(
    model: Any, params: Sequence[ParameterInfo], devices: Mapping[str, Message], max_norm: float | None, inject: bool
) -> Any:
    """The blob by which learning rates are multiplied, None if there is nothing to multiply by."""
    factor = None
    if max_norm is not None:
        factor = _calc_norm_ratio(model, params, "norm_clipped_grad_update", devices, max_norm)
    if not inject:
        return factor
    injection: Any = _LEARNING_RATE_INJECTION
    if not model.net.BlobIsDefined(injection):
        injection = model.param_init_net.ConstantFill([], injection, shape=[1], value=1.0)
    return injection if factor is None else model.net.Mul([factor, injection], "lr_multiplier", broadcast=1)


# ---- builders --------------------------------------------------------------------------------------------------------


def _build(
    model: Any,
    optimizer: AnyOptimizer,
    weights_only: bool = False,
    use_param_info_optim: bool = True,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
) -> AnyOptimizer:
    """Add the update of every parameter that has a gradient, by its own optimizer if it has one.

    max_gradient_norm: learning rates shrink where the norm of all gradients is larger. allow_lr_injection: they are
    multiplied by the blob ``lr_injection``, see ``set_lr_injection``. Gives the optimizer.
    """
    devices = _get_param_to_device(model)
    model.Validate()
    params = [p for p in model.GetOptimizationParamInfo() if not weights_only or p.blob in model.weights]
    optimizer.add_lr_multiplier(_lr_multiplier(model, params, devices, max_gradient_norm, allow_lr_injection))
    for param in params:
        own = param.optimizer if use_param_info_optim else None
        with core.DeviceScope(get_param_device(str(param.blob), param.grad, devices)):
            (own or optimizer)(model.net, model.param_init_net, param)
    return optimizer


def add_weight_decay(model: Any, weight_decay: float) -> None:
    """Add ``weight_decay * w`` to the gradients of the model's weights, before updates are built."""
    _build(model, WeightDecayBuilder(weight_decay), weights_only=True, use_param_info_optim=False)


def build_sgd(
    model: Any,
    base_learning_rate: float,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> SgdOptimizer:
    """Update by ``SgdOptimizer``."""
    made = SgdOptimizer(base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_multi_precision_sgd(
    model: Any,
    base_learning_rate: float,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> MultiPrecisionSgdOptimizer:
    """Update by ``MultiPrecisionSgdOptimizer``."""
    made = MultiPrecisionSgdOptimizer(base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_fp16_sgd(model: Any, base_learning_rate: float, **kwargs: Any) -> FP16SgdOptimizer:
    """Update by ``FP16SgdOptimizer``."""
    return _build(model, FP16SgdOptimizer(base_learning_rate, **kwargs))


def build_ftrl(model: Any, engine: str | None = "SIMD", **kwargs: Any) -> FtrlOptimizer:
    """Update by ``FtrlOptimizer``; the engine changes no answer."""
    return _build(model, FtrlOptimizer(engine=engine, **kwargs))


def build_gftrl(model: Any, engine: str | None = "", **kwargs: Any) -> GFtrlOptimizer:
    """Update by ``GFtrlOptimizer``; the engine changes no answer."""
    return _build(model, GFtrlOptimizer(engine=engine, **kwargs))


def build_adagrad(
    model: Any,
    base_learning_rate: float,
    parameters: Any = None,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> AdagradOptimizer:
    """Update by ``AdagradOptimizer``; ``parameters`` counts for nothing, as in Caffe2."""
    made = AdagradOptimizer(alpha=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_wngrad(
    model: Any,
    base_learning_rate: float,
    parameters: Any = None,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> WngradOptimizer:
    """Update by ``WngradOptimizer``; ``parameters`` counts for nothing, as in Caffe2."""
    made = WngradOptimizer(alpha=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_storm(
    model: Any,
    base_learning_rate: float,
    parameters: Any = None,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> StormOptimizer:
    """Update by ``StormOptimizer``; ``parameters`` counts for nothing, as in Caffe2."""
    made = StormOptimizer(lr=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_adadelta(
    model: Any,
    base_learning_rate: float,
    parameters: Any = None,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> AdadeltaOptimizer:
    """Update by ``AdadeltaOptimizer``; ``parameters`` counts for nothing, as in Caffe2."""
    made = AdadeltaOptimizer(alpha=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_adam(
    model: Any,
    base_learning_rate: float,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> AdamOptimizer:
    """Update by ``AdamOptimizer``."""
    made = AdamOptimizer(alpha=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_decay_adagrad(
    model: Any,
    base_learning_rate: float,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> DecayAdagradOptimizer:
    """Update by ``DecayAdagradOptimizer``."""
    made = DecayAdagradOptimizer(alpha=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)


def build_yellowfin(model: Any, base_learning_rate: float = 0.1, **kwargs: Any) -> YellowFinOptimizer:
    """Update by ``YellowFinOptimizer``."""
    return _build(model, YellowFinOptimizer(alpha=base_learning_rate, **kwargs))


def build_rms_prop(
    model: Any,
    base_learning_rate: float,
    max_gradient_norm: float | None = None,
    allow_lr_injection: bool = False,
    **kwargs: Any,
) -> RmsPropOptimizer:
    """Update by ``RmsPropOptimizer``."""
    made = RmsPropOptimizer(alpha=base_learning_rate, **kwargs)
    return _build(model, made, max_gradient_norm=max_gradient_norm, allow_lr_injection=allow_lr_injection)
