"""``caffe2.python.layers.feature_sparse_to_dense``: features by their numbers become columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers.layers import AccessedFeatures, ModelLayer, require

_PARTS: dict[str, dict[str, tuple[Any, str]]] = {
    "ID_LIST": {"values": (np.int64, "items")},
    "ID_SCORE_LIST": {"ids": (np.int64, "keys"), "scores": (np.float32, "values")},
    "EMBEDDING": {"values": (np.float32, "items")},
}
"""What comes beside the ranges: by the type of the features the field, its type, and where it lies in the list."""
_RANGES = {"ID_LIST": "id_list_ranges", "ID_SCORE_LIST": "id_score_list_ranges", "EMBEDDING": "embeddings_ranges"}
_PARSED = "GENERIC_FEATURE"


class FeatureSparseToDense(ModelLayer):
    """A column for each feature of a field, by ``input_specs``, pairs (field, ``FeatureSpec``).

    FLOAT: its values. ID_LIST, ID_SCORE_LIST, EMBEDDING: where the list of each row begins and how long it is
    (``ranges``), and the lists. A feature that a row does not have is 0, or NaN, or an empty list.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        input_specs: Sequence[tuple[str, Any]],
        name: str = "feature_sparse_to_dense",
        default_dense_value: float | None = None,
        **kwargs: Any,
    ) -> None:
        """default_dense_value: 0, or NaN. Raises ``TypeError`` for features of another type."""
        super().__init__(model, name, input_record, **kwargs)
        default = float(default_dense_value or 0.0)
        require(np.isnan(default) or default == 0.0, f"default_dense_value can only be 0.0 or NaN, not {default}")
        self.input_specs = input_specs
        self.default_float_value = model.global_constants["NAN" if np.isnan(default) else "ZERO"]
        self.zero_range = model.global_constants["ZERO_RANGE"]
        record = schema.Struct(*((field, self._output(field, specs)) for field, specs in input_specs))
        for field, specs in input_specs:
            schema.attach_metadata_to_scalars(record[field], schema.Metadata(feature_specs=specs))
        self.output_schema = record

    def _output(self, field: str, specs: Any) -> Any:
        count = len(specs.feature_ids)
        require(len(specs.feature_names) == count, f"{count} features have {len(specs.feature_names)} names")
        if specs.feature_type == "FLOAT":
            return schema.Scalar((np.float32, (count,)), self.get_next_blob_reference(f"{field}_output"))
        if specs.feature_type == _PARSED:
            raise TypeError(
                "features of type GENERIC_FEATURE need the operator ParseGeneric, which was never published"
            )
        if specs.feature_type not in _PARTS:
            known = ", ".join(["FLOAT", *_PARTS])
            raise TypeError(f"Unsupported input type: {specs.feature_type}; known are {known}")
        ranges = schema.Scalar((np.int32, (count, 2)), self.get_next_blob_reference(f"{field}_ranges"))
        parts = [
            (part, schema.Scalar(dtype, self.get_next_blob_reference(f"{field}_{part}")))
            for part, (dtype, _) in _PARTS[specs.feature_type].items()
        ]
        return schema.Struct(("ranges", ranges), *parts)

    def add_ops(self, net: Any) -> None:
        """Add a SparseToDenseMask for each field; lists get other names, so that each name is made once."""
        for field, specs in self.input_specs:
            record, output, ids = self.input_record[field], self.output_schema[field], specs.feature_ids
            if specs.feature_type == "FLOAT":
                inputs = [record.keys(), record.values(), self.default_float_value, record.lengths()]
                net.SparseToDenseMask(inputs, [output()], mask=ids)
                continue
            name = net.NextScopedBlob(_RANGES[specs.feature_type])
            ranges = net.LengthsToRanges(record.values.lengths(), name)
            inputs = [record.keys(), ranges, self.zero_range, record.lengths()]
            net.SparseToDenseMask(inputs, output.ranges(), mask=ids)
            for part, (_, source) in _PARTS[specs.feature_type].items():
                net.Alias(getattr(record.values, source)(), output[part]())

    def get_metadata(self) -> list[Any]:
        """For each field what is known of its features, its blobs and types."""
        found = []
        for field, specs in self.input_specs:
            known = {"type": specs.feature_type, "names": specs.feature_names, "ids": specs.feature_ids}
            if specs.feature_type == "FLOAT":
                known["cardinality"] = 1
            output = self.output_schema[field]
            found.append((known, output.field_blobs(), output.field_types()))
        return found

    def get_accessed_features(self) -> dict[str, list[AccessedFeatures]]:
        """The features of all fields."""
        found = defaultdict(list)
        for field, specs in self.input_specs:
            found[field].append(AccessedFeatures(specs.feature_type, set(specs.feature_ids)))
        return found
