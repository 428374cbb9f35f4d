"""``caffe2.python.layers.uniform_sampling``: numbers that are not yet in a list, drawn without replacement."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import constant, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class UniformSampling(ModelLayer):
    """The numbers given and others below ``num_elements``, ``num_samples`` together, and how likely each was."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        num_samples: int,
        num_elements: int,
        name: str = "uniform_sampling",
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` unless there are more elements than samples."""
        super().__init__(model, name, input_record, **kwargs)
        require(num_elements > num_samples > 0, f"{num_samples} of {num_elements} numbers cannot be drawn")
        require_scalar(input_record)
        self.num_elements = num_elements
        none = model.NoOptim
        counted = ("GivenTensorInt64Fill", {"values": [num_samples]})
        self.num_samples = self.create_param("num_examples", (1,), counted, none)
        likely = constant(float(num_samples) / num_elements, core.DataType.FLOAT)
        self.sampling_prob = self.create_param("prob", (num_samples,), likely, none)
        self.output_schema = schema.Struct(
            ("samples", schema.Scalar(np.int32, self.get_next_blob_reference("samples"))),
            ("sampling_prob", schema.Scalar(np.float32, self.sampling_prob)),
        )

    def add_ops(self, net: Any) -> None:
        """Add what draws."""
        net.StopGradient(self.sampling_prob, self.sampling_prob)
        given, output = self.input_record(), self.output_schema.samples()
        shape = net.Shape([given], net.NextScopedBlob("shape"))
        shape = net.Sub([self.num_samples, shape], shape)
        name = net.NextScopedBlob("samples_before_concat")
        drawn = net.UniqueUniformFill([shape, given], name, min=0, max=self.num_elements - 1, input_as_shape=True)
        net.Concat([given, drawn], [output, net.NextScopedBlob("split_info")], axis=0)
        net.StopGradient(output, output)
