"""What a model knows about each of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core


class ParameterTags:
    """Kinds of parameters: models list them apart, contexts give them optimizers of their own."""

    BIAS = "BIAS"
    WEIGHT = "WEIGHT"
    COMPUTED_PARAM = "COMPUTED_PARAM"
    """Computed from data, not by gradients: the running statistics of SpatialBN."""


class ParameterInfo:
    """A parameter: its blob, shape, gradient, copies in other precisions, and the optimizer that is its own.

    grad: a blob, a ``GradientSlice`` or None. blob_copy: blobs by ``core.DataType``. The optimizer can be set once.
    """

    def __init__(
        self,
        param_id: int | None,
        param: core.BlobReference,
        key: Any = None,
        shape: Sequence[int] | None = None,
        length: int | None = None,
        grad: Any = None,
        blob_copy: Mapping[int, core.BlobReference] | None = None,
    ) -> None:
        if not isinstance(param, core.BlobReference):
            raise AssertionError(f"a parameter is a BlobReference, not {type(param).__name__}")
        self.param_id = param_id
        self.name = str(param)
        self.blob = param
        self.key = key
        self.shape = shape
        self.size = None if shape is None else np.prod(shape)
        self.length = max(1, length or 1)
        self.grad = grad
        self.blob_copy = blob_copy
        self.regularizer: Any = None
        self._optimizer: Any = None

    @property
    def parameter(self) -> core.BlobReference:
        """The blob."""
        return self.blob

    @property
    def optimizer(self) -> Any:
        """The optimizer of this parameter alone, None for that of the model."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value: Any) -> None:
        """Set it, once; raises ``AssertionError`` the second time."""
        if self._optimizer is not None:
            raise AssertionError("optimizer has already been set")
        self._optimizer = value

    def __str__(self) -> str:
        return self.name
