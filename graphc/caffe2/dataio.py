"""``caffe2.python.dataio``: readers and writers, which add operators to nets that read or write batches of records.

Several threads may run what a reader or writer adds: its operators are atomic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core
from graphc.caffe2.schema import Field, Struct, from_blob_list


class Reader:
    """A source of batches; its subclasses have ``read(net)`` and perhaps ``reset(net)``."""

    def __init__(self, schema: Any = None) -> None:
        if schema is not None and not isinstance(schema, Field):
            raise AssertionError(f"a schema.Field is needed, not {type(schema).__name__}")
        self._schema = schema

    def schema(self) -> Any:
        """The record that it reads; raises ``AssertionError`` where it is not known."""
        if self._schema is None:
            raise AssertionError("Schema not provided for this reader.")
        return self._schema

    def _set_schema(self, schema: Any) -> None:
        self._schema = schema

    def setup_ex(self, init_net: Any, finish_net: Any) -> None:
        """Add to nets what has to run before and after all reading."""

    def read_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        """Nets that read a batch, the blob that says that there was none, and the blobs of the fields.

        local_init_net, local_finish_net: nets that run before and after the reading of one thread.
        """
        net = core.Net("reader_body")
        should_stop, fields = self.read(net)
        return [net], should_stop, fields

    def read_record_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        """``read_ex`` with the fields as a record."""
        nets, should_stop, fields = self.read_ex(local_init_net, local_finish_net)
        return nets, should_stop, self._record(fields)

    def _record(self, fields: Any) -> Any:
        return from_blob_list(self._schema, fields) if self._schema else fields

    def read(self, read_net: Any) -> tuple[Any, Any]:
        """Add operators that read a batch: the blob that says that there was none, and the blobs of the fields."""
        raise NotImplementedError("Readers must implement `read`.")

    def reset(self, net: Any) -> None:
        """Add operators that go to the first batch."""
        raise NotImplementedError("This reader cannot be resetted.")

    def read_record(self, read_net: Any) -> tuple[Any, Any]:
        """``read`` with the fields as a record."""
        should_stop, fields = self.read(read_net)
        return should_stop, self._record(fields)

    def execution_step(self, reader_net_name: str | None = None, external_should_stop: Any = None) -> tuple[Any, Any]:
        """A step that reads until the end, or until another blob is true, and the record."""
        net = core.Net(reader_net_name or "reader")
        should_stop, fields = self.read_record(net)
        if external_should_stop is not None:
            should_stop = net.Or([external_should_stop, should_stop])
        return core.execution_step(f"{reader_net_name}_step", net, should_stop_blob=should_stop), fields


class Writer:
    """A destination of batches; its subclasses have ``write(net, fields)`` and perhaps ``commit(net)``."""

    _schema: Any = None

    def schema(self) -> Any:
        """The record that was last written."""
        return self._schema

    def write(self, writer_net: Any, fields: Any) -> Any:
        """Add operators that write a batch."""
        raise NotImplementedError("Writers must implement write.")

    def _blobs(self, fields: Any) -> Any:
        """The blobs of a record, whose schema is noted; blobs as they are."""
        if not isinstance(fields, Field):
            return fields
        self._schema = fields
        return fields.field_blobs()

    def write_record(self, writer_net: Any, fields: Any) -> None:
        """``write`` of a record."""
        self.write(writer_net, self._blobs(fields))

    def setup_ex(self, init_net: Any, finish_net: Any) -> None:
        """Add to nets what has to run before and after all writing."""
        self.commit(finish_net)

    def write_ex(self, fields: Any, local_init_net: Any, local_finish_net: Any, stop_blob: Any) -> list[Any]:
        """Nets that write a batch; ``stop_blob`` becomes true where nothing more can be written."""
        net = core.Net("write_net")
        self.write(net, fields)
        return [net]

    def write_record_ex(
        self, fields: Any, local_init_net: Any, local_finish_net: Any, stop_blob: Any = None
    ) -> tuple[list[Any], Any]:
        """``write_ex`` of a record, and the stop blob."""
        blobs = self._blobs(fields)
        if stop_blob is None:
            stop_blob = local_init_net.NextName("dequeue_status")
        return self.write_ex(blobs, local_init_net, local_finish_net, stop_blob), stop_blob

    def commit(self, finish_net: Any) -> None:
        """Add operators that say that nothing more comes."""


class ReaderBuilder:
    """What makes readers for several processes or threads."""

    def schema(self) -> Any:
        """The record that its readers read."""
        raise NotImplementedError

    def setup(self, **kwargs: Any) -> Any:
        """What has to be done once before the first reader."""
        raise NotImplementedError

    def new_reader(self, **kwargs: Any) -> Any:
        """A reader."""
        raise NotImplementedError


class PipedReaderBuilder(ReaderBuilder):
    """Readers of another builder, passed through ``piper(reader=..., **kwargs)``."""

    def __init__(self, builder: Any, piper: Callable[..., Any]) -> None:
        self._builder, self._piper = builder, piper

    def schema(self) -> Any:
        """The record that the other builder's readers read."""
        return self._builder.schema()

    def setup(self, **kwargs: Any) -> Any:
        """Set up the other builder."""
        return self._builder.setup(**kwargs)

    def new_reader(self, **kwargs: Any) -> Any:
        """A reader."""
        output = self._piper(reader=self._builder.new_reader(**kwargs), **kwargs)
        return output if isinstance(output, Reader) else output.reader()


