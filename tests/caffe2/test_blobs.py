"""What FeedBlob and FetchBlob do with every kind of object, and the other functions on blobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, utils, workspace
from graphc.caffe2.proto import caffe2_pb2


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "?", "i1", "i2", "i4", "i8", "u1", "u2"])
def test_arrays_keep_their_type(dtype: str) -> None:
    data = (np.arange(24).reshape(2, 3, 4) % 7).astype(dtype)
    assert workspace.FeedBlob("x", data) is True
    found = workspace.FetchBlob("x")
    assert found.dtype == data.dtype
    assert np.array_equal(found, data)


@pytest.mark.parametrize(
    "data",
    [
        np.array(1.5, np.float32),
        np.zeros((2, 0, 3), np.float32),
        np.arange(12.0).reshape(3, 4).T[::2],
        np.array([1, 2], ">i4"),
    ],
    ids=["no axes", "no elements", "strides", "byte order"],
)
def test_arrays_of_any_form(data: np.ndarray) -> None:
    workspace.FeedBlob("x", data)
    found = workspace.FetchBlob("x")
    assert found.shape == data.shape
    assert found.dtype == data.dtype.newbyteorder("=")
    assert np.array_equal(found, data)


def test_both_directions_copy() -> None:
    data = np.ones(3, np.float32)
    workspace.FeedBlob("x", data)
    data[:] = 2
    workspace.FetchBlob("x")[:] = 3
    assert workspace.FetchBlob("x").tolist() == [1, 1, 1]


def test_texts_lists_and_messages() -> None:
    workspace.FeedBlob("text", "Hello \0")
    workspace.FeedBlob("strings", np.array([["a", "bcd"]]))
    workspace.FeedBlob("list", ["x", b"y"])
    workspace.FeedBlob("numbers", [1, 2])
    workspace.FeedBlob("message", utils.NumpyArrayToCaffe2Tensor(np.array([0.5], np.float32)))
    assert workspace.FetchBlob("text") == b"Hello \0"
    assert workspace.FetchBlob("strings").tolist() == [[b"a", b"bcd"]]
    assert workspace.FetchBlobs(["list", "numbers"])[0].tolist() == [b"x", b"y"]
    assert workspace.FetchBlob(core.BlobReference("message")).tolist() == [0.5]
    with pytest.raises(ValueError, match=r"blob 'x': a object cannot be fed"):
        workspace.FeedBlob("x", object())
    with pytest.raises(ValueError, match="complex"):
        workspace.FeedBlob("x", np.zeros(1, complex))


def test_quantised_tensors() -> None:
    workspace.FeedInt8Blob("q", np.array([[3, 5]], np.uint8), 0.5, 3)
    found = workspace.FetchInt8Blob("q")
    assert (found.data.tolist(), found.scale, found.zero_point) == ([[3, 5]], 0.5, 3)
    assert workspace.FetchInt8BlobRealVal("q").tolist() == [[0.0, 1.0]]  # (q - zero point) * scale
    with pytest.raises(TypeError, match="Use FetchInt8Blob to fetch Int8 Blob q"):
        workspace.FetchBlob("q")
    workspace.FeedBlob("x", np.zeros(1))
    with pytest.raises(AssertionError, match="Please use FetchBlob"):
        workspace.FetchInt8Blob("x")


def test_names() -> None:
    workspace.FeedBlob("beta", np.zeros(2, np.float32))
    workspace.CreateBlob("alpha")
    assert workspace.Blobs() == ["alpha", "beta"]
    assert workspace.HasBlob("alpha")
    assert workspace.FetchBlob("alpha") == "alpha, a C++ native class of type nullptr (uninitialized)."
    with pytest.raises(RuntimeError, match=r"Can't find blob: betta\nhelp: near names: beta"):
        workspace.FetchBlob("betta")
    workspace.ResetBlob("beta")
    assert "nullptr (uninitialized)" in workspace.FetchBlob("beta")
    assert workspace.RemoveBlob("beta") is True
    assert workspace.RemoveBlob("beta") is False
    assert not workspace.HasBlob("beta")


def test_sizes() -> None:
    workspace.FeedBlob("x", np.zeros((2, 3), np.float64))
    workspace.FeedBlob("s", np.array(["ab", "c"]))
    workspace.FeedBlob("t", np.array(["abcd", "c"]))
    assert workspace.GetBlobSizeBytes("x") == 48
    assert workspace.GetBlobSizeBytes("t") - workspace.GetBlobSizeBytes("s") == 2


def test_the_blobs_as_a_dict() -> None:
    workspace.blobs["x"] = np.ones(2, np.float32)
    assert workspace.blobs["x"].tolist() == [1, 1]
    assert "x" in workspace.blobs
    assert "y" not in workspace.blobs
    assert list(workspace.blobs) == ["x"]
    assert len(workspace.blobs) == 1


@pytest.mark.parametrize("value", [np.arange(6, dtype=np.int64).reshape(2, 3), np.array(["a", ""]), b"text"], ids=str)
def test_serialised_blobs(value: object) -> None:
    workspace.FeedBlob("x", value)
    workspace.DeserializeBlob("y", workspace.SerializeBlob("x"))
    assert np.array_equal(workspace.FetchBlob("y"), workspace.FetchBlob("x"))


def test_serialised_maps_and_dictionaries() -> None:
    workspace.FeedBlob("keys", np.array([5, -3], np.int64))
    workspace.FeedBlob("values", np.array([1, 2], np.int32))
    workspace.RunOperatorOnce(core.CreateOperator("KeyValueToMap", ["keys", "values"], ["map"]))
    data = workspace.SerializeBlob("map")
    blob = caffe2_pb2.BlobProto.FromString(data)
    assert blob.type == "(std::unordered_map<int64_t, int32_t>)"
    keys, values = caffe2_pb2.TensorProtos.FromString(blob.content).protos
    assert (list(keys.int64_data), list(values.int32_data)) == ([5, -3], [1, 2])
    workspace.DeserializeBlob("again", data)
    workspace.RunOperatorOnce(core.CreateOperator("MapToKeyValue", ["again"], ["k", "v"]))
    assert workspace.FetchBlob("k").tolist() == [5, -3]
    assert workspace.FetchBlob("v").dtype == np.int32
    blob.content = b"\xff"
    with pytest.raises(RuntimeError, match="damaged"):
        workspace.DeserializeBlob("again", blob.SerializeToString())

    for kind, items in (("Int", np.array([7, 9], np.int32)), ("String", np.array(["a", "bc"]))):
        workspace.FeedBlob("items", items)
        workspace.RunOperatorOnce(core.CreateOperator(f"{kind}IndexCreate", [], ["index"], max_elements=4))
        workspace.RunOperatorOnce(core.CreateOperator("IndexGet", ["index", "items"], ["at"]))
        workspace.RunOperatorOnce(core.CreateOperator("IndexFreeze", ["index"], ["index"]))
        blob = caffe2_pb2.BlobProto.FromString(workspace.SerializeBlob("index"))
        assert (blob.type, blob.content) == ("std::unique_ptr<caffe2::IndexBase>", b"4 1")
        workspace.DeserializeBlob("copy", blob.SerializeToString())
        workspace.FeedBlob("asked", np.array([items[1], items[0], items.dtype.type(0)]))
        workspace.RunOperatorOnce(core.CreateOperator("IndexGet", ["copy", "asked"], ["at"]))
        assert workspace.FetchBlob("at").tolist() == [2, 1, 0]


def test_serialised_quantised_blobs() -> None:
    workspace.FeedInt8Blob("q", np.array([0, 255], np.uint8), 0.25, 7)
    workspace.DeserializeBlob("p", workspace.SerializeBlob("q"))
    found = workspace.FetchInt8Blob("p")
    assert (found.data.tolist(), found.data.dtype, found.scale, found.zero_point) == ([0, 255], np.uint8, 0.25, 7)
    for damaged in (b"\xff\xff", b"xx", b""):
        with pytest.raises(RuntimeError, match="no BlobProto"):
            workspace.DeserializeBlob("p", damaged)


def test_workspaces_are_apart(tmp_path: Path) -> None:
    workspace.FeedBlob("x", np.zeros(1))
    assert workspace.SwitchWorkspace("other", True) is None
    assert workspace.CurrentWorkspace() == "other"
    assert not workspace.HasBlob("x")
    workspace.SwitchWorkspace("default")
    assert workspace.HasBlob("x")
    assert {"default", "other"} <= set(workspace.Workspaces())
    with pytest.raises(RuntimeError, match="does not exist: nowhere"):
        workspace.SwitchWorkspace("nowhere")
    with pytest.raises(KeyError), workspace.WorkspaceGuard("other"):
        raise KeyError
    assert workspace.CurrentWorkspace() == "default"
    assert workspace.ResetWorkspace(str(tmp_path / "root")) is True
    assert workspace.RootFolder() == str(tmp_path / "root")
    workspace.ResetWorkspace(".")


def test_the_object_api() -> None:
    ws = workspace.C.Workspace()
    ws.create_blob("x").feed(np.array([1.1, 1.2]))
    tensor = ws.blobs["x"].tensor()
    tensor.data[0] = 3.3
    assert ws.blobs["x"].fetch().tolist() == [3.3, 1.2]
    tensor.init([2], core.DataType.INT32)
    assert ws.fetch_blob("x").tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="tensor of strings"):
        tensor.init([2], core.DataType.STRING)
    assert not workspace.HasBlob("x")
    workspace.FeedBlob("y", np.zeros(1))
    assert "y" in workspace.C.Workspace.current.blobs
    copy = ws.create_blob("copy")
    copy.deserialize(ws.blobs["x"].serialize("any"))
    assert copy.fetch().tolist() == [0, 0]


def test_nets_of_the_object_api() -> None:
    ws = workspace.C.Workspace()
    net = core.Net("handled")
    net.ConstantFill([], "ones", shape=[2], value=1.0)
    ws.create_net(net).run()
    ws.nets["handled"].run()
    assert ws.fetch_blob("ones").tolist() == [1, 1]
    with pytest.raises(TypeError, match="a net is needed"):
        ws.create_net("handled")


def test_immediate_mode() -> None:
    workspace.StartImmediate(i_know=True)
    try:
        workspace.FeedImmediate("s", np.array(["a"]))
        core.CreateOperator("ConstantFill", [], "c", shape=[2], value=1.5)
        assert workspace.FetchImmediate("c").tolist() == [1.5, 1.5]
        assert sorted(workspace.ImmediateBlobs()) == ["c", "s"]
    finally:
        workspace.StopImmediate()
    assert not workspace.IsImmediate()
    assert workspace.Blobs() == []
