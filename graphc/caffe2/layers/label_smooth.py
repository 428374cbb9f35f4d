"""``caffe2.python.layers.label_smooth``: labels as probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import as_type
from graphc.caffe2.layers.layers import ModelLayer, require


class LabelSmooth(ModelLayer):
    """Row ``label`` of a matrix of probabilities; of two values, the first for labels up to 0.5, else the second."""

    def __init__(
        self, model: Any, label: Any, smooth_matrix: Any, name: str = "label_smooth", **kwargs: Any
    ) -> None:  # fmt: skip
        """smooth_matrix: square, or of two values."""
        super().__init__(model, name, label, **kwargs)
        self.label = label
        values = np.array(smooth_matrix, np.float32).flatten()
        self.binary_prob_label = values.size == 2
        self.dim = 1 if self.binary_prob_label else round(values.size**0.5)
        require(self.binary_prob_label or self.dim**2 == values.size, f"{values.size} values are no square matrix")
        self.smooth_matrix: Any = values
        if not self.binary_prob_label:
            matrix = values.reshape(self.dim, self.dim)
            self.smooth_matrix = model.add_global_constant(
                f"{self.name}_label_smooth_matrix", array=matrix, dtype=np.dtype(np.float32)
            )
            self.len = model.add_global_constant(
                f"{self.name}_label_dim", array=self.dim, dtype=np.dtype(np.int64)
            )  # fmt: skip
        blob = self.get_next_blob_reference("smoothed_label")
        self.output_schema = schema.Scalar((np.float32, (self.dim,)), blob)

    def add_ops(self, net: Any) -> None:
        """Add the operators."""
        if self.binary_prob_label:
            label = as_type(net, self.label, np.float32, "float32_label")
            low, high = map(float, self.smooth_matrix)
            net.StumpFunc(label, self.output_schema(), threshold=0.5, low_value=low, high_value=high)
            return
        label = as_type(net, self.label, np.int64, "int64_label")
        one_hot = net.OneHot([label, self.len], [net.NextScopedBlob("one_hot_label")])
        net.MatMul([one_hot, self.smooth_matrix], self.output_schema())
