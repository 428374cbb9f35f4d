"""``caffe2.python.layers.build_index``: numbers for keys, in the order in which they come."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import as_type, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class MapToRange(ModelLayer):
    """Numbers from 1 to ``max_index`` - 1 for keys; training adds keys, other nets give 0 for those that are new."""

    def __init__(
        self, model: Any, input_record: Any, max_index: int, name: str = "map_to_range", **kwargs: Any
    ) -> None:  # fmt: skip
        """Raises ``AssertionError`` for less than one number."""
        super().__init__(model, name, input_record, **kwargs)
        require(max_index > 0, f"max_index is above zero, not {max_index}")
        require_scalar(input_record)
        self.max_index = max_index
        self.handler = self.create_param("handler", [], ("LongIndexCreate", {"max_elements": max_index}), model.NoOptim)
        self.output_schema = schema.Struct(
            ("indices", schema.Scalar(np.int64, self.get_next_blob_reference("indices"))),
            ("handler", schema.Scalar(np.void, self.handler)),
        )

    def add_train_ops(self, net: Any) -> None:
        """Add the look-up."""
        keys = as_type(net, self.input_record, np.int64, "indices_before_mapping")
        indices = net.IndexGet([self.handler, keys], self.output_schema.indices())
        net.StopGradient(indices, indices)

    def add_eval_ops(self, net: Any) -> None:
        """Add the look-up, which adds no keys."""
        net.IndexFreeze(self.handler, self.handler)
        self.add_train_ops(net)

    def add_ops(self, net: Any) -> None:
        """The same as for evaluation."""
        self.add_eval_ops(net)
