"""Parameters of helpers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.modeling.initializers import ExternalInitializer, Fill, update_initializer

XAVIER: Fill = ("XavierFill", {})
CONSTANT: Fill = ("ConstantFill", {})


def filled(model: Any, name: Any, shape: Sequence[int], fill: Fill) -> Any:
    """A blob that the init net fills; one that is expected in the workspace if the model makes no parameters."""
    if not model.init_params:
        return core.ScopedBlobReference(str(name), model.param_init_net)
    return getattr(model.param_init_net, fill[0])([], name, shape=shape, **fill[1])


def initializer(model: Any, initializer_class: Any, fill: Fill | None, default: Fill) -> Any:
    """The initializer of a parameter: external if the model makes no parameters."""
    return update_initializer(initializer_class, fill, default) if model.init_params else ExternalInitializer()
