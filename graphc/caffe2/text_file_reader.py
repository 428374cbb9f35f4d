"""``caffe2.python.text_file_reader``: records of a text file, one a line, with tabs between the fields."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.dataio import Reader
from graphc.caffe2.schema import Scalar, Struct, data_type_for_dtype


class TextFileReader(Reader):
    """A reader of a file. schema: a ``Struct`` of scalars, texts or float32. num_passes: how often it is read."""

    def __init__(self, init_net: Any, filename: str, schema: Any, num_passes: int = 1, batch_size: int = 1) -> None:
        if not isinstance(schema, Struct):
            raise AssertionError("Schema must be a schema.Struct")
        if not all(isinstance(child, Scalar) for _, child in schema.get_children()):
            raise AssertionError("Only scalar fields are supported in TextFileReader.")
        super().__init__(schema)
        types = [data_type_for_dtype(dtype) for dtype in schema.field_types()]
        self._reader = init_net.CreateTextFileReader(
            [], filename=filename, num_passes=num_passes, field_types=types
        )  # fmt: skip
        self._batch_size = batch_size

    def read(self, read_net: Any) -> tuple[Any, Any]:
        """Add the operator that reads a batch."""
        blobs = core.output_to_list(
            read_net.TextFileReaderRead(
                [self._reader], len(self.schema().field_names()), batch_size=self._batch_size
            )
        )  # fmt: skip
        ended = core.ScopedBlobReference(read_net.NextName("should_stop"))
        return read_net.IsEmpty([blobs[0]], ended), blobs
