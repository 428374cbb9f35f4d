"""A net and its blobs as a pair of NetDefs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.predictor import mobile_exporter
from graphc.caffe2.proto import caffe2_pb2
from graphc.operators import Int8Tensor


def test_a_net_with_weights() -> None:
    net = core.Net("mobile")
    net.AddExternalInput("w", "b", "data")
    net.Relu(net.FC(["data", "w", "b"], "fc"), "out")
    workspace.FeedBlob("w", np.array([[1, -1]], np.float32))
    workspace.FeedBlob("b", np.array([0.5], np.float32))
    before = net.Proto().SerializeToString()
    init, predict = mobile_exporter.Export(workspace, net, [core.BlobReference("w"), "b"])
    assert net.Proto().SerializeToString() == before
    assert list(predict.external_input) == ["data", "w", "b"]
    assert list(predict.external_output) == ["out"]
    assert [(op.type, list(op.output)) for op in init.op] == [("GivenTensorFill", [n]) for n in ("w", "b", "data")]
    dummy = init.op[2]
    assert [(a.name, list(a.ints), list(a.floats)) for a in dummy.arg] == [("shape", [1, 1], []), ("values", [], [0.0])]
    workspace.ResetWorkspace()
    predictor = workspace.Predictor(init.SerializeToString(), predict.SerializeToString())
    assert predictor.run([np.array([[3, 1], [0, 2]], np.float32)])[0].tolist() == [[2.5], [0]]


def test_element_types() -> None:
    given = {
        "i4": np.array([[1, -2]], np.int32),
        "i8": np.array([1 << 40], np.int64),
        "i2": np.array([-3], np.int16),
        "flag": np.array([True, False]),
        "u1": np.array([[0, 255], [7, 8]], np.uint8),
        "text": np.array([b"aa", b"\xff"], object),
    }
    net = core.Net("types")
    for name, value in given.items():
        workspace.FeedBlob(name, value)
        net.Copy(name, name + "_copy")
    init, _ = mobile_exporter.Export(workspace, net, list(given))
    types = [op.type for op in init.op]
    assert types[:2] + types[4:] == [
        "GivenTensorIntFill",
        "GivenTensorInt64Fill",
        "GivenTensorByteStringToUInt8Fill",
        "GivenTensorStringFill",
    ]
    workspace.ResetWorkspace()
    workspace.RunNetOnce(init)
    for name, value in given.items():
        found = workspace.FetchBlob(name)
        assert (found.dtype, found.tolist()) == (value.dtype, value.tolist()), name


def test_quantised_blobs_and_others() -> None:
    workspace.FeedBlob("q", Int8Tensor(np.array([[1, 200]], np.uint8), 0.5, 128))
    net = core.Net("quantised")
    net.Int8Dequantize("q", "x")
    init, predict = mobile_exporter.Export(workspace, net, ["q"])
    assert workspace.Predictor(init, predict).run([])[0].tolist() == [[-63.5, 36]]
    workspace.FeedBlob("wide", np.zeros(2, np.float64))
    net.Copy("wide", "copy")
    with pytest.raises(TypeError, match="blob 'wide' holds elements of type float64"):
        mobile_exporter.Export(workspace, net, ["q", "wide"])


def test_the_files_that_caffe2_wrote(shared: Path) -> None:
    files = shared / "golden_files"
    init, predict = (
        caffe2_pb2.NetDef.FromString((files / f"mobile_{n}_net.pb").read_bytes()) for n in ("init", "predict")
    )
    workspace.RunNetOnce(init)
    again = mobile_exporter.Export(workspace, predict, ["c_w", "c_b", "fc_w", "fc_b"])
    assert [net.SerializeToString() for net in again] == [net.SerializeToString() for net in (init, predict)]
