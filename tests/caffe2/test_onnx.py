"""Nets as models of ONNX: what ONNX's own reference makes of them, against graphc's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import interpreted_nets
import numpy as np
import pytest
from click.testing import CliRunner

from graphc.caffe2 import brew, core, model_helper
from graphc.caffe2.onnx import frontend, helper
from graphc.caffe2.onnx.bin.conversion import caffe2_to_onnx
from graphc.caffe2.onnx.workspace import Workspace
from graphc.frontends.netdef import read_net
from graphc.frontends.netdef.writer import to_message

onnx = pytest.importorskip("onnx", reason="the extra onnx")
reference = pytest.importorskip("onnx.reference")

RANDOM = np.random.default_rng(4)
PICTURE = RANDOM.normal(size=(2, 4, 7, 6)).astype(np.float32)
ROWS = RANDOM.normal(size=(3, 4)).astype(np.float32)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def value_info(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: (onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in arrays.items()}


def check(net: core.Net, arrays: dict[str, np.ndarray], outputs: list[str], rtol: float = 1e-4) -> Any:
    """Export a net, run the model on ONNX's reference, and compare with the interpreter; gives the model."""
    net.Proto().external_output.extend(outputs)
    model = frontend.caffe2_net_to_onnx_model(net.Proto(), None, value_info(arrays))
    names = [value.name for value in model.graph.output]
    found = reference.ReferenceEvaluator(model).run(names, dict(arrays))
    want = interpreted_nets.run(net, arrays, outputs)
    for array, output in zip(found, outputs, strict=True):
        np.testing.assert_allclose(array, want[output], rtol=rtol, atol=1e-5)
        assert array.shape == want[output].shape
    return model


