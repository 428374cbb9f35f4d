"""``caffe2.python.layers.arc_cosine_feature_map``: random features of the arc-cosine kernel.

Cho and Saul 2009, "Kernel Methods for Deep Learning".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import Fill, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class ArcCosineFeatureMap(ModelLayer):
    """``h(x) x^s`` of ``x = w row + b`` with random w and b: h is 0 below zero and 1 above."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dims: int,
        s: int = 1,
        scale: float = 1.0,
        weight_init: Fill | None = None,
        bias_init: Fill | None = None,
        weight_optim: Any = None,
        bias_optim: Any = None,
        set_weight_as_global_constant: bool = False,
        initialize_output_schema: bool = True,
        name: str = "arc_cosine_feature_map",
        **kwargs: Any,
    ) -> None:
        """scale: of the deviation of w, which is 1 over the root of the input's length.

        w and b are not learned without an optimizer; as global constants all instances of the model share them.
        """
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        self.set_weight_as_global_constant = set_weight_as_global_constant
        self.input_dims, self.output_dims, self.s = input_record.field_type().shape[0], output_dims, s
        require(self.input_dims >= 1, f"Expected input dimensions >= 1, got {self.input_dims}")
        require(output_dims >= 1, f"Expected output dimensions >= 1, got {output_dims}")
        require(isinstance(s, int) and s >= 0, f"Expected an int s >= 0, got {s!r}")
        require(scale > 0.0, f"Expected scale > 0, got {scale}")
        if initialize_output_schema:
            blob = model.net.NextScopedBlob(name + "_output")
            self.output_schema = schema.Scalar((np.float32, (output_dims,)), blob)
        self.stddev = scale * np.sqrt(1.0 / self.input_dims)
        if set_weight_as_global_constant:
            w = np.random.normal(scale=self.stddev, size=(output_dims, self.input_dims))
            b = np.random.uniform(-0.5 * self.stddev, 0.5 * self.stddev, size=output_dims)
            self.random_w = model.add_global_constant(name=self.name + "_fixed_rand_W", array=w)
            self.random_b = model.add_global_constant(name=self.name + "_fixed_rand_b", array=b)
        else:
            self.random_w, self.random_b = self._initialize_params(
                "random_w", "random_b", weight_init, bias_init, weight_optim, bias_optim
            )

    def _initialize_params(
        self,
        w_name: str,
        b_name: str,
        w_init: Fill | None = None,
        b_init: Fill | None = None,
        w_optim: Any = None,
        b_optim: Any = None,
    ) -> list[Any]:
        """A weight and a bias, filled around zero; not learned without an optimizer."""
        normal = ("GaussianFill", {"mean": 0.0, "std": self.stddev})
        narrow = ("UniformFill", {"min": -0.5 * self.stddev, "max": 0.5 * self.stddev})
        none = self.model.NoOptim
        return [
            self.create_param(w_name, (self.output_dims, self.input_dims), w_init or normal, w_optim or none),
            self.create_param(b_name, [self.output_dims], b_init or narrow, b_optim or none),
        ]

    def _heaviside_with_power(self, net: Any, input_features: Any, output_blob: Any, s: int) -> Any:
        """Add ``h(x) x^s``, with a smooth step where s is 0."""
        if s == 0:
            return net.Relu(net.Softsign([input_features], net.NextScopedBlob("softsign")), output_blob)
        if s == 1:
            return net.Relu([input_features], output_blob)
        positive = net.Relu([input_features], net.NextScopedBlob("relu_rand"))
        power = net.Pow([input_features], net.NextScopedBlob("pow_rand"), exponent=float(s - 1))
        return net.Mul([positive, power], output_blob)

    def add_ops(self, net: Any) -> None:
        """Add the product and the step."""
        inputs = [*self.input_record.field_blobs(), self.random_w, self.random_b]
        features = net.FC(inputs, net.NextScopedBlob("random_features"))
        self._heaviside_with_power(net, features, self.output_schema.field_blobs(), self.s)
