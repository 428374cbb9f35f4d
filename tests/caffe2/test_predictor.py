"""Saved models: Predictor, and the same nets through the workspace."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.proto import caffe2_pb2


def small() -> tuple[core.Net, core.Net]:
    """An init net with a placeholder for the input, and a net of one layer."""
    init, predict = core.Net("init"), core.Net("predict")
    init.GivenTensorFill([], "w", shape=[2, 2], values=[1.0, 2.0, 3.0, 4.0])
    init.GivenTensorFill([], "b", shape=[2], values=[0.5, -0.5])
    init.GivenTensorFill([], "data", shape=[1], values=[0.0])
    predict.AddExternalInput("data", "w", "b")
    predict.AddExternalOutput(predict.Relu(predict.FC(["data", "w", "b"], "fc"), "out"))
    return init, predict


def test_inputs_in_order_and_by_name() -> None:
    init, predict = small()
    predictor = workspace.Predictor(init.Proto().SerializeToString(), predict)
    x = np.array([[1, 1], [-1, 0]], np.float32)
    want = [[3.5, 6.5], [0, 0]]  # x @ w.T + b by hand, then the Relu
    assert predictor.run([x])[0].tolist() == want
    assert predictor.run({"data": x})[0].tolist() == want
    assert predictor.run_map({"data": x[:1]})["out"].tolist() == want[:1]
    assert workspace.Blobs() == []
    with pytest.raises(RuntimeError, match=r"datta is no input of the net(.|\n)*near names: data"):
        predictor.run({"datta": x})
    with pytest.raises(RuntimeError, match="was given 4 inputs, the net has 3"):
        predictor.run([x] * 4)
    assert predictor.run([x])[0].tolist() == want


def test_threads_may_share_a_predictor() -> None:
    predictor = workspace.Predictor(*small())
    wrong = []

    def ask(k: int) -> None:
        for _ in range(20):
            found = predictor.run([np.full((1, 2), k, np.float32)])[0]
            wrong.extend([found] if not np.allclose(found, [[3 * k + 0.5, 7 * k - 0.5]]) else [])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_of_the_zoo(shared: Path) -> None:
    folder = shared / "models" / "squeezenet_v1.1"
    init, predict = (caffe2_pb2.NetDef.FromString((folder / f"{n}_net.pb").read_bytes()) for n in ("init", "predict"))
    inputs, want = np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")["softmaxout"]
    found = workspace.Predictor(init, predict).run([inputs["data"]])
    assert np.allclose(found[0], want, rtol=1e-3, atol=1e-6)
    predict.name = "squeezenet"
    workspace.RunNetOnce(init)
    workspace.FeedBlob("data", inputs["data"])
    workspace.CreateNet(predict)
    workspace.RunNet("squeezenet")
    assert np.allclose(workspace.FetchBlob("softmaxout"), want, rtol=1e-3, atol=1e-6)
    shapes, _ = workspace.InferShapesAndTypes([init, predict], {"data": [1, 3, 227, 227]})
    assert shapes["softmaxout"] == [1, 1000, 1, 1]
