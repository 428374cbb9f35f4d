"""``caffe2.python.layers.batch_huber_loss``: squares of small errors, sizes of large ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import as_type, require_fields, weighted
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.tags import Tags


class BatchHuberLoss(ModelLayer):
    """The mean of ``e^2 / 2`` up to ``delta`` and ``delta (e - delta / 2)`` beyond, e = abs(label - prediction).

    Fields: label, prediction (of one column), and weight, which may be left out.
    """

    def __init__(
        self, model: Any, input_record: Any, name: str = "batch_huber_loss", delta: float = 1.0, **kwargs: Any
    ) -> None:
        """delta: above zero."""
        super().__init__(model, name, input_record, **kwargs)
        require(delta > 0, f"delta is above zero, not {delta}")
        self._delta = delta
        require_fields(input_record, "label", "prediction")
        self.tags.add(Tags.EXCLUDE_FROM_PREDICTION)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the loss."""
        record = self.input_record
        prediction = net.Squeeze(record.prediction(), net.NextScopedBlob("squeezed_prediction"), dims=[1])
        label = as_type(net, record.label, record.prediction.field_type().base, "cast_label")
        delta = net.ConstantFill(label, net.NextScopedBlob("delta"), value=self._delta, dtype=core.DataType.FLOAT)
        label = net.StopGradient(label, net.NextScopedBlob("stopped_label"))
        delta = net.StopGradient(delta, net.NextScopedBlob("stopped_delta"))
        error = net.L1Distance([label, prediction], net.NextScopedBlob("abs_error"))
        small = net.Min([error, delta], net.NextScopedBlob("min_error_delta"))
        square = net.Scale(net.Sqr(small), scale=0.5)
        linear = net.Mul([net.Sub([error, small]), delta], net.NextScopedBlob("huber_linear_term"))
        loss = net.Add([square, linear], net.NextScopedBlob("huber_dist"))
        net.AveragedLoss(weighted(net, record, loss, "weighted_huber_distance"), self.output_schema.field_blobs())
