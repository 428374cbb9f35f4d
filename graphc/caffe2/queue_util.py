"""``caffe2.python.queue_util``: queues of records between tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core, dataio
from graphc.caffe2.task import TaskGroup


class _QueueReader(dataio.Reader):
    def __init__(self, wrapper: QueueWrapper, num_dequeue_records: int = 1) -> None:
        if wrapper.schema() is None:
            raise AssertionError("Queue needs a schema in order to be read from.")
        super().__init__(wrapper.schema())
        self._wrapper, self._num_dequeue_records = wrapper, num_dequeue_records

    def setup_ex(self, init_net: Any, exit_net: Any) -> None:
        exit_net.CloseBlobsQueue([self._wrapper.queue()], 0)

    def read_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        self._wrapper._new_reader(local_init_net)
        net = core.Net("dequeue")
        fields, status = dequeue(
            net,
            self._wrapper.queue(),
            len(self.schema().field_names()),
            field_names=self.schema().field_names(),
            num_records=self._num_dequeue_records,
        )
        return [net], status, fields

    def read(self, net: Any) -> tuple[Any, Any]:
        nets, status, fields = self.read_ex(net, None)
        for read_net in nets:
            net.AppendNet(read_net)
        return status, fields


class _QueueWriter(dataio.Writer):
    def __init__(self, wrapper: QueueWrapper) -> None:
        self._wrapper = wrapper

    def setup_ex(self, init_net: Any, exit_net: Any) -> None:
        exit_net.CloseBlobsQueue([self._wrapper.queue()], 0)

    def write_ex(self, fields: Any, local_init_net: Any, local_finish_net: Any, status: Any) -> list[Any]:
        self._wrapper._new_writer(self.schema(), local_init_net)
        net = core.Net("enqueue")
        enqueue(net, self._wrapper.queue(), fields, status)
        return [net]


class QueueWrapper(dataio.Pipe):
    """A queue whose blob exists, as a pipe."""

    def __init__(self, handler: Any, schema: Any = None, num_dequeue_records: int = 1) -> None:
        super().__init__(schema, TaskGroup.LOCAL_SETUP)
        self._queue, self._num_dequeue_records = handler, num_dequeue_records

    def reader(self) -> _QueueReader:
        """What reads from it; its end closes the queue."""
        return _QueueReader(self, self._num_dequeue_records)

    def writer(self) -> _QueueWriter:
        """What writes to it; its end closes the queue."""
        return _QueueWriter(self)

    def queue(self) -> Any:
        """The blob."""
        return self._queue


class Queue(QueueWrapper):
    """A queue, which the group of tasks that uses it makes. capacity: the records that it holds at most."""

    def __init__(self, capacity: int, schema: Any = None, name: str = "queue", num_dequeue_records: int = 1) -> None:
        net = core.Net(name)
        super().__init__(net.AddExternalInput(net.NextName("handler")), schema, num_dequeue_records)
        self.capacity = capacity
        self._setup_done = False

    def setup(self, global_init_net: Any) -> None:
        """Add the operator that makes it; raises ``AssertionError`` while the record is not known."""
        if self._schema is None:
            raise AssertionError("This queue does not have a schema.")
        self._setup_done = True
        names = self._schema.field_names()
        global_init_net.CreateBlobsQueue(
            [], [self._queue], capacity=self.capacity, num_blobs=len(names), field_names=names
        )


def enqueue(net: Any, queue: Any, data_blobs: Sequence[Any], status: Any = None) -> Any:
    """Add the operator that writes blobs to a queue; the blob that says that the queue is closed."""
    if status is None:
        status = net.NextName("status")
    blobs: list[Any] = []
    for blob in data_blobs:
        blobs.append(net.Copy(blob, net.NextName("copy")) if blob in blobs else blob)
    return net.SafeEnqueueBlobs([queue, *blobs], [*blobs, status])[-1]


def dequeue(
    net: Any,
    queue: Any,
    num_blobs: int,
    status: Any = None,
    field_names: Sequence[str] | None = None,
    num_records: int = 1,
) -> tuple[list[Any], Any]:
    """Add the operator that reads blobs from a queue: these, and the blob that says that the queue is at its end."""
    if field_names is not None and len(field_names) != num_blobs:
        raise AssertionError(f"{len(field_names)} names for {num_blobs} blobs")
    names = [net.NextName(name) for name in field_names or ()] or [net.NextName("data", i) for i in range(num_blobs)]
    if status is None:
        status = net.NextName("status")
    *blobs, ended = net.SafeDequeueBlobs(queue, [*names, status], num_records=num_records)
    return blobs, ended


def close_queue(step: Any, *queues: Any) -> Any:
    """A step that runs another one and then closes queues."""
    net = core.Net("close_queue_net")
    for queue in queues:
        net.CloseBlobsQueue([queue], 0)
    return core.execution_step(f"{net}_wraper_step", [step, core.execution_step(f"{net}_step", net)])
