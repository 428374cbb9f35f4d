"""Operators and nets run: blobs in place, blobs that nobody gave, weights that change, errors."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from graphc.caffe2 import core, utils, workspace
from graphc.caffe2.workspace.current import current
from graphc.caffe2.workspace.pending import Pending


def feed(**blobs: object) -> None:
    for name, value in blobs.items():
        workspace.FeedBlob(name, np.asarray(value, np.float32))


def test_operators() -> None:
    feed(x=[-1, 2])
    op = core.CreateOperator("Relu", "x", "x")
    assert workspace.RunOperatorOnce(op) is True
    assert workspace.FetchBlob("x").tolist() == [0, 2]
    feed(x=[[-3], [4], [5]])
    assert workspace.RunOperatorOnce(op.SerializeToString()) is True
    assert workspace.FetchBlob("x").tolist() == [[0], [4], [5]]
    scale = core.CreateOperator("Scale", "x", "x", scale=2.0)
    assert workspace.RunOperatorMultiple(scale, 3) is True
    assert workspace.RunOperatorsOnce([op, scale]) is True
    assert workspace.FetchBlob("x").tolist() == [[0], [64], [80]]


def test_a_net_of_which_every_blob_can_be_fetched() -> None:
    feed(x=np.arange(-100, 100))
    net = core.Net("lazy")
    net.Relu("x", "a")
    net.Scale("a", "b", scale=2.0)
    net.Relu("b", "c")
    net.Proto().external_output.append("c")
    workspace.CreateNet(net)
    assert workspace.HasBlob("b")
    workspace.RunNet(net)
    assert isinstance(current().raw["b"], Pending)
    feed(x=np.zeros(200))  # what a run read counts, not what its inputs became
    assert np.array_equal(workspace.FetchBlob("b"), 2 * np.maximum(np.arange(-100, 100), 0))
    workspace.RunNet(net)
    assert not isinstance(current().raw["b"], Pending)
    assert not workspace.FetchBlob("b").any()


def test_blobs_in_place_and_counters() -> None:
    workspace.FeedBlob("it", np.array([5], np.int64))
    feed(x=[1])
    net = core.Net("place")
    net.Iter("it", "it")
    net.Scale("x", "x", scale=3.0)
    workspace.CreateNet(net)
    assert workspace.RunNet(net.Name(), num_iter=3) is True
    assert workspace.FetchBlob("it").tolist() == [8]
    assert workspace.FetchBlob("x").tolist() == [27]


def test_weights_that_change_are_noticed() -> None:
    net = core.Net("weights")
    net.FC(["x", "w", "b"], "y")
    workspace.RunOperatorOnce(core.CreateOperator("ConstantFill", [], "w", shape=[2, 2], value=1.0))
    feed(x=[[1, 2]], b=[0, 10])
    workspace.CreateNet(net)
    workspace.RunNet(net)
    assert workspace.FetchBlob("y").tolist() == [[3, 13]]
    workspace.RunOperatorOnce(core.CreateOperator("ConstantFill", [], "w", shape=[2, 2], value=2.0))
    workspace.RunNet(net)
    assert workspace.FetchBlob("y").tolist() == [[6, 16]]
    feed(b=[1, 1], x=[[1, 1], [2, 2]])
    workspace.RunNet(net)
    assert workspace.FetchBlob("y").tolist() == [[5, 5], [9, 9]]
    tensor = current().blobs["w"].tensor()
    tensor.data[...] = 0
    workspace.RunNet(net)
    tensor.data[...] = 1
    workspace.RunNet(net)
    assert workspace.FetchBlob("y").tolist() == [[3, 3], [5, 5]]


def test_what_counts_as_a_weight() -> None:
    feed(x=[[1, 2]], b=[0, 0], label=[[1, 1]])
    workspace.RunOperatorOnce(core.CreateOperator("ConstantFill", [], "w", shape=[2, 2], value=1.0))
    workspace.RunOperatorOnce(core.CreateOperator("Relu", "x", "data"))
    net = core.Net("kinds")
    net.FC(["data", "w", "b"], "y")
    net.Mul(["y", "scale"], "z", broadcast=1)
    net.Add(["z", "label"], "sum")
    workspace.RunOperatorOnce(core.CreateOperator("ConstantFill", [], "scale", shape=[2], value=2.0))
    workspace.CreateNet(net)
    workspace.RunNet(net)
    assert workspace.FetchBlob("sum").tolist() == [[7, 7]]
    (demands,) = current().net(net.Name()).demands
    assert demands.prepared is not None
    assert set(demands.prepared.variant.weights) == {"w", "b", "scale"}


def test_init_nets_draw_numbers() -> None:
    net = core.Net("init")
    net.XavierFill([], "w", shape=[50, 100])
    net.GaussianFill([], "g", shape=[1000], std=2.0, mean=1.0, random_seed=3)
    net.ConstantFill("w", "zeros")
    workspace.RunNetOnce(net)
    first, seeded = workspace.FetchBlobs(["w", "g"])
    workspace.RunNetOnce(net)
    again, same = workspace.FetchBlobs(["w", "g"])
    assert np.abs(first).max() <= np.sqrt(3 / 100)  # Xavier's bound for 100 inputs
    assert not np.array_equal(first, again)
    assert np.array_equal(seeded, same)
    assert abs(seeded.mean() - 1) < 0.3
    assert workspace.FetchBlob("zeros").shape == (50, 100)
    workspace.CreateNet(net)
    workspace.RunNet(net, 2)
    assert not np.array_equal(workspace.FetchBlob("g"), seeded)


def test_arguments_that_caffe2_ignores(caplog: pytest.LogCaptureFixture) -> None:
    op = core.CreateOperator("GaussianFill", [], "x", shape=[2], run_once=0)
    workspace.RunOperatorOnce(op)
    assert workspace.FetchBlob("x").shape == (2,)
    assert "GaussianFill has no argument 'run_once'" in caplog.text or not caplog.records


def test_errors_of_nets() -> None:
    net = core.Net("errors")
    net.Relu("there", "y")
    with pytest.raises(RuntimeError, match=r"op #0 Relu: Encountered a non-existing input blob: there"):
        workspace.CreateNet(net)
    workspace.CreateNet(net, input_blobs=["there"])
    with pytest.raises(RuntimeError, match="refuse to overwrite an existing net"):
        workspace.CreateNet(net)
    assert workspace.CreateNet(net, overwrite=True) is True
    with pytest.raises(RuntimeError, match=r"blob 'there' contains nullptr \(uninitialized\)"):
        workspace.RunNet(net)
    assert workspace.RunNet(net, allow_fail=True) is False
    feed(there=[-1])
    workspace.RunNet(net)
    assert workspace.FetchBlob("y").tolist() == [0]
    with pytest.raises(RuntimeError, match=r"Can't find net errorrs"):
        workspace.RunNet("errorrs")
    net.Proto().name = ""
    with pytest.raises(RuntimeError, match="should have a name"):
        workspace.CreateNet(net)


def test_errors_say_what_and_where() -> None:
    feed(x=[[1, 2]], w=[[1, 2, 3]], b=[1])
    net = core.Net("wrong")
    net.Relu("x", "a")
    net.FC(["a", "w", "b"], "y")
    with pytest.raises(RuntimeError, match=r"op #1 FC|wrong #?1") as error:
        workspace.RunNetOnce(net)
    assert "test_running.py" in str(error.value)
    net.Proto().op[1].type = "FCC"
    with pytest.raises(RuntimeError, match="graphc has no operator 'FCC'"):
        workspace.RunNetOnce(net)
    assert workspace.FetchBlob("x").tolist() == [[1, 2]]


def test_nets_in_the_workspace() -> None:
    feed(x=[1])
    net = core.Net("listed")
    net.Relu("x", "y")
    workspace.CreateNet(net)
    assert workspace.Nets() == ["listed"]
    workspace.DeleteNet(net)
    assert workspace.Nets() == []


def test_benchmarks() -> None:
    feed(x=np.ones(1000))
    net = core.Net("timed")
    net.Relu("x", "y")
    net.Scale("y", "z", scale=2.0)
    workspace.CreateNet(net)
    times = workspace.BenchmarkNet(net.Name(), 1, 3, True)
    assert len(times) == 3
    assert all(t >= 0 for t in times)
    assert len(workspace.BenchmarkNet(net.Name(), 0, 1, False)) == 1


def test_shapes_without_a_run() -> None:
    net = core.Net("shapes")
    net.FC(["x", "w", "b"], "y")
    net.Unique("labels", "u")
    net.LearningRate("labels", "rate", base_lr=1.0, policy="fixed")
    given = {"x": [7, 3], "w": [5, 3], "b": [5], "labels": [4]}
    shapes, types = workspace.InferShapesAndTypes([net], given, blob_types={"labels": core.DataType.INT64})
    assert shapes == {**given, "y": [7, 5], "rate": [1]}
    assert (types["y"], types["labels"]) == (core.DataType.FLOAT, core.DataType.INT64)
    feed(x=np.ones((2, 3)), w=np.ones((4, 3)), b=np.ones(4))
    workspace.FeedBlob("labels", np.arange(3))
    assert workspace.InferShapesAndTypes([net.Proto()], nets_proto=True)[0]["y"] == [2, 4]


def test_random_inputs_and_costs() -> None:
    net = core.Net("random")
    net.Concat(["x0", "x1"], ["y", "split"], axis=0)
    net.Mul(["y", "x2"], "z")
    workspace.FillRandomNetworkInputs(net, [[(3, 2), (4, 2)], [(7, 2), (7, 2)]], [["float", "float"]] * 2)
    x0, x1, x2 = workspace.FetchBlobs(["x0", "x1", "x2"])
    assert (x0.shape, x1.shape, x2.shape, x0.dtype) == ((3, 2), (4, 2), (7, 2), np.float32)
    assert not np.array_equal(x0, x1[:3])
    with pytest.raises(RuntimeError, match="2 inputs, 1 shapes"):
        workspace.FillRandomNetworkInputs(net, [[(3, 2)], [(7, 2), (7, 2)]], [["float"]] * 2)
    feed(x=np.ones((1, 2, 8, 8)), w=np.ones((3, 2, 3, 3)))
    conv = core.CreateOperator("Conv", ["x", "w"], "y", kernel=3, pad=1)
    flops, written = workspace.GetOperatorCost(conv, ["x", "w"])
    assert (flops, written) == (2 * 3 * 8 * 8 * 2 * 9, 4 * 3 * 8 * 8)  # a product and a sum for each of 18 taps


def test_a_collector_begins_with_a_blob_that_holds_nothing() -> None:
    workspace.ResetWorkspace()
    feed(rows=np.array([[1, 2], [3, 4]]))
    workspace.FeedBlob("next", np.array(0, np.int32))
    workspace.CreateBlob("last")
    net = core.Net("collect")
    net.LastNWindowCollector(["last", "next", "rows"], ["last", "next"], num_to_collect=3)
    workspace.CreateNet(net)
    workspace.RunNet(net, 2)
    assert workspace.FetchBlob("last").tolist() == [[3, 4], [3, 4], [1, 2]]


def test_blobs_are_emptied() -> None:
    workspace.FeedBlob("x", np.ones(3, np.float32))
    utils.ResetBlobs(["x"])
    assert "uninitialized" in workspace.FetchBlob("x")
    with pytest.raises(RuntimeError, match="nothing"):
        utils.ResetBlobs(["nothing"])


def test_tensors_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.FeedBlob("x", np.arange(3, dtype=np.int64))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match="needs PyTorch"):
        workspace.FetchTorch("x")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(from_numpy=lambda array: ("tensor", array)))
    kind, elements = workspace.FetchTorch("x")
    elements[1] = 7
    assert (kind, workspace.FetchBlob("x").tolist()) == ("tensor", [0, 7, 2])
    for other, message in (("text", "a tensor is needed"), (["texts"], "no tensor of numbers")):
        workspace.FeedBlob("x", other)
        with pytest.raises(RuntimeError, match=message):
            workspace.FetchTorch("x")


def test_a_failure_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    net = core.Net("fails_and_is_logged")
    net.Relu("x", "y")
    assert workspace.CallWithExceptionIntercept(lambda a, b: a + b, lambda: 0, "fails_and_is_logged", 1, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        workspace.CallWithExceptionIntercept(lambda: 1 // 0, lambda: 0, "fails_and_is_logged")
    assert "net 'fails_and_is_logged' op #0 failed; created at" in caplog.text
    assert "test_running.py" in caplog.text


def test_shapes_where_no_type_is_given() -> None:
    """A type that nobody said is float32, unless the operator takes whole numbers alone."""
    net = core.Net("shapes")
    net.LearningRate("iter", "rate", base_lr=0.1, policy="fixed")
    net.Unique("ids", ["unique", "remapping"])
    net.Relu("x", "y")
    shapes, types = workspace.InferShapesAndTypes([net], {"iter": [1], "ids": [7], "x": [2, 3]})
    assert {n: shapes.get(n) for n in ("rate", "unique", "remapping", "y")} == {
        "rate": [1], "unique": None, "remapping": [7], "y": [2, 3],
    }  # fmt: skip
    assert (types["rate"], types["remapping"], types["y"]) == (1, 2, 1)


def test_random_fills_run_again_with_other_inputs() -> None:
    """An operator that was checked draws at once: numbers differ from run to run, sizes and bounds are the inputs'."""
    op = core.CreateOperator("UniformFill", ["x", "low", "high"], ["y"])
    seen = set()
    for shape, low, high in (((3,), 0.0, 1.0), ((3,), 5.0, 6.0), ((2, 4), -2.0, -1.0)):
        feed(x=np.zeros(shape), low=[low], high=[high])
        for _ in range(2):
            workspace.RunOperatorOnce(op)
            y = workspace.FetchBlob("y")
            assert (y.shape, y.dtype) == (shape, np.float32)
            assert low <= y.min()
            assert y.max() < high
            seen.add(y.tobytes())
    assert len(seen) == 6
    feed(low=[2.0], high=[1.0])
    with pytest.raises(RuntimeError, match="min is greater than max"):
        workspace.RunOperatorOnce(op)
    same = core.CreateOperator("UniformFill", ["x", "low", "low"], ["y"])
    workspace.RunOperatorOnce(same)
    assert (workspace.FetchBlob("y") == 2).all()
