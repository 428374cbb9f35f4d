"""``caffe2.python.record_queue``: a queue that threads fill from a reader, and that is read as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.caffe2 import core, workspace
from graphc.caffe2.dataio import Reader, Writer
from graphc.caffe2.schema import Field, Struct, from_column_list


class _QueueReader(Reader):
    def __init__(self, blobs_queue: Any, schema: Any, name: str | None = None) -> None:
        super().__init__(schema)
        self.blobs_queue, self.name = blobs_queue, name

    def read(self, read_net: Any) -> tuple[Any, Any]:
        with core.NameScope(read_net.NextName(self.name)):
            names = [*self.schema().field_names(), read_net.NextName()]
            *fields, status = read_net.SafeDequeueBlobs(self.blobs_queue, names)
            return status, fields


class _QueueWriter(Writer):
    def __init__(self, blobs_queue: Any, schema: Any) -> None:
        self.blobs_queue, self._schema = blobs_queue, schema

    def write(self, writer_net: Any, fields: Any) -> Any:
        blobs = fields.field_blobs() if isinstance(fields, Field) else list(fields)
        writer_net.CheckDatasetConsistency(blobs, [], fields=self._schema.field_names())
        status = writer_net.NextName()
        writer_net.SafeEnqueueBlobs([self.blobs_queue, *blobs], [*blobs, status])
        return status


class RecordQueue:
    """A queue of records in the current workspace. fields: a ``Struct``, or names of columns."""

    def __init__(
        self,
        fields: Any,
        name: str | None = None,
        capacity: int = 1,
        enforce_unique_name: bool = False,
        num_threads: int = 1,
    ) -> None:
        if not isinstance(fields, list | Struct):
            raise AssertionError("fields must be either a Struct or a list of raw field names.")
        self.schema = from_column_list(fields) if isinstance(fields, list) else fields
        self.name, self.num_threads = name or "queue", num_threads
        init_net = core.Net(f"{self.name}/init_net")
        self.blobs_queue = init_net.CreateBlobsQueue(
            [],
            1,
            capacity=capacity,
            num_blobs=len(self.schema.field_names()),
            enforce_unique_name=enforce_unique_name,
        )
        workspace.RunNetOnce(init_net)
        self.writer = _QueueWriter(self.blobs_queue, self.schema)
        self.reader = _QueueReader(self.blobs_queue, self.schema, f"{self.name}_reader")
        exit_net = core.Net(f"{self.name}/exit_net")
        exit_net.CloseBlobsQueue(self.blobs_queue, 0)
        self.exit_step = core.execution_step(f"{exit_net}_close_step", exit_net)

    def build(self, reader: Any, process: Callable[[Any, Any], Any] | None = None) -> tuple[Any, Any, Any, Any]:
        """The reader of the queue, the step that fills it, the step that closes it, and the schema.

        process: ``process(net, record)`` adds operators between the reader and the queue, and gives a record.
        """
        steps = [self._producer(i, reader, process) for i in range(self.num_threads)]
        producers = core.execution_step("producers", steps, concurrent_substeps=True)
        return self.reader, producers, self.exit_step, self.schema

    def _producer(self, i: int, reader: Any, process: Callable[[Any, Any], Any] | None) -> Any:
        read_net, write_net = core.Net(f"reader_{i}"), core.Net(f"queue_writer{i}")
        should_stop, record = reader.read_record(read_net)
        self.writer.write(write_net, (process(write_net, record) if process else record).field_blobs())
        steps = [core.execution_step(str(net), net) for net in (read_net, write_net)]
        return core.execution_step(f"producer_{i}", steps, should_stop_blob=should_stop)
