"""``caffe2.python.layers.concat``: tensors side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


def get_concatenated_feature_to_index(blobs_to_concat: Iterable[Any]) -> dict[Any, list[int]] | None:
    """Where the features of the parts lie in the whole, by the parts' ``feature_to_index``; None without any."""
    found: dict[Any, list[int]] = defaultdict(list)
    start = 0
    for scalar in blobs_to_concat:
        specs = getattr(getattr(scalar, "metadata", None), "feature_specs", None)
        places = getattr(specs, "feature_to_index", None)
        for feature, indices in places.items() if isinstance(places, dict) else ():
            found[feature].extend(start + index for index in indices)
        start += scalar.dtype.shape[0]
    return dict(found) or None


class Concat(ModelLayer):
    """The fields of a struct along an axis, which counts the batch; ``add_axis`` makes a new one there."""

    def __init__(
        self, model: Any, input_record: Any, axis: int = 1, add_axis: int = 0, name: str = "concat", **kwargs: Any
    ) -> None:
        """Raises ``AssertionError`` for shapes that differ elsewhere than along the axis."""
        super().__init__(model, name, input_record, **kwargs)
        self.axis, self.add_axis = axis, add_axis
        require(not (axis == 0 and add_axis == 1), "It's not allowed to add axis=0")
        require(isinstance(input_record, schema.Struct), f"a Struct is needed, not {input_record}")
        shapes = [self._shape(field) for field in input_record.fields.values()]
        if axis == 0:
            self.output_schema = schema.from_blob_list(input_record[0], [self.get_next_blob_reference("output")])
            return
        rests = [[*shape[: axis - 1], *shape[axis:]] for shape in shapes]
        require(all(rest == rests[0] for rest in rests), f"Shapes {shapes} are not compatible for Concat")
        shape = list(shapes[0])
        shape[axis - 1] = sum(part[axis - 1] for part in shapes)
        self.output_schema = schema.Scalar((np.float32, shape), self.get_next_blob_reference("output"))
        features = get_concatenated_feature_to_index(input_record.fields.values())
        if features:
            specs = schema.FeatureSpec(feature_to_index=features)
            self.output_schema.set_metadata(schema.Metadata(feature_specs=specs))

    def _shape(self, field: Any) -> list[int]:
        """The shape of a row of a part."""
        require_scalar(field)
        shape = list(field.field_type().shape)
        if self.add_axis:
            shape.insert(self.axis - 1, 1)
        require(len(shape) >= self.axis, "Concat expects that limited dimensions of the input tensor")
        return shape

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        (output,) = self.output_schema.field_blobs()
        blobs = self.input_record.field_blobs()
        net.Concat(blobs, [output, output + "_concat_dims"], axis=self.axis, add_axis=self.add_axis)
