"""``caffe2.python.layers.split``: a tensor in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class Split(ModelLayer):
    """Equal parts along an axis, which counts the batch, or parts of these lengths; gives a tuple of tensors."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        num_splits: int = 1,
        axis: int = 1,
        name: str = "split",
        split: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for parts that do not make up the whole."""
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        shape = list(input_record.field_type().shape)
        require(1 <= axis <= len(shape), f"axis {axis} is not one of rows of shape {shape}")
        whole = shape[axis - 1]
        lengths = list(split) if split is not None else [whole // num_splits] * num_splits
        require(sum(lengths) == whole, f"parts of {lengths} do not make up {whole}")
        self.axis, self.split = axis, split
        dtype = input_record.field_type().base
        shapes = [[*shape[: axis - 1], length, *shape[axis:]] for length in lengths]
        names = [self.get_next_blob_reference(f"output_{i}") for i in range(len(lengths))]
        parts = (schema.Scalar((dtype, part), blob) for part, blob in zip(shapes, names, strict=True))
        self.output_schema = schema.Tuple(*parts)

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        outputs = self.output_schema.field_blobs()
        net.Split(self.input_record.field_blobs(), outputs, split=self.split, axis=self.axis)
