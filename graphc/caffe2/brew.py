"""``caffe2.python.brew``: helpers that add layers to models: ``brew.conv(model, "data", "conv1", 3, 64, kernel=3)``.

A helper is called with the arguments of the model's ``arg_scope``, over these those of ``brew.arg_scope`` blocks, over
these those of the call.
"""

from __future__ import annotations

import copy as _copy
import difflib as _difflib
import functools as _functools
import inspect as _inspect
from collections.abc import Callable as _Callable
from typing import Any as _Any

from graphc.caffe2.helpers import algebra as _algebra
from graphc.caffe2.helpers import arg_scope as _arg_scope
from graphc.caffe2.helpers import array_helpers as _array_helpers
from graphc.caffe2.helpers import control_ops as _control_ops
from graphc.caffe2.helpers import conv as _conv
from graphc.caffe2.helpers import db_input as _db_input
from graphc.caffe2.helpers import dropout as _dropout
from graphc.caffe2.helpers import elementwise_linear as _elementwise_linear
from graphc.caffe2.helpers import fc as _fc
from graphc.caffe2.helpers import nonlinearity as _nonlinearity
from graphc.caffe2.helpers import normalization as _normalization
from graphc.caffe2.helpers import pooling as _pooling
from graphc.caffe2.helpers import quantization as _quantization
from graphc.caffe2.helpers import tools as _tools
from graphc.caffe2.helpers import train as _train
from graphc.caffe2.model_helper import ModelHelper as _ModelHelper

_HELPERS: list[_Callable[..., _Any]] = [
    _algebra.arg_min,
    _algebra.batch_mat_mul,
    _algebra.mat_mul,
    _algebra.reduce_sum,
    _algebra.sparse_lengths_sum_4bit_rowwise_sparse,
    _algebra.sub,
    _algebra.sum,
    _algebra.transpose,
    _array_helpers.concat,
    _array_helpers.depth_concat,
    _control_ops.cond,
    _control_ops.loop,
    _conv.conv,
    _conv.conv_nd,
    _conv.conv_transpose,
    _conv.group_conv,
    _conv.group_conv_deprecated,
    _db_input.db_input,
    _dropout.dropout,
    _elementwise_linear.elementwise_linear,
    _fc.fc,
    _fc.fc_decomp,
    _fc.fc_prune,
    _fc.fc_sparse,
    _fc.packed_fc,
    _nonlinearity.prelu,
    _nonlinearity.relu,
    _nonlinearity.tanh,
    _normalization.instance_norm,
    _normalization.layer_norm,
    _normalization.lrn,
    _normalization.moments_with_running_stats,
    _normalization.softmax,
    _normalization.spatial_bn,
    _normalization.spatial_gn,
    _pooling.average_pool,
    _pooling.max_pool,
    _pooling.max_pool_with_index,
    _quantization.fused_8bit_rowwise_quantized_to_float,
    _tools.image_input,
    _tools.video_input,
    _train.accuracy,
    _train.add_weight_decay,
    _train.iter,
]
_registry: dict[str, _Callable[..., _Any]] = {helper.__name__: helper for helper in _HELPERS}

arg_scope = _arg_scope.arg_scope
"""``with brew.arg_scope([brew.conv], stride=2): ...``: arguments of helpers in a block."""


def Register(helper: _Callable[..., _Any]) -> None:
    """Make ``brew.NAME`` of a function of a model; raises ``AttributeError`` for a name that is taken."""
    if has_helper(helper):
        raise AttributeError(f"Helper {helper.__name__} already exists. Please change your helper name.")
    _registry[helper.__name__] = helper


def has_helper(helper_or_helper_name: _Any) -> bool:
    """There is a helper of this name, or of the name of this function."""
    named = isinstance(helper_or_helper_name, str)
    name = helper_or_helper_name if named else helper_or_helper_name.__name__
    return name == "arg_scope" or name in _registry


def __getattr__(name: str) -> _Any:
    """A helper; raises ``AttributeError`` for one that graphc does not have."""
    if name not in _registry:
        near = _difflib.get_close_matches(name, _registry, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise AttributeError(f"Helper function {name} not registered: graphc's brew does not have it.{hint}")
    helper = _registry[name]

    @_functools.wraps(helper)
    def call(*args: _Any, **kwargs: _Any) -> _Any:
        model = args[0] if args and isinstance(args[0], _ModelHelper) else kwargs.get("model")
        if model is None:
            raise RuntimeError(
                "The first input of helper function should be model. "
                "Or you can provide it in kwargs as model=<your_model>."
            )
        own = _arg_scope.get_current_scope().get(name, {})
        return helper(*args, **{**_arguments_of(model, helper), **own, **kwargs})

    return call


def _arguments_of(model: _ModelHelper, helper: _Callable[..., _Any]) -> dict[str, _Any]:
    """Arguments of the model's scope; of these the ones that the helper names, if it takes no others."""
    parameters = _inspect.signature(helper).parameters
    every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {k: _copy.deepcopy(v) for k, v in model.arg_scope.items() if every or k in parameters}


def __dir__() -> list[str]:
    return sorted({*_registry, "Register", "arg_scope", "has_helper"})
