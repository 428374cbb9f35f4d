"""``caffe2.python.dataset``: records kept as blobs, one for each field, which readers go through in batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, workspace
from graphc.caffe2.dataio import Reader, Writer
from graphc.caffe2.schema import InitEmptyRecord, Struct, from_blob_list, from_column_list


class _DatasetReader(Reader):
    """Batches in order."""

    def __init__(
        self, dataset: Dataset, name: str | None, batch_size: int = 1, enforce_batch_size: bool = False
    ) -> None:
        super().__init__(dataset.content())
        self.dataset, self.name = dataset, name or f"{dataset.name}_cursor"
        self.batch_size, self.enforce_batch_size = batch_size, enforce_batch_size
        self.cursor: Any = None

    def setup_ex(self, init_net: Any, exit_net: Any) -> None:
        if self.cursor is None:
            self.cursor = init_net.CreateTreeCursor([], init_net.NextScopedBlob(self.name), fields=self.dataset.fields)

    def _require_cursor(self) -> None:
        if self.cursor is None:
            raise AssertionError("setup_ex must be called before reading")

    def read(self, read_net: Any) -> tuple[Any, Any]:
        self._require_cursor()
        return self._read(read_net, "ReadNextBatch", [self.cursor])

    def _read(self, read_net: Any, operator: str, inputs: list[Any], **kwargs: Any) -> tuple[Any, Any]:
        content = self.dataset.content()
        with core.NameScope(read_net.NextName(self.name)):
            fields = core.output_to_list(
                getattr(read_net, operator)(
                    [*inputs, *content.field_blobs()],
                    content.field_names(),
                    batch_size=self.batch_size,
                    enforce_batch_size=self.enforce_batch_size,
                    **kwargs,
                )
            )
            return read_net.IsEmpty([fields[0]]), fields

    def reset(self, net: Any) -> None:
        net.ResetCursor([self.cursor], [])


class _DatasetRandomReader(_DatasetReader):
    """Batches in the order that a blob of indices says."""

    def __init__(
        self,
        dataset: Dataset,
        name: str | None,
        indices: Any,
        batch_size: int = 1,
        loop_over: bool = False,
        enforce_batch_size: bool = False,
    ) -> None:
        super().__init__(dataset, name, batch_size, enforce_batch_size)
        self.indices, self.loop_over = indices, loop_over
        self.offsets: Any = None

    def computeoffset(self, net: Any) -> None:
        """Add the operator that finds where every row begins; needed before reading."""
        self.reset(net)
        self.offsets = net.ComputeOffset(
            [self.cursor, *self.dataset.content().field_blobs()], f"{self.dataset.name}_offsets"
        )

    def sort_and_shuffle(
        self, net: Any, sort_by_field: str | None = None, shuffle_size: int = 1, batch_size: int = 1
    ) -> None:
        """Add the operator that makes the indices: by a field's values, then batches of neighbours shuffled."""
        content = self.dataset.content()
        if sort_by_field and sort_by_field not in content.field_names():
            raise AssertionError(f"'{sort_by_field}' is no field: {', '.join(content.field_names())}")
        self.reset(net)
        self.indices = net.SortAndShuffle(
            [self.cursor, *content.field_blobs()],
            f"{self.dataset.name}_indices",
            sort_by_field_idx=content.field_names().index(sort_by_field) if sort_by_field else -1,
            shuffle_size=shuffle_size,
            batch_size=batch_size,
        )

    def read(self, read_net: Any) -> tuple[Any, Any]:
        self._require_cursor()
        if self.offsets is None or self.indices is None:
            raise AssertionError("computeoffset, and indices or sort_and_shuffle, are needed before reading")
        inputs = [self.cursor, self.indices, self.offsets]
        return self._read(read_net, "ReadRandomBatch", inputs, loop_over=self.loop_over)


