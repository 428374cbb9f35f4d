"""``caffe2.python.layers.gather_record``: some rows of a record."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core, schema
from graphc.caffe2.layers.layers import ModelLayer, require


class GatherRecord(ModelLayer):
    """The rows ``indices`` of ``record``: of each tensor its rows, of each list whole lists, however deep."""

    def __init__(self, model: Any, input_record: Any, name: str = "gather_record", **kwargs: Any) -> None:
        """Raises ``AssertionError`` for a record without the fields."""
        super().__init__(model, name, input_record, **kwargs)
        require("indices" in input_record and "record" in input_record, "the fields indices and record are needed")
        self.output_schema = schema.NewRecord(model.net, input_record.record.clone_schema())
        self._indices = self.input_record.indices()

    def _gather(self, net: Any, field: Any, lengths: Any, output: Any) -> None:
        """Gather a field; lengths: how many of its elements are in each row, None for one."""
        if isinstance(field, schema.Struct):
            for name, child in field.get_children():
                self._gather(net, child, lengths, output[name])
        elif isinstance(field, schema.List):
            self._gather(net, field.lengths, lengths, output.lengths)
            inner = field.lengths() if lengths is None else self._sum(net, field.lengths(), lengths)
            self._gather(net, field._items, inner, output._items)
        elif lengths is None:
            net.Gather([field(), self._indices], output())
        else:
            net.LengthsGather([field(), lengths, self._indices], output())

    def _sum(self, net: Any, inner: Any, outer: Any) -> Any:
        """Elements of each row of a list in a list; LengthsSum has floats alone."""
        numbers = net.Cast(inner, net.NextScopedBlob(f"{inner}_float"), to=core.DataType.FLOAT)
        sums = net.LengthsSum([numbers, outer], net.NextScopedBlob(f"{inner}_nested_float"))
        return net.Cast(sums, net.NextScopedBlob(f"{inner}_nested"), to=core.DataType.INT32)

    def add_ops(self, net: Any) -> None:
        """Add an operator for each leaf."""
        self._gather(net, self.input_record.record, None, self.output_schema)
