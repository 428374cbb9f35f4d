"""Models in one database: against a file that Caffe2 wrote, and by nets of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from graphc.caffe2 import core, workspace
from graphc.caffe2.predictor import predictor_exporter as pe
from graphc.caffe2.predictor import predictor_py_utils as utils
from graphc.caffe2.predictor_constants import predictor_constants as keys
from graphc.caffe2.proto import caffe2_pb2, metanet_pb2


def model(name: str = "fc_net") -> core.Net:
    net = core.Net(name)
    net.Softmax(net.FC(["data", "w", "b"], "fc"), "y")
    workspace.FeedBlob("w", np.array([[1, 2], [3, 4], [0, 1]], np.float32))
    workspace.FeedBlob("b", np.array([0.5, 0, -0.5], np.float32))
    return net


def meta(**changes: Any) -> pe.PredictorExportMeta:
    given = {"parameters": ["w", "b"], "inputs": ["data"], "outputs": ["y"], "shapes": {"data": (1, 2), "y": (1, 3)}}
    return pe.PredictorExportMeta(predict_net=model(), **{**given, **changes})


def want(data: np.ndarray) -> np.ndarray:
    e = np.exp(data @ np.array([[1, 3, 0], [2, 4, 1]]) + [0.5, 0, -0.5])
    return np.asarray(e / e.sum(1, keepdims=True))


SCRIPT = """
import sys
import numpy as np
from caffe2.python import workspace
from caffe2.python.predictor import predictor_exporter as pe
net = pe.prepare_prediction_net(sys.argv[1], "minidb")
workspace.FeedBlob("data", np.array([[1, -1], [2, 0.5]], np.float32))
workspace.RunNet(net)
np.save(sys.argv[2], workspace.FetchBlob("y"))
"""


def test_saved_here_and_loaded_in_another_process(tmp_path: Path) -> None:
    pe.save_to_db("minidb", str(tmp_path / "model.minidb"), meta())
    (tmp_path / "load.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "graphc.caffe2", "load.py", "model.minidb", "y.npy"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert np.allclose(np.load(tmp_path / "y.npy"), want(np.array([[1, -1], [2, 0.5]])), atol=1e-6)


def test_nets_of_the_file(tmp_path: Path) -> None:
    extra, path = core.Net("extra"), str(tmp_path / "model.minidb")
    extra.ConstantFill("data", "data", value=2.0)
    pe.save_to_db("minidb", path, meta(extra_init_net=extra, net_type="dag", num_workers=3))
    workspace.ResetWorkspace()
    found = pe.load_from_db(path, "minidb")
    assert isinstance(found, metanet_pb2.MetaNetDef)
    assert utils.GetBlobs(found, keys.PARAMETERS_BLOB_TYPE) == ["w", "b"]
    assert utils.GetBlobsByTypePrefix(found, "INPUTS") == ["data"]
    assert utils.GetBlobs(found, "NOTHING") == []
    workspace.RunNetOnce(utils.GetNet(found, keys.PREDICT_INIT_NET_TYPE))
    assert workspace.FetchBlob("data").tolist() == [[2, 2]]
    assert workspace.FetchBlob("y").tolist() == [[0, 0, 0]]
    predict = utils.GetNet(found, keys.PREDICT_NET_TYPE)
    assert predict is not None
    assert (predict.type, predict.num_workers) == ("dag", 3)
    assert list(predict.external_input) == ["data", "w", "b"]
    workspace.RunNetOnce(utils.GetNet(found, keys.GLOBAL_INIT_NET_TYPE))
    workspace.RunNetOnce(predict)
    assert np.allclose(workspace.FetchBlob("y"), want(np.array([[2.0, 2.0]])), atol=1e-6)


def test_devices_and_names(tmp_path: Path) -> None:
    path = str(tmp_path / "model.minidb")
    pe.save_to_db("minidb", path, meta(name="first"))
    with core.DeviceScope(core.DeviceOption(caffe2_pb2.CPU, 1)):
        found = pe.load_from_db(path, "minidb")
    assert {entry.key for entry in found.nets} == {
        f"{kind}_first" for kind in ("PREDICT_INIT_NET_TYPE", "GLOBAL_INIT_NET_TYPE", "PREDICT_NET_TYPE")
    }
    assert all(op.device_option.device_id == 1 for entry in found.nets for op in entry.value.op)
    with pytest.raises(RuntimeError, match="has no net GLOBAL_INIT_NET_TYPE; it has PREDICT_INIT_NET_TYPE_first"):
        pe.prepare_prediction_net(path, "minidb")
    stub = pe.get_predictor_exporter_helper("sub")
    assert (stub.inputs_name(), stub.train_plan_name()) == ("INPUTS_BLOB_TYPE_sub", "TRAIN_PLAN_TYPE_sub")
    assert stub._replace(trainer_prefix="gpu").train_init_plan_name() == "gpu_TRAIN_INIT_PLAN_TYPE_sub"
    pe.set_model_info(found, "project", "class", "3")
    assert (found.modelInfo.version, found.modelInfo.predictorType) == ("3", "SINGLE_PREDICTOR")


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Parameters and inputs .* Intersection: \['data'\]"):
        meta(parameters=["w", "b", "data"])
    with pytest.raises(AssertionError, match="should be unique"):
        meta(inputs=["data", "data"])
    with pytest.raises(Exception, match="z not in workspace but needed for shape"):
        pe.get_meta_net_def(meta(outputs=["z"]))
    workspace.ResetWorkspace()
    lost = meta()
    workspace.RemoveBlob("w")
    with pytest.raises(RuntimeError, match="w"):
        pe.save_to_db("minidb", str(tmp_path / "x.minidb"), lost)
    with pytest.raises(RuntimeError, match="there is no minidb"):
        pe.load_from_db(str(tmp_path / "none.minidb"), "minidb")
    with pytest.raises(DecodeError):
        pe.serde.deserialize_protobuf_struct(b"\xff\xff", metanet_pb2.MetaNetDef)


def test_maps_of_a_meta_net() -> None:
    found = metanet_pb2.MetaNetDef()
    utils.AddBlobs(found, "k", ["a"])
    utils.AddBlobs(found, "k", [core.BlobReference("b")])
    utils.ReplaceBlobs(found, "k", ["c", "d"])
    assert list(utils.GetBlobs(found, "k")) == ["c", "d"]
    with pytest.raises(AssertionError, match="x does not exist"):
        utils.ReplaceBlobs(found, "x", [])
    utils.AddPlan(found, "p", caffe2_pb2.PlanDef(name="plan"))
    assert utils.GetPlan(found, "p").name == "plan"  # type: ignore[union-attr]
    found.applicationSpecificInfo.add(key="a", value="b")
    assert utils.GetApplicationSpecificInfoDict(found) == {"a": "b"}
    assert utils.GetApplicationSpecificInfo(found, "c") is None
    net = core.Net("with_id")
    net.Proto().arg.add(name="model_id", i=7)
    for _ in range(2):
        given = pe.PredictorExportMeta(net, [], [], [])
        assert utils.GetArgumentByName(pe.get_meta_net_def(given).nets[1].value, "model_id").i == 7  # type: ignore[union-attr]


def test_the_file_that_caffe2_wrote(shared: Path, tmp_path: Path) -> None:
    """Read, run, and written again byte by byte, in a process whose net names are unused."""
    files = shared / "golden_files"
    net = pe.prepare_prediction_net(str(files / "predictor_export.minidb"), "minidb")
    io = np.load(files / "predictor_io.npz")
    workspace.FeedBlob("data", io["data"])
    workspace.RunNet(net)
    assert np.allclose(workspace.FetchBlob("prob"), io["prob"], atol=1e-6)
    (tmp_path / "again.py").write_text(
        "import sys\n"
        "from graphc.caffe2 import core, workspace\n"
        "from graphc.caffe2.predictor import predictor_exporter as pe\n"
        "found = pe.load_from_db(sys.argv[1], 'minidb')\n"
        "nets = {entry.key: entry.value for entry in found.nets}\n"
        "workspace.RunNetOnce(nets['GLOBAL_INIT_NET_TYPE'])\n"
        "predict = nets['PREDICT_NET_TYPE']\n"
        "predict.name = 'pm'\n"
        "net = core.Net(predict)\n"
        "shapes = {'data': (2, 1, 6, 6), 'prob': (2, 4)}\n"
        "meta = pe.PredictorExportMeta(net, ['c_w', 'c_b', 'fc_w', 'fc_b'], ['data'], ['prob'], shapes)\n"
        "pe.save_to_db('minidb', 'again.minidb', meta)\n"
    )
    subprocess.run(
        [sys.executable, "again.py", str(files / "predictor_export.minidb")], cwd=tmp_path, check=True, timeout=300
    )
    assert (tmp_path / "again.minidb").read_bytes() == (files / "predictor_export.minidb").read_bytes()