OPERATORS: dict[str, tuple[str, list[np.ndarray], dict[str, Any]]] = {
    "Conv": ("Conv", [PICTURE, random(6, 2, 3, 3), random(6)], {"kernel": 3, "pad": 1, "stride": 2, "group": 2}),
    "Conv dilated": ("Conv", [PICTURE, random(3, 4, 2, 3)], {"kernel_h": 2, "kernel_w": 3, "dilation": 2}),
    "Conv pads": ("Conv", [PICTURE, random(3, 4, 3, 3)], {"kernels": [3, 3], "pads": [0, 1, 2, 1], "strides": [1, 2]}),
    "ConvTranspose": ("ConvTranspose", [PICTURE, random(4, 3, 2, 2)], {"kernel": 2, "stride": 2, "adj": 1}),
    "MaxPool": ("MaxPool", [PICTURE], {"kernel": 3, "stride": 2, "pad": 1}),
    "MaxPool of Caffe": ("MaxPool", [PICTURE], {"kernel": 3, "stride": 2, "legacy_pad": 3}),
    "AveragePool": ("AveragePool", [PICTURE], {"kernel_h": 3, "kernel_w": 2, "stride": 2}),
    "AveragePool global": ("AveragePool", [PICTURE], {"global_pooling": 1}),
    "FC": ("FC", [random(3, 2, 2), random(5, 4), random(5)], {}),
    "FC axis": ("FC", [random(3, 2, 4), random(5, 4), random(5)], {"axis": 2}),
    "SpatialBN": ("SpatialBN", [PICTURE, random(4), random(4), random(4), abs(random(4))], {"is_test": 1}),
    "InstanceNorm": ("InstanceNorm", [PICTURE, random(4), random(4)], {"epsilon": 1e-3}),
    "LRN": ("LRN", [random(4, 4, 3, 2)], {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
    "Softmax": ("Softmax", [ROWS], {}),
    "PRelu": ("PRelu", [PICTURE, random(4)], {}),
    "AffineChannel": ("AffineChannel", [PICTURE, random(4), random(4)], {}),
    "Add channels": ("Add", [PICTURE, random(4)], {"broadcast": 1, "axis": 1}),
    "Mul": ("Mul", [ROWS, random(4)], {}),
    "Pow": ("Pow", [abs(ROWS)], {"exponent": 1.5}),
    "Elu": ("Elu", [ROWS], {"alpha": 0.5}),
    "LeakyRelu": ("LeakyRelu", [ROWS], {}),
    "Clip": ("Clip", [ROWS], {"max": 0.5}),
    "Swish": ("Swish", [ROWS], {}),
    "Sqr": ("Sqr", [ROWS], {}),
    "Scale": ("Scale", [ROWS], {"scale": 0.25}),
    "Selu": ("Selu", [ROWS], {}),
    "Softsign": ("Softsign", [ROWS], {}),
    "ResizeNearest": ("ResizeNearest", [PICTURE], {"width_scale": 2.0, "height_scale": 3.0}),
    "FlattenToVec": ("FlattenToVec", [PICTURE], {}),
    "NHWC2NCHW": ("NHWC2NCHW", [PICTURE], {}),
    "ReduceL2": ("ReduceL2", [PICTURE], {"axes": [1]}),
    "Conv1D": ("Conv", [random(2, 3, 8), random(4, 3, 3)], {"kernels": [3], "pads": [1, 1], "strides": [2]}),
    "Negative": ("Negative", [ROWS], {}),
    "MatMul": ("MatMul", [ROWS, random(2, 4)], {"trans_b": 1}),
    "BatchMatMul": ("BatchMatMul", [random(2, 3, 4), random(2, 3, 5)], {"trans_a": 1}),
    "Reshape": ("Reshape", [PICTURE], {"shape": [0, -1, 6]}),
    "Flatten": ("Flatten", [PICTURE], {"axis": 2}),
    "Transpose": ("Transpose", [PICTURE], {"axes": [0, 2, 3, 1]}),
    "NCHW2NHWC": ("NCHW2NHWC", [PICTURE], {}),
    "ExpandDims": ("ExpandDims", [ROWS], {"dims": [1]}),
    "Squeeze": ("Squeeze", [random(2, 1, 3)], {"dims": [1]}),
    "Slice": ("Slice", [ROWS], {"starts": [1, 0], "ends": [-1, -2]}),
    "ChannelShuffle": ("ChannelShuffle", [PICTURE], {"group": 2}),
    "UpsampleNearest": ("UpsampleNearest", [PICTURE], {"scale": 2}),
    "PadImage": ("PadImage", [PICTURE], {"pad": 2, "mode": "reflect"}),
    "Gather": ("Gather", [ROWS, np.array([2, 0], np.int64)], {}),
    "ReduceMean": ("ReduceMean", [PICTURE], {"axes": [2, 3], "keepdims": 0}),
    "ArgMax": ("ArgMax", [ROWS], {"axis": 1}),
    "Cast": ("Cast", [ROWS * 9], {"to": core.DataType.INT32}),
    "Dropout": ("Dropout", [ROWS], {"is_test": 1}),
}
# ONNX's reference normalises as many channels as there are pictures: LRN has four of both.
OLD_SHAPE = {"Reshape": ["y", "old"], "Dropout": ["y", "mask"]}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    op_type, arrays, arguments = OPERATORS[name]
    fed = {f"x{i}": array for i, array in enumerate(arrays)}
    net = core.Net("net")
    net.AddExternalInputs(*fed)
    getattr(net, op_type)(list(fed), OLD_SHAPE.get(name, ["y"]), **arguments)
    check(net, fed, ["y"])


def test_operators_of_several_blobs() -> None:
    net = core.Net("net")
    net.AddExternalInputs("a", "b")
    net.Sum(["a", "b", "a"], "sum")
    net.Concat(["sum", "b"], ["both", "sizes"], axis=1)
    net.Concat(["a", "b"], ["stacked", "others"], axis=1, add_axis=1)
    net.Split("both", ["left", "right"], axis=1, split=[1, 7])
    check(net, {"a": ROWS, "b": random(3, 4)}, ["left", "right", "stacked"])


def test_blobs_that_change() -> None:
    """A blob that is written twice has two names; the output is the last one."""
    net = core.Net("net")
    net.AddExternalInput("x")
    net.Scale("x", "y", scale=2.0)
    net.Relu("y", "y")
    net.Scale("y", "y", scale=0.5)
    model = check(net, {"x": ROWS}, ["y"])
    assert [list(node.output) for node in model.graph.node] == [["y_1"], ["y_2"], ["y_3"]]
    assert [op.output[0] for op in net.Proto().op] == ["y"] * 3


def small_net() -> tuple[core.Net, core.Net]:
    """A convolutional net, and its init net, which also holds an example of the input."""
    model = model_helper.ModelHelper(name="small")
    x = brew.conv(model, "data", "conv", 4, 8, 3)
    x = brew.relu(model, x, x)
    x = brew.max_pool(model, x, "pool", kernel=2, stride=2)
    x = brew.fc(model, x, "scores", 8 * 2 * 2, 5)
    brew.softmax(model, x, "softmax")
    model.net.Proto().external_output.append("softmax")
    model.param_init_net.ConstantFill([], "data", shape=[1], value=0.0)
    return model.param_init_net, model.net


def test_models_with_weights() -> None:
    init, net = small_net()
    info = {"data": (onnx.TensorProto.FLOAT, (2, 4, 7, 6))}
    model = frontend.caffe2_net_to_onnx_model(net.Proto(), init.Proto(), info)
    (found,) = reference.ReferenceEvaluator(model).run(None, {"data": PICTURE})
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    want = interpreted_nets.run(net, {"data": PICTURE, **weights}, ["softmax"])["softmax"]
    np.testing.assert_allclose(found, want, rtol=1e-4)
    assert "data" not in weights
    assert model.opset_import[0].version == 9
    shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert shape == [2, 5]
    kept = frontend.caffe2_init_net_to_initializer(init.Proto())
    assert [tensor.name for tensor in kept] == ["conv_b", "conv_w", "data", "scores_b", "scores_w"]


@pytest.mark.parametrize("name", ["mnist", "perception_v0"])
def test_saved_models(shared: Path, name: str) -> None:
    """ONNX's reference gives what Caffe2 gave."""
    folder = shared / "models" / name
    init, predict = (to_message(read_net((folder / f"{part}_net.pb").read_bytes())) for part in ("init", "predict"))
    fed, want = dict(np.load(folder / "inputs.npz")), dict(np.load(folder / "outputs.npz"))
    model = frontend.caffe2_net_to_onnx_model(predict, init, value_info(fed))
    for name, array in want.items():
        (found,) = reference.ReferenceEvaluator(model).run([name], fed)
        np.testing.assert_allclose(found, array, rtol=1e-3, atol=1e-4)


def test_nets_without_a_translation() -> None:
    net = core.Net("net")
    net.AddExternalInput("x")
    net.Relu("x", "y")
    net.SpatialBN(["y", "s", "b", "m", "v"], ["z", "m", "v", "sm", "sv"])
    net.LengthsRangeFill("n", "r")
    arrays = {"x": PICTURE, **{name: random(4) for name in "sbmv"}, "n": np.array([2], np.int32)}
    with pytest.raises(RuntimeError, match="cannot become a model of ONNX") as caught:
        frontend.caffe2_net_to_onnx_model(net.Proto(), None, value_info(arrays))
    assert "op #1 SpatialBN (z, m_1, v_1, sm, sv): it has no translation in training" in str(caught.value)
    assert "op #2 LengthsRangeFill (r): it has no translation" in str(caught.value)
    net = core.Net("net")
    net.AddExternalInput("x")
    net.MaxPool("x", "y", kernel=2, order="NHWC")
    with pytest.raises(RuntimeError, match=r"op #0 MaxPool \(y\): ONNX has the order NCHW alone"):
        frontend.caffe2_net_to_onnx_model(net.Proto(), None, value_info({"x": PICTURE}))


def test_inputs_have_to_be_known() -> None:
    net = core.Net("net")
    net.AddExternalInput("x")
    net.Relu("x", "y")
    with pytest.raises(RuntimeError, match="Could not find value info of inputs: x"):
        frontend.caffe2_net_to_onnx_graph(net.Proto())
    with pytest.raises(ValueError, match="dictionary"):
        frontend.caffe2_net_to_onnx_graph(net.Proto(), None, [("x", (1, (1,)))])


def test_the_command(tmp_path: Path) -> None:
    init, net = small_net()
    files = {"init.pb": init, "predict.pb": net}
    for name, made in files.items():
        (tmp_path / name).write_bytes(made.Proto().SerializeToString())
    model = tmp_path / "model.onnx"
    options = [str(tmp_path / "predict.pb"), "--caffe2-init-net", str(tmp_path / "init.pb"), "-o", str(model)]
    info = json.dumps({"data": [1, [1, 4, 7, 6]]})
    done = CliRunner().invoke(caffe2_to_onnx, [*options, "--value-info", info, "--caffe2-net-name", "mine"])
    assert done.exit_code == 0, done.output
    assert onnx.load(str(model)).graph.name == "mine"
    refused = CliRunner().invoke(caffe2_to_onnx, [options[0], "-o", str(model), "--value-info", info])
    assert refused.exit_code == 1
    assert "Could not find value info of inputs: conv_w, conv_b, scores_w, scores_b" in refused.output


def test_helpers(tmp_path: Path) -> None:
    net = core.Net("net")
    net.AddExternalInput("x")
    net.AddExternalOutput(net.Relu("x", "y"))
    _, outputs = helper.c2_native_run_net(None, net.Proto(), [ROWS])
    np.testing.assert_array_equal(outputs.y, np.maximum(ROWS, 0))
    _, outputs = helper.c2_native_run_op(net.Proto().op[0], {"x": ROWS})
    np.testing.assert_array_equal(outputs["y"], np.maximum(ROWS, 0))
    with pytest.raises(AssertionError, match="Relu reads 1 blobs"):
        helper.c2_native_run_op(net.Proto().op[0], [ROWS, ROWS])
    path = tmp_path / "net.pb"
    helper.save_caffe2_net(net.Proto(), str(path), output_txt=True)
    assert helper.load_caffe2_net(str(path)) == net.Proto()
    assert 'type: "Relu"' in (tmp_path / "net.pbtxt").read_text()


def test_workspaces_are_apart() -> None:
    one, other = Workspace(), Workspace()
    one.FeedBlob("x", ROWS)
    assert one.Blobs() == ["x"]
    assert not other.HasBlob("x")
