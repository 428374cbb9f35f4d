"""Nets that learn: gradients from the API, and the losses of real Caffe2 in shared/training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.proto import caffe2_pb2


def read(path: Path) -> caffe2_pb2.NetDef:
    return caffe2_pb2.NetDef.FromString(path.read_bytes())


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("lenet_sgd", "resblock_sgd")]


@pytest.mark.parametrize("name", ["mlp_adagrad", *SLOW])
def test_losses_of_real_caffe2(shared: Path, name: str) -> None:
    folder = shared / "training" / name
    initial, data, want, final = (np.load(folder / f"{n}.npz") for n in ("initial", "data", "run", "final"))
    net = read(folder / "train_net.pb")
    workspace.RunNetOnce(read(folder / "param_init_net.pb"))
    for blob in initial:
        workspace.FeedBlob(blob, initial[blob])
    workspace.CreateNet(net, input_blobs=["data", "label"])
    for i in range(50):
        for blob in ("data", "label"):
            workspace.FeedBlob(blob, data[blob][i % 10])
        workspace.RunNet(net.name)
        assert abs(workspace.FetchBlob("loss") - want["loss"][i]) < 1e-3
        assert workspace.FetchBlob("accuracy") == want["accuracy"][i]
    for blob in final:
        assert np.allclose(workspace.FetchBlob(blob), final[blob], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp_adagrad", "lenet_sgd", "resblock_sgd"])
def test_gradient_operators_of_real_caffe2(shared: Path, name: str) -> None:
    want = read(shared / "training" / name / "train_net.pb")
    first = next(i for i, op in enumerate(want.op) if op.output[0] == "loss_autogen_grad")
    forward = caffe2_pb2.NetDef(name=name, external_input=want.external_input)
    forward.op.extend(want.op[:first])
    net = core.Net(forward)
    gradients = net.AddGradientOperators(["loss"])
    made = net.Proto().op[first:]
    wanted = want.op[first : first + len(made)]
    assert [(op.type, op.input, op.output) for op in made] == [(op.type, op.input, op.output) for op in wanted]
    parameter = next(b for b in want.external_input if b.endswith("_w"))
    assert str(gradients[parameter]) == f"{parameter}_grad"


def test_a_toy_regression_learns() -> None:
    """The script of Caffe2's tutorial: y = 2 x0 + 1.5 x1 + 0.5."""
    init, train = core.Net("toy_init"), core.Net("toy_train")
    w = init.UniformFill([], "w", shape=[1, 2], min=-1.0, max=1.0)
    b = init.ConstantFill([], "b", shape=[1], value=0.0)
    one = init.ConstantFill([], "ONE", shape=[1], value=1.0)
    it = init.ConstantFill([], "it", shape=[1], value=0, dtype=core.DataType.INT64)
    prediction = train.FC(["x", w, b], "prediction")
    loss = train.SquaredL2Distance([prediction, "y"], "distance").AveragedLoss([], ["loss"])
    gradients = train.AddGradientOperators([loss])
    train.Iter(it, it)
    rate = train.LearningRate(it, "rate", base_lr=-0.1, policy="step", stepsize=20, gamma=0.9)
    for parameter in (w, b):
        train.WeightedSum([parameter, one, gradients[parameter], rate], parameter)
    workspace.RunNetOnce(init)
    workspace.CreateNet(train, input_blobs=["x", "y"])
    rng = np.random.default_rng(0)
    for _ in range(100):
        x = rng.standard_normal((64, 2), np.float32)
        workspace.FeedBlob("x", x)
        workspace.FeedBlob("y", (x @ [[2.0], [1.5]] + 0.5).astype(np.float32))
        workspace.RunNet(train)
    assert np.allclose(workspace.FetchBlob("w"), [[2, 1.5]], atol=0.01)
    assert np.allclose(workspace.FetchBlob("b"), 0.5, atol=0.01)
    assert workspace.FetchBlob("it").tolist() == [100]
    assert workspace.FetchBlob("w_grad").shape == (1, 2)


