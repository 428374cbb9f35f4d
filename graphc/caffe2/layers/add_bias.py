"""``caffe2.python.layers.add_bias``: a learned vector is added to each row."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import Fill, row_shape, uniform
from graphc.caffe2.layers.layers import ModelLayer, require


class AddBias(ModelLayer):
    """Rows plus ``b``."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        bias_init: Fill | None = None,
        bias_optim: Any = None,
        name: str = "add_bias",
    ) -> None:
        """Raises ``AssertionError`` for a record that is no tensor of known length."""
        super().__init__(model, name, input_record)
        size = row_shape(input_record)[0]
        require(size > 0, f"AddBias expects input dimensions > 0, got {size}")
        self.b = self.create_param("b", [size], bias_init or uniform(size), bias_optim)
        dtype = input_record.field_type().base
        self.output_schema = schema.Scalar((dtype, (size,)), self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the sum."""
        net.Add([*self.input_record.field_blobs(), self.b], self.output_schema.field_blobs(), broadcast=1)
