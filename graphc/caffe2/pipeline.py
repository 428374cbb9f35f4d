"""``caffe2.python.pipeline``: tasks that pass records from a reader, through a function, to a writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.caffe2 import core, queue_util
from graphc.caffe2.dataio import Reader, Writer
from graphc.caffe2.net_builder import NetBuilder, ops
from graphc.caffe2.schema import Field, as_record
from graphc.caffe2.task import Task, TaskGroup

DEFAULT_QUEUE_CAPACITY = 100
"""Records that a queue made by ``pipe`` holds."""


class Output:
    """What a processor gives: nets (else those made with ``ops``), a record, and a blob that ends the reading."""

    def __init__(self, nets: Any = None, record: Any = None, should_stop: Any = None) -> None:
        made = NetBuilder.current().get()
        if nets is not None and made:
            raise AssertionError("Cannot both use `ops` syntax and return a list of nets.")
        found = made if nets is None else nets
        self.nets = [found] if isinstance(found, core.Net) else list(found)
        self.record = None if record is None else as_record(record)
        self.should_stop = should_stop


def _init_output(output: Any, capacity: int | None, init_net: Any, exit_net: Any) -> tuple[Any, Any]:
    """The queue, where there is one, and the writer."""
    if output is not None and capacity is not None:
        raise AssertionError("capacity would not be used.")
    if isinstance(output, Writer):
        queue, writer = None, output
    elif hasattr(output, "writer"):
        queue, writer = output, output.writer()
    elif output is None:
        queue = queue_util.Queue(capacity=DEFAULT_QUEUE_CAPACITY if capacity is None else capacity)
        writer = queue.writer()
    else:
        raise ValueError("output must be a reader, queue or stream.")
    writer.setup_ex(init_net, exit_net)
    return queue, writer


def make_processor(processor: Any, reader: Any = None) -> Any:
    """A function of records: the identity for None, ``NetProcessor`` for a net."""
    if processor is None:
        return lambda record: record
    return NetProcessor(processor) if isinstance(processor, core.Net) else processor


def normalize_processor_output(output: Any) -> Output:
    """What a processor may return, as ``Output``: nets, a record, (record, stop blob), (nets, record, stop blob)."""
    if isinstance(output, Output):
        return output
    if isinstance(output, Field):
        return Output(record=output)
    if not isinstance(output, tuple):
        return Output(output)
    if len(output) == 2 and isinstance(output[0], Field) and isinstance(output[1], core.BlobReference):
        return Output(None, *output)
    return Output(*output)


def pipe(
    input: Any,
    output: Any = None,
    num_threads: int = 1,
    processor: Any = None,
    name: str | None = None,
    capacity: int | None = None,
    group: TaskGroup | None = None,
    num_runtime_threads: int = 1,
) -> Any:
    """A task that reads from ``input`` and writes to ``output`` until one of them ends.

    input: a reader or something with ``reader()``. output: a writer, something with ``writer()``, or None for a new
    queue of ``capacity``. processor: ``processor(record)`` adds operators and gives a record, or nothing if nothing is
    written. num_threads: so many copies of the nets run at once; num_runtime_threads: so many instances of one copy do.
    With 0 threads there is no task, and a reader is given. Else the output, or None for a writer. Raises
    ``ValueError``, ``AssertionError``.
    """
    return _pipe_step(input, output, num_threads, processor, name, capacity, group, num_runtime_threads)[0]


def pipe_and_output(
    input: Any,
    output: Any = None,
    num_threads: int = 1,
    processor: Any = None,
    name: str | None = None,
    capacity: int | None = None,
    group: TaskGroup | None = None,
    num_runtime_threads: int = 1,
    final_outputs: Any = None,
) -> tuple[Any, Any]:
    """``pipe``, and the outputs of the task for some blobs, one for each of a list."""
    if num_threads <= 0:
        raise AssertionError("num_threads has to be 1 or more")
    result, task = _pipe_step(
        input, output, num_threads, processor, name, capacity, group, num_runtime_threads, final_outputs
    )
    if final_outputs is None:
        return result, None
    outputs = task.outputs()
    return result, outputs if isinstance(final_outputs, list | tuple) else outputs[0]


def processor_name(processor: Any) -> str:
    """A name for a task that runs a processor."""
    if hasattr(processor, "name"):
        return str(processor.name)
    name = getattr(processor, "__name__", None)
    if name is None:
        return type(processor).__name__
    return str(processor.__module__ if name == "<lambda>" else name)


def _pipe_step(
    input: Any,
    output: Any,
    num_threads: int,
    processor: Any,
    name: str | None,
    capacity: int | None,
    group: TaskGroup | None,
    num_runtime_threads: int,
    final_outputs: Any = None,
) -> tuple[Any, Any]:
    if num_threads > 1 and num_runtime_threads > 1:
        raise AssertionError("Only one of num_threads or num_runtime_threads must be set.")
    if not isinstance(input, Reader) and not hasattr(input, "reader"):
        raise ValueError("Input must be a reader, queue or stream.")
    reader = input if isinstance(input, Reader) else input.reader()
    if processor is not None:
        reader = ProcessingReader(reader, processor)
    if num_threads == 0 or num_runtime_threads == 0:
        if output is not None:
            raise AssertionError("without threads nothing is written")
        return reader, None
    if name is None and processor is not None:
        name = processor_name(processor)
    if name is None:
        name = f"pipe_into:{processor_name(output)}" if output is not None else f"pipe_from:{processor_name(input)}"
    if num_runtime_threads > 1:
        return _instances_task(name, group, final_outputs, reader, num_runtime_threads, output, capacity)
    return _copies_task(name, group, final_outputs, reader, num_threads, output, capacity)


def _thread(reader: Any, init_net: Any, exit_net: Any, make_writer: Callable[[], Any]) -> Any:
    """The step of one thread; what it needs before is added to ``init_net``."""
    read_nets, status, record = reader.read_record_ex(init_net, exit_net)
    init_net.ConstantFill([], [status], shape=[], value=False, dtype=core.DataType.BOOL)
    write_nets: list[Any] = []
    if record is not None:
        write_nets, _ = make_writer().write_record_ex(record, init_net, exit_net, status)
    return core.execution_step("body", [*read_nets, *write_nets], should_stop_blob=status)


class _Writers:
    """The writer of a task, made when the first thread needs it."""

    def __init__(self, task: Any, output: Any, capacity: int | None, init_net: Any, exit_net: Any) -> None:
        self._task, self._given = task, (output, capacity, init_net, exit_net)
        self.queue: Any = None
        self._writer: Any = None

    def __call__(self) -> Any:
        if self._writer is None:
            with NetBuilder(_fullname=self._task.name):
                self.queue, self._writer = _init_output(*self._given)
        return self._writer


def _instances_task(
    name: str, group: Any, final_outputs: Any, reader: Any, num_threads: int, output: Any, capacity: int | None
) -> tuple[Any, Any]:
    """A task of so many instances of one thread's nets."""
    with Task(name=name, group=group, outputs=final_outputs, num_instances=num_threads) as task:
        exit_net, init_net = core.Net("pipe:exit"), core.Net("pipe:init")
        reader.setup_ex(init_net, exit_net)
        own_init, own_exit = core.Net("pipe:instance:init"), core.Net("pipe:instance:exit")
        writers = _Writers(task, output, capacity, init_net, exit_net)
        body = _thread(reader, own_init, own_exit, writers)
        with ops.task_init():
            ops.net(init_net)
        with ops.task_instance_init():
            ops.net(own_init)
        ops.net(body)
        with ops.task_instance_exit():
            ops.net(own_exit)
        with ops.task_exit():
            ops.net(exit_net)
    return writers.queue, task


