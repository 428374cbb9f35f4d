"""``caffe2.python.models.seq2seq.seq2seq_model_helper``: a model with parameters that training leaves alone."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core, scope
from graphc.caffe2.model_helper import ModelHelper

_OPTIONS = {"use_cudnn": True, "cudnn_exhaustive_search": False}
"""Arguments of the constructor that its layers get, and their defaults."""


class Seq2SeqModelHelper(ModelHelper):
    """A model in NHWC order.

    init_params: parameters are filled, else they are inputs. non_trainable_params: those without a gradient.
    """

    def __init__(self, init_params: bool = True, **kwargs: Any) -> None:
        arguments = {name: kwargs.pop(name, default) for name, default in _OPTIONS.items()} | {"order": "NHWC"}
        if "ws_nbytes_limit" in kwargs:
            arguments["ws_nbytes_limit"] = kwargs.pop("ws_nbytes_limit")
        super().__init__(init_params=init_params, arg_scope=arguments, **kwargs)
        self.non_trainable_params: list[core.BlobReference] = []

    def AddParam(
        self,
        name: str,
        init: tuple[str, dict[str, Any]] | None = None,
        init_value: float | str | None = None,
        trainable: bool = True,
    ) -> core.BlobReference:
        """A new parameter. init: the operator that fills it and its arguments; or init_value: its one element.

        Raises ``AssertionError`` where both are given.
        """
        if init_value is not None:
            if init is not None or not isinstance(init_value, int | float | str):
                raise AssertionError("init_value is a number or a text, and takes the place of init")
            init = "ConstantFill", {"shape": [1], "value": init_value}
        if self.init_params:
            if init is None:
                raise AssertionError(f"parameter '{name}' needs init or init_value")
            param = getattr(self.param_init_net, init[0])([], name, **init[1])
        else:
            param = self.net.AddExternalInput(name)
        (self.params if trainable else self.non_trainable_params).append(param)
        made: core.BlobReference = param
        return made

    def GetNonTrainableParams(self, namescope: str | None = None) -> list[core.BlobReference]:
        """The parameters without a gradient of a name scope, the current one unless given; of the outermost all."""
        separator = scope._NAMESCOPE_SEPARATOR
        wanted = scope.CurrentNameScope() if namescope is None else namescope.removesuffix(separator) + separator
        return [p for p in self.non_trainable_params if wanted in ("", separator) or p.GetNameScope() == wanted]

    def GetAllParams(self, namescope: str | None = None) -> list[core.BlobReference]:
        """All parameters of a name scope."""
        return [*self.GetParams(namescope), *self.GetNonTrainableParams(namescope)]
