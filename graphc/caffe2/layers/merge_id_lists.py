"""``caffe2.python.layers.merge_id_lists``: lists of identifiers become one."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers.layers import IdList, ModelLayer, get_categorical_limit, require


class MergeIdLists(ModelLayer):
    """Of each row the identifiers of all lists, each once."""

    def __init__(self, model: Any, input_record: Any, name: str = "merged") -> None:
        """Raises ``AssertionError`` for other records, and lists of whose identifiers nothing is known."""
        super().__init__(model, name, input_record)
        require(all(schema.equal_schemas(x, IdList) for x in input_record), "only IdLists are merged")
        require(all(x.items.metadata is not None for x in input_record), "Features without metadata are not supported")
        limits = [get_categorical_limit(record) for record in input_record]
        require(None not in limits, "Unbounded features are not supported")
        known = schema.Metadata(categorical_limit=max(limits))
        values = schema.Scalar(np.int64, blob=model.net.NextBlob(name), metadata=known)
        self.output_schema = schema.NewRecord(model.net, schema.List(values))

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        net.MergeIdLists(self.input_record.field_blobs(), self.output_schema.field_blobs())