def _copies_task(
    name: str, group: Any, final_outputs: Any, reader: Any, num_threads: int, output: Any, capacity: int | None
) -> tuple[Any, Any]:
    """A task in which each thread has nets of its own."""
    with Task(name=name, group=group, outputs=final_outputs) as task:
        exit_net, init_net = core.Net("exit"), core.Net("init")
        reader.setup_ex(init_net, exit_net)
        writers = _Writers(task, output, capacity, init_net, exit_net)
        steps = []
        for i in range(num_threads):
            with NetBuilder(name=f"t:{i}") as builder:
                own_init, own_exit = core.Net("init"), core.Net("exit")
                body = _thread(reader, own_init, own_exit, writers)
                for part in (own_init, body, own_exit):
                    ops.net(part)
            steps.append(core.to_execution_step(builder))
        ops.net(init_net)
        ops.net(core.execution_step("body", steps, concurrent_substeps=True))
        ops.net(exit_net)
    return writers.queue, task


class ProcessingReader(Reader):
    """Another reader, whose records go through a function."""

    def __init__(self, reader: Any, processor: Any) -> None:
        super().__init__()
        self.reader = reader
        self.processor = make_processor(processor, reader)

    def schema(self) -> Any:
        """The record that the processor gives, once it has given one, or what it says itself."""
        return self.processor.schema() if hasattr(self.processor, "schema") else super().schema()

    def setup_ex(self, init_net: Any, finish_net: Any) -> None:
        """Set up the other reader."""
        self.reader.setup_ex(init_net, finish_net)

    def read_ex(self, init_net: Any, exit_net: Any) -> tuple[list[Any], Any, Any]:
        """Nets that read and process."""
        nets, status, record = self.reader.read_record_ex(init_net, exit_net)
        with NetBuilder() as builder:
            result = normalize_processor_output(self.processor(record))
        nets += result.nets
        stops = [blob for blob in (result.should_stop, builder._stop_blob) if blob is not None]
        if stops:
            stop_net = core.Net("stop_net")
            for blob in stops:
                stop_net.Or([status, blob], [status])
            nets.append(stop_net)
        if hasattr(self.processor, "setup"):
            init_net.add_attribute(TaskGroup.LOCAL_SETUP, self.processor)
        self._set_schema(result.record)
        return nets, status, result.record.field_blobs() if result.record else None


