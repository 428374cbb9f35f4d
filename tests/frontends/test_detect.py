"""Files that are no NetDef are named, with a remedy."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from graphc.frontends.netdef import detect, message_class, read_net
from graphc.ir import FileError


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def _torch_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"x")
    return file.getvalue()


def _plan() -> bytes:
    plan = message_class("PlanDef")(name="p")
    plan.network.add(name="n").op.add(type="Relu", input=["x"], output=["y"])
    plan.execution_step.add(name="s")
    return plan.SerializeToString()


def _meta() -> bytes:
    meta = message_class("MetaNetDef")()
    meta.blobs.add(key="INPUTS_BLOB_TYPE", value=["data"])
    meta.nets.add(key="PREDICT_NET_TYPE").value.op.add(type="Relu", input=["x"], output=["y"])
    return meta.SerializeToString()


def _minidb() -> bytes:
    return b"".join(struct.pack("<ii", len(k), len(v)) + k + v for k, v in [(b"!!META_NET_DEF", b"abc"), (b"w", b"")])


def _tensors() -> bytes:
    tensors = message_class("TensorProtos")()
    tensors.protos.add(dims=[1], float_data=[1.0], name="x")
    return tensors.SerializeToString()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:76ffc6e2\nsize 304827063\n"
ONNX = b"\x08\x03\x12\x07pytorch\x3a\x04\x0a\x02\x0a\x00\x42\x02\x10\x09"
OTHERS = [
    (b"", "an empty file", "download"),
    (b" \n\t ", "white space", "download"),
    (LFS, "Git LFS pointer (sha256:76ffc6e2, 304,827,063 bytes)", "git lfs pull"),
    (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page", "raw file"),
    (b"<html>no</html>", "a web page", "raw file"),
    (b"<?xml version='1.0'?><Error/>", "an XML file", "fetch the file again"),
    (_npz(), "a NumPy archive", "inputs of a run"),
    (_torch_zip(), "a PyTorch file", "Caffe2"),
    (b"\x93NUMPY\x01\x00", "a NumPy array", "NetDef"),
    (b"\x1f\x8b\x08\x00", "a gzip archive", "unpack"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "NetDef"),
    (pickle.dumps({"blobs": {}}), "a Python pickle", "convert_pkl_to_pb"),
    (pickle.dumps({"graphc": "plan"}), "a plan compiled by graphc", "graphc run"),
    (b"graph main {\n}\n", "graphc's text format", "parse"),
    (_plan(), "a PlanDef", "predict net"),
    (b'name: "p"\nnetwork {\n  op { type: "Relu" }\n}\n', "a PlanDef", "predict net"),
    (_meta(), "a MetaNetDef", "predict net"),
    (_minidb(), "a minidb database", "init_net.pb"),
    (_tensors(), "a TensorProtos file", "NetDef"),
    (b'name: "CaffeNet"\nlayer {\n  name: "x"\n}\n', "a Caffe (1) prototxt", "caffe_translator"),
    (b'{"data": [1, [1, 3]]}', "a JSON file", "NetDef"),
    (b"hello there, this is a readme", "a text file", "NetDef"),
    (ONNX, "an ONNX model", "convert"),
    (bytes(range(255, 100, -1)), "no file that graphc knows", "damaged"),
]


@pytest.mark.parametrize(("data", "name", "help"), OTHERS, ids=[name for _, name, _ in OTHERS])
def test_other_files_are_named(data: bytes, name: str, help: str, tmp_path: Path) -> None:
    path = tmp_path / "predict_net.pb"
    path.write_bytes(data)
    with pytest.raises(FileError) as e:
        read_net(path)
    assert name in e.value.message
    assert str(path) in e.value.message
    assert help in e.value.help


def test_nets_are_recognised_by_content() -> None:
    net = message_class("NetDef")(name="n")
    net.op.add(type="Relu", input=["x"], output=["y"])
    assert detect(memoryview(net.SerializeToString())).name == "binary NetDef"
    assert detect(memoryview(b'# comment\nop { type: "Relu" }')).name == "text NetDef"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_net(tmp_path / "absent.pb")
    with pytest.raises(FileError, match="this is a folder"):
        read_net(tmp_path)
    with pytest.raises(FileError, match="cannot be read"):
        read_net("nul\0byte")


def test_shared_files_that_are_no_nets(shared: Path) -> None:
    plans = list((shared / "models" / "without_weights").rglob("*plan.pbtxt"))
    assert len(plans) == 4
    for path in plans:
        with pytest.raises(FileError, match="this is a PlanDef"):
            read_net(path)
    for path in (shared / "golden_files").glob("*.minidb"):
        with pytest.raises(FileError, match="this is a minidb database"):
            read_net(path)
    with pytest.raises(FileError, match="protodb"):
        read_net(shared / "golden_files" / "save_all.protodb")
