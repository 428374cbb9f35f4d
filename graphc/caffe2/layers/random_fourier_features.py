"""``caffe2.python.layers.random_fourier_features``: random features of the Gaussian kernel.

Rahimi and Recht 2007, "Random Features for Large-Scale Kernel Machines".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import Fill, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class RandomFourierFeatures(ModelLayer):
    """``sqrt(2 / n) cos(w row + b)`` with random w and b that are not learned."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dims: int,
        sigma: float,
        w_init: Fill | None = None,
        b_init: Fill | None = None,
        name: str = "random_fourier_features",
        **kwargs: Any,
    ) -> None:
        """sigma: the width of the kernel, above zero."""
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        size = input_record.field_type().shape[0]
        require(size >= 1, f"Expected input dimensions >= 1, got {size}")
        require(output_dims >= 1, f"Expected output dimensions >= 1, got {output_dims}")
        require(sigma > 0.0, f"Expected bandwidth > 0, got {sigma}")
        self.output_dims = output_dims
        self.output_schema = schema.Scalar((np.float32, (output_dims,)), self.get_next_blob_reference("output"))
        normal = ("GaussianFill", {"mean": 0.0, "std": 1.0 / sigma})
        turn = ("UniformFill", {"min": 0.0, "max": 2 * np.pi})
        self.w = self.create_param("w", [output_dims, size], w_init or normal, model.NoOptim)
        self.b = self.create_param("b", [output_dims], b_init or turn, model.NoOptim)

    def add_ops(self, net: Any) -> None:
        """Add the product, the cosine and the factor."""
        angle = net.FC([*self.input_record.field_blobs(), self.w, self.b], net.NextScopedBlob("cosine_arg"))
        cosine = net.Cos([angle], net.NextScopedBlob("new_feature_vec"))
        net.Scale([cosine], self.output_schema.field_blobs(), scale=np.sqrt(2.0 / self.output_dims))