class NetProcessor:
    """A net with records of inputs and outputs as a processor: each call gives a copy of it.

    thread_init_nets: nets of which a copy runs first, for each copy. stop_signal: a blob of the net that ends the
    reading.
    """

    def __init__(
        self, net: Any, stop_signal: Any = None, thread_init_nets: Any = None, name: str | None = None
    ) -> None:
        if not isinstance(net, core.Net):
            raise AssertionError(f"a core.Net is needed, not {type(net).__name__}")
        self.name = name or str(net)
        self.thread_init_nets = thread_init_nets or []
        self.net = net
        self._stop_signal = stop_signal
        self._blob_maps: list[dict[str, str]] = []
        self._frozen = False
        self._cloned_init_nets: list[Any] = []

    def schema(self) -> Any:
        """The record of the net's outputs."""
        return self.net.output_record()

    def setup(self, init_net: Any) -> list[Any]:
        """The copies of the nets that run first; no further calls from then on."""
        self._frozen = True
        nets, self._cloned_init_nets = self._cloned_init_nets, []
        return nets

    def __call__(self, rec: Any) -> Output:
        if self._frozen:
            raise AssertionError("the processor's nets have been used already")
        prefix = NetBuilder.current().name + "/"
        names: dict[str, str] = {}
        for net in self.thread_init_nets:
            self._cloned_init_nets.append(core.clone_and_bind_net(net, f"{net}{prefix}", prefix, names)[0])
        net, remap = core.clone_and_bind_net(self.net, f"{self.net}{prefix}", prefix, names, rec)
        stop = self._stop_signal
        if stop is not None and str(stop) in remap:
            stop = core.BlobReference(remap[str(stop)], net=net)
        self._blob_maps.append(remap)
        return Output([net], net.output_record(), stop)

    def blob_maps(self) -> list[dict[str, str]]:
        """What the blobs of each copy are called; no further calls from then on."""
        self._frozen = True
        return self._blob_maps
