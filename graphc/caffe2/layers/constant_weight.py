"""``caffe2.python.layers.constant_weight``: a sum of losses with fixed weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers.layers import ModelLayer, require


class ConstantWeight(ModelLayer):
    """``sum w_i x_i`` of the fields of a struct; their mean without weights."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        weights: Sequence[float] | None = None,
        name: str = "constant_weight",
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for another number of weights."""
        super().__init__(model, name, input_record, **kwargs)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("constant_weight"))
        self.data = self.input_record.field_blobs()
        self.num = len(self.data)
        values = weights if weights is not None else [1.0 / self.num] * self.num
        require(len(values) == self.num, f"{self.num} blobs have {len(values)} weights")
        self.weights = [
            model.add_global_constant(f"{self.name}_weight_{i}", float(value)) for i, value in enumerate(values)
        ]

    def add_ops(self, net: Any) -> None:
        """Add the sum."""
        pairs = zip(self.data, self.weights, strict=True)
        net.WeightedSum([blob for pair in pairs for blob in pair], self.output_schema())
