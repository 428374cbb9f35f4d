"""Workspaces, nets and predictors in threads: every answer is that of the caller's own inputs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.proto import caffe2_pb2

THREADS, ROUNDS = 4, 60


def in_threads(work: Callable[[int], None]) -> None:
    """Call ``work`` with 0, 1, ... in a thread each; what one raises is raised here."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def chain(name: str) -> core.Net:
    """y = relu(x) * 2, and a counter."""
    net = core.Net(name)
    net.Scale(net.Relu("x", "relu"), "y", scale=2.0)
    net.Iter("count", "count")
    return net


def test_workspaces_of_their_own() -> None:
    """The same net, and the same operators, in a workspace for each thread: plans are shared, blobs are not."""
    net = chain("shared")
    double = core.CreateOperator("Scale", "y", "z", scale=2.0)

    def work(number: int) -> None:
        own = workspace.Workspace()
        own.feed_blob("count", np.array([0], np.int64))
        own.feed_blob("x", np.zeros(3, np.float32))
        created = own.create_net(net)
        for i in range(ROUNDS):
            x = np.full(3 + number % 2, i - number, np.float32)
            own.feed_blob("x", x)
            created.run()
            own.run(double)
            assert own.fetch_blob("z").tolist() == (4 * np.maximum(x, 0)).tolist()
            if i % 10 == number:
                assert own.fetch_blob("relu").tolist() == np.maximum(x, 0).tolist()
        assert own.fetch_blob("count").tolist() == [ROUNDS]

    in_threads(work)


def test_one_workspace() -> None:
    """Operators of several threads on blobs of their own in the one workspace of the process."""

    def work(number: int) -> None:
        op = core.CreateOperator("Relu", f"x{number}", f"y{number}")
        for i in range(ROUNDS):
            workspace.FeedBlob(f"x{number}", np.array([i, -i], np.float32))
            workspace.RunOperatorOnce(op)
            assert workspace.FetchBlob(f"y{number}").tolist() == [i, 0]
            workspace.Blobs()
            workspace.RemoveBlob(f"y{number}")

    in_threads(work)
    assert workspace.Blobs() == [f"x{number}" for number in range(THREADS)]


def test_a_net_that_runs_while_its_blobs_are_fetched() -> None:
    net = chain("watched")
    net.Proto().external_output.extend(["y", "count"])
    workspace.FeedBlob("count", np.array([0], np.int64))
    workspace.FeedBlob("x", np.array([1, -1], np.float32))
    workspace.CreateNet(net)
    workspace.RunNet(net)

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            if number:
                assert workspace.FetchBlob("y").tolist() == [2, 0]
                assert workspace.FetchBlob("relu").tolist() == [1, 0]
            else:
                workspace.RunNet(net)

    in_threads(work)
    assert workspace.FetchBlob("count").tolist() == [ROUNDS + 1]


def test_errors_in_one_thread_leave_the_others_alone() -> None:
    op = core.CreateOperator("Gather", ["rows", "index"], "row")

    def work(number: int) -> None:
        own = workspace.Workspace()
        own.feed_blob("rows", np.array([[1], [2]], np.float32))
        for i in range(ROUNDS):
            index = i % (3 if number == 0 else 2)
            own.feed_blob("index", np.array([index], np.int32))
            if index < 2:
                own.run(op)
                assert own.fetch_blob("row").tolist() == [[index + 1]]
            else:
                with pytest.raises(RuntimeError, match="INDICES has an index outside"):
                    own.run(op)

    in_threads(work)


def test_a_predictor_that_threads_share() -> None:
    net = caffe2_pb2.NetDef(name="predict", external_input=["data"], external_output=["out"])
    net.op.add().CopyFrom(core.CreateOperator("Relu", "data", "out"))
    predictor = workspace.Predictor(caffe2_pb2.NetDef(), net)

    def work(number: int) -> None:
        for i in range(ROUNDS):
            (out,) = predictor.run([np.array([number, -i], np.float32)])
            assert out.tolist() == [number, 0]

    in_threads(work)
