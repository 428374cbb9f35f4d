"""Readers, writers, queues and data sets: every record arrives once, in tasks of several threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, dataio, workspace
from graphc.caffe2.cached_reader import CachedReader
from graphc.caffe2.dataset import Dataset
from graphc.caffe2.db_file_reader import DBFileReader
from graphc.caffe2.net_builder import ops
from graphc.caffe2.pipeline import pipe, pipe_and_output
from graphc.caffe2.queue_util import Queue, close_queue
from graphc.caffe2.record_queue import RecordQueue
from graphc.caffe2.schema import FeedRecord, NewRecord, Scalar, Struct
from graphc.caffe2.session import LocalSession
from graphc.caffe2.task import TaskGroup, WorkspaceType, final_output
from graphc.caffe2.text_file_reader import TextFileReader


def numbers(size: int) -> Dataset:
    """A data set of one field, ``label``, that holds 0, 1 ..."""
    net = core.Net("source")
    with core.NameScope("source"):
        values = Struct(("label", np.arange(size)))
        blobs = NewRecord(net, values)
    FeedRecord(blobs, values)
    return Dataset(blobs)


def empty_like(dataset: Dataset) -> Dataset:
    net = core.Net("target")
    with core.NameScope("target"):
        copy = Dataset(dataset.content().clone_schema())
        copy.init_empty(net)
    workspace.RunNetOnce(net)
    return copy


def labels(dataset: Dataset) -> list[int]:
    return sorted(workspace.FetchBlob(dataset.content().label()).tolist())


@pytest.mark.parametrize(("limit", "finished"), [(10, False), (110, True), (None, True)])
@pytest.mark.parametrize("threads", ["num_threads", "num_runtime_threads"])
def test_reader_with_limit(limit: int | None, finished: bool, threads: str) -> None:
    source = numbers(40)
    target = empty_like(source)
    with TaskGroup(WorkspaceType.GLOBAL) as group:
        reader = dataio.ReaderWithLimit(source.reader(), num_iter=limit)
        pipe(reader, target.writer(), **{threads: 4})
    session = LocalSession()
    session.run(group)
    assert labels(target) == list(range(min(limit or 40, 40)))
    assert bool(workspace.FetchBlob(reader.data_finished())) is finished
    if limit is None:
        session.run(group)
        assert labels(target) == sorted([*range(40), *range(40)])


def test_queues_and_processors() -> None:
    source = numbers(30)
    with TaskGroup() as group:
        first = pipe(source.reader(batch_size=2), num_threads=2)
        second = pipe(dataio.ReaderWithLimit(first.reader(), num_iter=10), num_threads=2, capacity=3)

        def process(record: Struct) -> Struct:
            with ops.task_init():
                counter = ops.CreateCounter([], ["seen"])
            ops.CountUp(counter)
            with ops.task_exit():
                total.append(final_output(ops.RetrieveCount(counter)))
            return record

        total: list = []
        pipe(second, processor=process, num_threads=3)
    LocalSession().run(group)
    assert int(total[0].fetch()) == 10


def test_a_net_as_processor() -> None:
    source = numbers(6)
    net = core.Net("double")
    net.set_input_record(Struct(("label", Scalar(np.int64, core.BlobReference("label")))))
    doubled = net.Add(["label", "label"])
    net.set_output_record(Struct(("label", Scalar(np.int64, doubled))))
    target = empty_like(source)
    with TaskGroup(WorkspaceType.GLOBAL) as group:
        result, output = pipe_and_output(
            source.reader(), target.writer(), num_threads=2, processor=net, final_outputs=target.content().label()
        )
    LocalSession().run(group)
    assert result is None
    assert sorted(output.fetch().tolist()) == labels(target) == [0, 2, 4, 6, 8, 10]


def test_steps_of_readers() -> None:
    source = numbers(5)
    init = core.Net("init")
    reader = source.reader(init, batch_size=2)
    workspace.RunNetOnce(init)
    step, record = reader.execution_step("reading")
    seen: list[list[int]] = []
    consume = core.Net("consume")
    consume.Python(lambda inputs, outputs: seen.append(inputs[0].data.tolist()))([record.label()], [])
    step.AddNet(consume)
    workspace.RunPlan(step)
    assert seen == [[0, 1], [2, 3], [4]]
    again = core.Net("again")
    reader.reset(again)
    workspace.RunNetOnce(again)
    workspace.RunPlan(core.execution_step("second", [step]))
    assert seen[3:] == [[0, 1], [2, 3], [4]]


def test_random_order_and_composites() -> None:
    source = numbers(10)
    init = core.Net("init")
    reader = source.random_reader(init, batch_size=3)
    reader.sort_and_shuffle(init, "label", shuffle_size=2, batch_size=2)
    reader.computeoffset(init)
    both = dataio.CompositeReader(["a", "b"], [reader, dataio.ReaderWithLimit(dataio.CounterReader(), 3)])
    assert both.schema().field_names() == ["a:label", "b:iter"]
    target = Dataset(both.schema().clone_schema(), name="both")
    with core.NameScope("both"):
        target.init_empty(init)
    workspace.RunNetOnce(init)
    with TaskGroup(WorkspaceType.GLOBAL) as group:
        pipe(both, target.writer())
    with pytest.raises(RuntimeError, match="CheckDatasetConsistency"):  # batches of three beside single numbers
        LocalSession().run(group)
    order = workspace.FetchBlob(reader.indices)
    assert sorted(order.tolist()) == list(range(10))
    assert order.tolist() != list(range(10))


def test_a_queue_that_threads_fill() -> None:
    init, source = core.Net("init"), numbers(12)
    reader = source.reader(init, batch_size=5)
    workspace.RunNetOnce(init)
    queue = RecordQueue(source.content().clone_schema(), capacity=2, num_threads=2)
    queue_reader, producers, close, _ = queue.build(reader)
    consume = core.Net("consume")
    stop, record = queue_reader.read_record(consume)
    seen: list[int] = []
    consume.Python(lambda inputs, outputs: seen.extend(inputs[0].data.tolist()))([record.label()], [])
    reading = core.execution_step("reading", consume, should_stop_blob=stop)
    filling = core.execution_step("filling", [producers, close])
    workspace.RunPlan(core.execution_step("all", [filling, reading], concurrent_substeps=True))
    assert sorted(set(seen)) == list(range(12))


def test_closing_queues() -> None:
    init, net = core.Net("init"), core.Net("net")
    queue = Queue(3, schema=Struct(("x", np.float32)))
    queue.setup(init)
    workspace.RunNetOnce(init)
    workspace.FeedBlob("x", np.zeros(2, np.float32))
    net.EnqueueBlobs([queue.queue(), "x"], ["x"])
    workspace.RunPlan(close_queue(core.execution_step("one", net), queue.queue()))
    with pytest.raises(RuntimeError, match="the queue is closed"):
        workspace.RunNetOnce(net)


def test_text_files(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("a\t1.5\nb\t2\nc\t-3\n")
    schema = Struct(("name", Scalar(str)), ("number", Scalar(np.float32)))
    init, net = core.Net("init"), core.Net("net")
    reader = TextFileReader(init, str(tmp_path / "data.txt"), schema, num_passes=2, batch_size=4)
    stop, record = reader.read_record(net)
    workspace.RunNetOnce(init)
    workspace.CreateNet(net)
    batches = []
    while workspace.RunNet(net) and not workspace.FetchBlob(stop):
        batches.append([workspace.FetchBlob(record[name]()).tolist() for name in ("name", "number")])
    assert batches == [[[b"a", b"b", b"c", b"a"], [1.5, 2, -3, 1.5]], [[b"b", b"c"], [2, -3]]]
    (tmp_path / "data.txt").write_text("a\n")
    workspace.RunNetOnce(init)
    with pytest.raises(RuntimeError, match="a line has 1 fields, not 2"):
        workspace.RunNet(net)


def test_databases_of_records(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.minidb")
    session = LocalSession()
    for size in (20, 50):  # the second source is not read: the cache exists
        cached = CachedReader(numbers(size).reader(), db_path=path, db_type="minidb", batch_size=8)
        session.run(cached.build_cache_step())
        target = empty_like(numbers(1))
        with TaskGroup(WorkspaceType.GLOBAL) as group:
            pipe(cached, target.writer(), num_threads=2)
        session.run(group)
        assert labels(target) == list(range(20))
    reader = DBFileReader(path, "minidb")
    assert reader.name == "cache_db_file_reader"
    assert reader.schema().field_names() == ["label"]
    with pytest.raises(AssertionError, match="not available"):
        DBFileReader(path, "no_such_type")


def test_limits_in_time() -> None:
    slow = dataio.ReaderWithDelay(numbers(1000).reader(), 0.02)
    reader = dataio.ReaderWithTimeLimit(slow, duration=0.1)
    init = core.Net("init")
    slow.reader.setup_ex(init, None)
    workspace.RunNetOnce(init)
    with TaskGroup(WorkspaceType.GLOBAL) as group:
        count = pipe_and_output(reader, processor=counted, final_outputs=core.BlobReference("seen_total"))[1]
    LocalSession().run(group)
    assert 1 <= int(count.fetch()) <= 6


def counted(record: Struct) -> None:
    with ops.task_init():
        counter = ops.CreateCounter([], ["seen_counter"])
    ops.CountUp(counter)
    with ops.task_exit():
        ops.RetrieveCount(counter, "seen_total")
