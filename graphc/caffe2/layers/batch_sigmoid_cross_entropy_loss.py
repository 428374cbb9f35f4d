"""``caffe2.python.layers.batch_sigmoid_cross_entropy_loss``: cross entropy of several labels a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import require_fields
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.tags import Tags


class BatchSigmoidCrossEntropyLoss(ModelLayer):
    """The mean of the cross entropy of the fields prediction (logits) and label, which are of one shape."""

    def __init__(
        self, model: Any, input_record: Any, name: str = "batch_sigmoid_cross_entropy_loss", **kwargs: Any
    ) -> None:
        """Raises ``AssertionError`` for fields of different shapes."""
        super().__init__(model, name, input_record, **kwargs)
        require_fields(input_record, "label", "prediction")
        shapes = [field.field_type().shape for field in (input_record.prediction, input_record.label)]
        require(shapes[0] == shapes[1], f"prediction and label must have the same shape, they have {shapes}")
        self.tags.add(Tags.EXCLUDE_FROM_PREDICTION)
        self.output_schema = schema.Scalar((np.float32, ()), self.get_next_blob_reference("loss"))

    def add_ops(self, net: Any) -> None:
        """Add the loss."""
        inputs = [self.input_record.prediction(), self.input_record.label()]
        entropy = net.SigmoidCrossEntropyWithLogits(inputs, net.NextScopedBlob("sigmoid_cross_entropy"))
        net.AveragedLoss(entropy, self.output_schema.field_blobs())
