"""``caffe2.python.layers.layer_normalization``: normalisation of each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import constant, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class LayerNormalization(ModelLayer):
    """Rows less their mean, over their deviation, times ``scale`` plus ``bias``."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "layer_normalization",
        scale_optim: Any = None,
        bias_optim: Any = None,
        epsilon: float = 1e-4,
        axis: int = 1,
        use_layer_norm_op: bool = True,
        scale_init_value: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """use_layer_norm_op: the operator LayerNorm, else simple ones, for rows of one dimension."""
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        self.input_shape = input_record.field_type().shape
        self.axis = axis
        require(len(self.input_shape) >= 1, "This layer supports only >= 2D tensors")
        size = [self.input_shape[0]]
        self.output_schema = schema.Scalar((np.float32, self.input_shape), self.get_next_blob_reference("output"))
        self.scale = self.create_param("scale", size, constant(scale_init_value), scale_optim)
        self.bias = self.create_param("bias", size, constant(0.0), bias_optim)
        self.use_layer_norm_op = use_layer_norm_op
        self.epsilon: Any = epsilon
        if not use_layer_norm_op:
            require(len(self.input_shape) == 1, "without the operator, input data can only be 2D")
            self.epsilon = model.maybe_add_global_constant(f"{self.name}_epsilon", float(epsilon))

    def _add_operator(self, net: Any) -> None:
        names = [net.NextScopedBlob(name) for name in ("ln_output", "ln_mean", "ln_stdev")]
        blobs = self.input_record.field_blobs()
        normalized, _, _ = net.LayerNorm(blobs, names, axis=self.axis, epsilon=self.epsilon)
        legacy = {"broadcast": 1, "axis": self.axis}
        scaled = net.Mul([normalized, self.scale], [net.NextScopedBlob("ln_scaled")], **legacy)
        net.Add([scaled, self.bias], self.output_schema.field_blobs(), **legacy)

    def _add_simple_operators(self, net: Any) -> None:
        """Mean, difference, mean of squares, root, quotient."""

        def named(suffix: str) -> list[Any]:
            return [net.NextScopedBlob(f"ln_{suffix}")]

        blobs = self.input_record.field_blobs()
        output, mean, stdev = named("output"), named("mean"), named("stdev")
        means = net.ReduceBackMean(blobs, named("mean_arr"))
        net.ExpandDims([means], mean, dims=[1])
        centered = net.Sub(blobs + mean, named("centered"))
        squares = net.Sqr([centered], named("sqr"))
        variance = net.Add([net.ReduceBackMean([squares], named("sqr_mean")), self.epsilon], named("var"))
        net.ExpandDims([net.Pow([variance], named("std_arr"), exponent=0.5)], stdev, dims=[1])
        net.Div([centered, *stdev], output)
        scaled = net.Mul([*output, self.scale], named("scaled"))
        net.Add([scaled, self.bias], self.output_schema.field_blobs())

    def add_ops(self, net: Any) -> None:
        """Add the operators."""
        if self.use_layer_norm_op:
            self._add_operator(net)
        else:
            self._add_simple_operators(net)
