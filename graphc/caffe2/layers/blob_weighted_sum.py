"""``caffe2.python.layers.blob_weighted_sum``: a sum of tensors with learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import constant
from graphc.caffe2.layers.layers import ModelLayer, require


class BlobWeightedSum(ModelLayer):
    """``sum w_i x_i`` of the fields of a struct; the weights begin with 1 unless they are given."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        init_weights: Sequence[float] | None = None,
        weight_optim: Any = None,
        name: str = "blob_weighted_sum",
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for fields of different shapes."""
        super().__init__(model, name, input_record, **kwargs)
        self.blobs = self.input_record.field_blobs()
        self.num_weights = len(self.blobs)
        require(self.num_weights > 1, "BlobWeightedSum expects more than one input blobs")
        shapes = [dtype.shape for dtype in input_record.field_types()]
        require(len(shapes[0]) > 0, "BlobWeightedSum expects limited dimensions of the input tensor")
        require(all(shape == shapes[0] for shape in shapes), f"input blobs are of shapes {shapes}, not of one")
        values = init_weights or [1.0] * self.num_weights
        require(len(values) == self.num_weights, f"{self.num_weights} blobs have {len(values)} weights")
        self.weights = [
            self.create_param(f"w_{i}", [1], constant(float(value)), weight_optim) for i, value in enumerate(values)
        ]
        blob = self.get_next_blob_reference("blob_weighted_sum_out")
        self.output_schema = schema.Scalar(input_record.field_types()[0], blob)

    def add_ops(self, net: Any) -> None:
        """Add the sum."""
        pairs = zip(self.blobs, self.weights, strict=True)
        net.WeightedSum([blob for pair in pairs for blob in pair], self.output_schema(), grad_on_w=True)
