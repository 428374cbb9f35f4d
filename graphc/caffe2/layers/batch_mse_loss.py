"""``caffe2.python.layers.batch_mse_loss``: squared errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import as_type, require_fields, weighted
from graphc.caffe2.layers.layers import ModelLayer
from graphc.caffe2.layers.tags import Tags


class BatchMSELoss(ModelLayer):
    """The mean of ``(label - prediction)^2 / 2``; fields: label, prediction (of one column), and perhaps weight."""

    def __init__(self, model: Any, input_record: Any, name: str = "batch_mse_loss", **kwargs: Any) -> None:
        """Raises ``AssertionError`` for a record without the fields."""
        super().__init__(model, name, input_record, **kwargs)
        require_fields(input_record, "label", "prediction")
        self.tags.add(Tags.EXCLUDE_FROM_PREDICTION)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the loss."""
        record = self.input_record
        label = as_type(net, record.label, record.prediction.field_type().base, "cast_label")
        label = net.StopGradient(net.ExpandDims(label, 1, dims=[1]), net.NextScopedBlob("stopped_label"))
        loss = net.SquaredL2Distance([label, record.prediction()], net.NextScopedBlob("l2"))
        net.AveragedLoss(weighted(net, record, loss, "weighted_l2_distance"), self.output_schema.field_blobs())
