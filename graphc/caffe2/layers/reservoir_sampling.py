"""``caffe2.python.layers.reservoir_sampling``: some rows of all batches, each as likely as the others."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import constant
from graphc.caffe2.layers.layers import ModelLayer, require


class ReservoirSampling(ModelLayer):
    """Keeps ``num_to_collect`` rows of ``data``, of each ``object_id``, where there is this field, one."""

    def __init__(
        self, model: Any, input_record: Any, num_to_collect: int, name: str = "reservoir_sampling", **kwargs: Any
    ) -> None:
        """Raises ``AssertionError`` for less than one row."""
        super().__init__(model, name, input_record, **kwargs)
        require(num_to_collect > 0, f"num_to_collect is above zero, not {num_to_collect}")
        self.num_to_collect = num_to_collect
        none, int64 = model.NoOptim, core.DataType.INT64
        self.reservoir = self.create_param("reservoir", [0], ("ConstantFill",), none)
        self.num_visited_blob = self.create_param("num_visited", [], constant(0, int64), none)
        self.mutex = self.create_param("mutex", [], ("CreateMutex",), none)
        self.extra_input_blobs: list[Any] = []
        self.extra_output_blobs: list[Any] = []
        if "object_id" in input_record:
            types = {"key_dtype": int64, "valued_dtype": core.DataType.INT32}
            places = self.create_param("object_to_pos", None, ("CreateMap", types), none)
            objects = self.create_param("pos_to_object", [0], constant(0, int64), none)
            self.extra_input_blobs = [input_record.object_id(), places, objects]
            self.extra_output_blobs = [places, objects]
        self.output_schema = schema.Struct(
            ("reservoir", schema.from_blob_list(input_record.data, [self.reservoir])),
            ("num_visited", schema.Scalar(blob=self.num_visited_blob)),
            ("mutex", schema.Scalar(blob=self.mutex)),
        )

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        inputs = [self.reservoir, self.num_visited_blob, self.input_record.data(), self.mutex]
        net.ReservoirSampling(
            inputs + self.extra_input_blobs,
            [self.reservoir, self.num_visited_blob, *self.extra_output_blobs],
            num_to_collect=self.num_to_collect,
        )
