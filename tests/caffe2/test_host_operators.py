"""Operators with objects that are no tensors: functions, databases, queues, flags, control flow around them."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, utils, workspace
from graphc.caffe2.proto import caffe2_pb2


def run(*args: object, **kwargs: object) -> None:
    workspace.RunOperatorOnce(core.CreateOperator(*args, **kwargs))


def test_functions_of_the_process() -> None:
    def double(inputs: list, outputs: list) -> None:
        outputs[0].feed(inputs[0].data * 2)
        outputs[1].reshape(inputs[0].shape)
        outputs[1].data[...] = 7

    net = core.Net("python")
    net.Python(double)(["x"], ["y", "z"])
    net.Relu("y", "r")
    workspace.FeedBlob("x", np.array([-1, 2], np.float32))
    workspace.CreateNet(net)
    workspace.RunNet(net)
    assert workspace.FetchBlob("r").tolist() == [0, 4]
    assert workspace.FetchBlob("z").tolist() == [7, 7]


def test_functions_that_see_the_workspace_and_factories() -> None:
    def make(step: int) -> object:
        return lambda inputs, outputs, ws: ws.feed_blob("seen", np.array(ws.fetch_blob("x") + step))

    net = core.Net("factory")
    net.Python((make_adder, (5,), {}))("x", "y")
    net.Python(make(1), pass_workspace=True)("x", [])
    workspace.FeedBlob("x", np.array([1.0]))
    workspace.RunNetOnce(net)
    assert workspace.FetchBlob("y").tolist() == [6]
    assert workspace.FetchBlob("seen").tolist() == [2]
    op = core.CreateOperator("Python", "x", "y", token="nobody's")
    with pytest.raises(RuntimeError, match="its function is not in this process"):
        workspace.RunOperatorOnce(op)


def make_adder(step: int) -> object:
    return lambda inputs, outputs: outputs[0].feed(inputs[0].data + step)


def test_gradients_of_functions() -> None:
    def square(inputs: list, outputs: list) -> None:
        outputs[0].feed(inputs[0].data ** 2)

    def gradient(inputs: list, outputs: list) -> None:
        x, _, d_y = (t.data for t in inputs)
        outputs[0].feed(2 * x * d_y)

    net = core.Net("square")
    y = net.Python(square, gradient)("x", "y")
    gradients = net.AddGradientOperators([y])
    workspace.FeedBlob("x", np.array([3, -4], np.float32))
    workspace.RunNetOnce(net)
    assert workspace.FetchBlob(gradients["x"]).tolist() == [6, -8]


def test_a_database_of_training_data(tmp_path: Path) -> None:
    path = str(tmp_path / "data.minidb")
    db = core.C.create_db("minidb", path, core.C.Mode.new)
    transaction = db.new_transaction()
    for i in range(3):
        record = caffe2_pb2.TensorProtos()
        record.protos.add().CopyFrom(utils.NumpyArrayToCaffe2Tensor(np.full((2, 2), i, np.float32)))
        record.protos.add().CopyFrom(utils.NumpyArrayToCaffe2Tensor(np.array(i, np.int32)))
        transaction.put(str(i), record.SerializeToString())
    transaction.commit()
    db.close()
    head = Path(path).read_bytes()[:9]
    assert head == struct.pack("<ii", 1, len(record.SerializeToString()) - 0)[:8] + b"0" or head[8:] == b"0"
    run("CreateDB", [], "reader", db=path, db_type="minidb")
    net = core.Net("input")
    net.TensorProtosDBInput("reader", ["data", "label"], batch_size=2)
    workspace.CreateNet(net)
    seen = []
    for _ in range(3):
        workspace.RunNet(net)
        assert workspace.FetchBlob("data").shape == (2, 2, 2)
        seen += workspace.FetchBlob("label").tolist()
    assert seen == [0, 1, 2, 0, 1, 2]
    cursor = core.C.create_db("minidb", path, core.C.Mode.read).new_cursor()
    assert (cursor.key(), cursor.valid()) == (b"0", True)
    with pytest.raises(RuntimeError, match="no databases of type 'leveldb'"):
        run("CreateDB", [], "reader", db=path)


def test_save_and_load(tmp_path: Path) -> None:
    workspace.ResetWorkspace(str(tmp_path))
    big = np.arange(2500, dtype=np.float32).reshape(50, 50)
    workspace.FeedBlob("a/big", big)
    workspace.FeedBlob("a/text", np.array(["x", "yy"]))
    run("Save", ["a/big", "a/text"], [], db="saved", db_type="minidb", chunk_size=999, strip_prefix="a/")
    workspace.FeedBlob("it", np.array([20], np.int64))
    run("Checkpoint", ["it", "a/big"], [], db="step_%d", db_type="minidb", every=10)
    run("DBExists", [], "exists", db_name="step_20", db_type="minidb")
    assert bool(workspace.FetchBlob("exists"))
    workspace.ResetWorkspace()
    run("Load", [], ["p", "q"], db="saved", db_type="minidb", source_blob_names=["big", "text"])
    assert np.array_equal(workspace.FetchBlob("p"), big)
    assert workspace.FetchBlob("q").tolist() == [b"x", b"yy"]
    run("Load", [], [], db="step_20", db_type="minidb", load_all=1)
    assert np.array_equal(workspace.FetchBlob("a/big"), big)
    assert workspace.FetchBlob("it").tolist() == [20]  # a checkpoint holds the iteration, too
    with pytest.raises(RuntimeError, match="has no blob none"):
        run("Load", [], ["none"], db="saved", db_type="minidb")
    (tmp_path / "cut").write_bytes((tmp_path / "saved").read_bytes()[:-5])
    with pytest.raises(RuntimeError, match="damaged or truncated"):
        run("Load", [], ["big"], db="cut", db_type="minidb")
    workspace.ResetWorkspace(".")


def test_checkpoints_are_patterns_of_the_iteration(tmp_path: Path) -> None:
    workspace.ResetWorkspace(str(tmp_path))
    workspace.FeedBlob("it", np.array([30], np.int64))
    run("Snapshot", ["it"], [], db="old_%03d", db_type="minidb", every=15)  # the first name of Checkpoint
    run("Checkpoint", ["it"], [], db="between_%d", db_type="minidb", every=20)
    run("Checkpoint", ["it"], [], db="same", db_type="minidb")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old_030", "same"]
    with pytest.raises(RuntimeError, match="no pattern for a number"):
        run("Checkpoint", ["it"], [], db="%d_%d", db_type="minidb")
    with pytest.raises(RuntimeError, match="every is 0"):
        run("Checkpoint", ["it"], [], db="%d", db_type="minidb", every=0)
    workspace.ResetWorkspace(".")


def test_queues_between_threads() -> None:
    run("CreateBlobsQueue", [], "queue", capacity=2, num_blobs=2)
    producer, consumer = core.Net("producer"), core.Net("consumer")
    producer.SafeEnqueueBlobs(["queue", "x", "y"], ["x", "y", "refused"])
    consumer.SafeDequeueBlobs("queue", ["p", "q", "empty"])
    workspace.FeedBlob("x", np.array([1]))
    workspace.FeedBlob("y", np.array(["t"]))
    workspace.CreateNet(producer)
    workspace.CreateNet(consumer)

    def produce() -> None:
        workspace.RunNet(producer, 5)
        run("CloseBlobsQueue", "queue", [])

    thread = threading.Thread(target=produce)
    thread.start()
    rows = 0
    while not workspace.RunNet(consumer) or not workspace.FetchBlob("empty"):
        rows += 1
        assert workspace.FetchBlob("q").tolist() == [b"t"]
    thread.join()
    assert rows == 5
    workspace.RunNet(producer)
    assert bool(workspace.FetchBlob("refused"))
    with pytest.raises(RuntimeError, match="closed and empty"):
        run("DequeueBlobs", "queue", ["p", "q"])
    run("CreateBlobsQueue", [], "other", capacity=5, num_blobs=1)
    with pytest.raises(RuntimeError, match="time is over"):
        run("DequeueBlobs", "other", ["p"], timeout_secs=0.01)


def test_a_queue_is_a_database_of_records() -> None:
    run("CreateBlobsQueue", [], "queue", capacity=5, num_blobs=2)
    run("CreateBlobsQueueDB", "queue", "reader", value_blob_index=1, timeout_secs=0.01)
    for i in range(4):
        record = caffe2_pb2.TensorProtos(protos=[utils.NumpyArrayToCaffe2Tensor(np.array([i, -i], np.int32))])
        text = record.SerializeToString()
        workspace.FeedBlob("text", np.array([text], object) if i % 2 else text)
        run("SafeEnqueueBlobs", ["queue", "text", "text"], ["text", "text", "refused"])
    for want in ([[0, 0], [1, -1]], [[2, -2], [3, -3]]):
        run("TensorProtosDBInput", "reader", "pair", batch_size=2)
        assert workspace.FetchBlob("pair").tolist() == want
    with pytest.raises(RuntimeError, match="no records"):
        run("TensorProtosDBInput", "reader", "pair", batch_size=2)
    with pytest.raises(RuntimeError, match="key_blob_index is 2, the queue has 2 blobs"):
        run("CreateBlobsQueueDB", "queue", "reader", key_blob_index=2)
    run("EnqueueBlobs", ["queue", "pair", "pair"], [])
    with pytest.raises(RuntimeError, match="a row of the queue holds caffe2::Tensor"):
        run("TensorProtosDBInput", "reader", "pair", batch_size=1)


def test_counters_and_flags() -> None:
    run("CreateCounter", [], "c", init_count=2)
    for want in (False, False, True):
        run("CountDown", "c", "done")
        assert bool(workspace.FetchBlob("done")) is want  # true once the count was 0 before
    run("ResetCounter", "c", "before", init_count=7)
    assert workspace.FetchBlob("before") == -1
    run("CountUp", "c", "before")
    run("RetrieveCount", "c", "count")
    assert (workspace.FetchBlob("before"), workspace.FetchBlob("count")) == (7, 8)
    assert workspace.FetchBlob("c").startswith("c, a C++ native class of type ")
    run("CreateAtomicBool", [], "flag")
    workspace.FeedBlob("yes", np.array(True))
    run("ConditionalSetAtomicBool", ["flag", "yes"], [])
    run("CheckAtomicBool", "flag", "set")
    assert bool(workspace.FetchBlob("set"))
    run("CreateMutex", [], "m")
    workspace.FeedBlob("n", np.array([1], np.int32))
    run("AtomicFetchAdd", ["m", "n", "n"], ["n", "old"])
    assert (workspace.FetchBlob("n").tolist(), workspace.FetchBlob("old").tolist()) == (2, 1)


def test_control_flow_around_them() -> None:
    run("CreateCounter", [], "c", init_count=0)
    body, condition = core.Net("body"), core.Net("condition")
    body.CountUp("c", "before")
    condition.RetrieveCount("c", "count")
    condition.Python(lambda i, o: o[0].feed(np.array(i[0].data < 4)))("count", "go")
    workspace.FeedBlob("go", np.array(True))
    run("While", "go", [], loop_net=body.Proto(), cond_net=condition.Proto())
    assert workspace.FetchBlob("count") == 4
    run("If", "go", [], then_net=body.Proto())
    run("RetrieveCount", "c", "count")
    assert workspace.FetchBlob("count") == 4


def counting_from(start: int) -> Callable[..., None]:
    seen = [start]

    def count(inputs: list, outputs: list) -> None:
        outputs[0].feed(np.array([seen[0]]))
        seen[0] += 1

    return count


def test_a_builder_makes_a_function_for_each_operator_of_each_created_net() -> None:
    net = core.Net("built")
    net.Python((counting_from, [5], {}))([], ["a"])
    net.Python((counting_from, [5], {}))([], ["b"])
    copies = [net.Clone("built_again"), net]
    for one in copies:
        workspace.CreateNet(one)
        for want in (5, 6, 7):
            workspace.RunNet(one)
            assert workspace.FetchBlobs(["a", "b"]) == [[want], [want]]
    workspace.RunNetOnce(net)
    assert workspace.FetchBlobs(["a", "b"]) == [[5], [5]]
    workspace.CreateNet(net, overwrite=True)
    workspace.RunNet(net)
    assert workspace.FetchBlob("a") == [5]


def test_operators_that_fail() -> None:
    nets = {op: core.Net(op) for op in ("Fail", "ThrowException")}
    nets["Fail"].Fail([], [])
    nets["ThrowException"].ThrowException([], [], message="on purpose")
    for net in nets.values():
        workspace.CreateNet(net)
        with pytest.raises(RuntimeError, match=f"op #0 {net.Proto().op[0].type}"):
            workspace.RunNet(net)
    assert workspace.RunNet(nets["Fail"], allow_fail=True) is False
    with pytest.raises(RuntimeError, match="on purpose"):
        workspace.RunNet(nets["ThrowException"], allow_fail=True)