class _DatasetWriter(Writer):
    """Appends records; several threads may."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self.mutex: Any = None

    def setup_ex(self, init_net: Any, finish_net: Any) -> None:
        if self.mutex is None:
            self.mutex = init_net.CreateMutex([])

    def write(self, writer_net: Any, fields: Any) -> None:
        blobs = self._content.field_blobs()
        if self.mutex is None:
            raise AssertionError("setup not called.")
        if len(fields) != len(blobs):
            raise AssertionError(f"Expected {len(blobs)} fields, got {len(fields)}.")
        writer_net.CheckDatasetConsistency(fields, [], fields=self._content.field_names())
        writer_net.AtomicAppend([self.mutex, *blobs, *fields], blobs)


def Const(net: Any, value: Any, dtype: Any = None, name: str | None = None) -> Any:
    """A blob of the current workspace that holds an array, as an external input of a net."""
    if not isinstance(net, core.Net):
        raise AssertionError("net must be a core.Net instance.")
    blob = net.AddExternalInput(net.NextName(prefix=name))
    workspace.FeedBlob(str(blob), np.array(value, dtype=dtype))
    return blob


def execution_step_with_progress(name: str, init_net: Any, substeps: Any, rows_read: Any) -> Any:
    """A step that runs others at once and prints a blob every five seconds."""
    report_net = core.Net("report_net")
    report_net.Print([rows_read], [])
    return core.execution_step(name, substeps, report_net=report_net, concurrent_substeps=True, report_interval=5)


class Dataset:
    """Records of one schema in blobs. fields: a ``Struct``, perhaps with the blobs, or names of columns."""

    def __init__(self, fields: Any, name: str | None = None) -> None:
        if not isinstance(fields, list | Struct):
            raise AssertionError("fields must be either a Struct or a list of raw field names.")
        record = from_column_list(fields) if isinstance(fields, list) else fields
        self.schema = record
        self.fields: list[str] = record.field_names()
        self.field_types: list[Any] = record.field_types()
        self.name = name or "dataset"
        self.field_blobs: Any = record.field_blobs() if record.has_blobs() else None

    def trim(self, net: Any, multiple_of: int) -> None:
        """Add the operator that drops rows from the end until their number is a multiple of ``multiple_of``."""
        net.TrimDataset(self._blobs(), self._blobs(), fields=self.fields, multiple_of=multiple_of)

    def init_empty(self, init_net: Any) -> None:
        """Add operators that make the blobs, without records."""
        self.field_blobs = InitEmptyRecord(init_net, self.schema.clone_schema()).field_blobs()

    def init_from_dataframe(self, net: Any, dataframe: Any) -> None:
        """Feed the columns of a table of Pandas into the current workspace."""
        if len(self.fields) != len(dataframe.columns):
            raise AssertionError(f"{len(dataframe.columns)} columns for {len(self.fields)} fields")
        columns = (dataframe.iloc[:, i].to_numpy() for i in range(len(self.fields)))
        self.field_blobs = [Const(net, column, name=field) for column, field in zip(columns, self.fields)]

    def get_blobs(self) -> Any:
        """The blobs of the fields."""
        return self.field_blobs

    def _blobs(self) -> Any:
        if not self.field_blobs:
            raise AssertionError("Dataset not initialized.")
        return self.field_blobs

    def content(self) -> Any:
        """All records, as a record of blobs."""
        return from_blob_list(self.schema, self._blobs())

    def field_names(self) -> list[str]:
        """The names of the fields."""
        return self.fields

    def reader(
        self,
        init_net: Any = None,
        cursor_name: str | None = None,
        batch_size: int = 1,
        enforce_batch_size: bool = False,
    ) -> _DatasetReader:
        """A reader in order. init_net: a net that makes the cursor; else ``setup_ex`` of the reader does it.

        enforce_batch_size: a smaller batch at the end is left out.
        """
        reader = _DatasetReader(self, cursor_name, batch_size, enforce_batch_size)
        if init_net is not None:
            reader.setup_ex(init_net, None)
        return reader

    def random_reader(
        self,
        init_net: Any = None,
        indices: Any = None,
        cursor_name: str | None = None,
        batch_size: int = 1,
        loop_over: bool = False,
        enforce_batch_size: bool = False,
    ) -> _DatasetRandomReader:
        """A reader in the order of a blob of indices, without end if ``loop_over``."""
        reader = _DatasetRandomReader(self, cursor_name, indices, batch_size, loop_over, enforce_batch_size)
        if init_net is not None:
            reader.setup_ex(init_net, None)
        return reader

    def writer(self, init_net: Any = None) -> _DatasetWriter:
        """What appends records."""
        writer = _DatasetWriter(self.content())
        if init_net is not None:
            writer.setup_ex(init_net, None)
        return writer