def test_gradients_given_and_registered() -> None:
    net = core.Net("given")
    net.Relu("x", "y")
    gradients = net.AddGradientOperators({"y": "dy"})
    assert list(net.Proto().op[1].input) == ["y", "dy"]
    assert gradients == {core.BlobReference("x"): core.BlobReference("x_grad"), core.BlobReference("y"): "dy"}
    with pytest.raises(TypeError, match="list or a dict"):
        net.AddGradientOperators("y")

    @core.GradientRegistry.RegisterGradient("ArgMax")
    def none(op: object, d_outputs: list) -> tuple:
        return core.CreateOperator("Copy", d_outputs[0], "made"), ["made"]

    try:
        net = core.Net("registered")
        net.ArgMax("x", "y")
        assert str(net.AddGradientOperators(["y"])["x"]) == "made"
    finally:
        del core.GradientRegistry.gradient_registry_["ArgMax"]
    operators, d_inputs = core.GradientRegistry.GetGradientForOp(core.CreateOperator("Relu", "x", "y"), ["dy"])
    assert (operators[0].type, operators[0].is_gradient_op, d_inputs) == ("ReluGradient", True, ["x_grad"])


def test_a_given_gradient_gives_way() -> None:
    """As in Caffe2: of a blob that operators read, their gradients count and the given one does not."""
    net = core.Net("gives_way")
    net.Relu("x", "y")
    net.Relu("y", "z")
    gradients = net.AddGradientOperators({"y": "dy", "z": "dz"})
    assert str(gradients["y"]) == "y_grad"
    assert [list(op.input) for op in net.Proto().op[2:]] == [["z", "dz"], ["y", "y_grad"]]


def test_versions_and_sums() -> None:
    relu = core.CreateOperator("Relu", "x", "x")
    ir = core.IR([relu, core.CreateOperator("Sum", ["x", "y"], "z")])
    assert isinstance(ir.ssa[0], core.OpSSA)
    assert ir.ssa[0].op is relu
    assert [(s.in_versions, s.out_versions) for s in ir.ssa] == [({"x": 0}, {"x": 1}), ({"x": 1, "y": 0}, {"z": 0})]
    assert (ir.frontier, ir.input_usages["x"][1]) == ({"x": 1, "y": 0, "z": 0}, [1])
    with pytest.raises(ValueError, match="'z' is orphan"):
        core.IR([core.CreateOperator("StopGradient", "x", "z")])
    marks = ["shard:1", f"{core.IR.ONLY_KEEP_IS_AUTO_GEN_SUM_OPS_TAG}:1"]
    for given, want in (
        (marks[:1], ["shard:1", "is_auto_gen_sum_ops:1"]),
        (marks, ["is_auto_gen_sum_ops:1"]),
    ):
        option = core.DeviceOption(caffe2_pb2.CPU, extra_info=given)
        readers = [core.CreateOperator("Relu", "x", name, device_option=option) for name in ("a", "b")]
        made, _ = core.GradientRegistry.GetBackwardPass([*readers, core.CreateOperator("Mul", ["a", "b"], "y")], ["y"])
        assert (made[-1].type, list(made[-1].device_option.extra_info)) == ("Sum", want)


def test_sparse_gradients() -> None:
    net = core.Net("sparse")
    net.Gather(["table", "rows"], "y")
    gradient = net.AddGradientOperators(["y"])["table"]
    assert isinstance(gradient, core.GradientSlice)
    once = net.DeduplicateGradientSlices(gradient)
    workspace.FeedBlob("table", np.zeros((5, 2), np.float32))
    workspace.FeedBlob("rows", np.array([3, 1, 3]))
    workspace.RunNetOnce(net)
    rows, values = workspace.FetchBlobs([once.indices, once.values])
    found = dict(zip(rows.tolist(), values.tolist()))
    assert found == {3: [2, 2], 1: [1, 1]}


def test_a_counter_of_int32_becomes_int64() -> None:
    workspace.FeedBlob("it", np.array([7], np.int32))
    net = core.Net("counting")
    net.Iter("it", "it")
    for _ in range(2):
        workspace.RunNetOnce(net)
    assert (workspace.FetchBlob("it"), workspace.FetchBlob("it").dtype) == ([9], np.int64)
