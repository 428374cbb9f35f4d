"""``caffe2.python.layers.fc_without_bias``: a fully connected layer without a bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import Fill, row_shape, uniform
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.sampling_trainable_mixin import SamplingTrainableMixin


class FCWithoutBias(SamplingTrainableMixin, ModelLayer):
    """``row w^T``."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dims: int,
        weight_init: Fill | None = None,
        weight_optim: Any = None,
        name: str = "fc_without_bias",
        uniform_weight_init_scale_numerator: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for a record whose dimensions are not known."""
        super().__init__(model, name, input_record, **kwargs)
        size = row_shape(input_record)[0]
        require(size > 0, f"FCWithoutBias expects input dimensions > 0, got {size}")
        self.output_schema = schema.Scalar((np.float32, (output_dims,)), self.get_next_blob_reference("output"))
        fill = weight_init or uniform(size, uniform_weight_init_scale_numerator)
        self.w = self.create_param("w", [output_dims, size], fill, weight_optim)

    def _add_ops(self, net: Any, params: list[Any]) -> None:
        inputs = self.input_record.field_blobs() + params
        net.MatMul(inputs, self.output_schema.field_blobs(), trans_b=1, **self.kwargs)

    @property
    def param_blobs(self) -> list[Any]:
        """The weight."""
        return [self.w]
