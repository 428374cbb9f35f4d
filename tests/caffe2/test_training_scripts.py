"""Scripts build the nets that Caffe2's Python API builds of them, and these nets learn as they did there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import training_scripts

from graphc.caffe2 import core, workspace
from graphc.caffe2.proto import caffe2_pb2


@pytest.fixture(autouse=True)
def free_names() -> None:
    """Nets get the names that they ask for."""
    core.Net._net_names_used.clear()


@pytest.mark.parametrize("name", training_scripts.SCRIPTS)
def test_nets_are_caffe2s(shared: Path, name: str) -> None:
    """Byte by byte: operators, arguments, blobs, devices, external inputs."""
    model = training_scripts.build(name)
    for net, file in ((model.param_init_net, "param_init_net.pb"), (model.net, "train_net.pb")):
        want = caffe2_pb2.NetDef.FromString((shared / "training" / name / file).read_bytes())
        assert [op.type for op in net.Proto().op] == [op.type for op in want.op]
        for got_op, want_op in zip(net.Proto().op, want.op):
            assert got_op == want_op
        assert net.Proto().SerializeToString() == want.SerializeToString()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("lenet_sgd", "resblock_sgd")]


@pytest.mark.parametrize("name", ["mlp_adagrad", *SLOW])
def test_losses_are_caffe2s(shared: Path, name: str) -> None:
    model = training_scripts.build(name)
    initial, data, want = (np.load(shared / "training" / name / f"{n}.npz") for n in ("initial", "data", "run"))
    workspace.RunNetOnce(model.param_init_net)
    for blob in model.GetAllParams():
        workspace.FeedBlob(blob, initial[str(blob)])
    workspace.CreateNet(model.net, input_blobs=["data", "label"])
    for i in range(50):
        for blob in ("data", "label"):
            workspace.FeedBlob(blob, data[blob][i % 10])
        workspace.RunNet(model.net)
        assert abs(workspace.FetchBlob("loss") - want["loss"][i]) < 1e-3
        assert workspace.FetchBlob("accuracy") == want["accuracy"][i]


MLP = """
FC data h1_w h1_b -> h1
Tanh h1 -> t1
FC t1 pred_w pred_b -> pred
SoftmaxWithLoss pred label -> softmax loss
Accuracy softmax label -> accuracy
ConstantFill loss -> loss_autogen_grad
SoftmaxWithLossGradient pred label softmax loss_autogen_grad -> pred_grad
FCGradient t1 pred_w pred_grad -> pred_w_grad pred_b_grad t1_grad
TanhGradient t1 t1_grad -> h1_grad
FCGradient data h1_w h1_grad -> h1_w_grad h1_b_grad data_grad
AtomicIter iteration_mutex optimizer_iteration -> optimizer_iteration
LearningRate optimizer_iteration -> AdagradOptimizer_0_lr_cpu
Adagrad h1_w h1_w_squared_sum h1_w_grad AdagradOptimizer_0_lr_cpu -> h1_w h1_w_squared_sum
Adagrad h1_b h1_b_squared_sum h1_b_grad AdagradOptimizer_0_lr_cpu -> h1_b h1_b_squared_sum
Adagrad pred_w pred_w_squared_sum pred_w_grad AdagradOptimizer_0_lr_cpu -> pred_w pred_w_squared_sum
Adagrad pred_b pred_b_squared_sum pred_b_grad AdagradOptimizer_0_lr_cpu -> pred_b pred_b_squared_sum
"""


def test_a_net_by_hand() -> None:
    model = training_scripts.build("mlp_adagrad")
    lines = [f"{op.type} {' '.join(op.input)} -> {' '.join(op.output)}" for op in model.net.Proto().op]
    assert lines == MLP.split("\n")[1:-1]
    assert list(model.net.Proto().external_input) == [
        "data", "h1_w", "h1_b", "pred_w", "pred_b", "label", "iteration_mutex", "optimizer_iteration",
        "h1_w_squared_sum", "h1_b_squared_sum", "pred_w_squared_sum", "pred_b_squared_sum",
    ]  # fmt: skip
    fills = [(op.type, op.output[0], list(op.arg[0].ints)) for op in model.param_init_net.Proto().op[:2]]
    assert fills == [("XavierFill", "h1_w", [32, 784]), ("ConstantFill", "h1_b", [32])]
    counter = model.net.Proto().op[10].device_option
    assert list(counter.extra_info) == ["device_type_override:cpu"]


def test_names_of_parameters_of_convolutions() -> None:
    model = training_scripts.build("resblock_sgd")
    assert [str(p) for p in model.params] == [
        "c0_w", "c0_b", "b0_s", "b0_b", "c1_w", "c1_b", "b1_s", "b1_b", "pred_w", "pred_b",
    ]  # fmt: skip
    assert [str(p) for p in model.GetComputedParams()] == ["b0_rm", "b0_riv", "b1_rm", "b1_riv"]
    assert [str(p) for p in model.weights] == ["c0_w", "b0_s", "c1_w", "b1_s", "pred_w"]
    assert [str(p) for p in model.biases] == ["c0_b", "b0_b", "c1_b", "b1_b", "pred_b"]
    assert str(model.param_to_grad["b0_s"]) == "b0_s_grad"