class Pipe:
    """Something with a writing and a reading end."""

    def __init__(self, schema: Any = None, obj_key: str | None = None) -> None:
        self._num_writers = 0
        self._num_readers = 0
        self._schema, self._obj_key = schema, obj_key

    def schema(self) -> Any:
        """The record that goes through."""
        return self._schema

    def setup(self, global_init_net: Any) -> Any:
        """Add to a net what makes it."""

    def reader(self) -> Any:
        """The reading end."""
        raise NotImplementedError

    def writer(self) -> Any:
        """The writing end."""
        raise NotImplementedError

    def num_readers(self) -> int:
        """How often it is read from."""
        return self._num_readers

    def num_writers(self) -> int:
        """How often it is written to."""
        return self._num_writers

    def _new_writer(self, writer_schema: Any, writer_init_net: Any) -> None:
        if writer_schema is not None and self._schema is None:
            self._schema = writer_schema
        self._num_writers += 1
        self._note_in(writer_init_net)

    def _new_reader(self, reader_init_net: Any) -> None:
        self._num_readers += 1
        self._note_in(reader_init_net)

    def _note_in(self, net: Any) -> None:
        if self._obj_key is not None:
            net.add_attribute(self._obj_key, self)


class CounterReader(Reader):
    """0, 1, 2 ..., without end."""

    def __init__(self) -> None:
        super().__init__(schema=Struct(("iter", np.int64)))
        self.counter: Any = None
        self.should_stop: Any = None

    def setup_ex(self, global_init_net: Any, global_finish_net: Any) -> None:
        """Make the counter."""
        if self.counter is None:
            self.counter = global_init_net.CreateCounter([], init_count=0)
            self.should_stop = _false(global_init_net, [])

    def read_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        """Nets that count."""
        net = core.Net("limited_reader_counter")
        value = net.CountUp([self.counter], 1)
        return [net], self.should_stop, [value]


def _false(net: Any, outputs: Any) -> Any:
    return net.ConstantFill([], outputs or 1, shape=[], dtype=core.DataType.BOOL, value=False)


class ReaderWithLimitBase(Reader):
    """Another reader that something else may end, too; ``data_finished()`` says whether it came to its own end."""

    def __init__(self, reader: Any) -> None:
        super().__init__(schema=reader._schema)
        self.reader = reader
        self.net = core.Net("reader_with_limit")
        self._data_finished = self.net.AddExternalInput(self.net.NextName("data_finished"))
        self.should_stop: Any = None

    def setup_ex(self, global_init_net: Any, global_finish_net: Any) -> None:
        """Set up the other reader and the limit."""
        _false(global_init_net, [self._data_finished])
        self.reader.setup_ex(global_init_net, global_finish_net)
        self.setup_limiter(global_init_net, global_finish_net)

    def read_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        """Nets that look at the limit, read, and note whether that was the end.

        A step looks at its stop blob after each net, so one blob serves for both.
        """
        condition = core.Net("limited_reader_condition")
        should_stop = self.check_limiter_condition(condition)
        nets, finished, fields = self.reader.read_ex(local_init_net, local_finish_net)
        self._set_schema(self.reader._schema)
        after = core.Net("limited_reader_post")
        after.Copy(finished, should_stop)
        after.Or([self._data_finished, finished], [self._data_finished])
        return [condition, *nets, after], should_stop, fields

    def setup_limiter(self, global_init_net: Any, global_finish_net: Any) -> None:
        """Add to nets what the limit needs."""
        raise NotImplementedError("Subclass must implement `setup_limiter`")

    def check_limiter_condition(self, stop_condition_net: Any) -> Any:
        """Add operators that look at the limit; the blob that says that it is reached."""
        raise NotImplementedError("Subclass must implement `check_limiter_condition`")

    def data_finished(self) -> Any:
        """The blob that says, after reading, that the other reader has no more data."""
        return self._data_finished


class ReaderWithLimit(ReaderWithLimitBase):
    """Another reader, for ``num_iter`` batches; without limit if that is None."""

    def __init__(self, reader: Any, num_iter: int | None = 1) -> None:
        super().__init__(reader)
        self.counter: Any = None
        self.num_iter = num_iter
        if num_iter is not None:
            self.counter = self.net.AddExternalInput(self.net.NextName("counter"))

    def setup_limiter(self, global_init_net: Any, global_finish_net: Any) -> None:
        """Make the counter."""
        if self.counter is not None:
            global_init_net.CreateCounter([], [self.counter], init_count=int(self.num_iter or 0))

    def check_limiter_condition(self, stop_condition_net: Any) -> Any:
        """Count down."""
        if self.counter is not None:
            return stop_condition_net.CountDown([self.counter], 1)
        return _false(stop_condition_net, [])


