"""Threads that fetch data, and the small helpers of training scripts."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, data_workers, parallel_workers, timeout_guard, workspace
from graphc.caffe2.experiment_util import ExternalLogger, ModelTrainerLog


@pytest.mark.parametrize("rows", [3, 10])
def test_batches_of_fetched_rows(rows: int) -> None:
    net = core.Net("train")
    coordinator = data_workers.init_data_input_workers(net, ["data", "label"], fetch(rows), 4, 2, "test")
    workspace.RunNetOnce(core.Net("nothing"))
    for blob in ("data", "label"):
        workspace.CreateBlob(blob)
    workspace.CreateNet(net)
    coordinator.start()
    seen = []
    for _ in range(10):
        workspace.RunNet(net)
        data, label = workspace.FetchBlobs(["data", "label"])
        assert data.shape == (4, 2)
        assert data[:, 0].tolist() == label.tolist()
        seen += label.tolist()
    assert coordinator.stop() is True
    assert len(set(seen)) == 40  # no row twice


def fetch(rows: int) -> object:
    """A function that gives rows that nobody saw before."""
    lock, count = threading.Lock(), [0]

    def fetcher(worker: int, batch_size: int) -> list[np.ndarray]:
        with lock:
            start, count[0] = count[0], count[0] + rows
        label = np.arange(start, start + rows, dtype=np.float32)
        return [np.stack([label, -label], axis=1), label]

    return fetcher


def test_a_fetcher_that_fails_ends_the_others() -> None:
    net = core.Net("fails")

    def fail(worker: int, batch_size: int) -> None:
        raise ValueError("no data")

    coordinator = data_workers.init_data_input_workers(net, ["x"], fail, 4, 2, "fails", timeout=1)
    workspace.CreateBlob("x")
    workspace.CreateNet(net)
    coordinator.start()
    with pytest.raises(RuntimeError, match="closed and empty"):
        workspace.RunNet(net)
    coordinator.stop()


def test_workers() -> None:
    called, metrics, ended = threading.Event(), [], []

    class Logger:
        def log(self, numbers: dict) -> None:
            metrics.append(dict(numbers))

    coordinator = parallel_workers.init_workers(
        lambda worker: called.set(),
        worker_name="calls",
        init_fun=lambda own, every: ended.append("began"),
        external_loggers=[Logger()],
        shutdown_fun=lambda: ended.append("ended"),
    )
    coordinator.start()
    assert called.wait(10)
    coordinator.stop_coordinator("calls")
    assert ended == ["began", "ended"]
    assert metrics[-1]["worker_time_count"] >= 1


def test_logs_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list = []

    class Logger(ExternalLogger):
        def set_runtime_args(self, runtime_args: dict) -> None:
            seen.append(runtime_args["rate"])

        def log(self, log_dict: dict) -> None:
            seen.append(log_dict["loss"])

    log = ModelTrainerLog("name", {"rate": 0.1}, [Logger()])
    log.log(100, 1, {"loss": 0.5})
    log.log(300, 3, {"loss": 0.25})
    assert seen == [0.1, 0.5, 0.25]
    lines = (tmp_path / log.filename).read_text().splitlines()
    assert lines[0] == "# {'rate': 0.1}"
    assert lines[1].split(",")[-1] == "loss"
    assert [line.split(",")[2:5] for line in lines[2:]] == [["100", "100", "1"], ["200", "300", "3"]]


def test_calls_that_take_too_long_end_the_process() -> None:
    with timeout_guard.CompleteInTimeOrDie(60):
        pass
    code = (
        "import time\n"
        "from graphc.caffe2 import timeout_guard\n"
        "with timeout_guard.CompleteInTimeOrDie(0.1):\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Call did not finish in time" in done.stderr


def test_a_queue_drawn_by_weight() -> None:
    net = core.Net("draw")
    queues = [net.CreateBlobsQueue([], f"queue{i}", capacity=50, num_blobs=2) for i in range(3)]
    workspace.RunNetOnce(net)
    for i, queue in enumerate(queues):
        for name in "xy":
            workspace.FeedBlob(name, np.full(2, i))
        workspace.RunOperatorMultiple(core.CreateOperator("EnqueueBlobs", [queue, "x", "y"], ["x", "y"]), 40)
    arguments = {"weights": [1.0, 3.0, 0.0], "table_idx_blob": 1}
    draw = core.CreateOperator("WeightedSampleDequeueBlobs", queues, ["x", "y", "ended"], **arguments)
    drawn = []
    for _ in range(40):
        workspace.RunOperatorOnce(draw)
        drawn.append(int(workspace.FetchBlob("y")[0]))
        assert workspace.FetchBlob("x").tolist() == [drawn[-1]] * 2
        assert not workspace.FetchBlob("ended")
    assert set(drawn) == {0, 1}
    assert drawn.count(1) > drawn.count(0)
    wrong = core.CreateOperator("WeightedSampleDequeueBlobs", queues, ["x", "y", "ended"], weights=[1.0])
    with pytest.raises(RuntimeError, match="give 3 numbers"):
        workspace.RunOperatorOnce(wrong)


def test_a_run_that_waits_can_be_cancelled() -> None:
    workspace.ResetWorkspace()
    init, net = core.Net("make"), core.Net("wait")
    queue = init.CreateBlobsQueue([], "queue", capacity=2, num_blobs=1)
    net.SafeDequeueBlobs([queue], ["x", "done"])
    ws = workspace.C.Workspace()
    ws.create_net(init).run()
    waiting = ws.create_net(net)
    timer = threading.Timer(0.3, waiting.cancel)
    timer.start()
    with pytest.raises(RuntimeError, match="cancelled"):
        waiting.run()
    ws.create_blob("row").feed(np.ones(2, np.float32))
    fill = core.Net("fill")
    fill.EnqueueBlobs([queue, "row"], ["row"])
    ws.create_net(fill).run()
    waiting.run()
    assert ws.blobs["x"].fetch().tolist() == [1, 1]


def test_observers() -> None:
    net = core.Net("observed")
    net.ConstantFill([], "x", shape=[1])
    net.ConstantFill([], "y", shape=[1])
    with pytest.raises(RuntimeError, match="Can't find net"):
        net.AddObserver("TimeObserver")
    workspace.CreateNet(net)
    timer, counter = (net.AddObserver(kind) for kind in ("TimeObserver", "RunCountObserver"))
    assert timer.average_time() == 0
    workspace.RunNet(net, 3)
    assert timer.average_time() > 0
    assert timer.average_time_children() == timer.average_time() / 2  # of two operators
    assert counter.debug_info() == "This operator runs 6 iterations."
    net.RemoveObserver(timer)
    assert net.NumObservers() == 1
    with pytest.raises(RuntimeError, match="there is no observer 'Other'"):
        net.AddObserver("Other")


def test_statistics_and_vectors() -> None:
    def run(*args: object, **kwargs: object) -> None:
        workspace.RunOperatorOnce(core.CreateOperator(*args, **kwargs))

    run("TimerBegin", [], "timer", counter_name="named")
    run("TimerGet", "timer", "now")
    run("TimerGetAndEnd", "timer", "span")
    assert 0 < workspace.FetchBlob("now")[0] < workspace.FetchBlob("span")[0]
    assert workspace.GetStats()["named/time_ns/count"] == 1
    run("StatRegistryCreate", [], "registry")
    workspace.FeedBlob("keys", np.array(["a", "b"]))
    workspace.FeedBlob("values", np.array([3, 4]))
    for _ in range(2):
        run("StatRegistryUpdate", ["keys", "values", "registry"], [])
    run("StatRegistryExport", "registry", ["k", "v", "t"])
    assert workspace.FetchBlob("k").tolist() == [b"a", b"b"]
    assert workspace.FetchBlob("v").tolist() == [6, 8]
    run("StatRegistryExport", "registry", ["k", "v", "t"])
    assert workspace.FetchBlob("v").tolist() == [0, 0]
    run("CreateTensorVector", [], "vector")
    for i in range(5):
        workspace.FeedBlob("x", np.full((1, 2), i))
        run("CollectTensor", ["vector", "x"], ["vector"], num_to_collect=3)
    run("TensorVectorSize", "vector", "size")
    run("ConcatTensorVector", "vector", "joined")
    assert workspace.FetchBlob("size") == 3
    joined = workspace.FetchBlob("joined")
    assert joined.shape == (3, 2)
    assert len(set(joined[:, 0].tolist())) == 3
