"""``caffe2.python.layers.position_weighted``: a learned weight for each position in a list."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import constant
from graphc.caffe2.layers.layers import ModelLayer, get_categorical_limit, require
from graphc.caffe2.layers.tags import Tags


class PositionWeighted(ModelLayer):
    """The weights 0, 1, ... of each list, one after another: ``position_weights``."""

    def __init__(self, model: Any, input_record: Any, weight_optim: Any = None, name: str = "position_weights") -> None:
        """There are as many weights as what is known of the lengths allows, else of the identifiers."""
        super().__init__(model, name, input_record)
        require(isinstance(input_record, schema.List), f"a List is needed, not {input_record}")
        known = input_record.lengths.metadata
        longest = known.categorical_limit if known is not None else None
        self.shape = longest if longest is not None else get_categorical_limit(input_record)
        self.pos_w = self.create_param("pos_w", [self.shape], constant(1.0), weight_optim)
        blob = self.get_next_blob_reference("pos_w_gather")
        self.output_schema = schema.Struct(("position_weights", schema.Scalar((np.float32, self.shape), blob)))
        self.tags.add(Tags.HANDLE_AS_SPARSE_LAYER)

    def get_memory_usage(self) -> int:
        """The number of weights."""
        return int(self.shape)

    def add_ops(self, net: Any) -> None:
        """Add the look-up."""
        lengths = self.input_record.lengths()
        positions = net.LengthsRangeFill([lengths], lengths + "_pos_w_seq")
        net.Gather([self.pos_w, positions], self.output_schema.position_weights.field_blobs())
