"""``caffe2.python.layers.batch_softmax_loss``: softmax and its loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import as_type, float_weight, require_fields
from graphc.caffe2.layers.layers import ModelLayer, require


class BatchSoftmaxLoss(ModelLayer):
    """The operator SoftmaxWithLoss; gives softmax and loss. Fields: label, prediction, and perhaps weight.

    label_smoothing_matrix: row i is the distribution that label i stands for. label_prob: labels are distributions.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "batch_softmax_loss",
        label_smoothing_matrix: Any = None,
        label_prob: bool = False,
        scale: float = 1.0,
        average_by_batch_size: bool = False,
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for a matrix that is not square."""
        super().__init__(model, name, input_record, **kwargs)
        require_fields(input_record, "label", "prediction")
        self.label_prob = label_prob or label_smoothing_matrix is not None
        self.scale, self.average_by_batch_size = scale, average_by_batch_size
        self.label_smoothing_matrix: Any = None
        if label_smoothing_matrix is not None:
            matrix = np.array(label_smoothing_matrix, np.float32)
            square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
            require(square, f"the matrix that smooths labels is of shape {matrix.shape}, not square")
            name = f"{self.name}_label_smoothing_matrix"
            self.label_smoothing_matrix = model.add_global_constant(name, array=matrix, dtype=np.dtype(np.float32))
            name, size = f"{self.name}_label_dim", matrix.shape[0]
            self.label_dim = model.add_global_constant(name, array=size, dtype=np.dtype(np.int64))
        softmax, loss = self.get_next_blob_reference("softmax"), self.get_next_blob_reference("loss")
        self.output_schema = schema.Struct(
            ("softmax", schema.Scalar(input_record.prediction.field_type(), softmax)),
            ("loss", schema.Scalar(np.float32, loss)),
        )

    def compute_smoothed_label(self, net: Any) -> Any:
        """Add what makes distributions of labels."""
        label = as_type(net, self.input_record.label, np.int64, "int64_label")
        one_hot, smoothed = net.NextScopedBlob("one_hot_label"), net.NextScopedBlob("smoothed_label")
        net.OneHot([label, self.label_dim], [one_hot])
        return net.MatMul([one_hot, self.label_smoothing_matrix], smoothed)

    def _label(self, net: Any) -> Any:
        if self.label_smoothing_matrix is not None:
            return self.compute_smoothed_label(net)
        if self.label_prob:
            return self.input_record.label()
        return as_type(net, self.input_record.label, np.int32, "int32_label")

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        record = self.input_record
        inputs = [*record.prediction.field_blobs(), self._label(net)]
        if "weight" in record:
            inputs.append(float_weight(net, record))
        net.SoftmaxWithLoss(
            inputs,
            self.output_schema.field_blobs(),
            label_prob=self.label_prob,
            scale=self.scale,
            average_by_batch_size=self.average_by_batch_size,
        )