def CountUntil(num_iter: int) -> ReaderWithLimit:
    """A reader of 0, 1 ... ``num_iter - 1``."""
    return ReaderWithLimit(CounterReader(), num_iter)


class ReaderWithTimeLimit(ReaderWithLimitBase):
    """Another reader, for ``duration`` seconds; without limit if that is 0 or None."""

    def __init__(self, reader: Any, duration: float | None = 0) -> None:
        super().__init__(reader)
        self.timer: Any = None
        self.duration = duration
        self.duration_ns_blob: Any = None

    def _is_limited(self) -> bool:
        return self.duration is not None and self.duration > 0

    def setup_limiter(self, global_init_net: Any, global_finish_net: Any) -> None:
        """Start the timer."""
        if not self._is_limited():
            return
        self.timer = global_init_net.TimerBegin([], counter_name="epoch_timer")
        start = global_init_net.TimerGet(self.timer)
        nanoseconds = int((self.duration or 0) * 10**9)
        self.duration_ns_blob = global_init_net.ConstantFill([start], value=nanoseconds, dtype=core.DataType.INT64)
        global_finish_net.TimerEnd([self.timer], [])

    def check_limiter_condition(self, stop_condition_net: Any) -> Any:
        """Look at the timer."""
        if not self._is_limited():
            return _false(stop_condition_net, [])
        return stop_condition_net.GE([stop_condition_net.TimerGet(self.timer), self.duration_ns_blob])


class ReaderWithDelay(Reader):
    """Another reader that waits ``delay`` seconds before each batch."""

    def __init__(self, reader: Any, delay: float) -> None:
        super().__init__(schema=reader._schema)
        self.reader, self.delay = reader, delay

    def setup_ex(self, global_init_net: Any, global_finish_net: Any) -> None:
        """Set up the other reader."""
        self.reader.setup_ex(global_init_net, global_finish_net)

    def read_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        """A net that waits and reads."""
        net = core.Net("reader_body")
        net.Python(lambda inputs, outputs: time.sleep(self.delay))([], [])
        should_stop, fields = self.reader.read(net)
        return [net], should_stop, fields


class CompositeReader(Reader):
    """Several readers, whose records are fields of one; the first one that ends ends it."""

    def __init__(self, names: Sequence[str], readers: Sequence[Any]) -> None:
        if len(names) != len(readers):
            raise AssertionError(f"{len(names)} names for {len(readers)} readers")
        super().__init__(schema=Struct(*[(name, reader.schema()) for name, reader in zip(names, readers)]))
        self._names, self._readers = names, readers

    def setup_ex(self, init_net: Any, finish_net: Any) -> None:
        """Set up all readers."""
        for reader in self._readers:
            reader.setup_ex(init_net, finish_net)

    def read_ex(self, local_init_net: Any, local_finish_net: Any) -> tuple[list[Any], Any, Any]:
        """Nets that read from one reader after another."""
        should_stop = _false(local_init_net, [])
        nets: list[Any] = []
        fields: list[Any] = []
        for name, reader in zip(self._names, self._readers):
            own_nets, own_stop, record = reader.read_record_ex(local_init_net, local_finish_net)
            stop_net = core.Net(f"{name}_stop")
            stop_net.Copy(own_stop, should_stop)
            nets += [*own_nets, stop_net]
            fields += record.field_blobs()
        return nets, should_stop, fields

    def reset(self, net: Any) -> None:
        """Go to the first batch of each."""
        for reader in self._readers:
            reader.reset(net)


class CompositeReaderBuilder(ReaderBuilder):
    """A builder of ``CompositeReader`` from builders of readers."""

    def __init__(self, names: Sequence[str], reader_builders: Sequence[Any]) -> None:
        self._names, self._reader_builders = names, reader_builders
        self._schema = Struct(*[(name, builder.schema()) for name, builder in zip(names, reader_builders)])

    def schema(self) -> Any:
        """The record that its readers read."""
        return self._schema

    def setup(self, **kwargs: Any) -> None:
        """Set up all builders."""
        for builder in self._reader_builders:
            builder.setup(**kwargs)

    def new_reader(self, **kwargs: Any) -> CompositeReader:
        """A reader; raises ``ValueError`` where a builder gives something else."""
        readers = []
        for builder in self._reader_builders:
            reader = builder.new_reader(**kwargs)
            if not isinstance(reader, Reader) and not hasattr(reader, "reader"):
                raise ValueError("reader must be an instance of Reader or Pipe")
            readers.append(reader if isinstance(reader, Reader) else reader.reader())
        found = CompositeReader(self._names, readers)
        if found.schema() != self._schema:
            raise AssertionError(f"the readers read {found.schema()}, their builders said {self._schema}")
        return found
