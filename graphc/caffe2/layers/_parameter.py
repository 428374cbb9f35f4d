"""Parameters of layers."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from graphc.caffe2 import core, workspace
from graphc.caffe2.layers._records import require
from graphc.frontends.netdef.schema import Message

_LOG = logging.getLogger(__name__)


class LayerPsParam(NamedTuple):
    """What those who spread tables over machines have to know."""

    sparse_key: Any
    average_length: Any


class LayerParameter:
    """A blob that a layer learns: how it is filled (an ``OperatorDef``), who updates and who regularises it."""

    def __init__(
        self,
        parameter: Any = None,
        optimizer: Any = None,
        initializer: Message | None = None,
        ps_param: LayerPsParam | None = None,
        regularizer: Any = None,
    ) -> None:
        """Raises ``AssertionError`` for a parameter that is no blob."""
        require(isinstance(parameter, core.BlobReference), f"a parameter is a BlobReference, not {parameter}")
        self._shape: list[int] | None = None
        self.parameter = parameter
        self.optimizer = optimizer
        self.initializer = initializer
        self.ps_param = ps_param
        self.regularizer = regularizer

    @property
    def initializer(self) -> Message | None:
        """The operator that fills the blob; the shape follows from it."""
        return self._initializer

    @initializer.setter
    def initializer(self, op: Message | None) -> None:
        """Set it; raises ``AssertionError`` for what is no operator."""
        known = op is None or core.IsOperator(getattr(op, "type", ""))
        require(known, f"initializer expects an operator, got type: {type(op)}")
        self._initializer = op
        if op is not None:
            self.shape = self._infer_shape_from_initializer(op)

    @property
    def shape(self) -> list[int] | None:
        """The shape, None where it is unknown."""
        return self._shape

    @shape.setter
    def shape(self, shape: list[int] | None) -> None:
        """Set it; raises ``AssertionError`` for another one than before."""
        fits = self._shape is None or self._shape == shape
        require(fits, f"inconsistent shape for layer parameter: {self}, expect: {self._shape}, but got {shape}")
        self._shape = shape

    def _infer_shape_from_initializer(self, op: Message) -> list[int] | None:
        """The operator's argument, or, without one, the shape of what it makes."""
        for arg in op.arg:
            if arg.name == "shape":
                return list(arg.ints)
        with workspace.WorkspaceGuard("model_init_by_loading_params"):
            net = core.Net("shape_checker")
            net.Proto().op.extend([op])
            shape = net.NextScopedBlob(self.parameter + "_shape")
            net.Shape([self.parameter], shape)
            try:
                workspace.RunNetOnce(net)
                return [int(n) for n in workspace.FetchBlob(shape)]
            except RuntimeError as error:
                _LOG.warning("Cannot infer the shape of blob %s from operator %s: %s", self.parameter, op.type, error)
                return None
            finally:
                workspace.ResetWorkspace()

    def __str__(self) -> str:
        return str(self.parameter)
