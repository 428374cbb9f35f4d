"""``caffe2.python.layers.last_n_window_collector``: the last rows of all batches."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import constant, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class LastNWindowCollector(ModelLayer):
    """Keeps ``num_to_collect`` rows; gives them (``last_n``), how many rows came (``num_visited``), and the mutex."""

    def __init__(
        self, model: Any, input_record: Any, num_to_collect: int, name: str = "last_n_window_collector", **kwargs: Any
    ) -> None:
        """Raises ``AssertionError`` for less than one row."""
        super().__init__(model, name, input_record, **kwargs)
        require(num_to_collect > 0, f"num_to_collect is above zero, not {num_to_collect}")
        require_scalar(input_record)
        self.num_to_collect = num_to_collect
        none = model.NoOptim
        self.last_n = self.create_param("last_n", [0], ("ConstantFill", {}), none)
        self.next_blob = self.create_param("next", [], constant(0, core.DataType.INT32), none)
        self.mutex = self.create_param("mutex", [], ("CreateMutex",), none)
        self.num_visited_blob = self.create_param("num_visited", [], constant(0, core.DataType.INT64), none)
        self.output_schema = schema.Struct(
            ("last_n", schema.from_blob_list(input_record, [self.last_n])),
            ("num_visited", schema.Scalar(blob=self.num_visited_blob)),
            ("mutex", schema.Scalar(blob=self.mutex)),
        )

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        kept = [self.last_n, self.next_blob]
        inputs = [*kept, self.input_record(), self.mutex, self.num_visited_blob]
        net.LastNWindowCollector(inputs, [*kept, self.num_visited_blob], num_to_collect=self.num_to_collect)
