"""Models of several replicas learn what one replica learns from the joined batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from interpreted_net import interpreted

from graphc.caffe2 import brew, core, data_parallel_model, model_helper, muji, optimizer, workspace

STEPS, BATCH = 4, 8


def nothing(model: Any) -> None:
    """The inputs are fed."""


def linear(model: Any, loss_scale: float) -> list[Any]:
    return squares(model, "data", loss_scale)


def squares(model: Any, blob: Any, loss_scale: float) -> list[Any]:
    fc = brew.fc(model, blob, "fc", 4, 1, weight_init=("ConstantFill", {}), bias_init=("ConstantFill", {}))
    distance = model.net.SquaredL2Distance([fc, "label"], "distance")
    loss = model.net.AveragedLoss(distance, "loss")
    return [model.net.Scale(loss, "scaled", scale=loss_scale)]


def normalised(model: Any, loss_scale: float) -> list[Any]:
    image = model.net.Reshape("data", ["image", "shape"], shape=(-1, 2, 1, 2))[0]
    normal = brew.spatial_bn(model, image, "bn", 2, epsilon=1e-3, is_test=False)
    return squares(model, normal, loss_scale)


def update(model: Any) -> None:
    """Plain descent, for each replica by itself."""
    rate = model.net.LearningRate([brew.iter(model, "ITER")], "LR", base_lr=-0.1, policy="fixed")
    one = model.param_init_net.ConstantFill([], "ONE", shape=[1], value=1.0)
    for param in model.GetParams():
        model.net.WeightedSum([param, one, model.param_to_grad[param], rate], param)


def train(net: Any) -> None:
    """One step by the interpreter: what the net reads and writes changes in the workspace."""
    written = {blob for op in net.Proto().op for blob in op.output}
    state = [str(blob) for blob in net.external_inputs if str(blob) in written]
    for name, value in zip(state, interpreted(net, *state)):
        workspace.FeedBlob(name, value)


def learned(devices: list[int], build: Callable[..., list[Any]] = linear, **kwargs: Any) -> dict[str, np.ndarray]:
    """The parameters of the first replica after some steps on the same data."""
    workspace.ResetWorkspace()
    model = model_helper.ModelHelper(name=f"test{len(devices)}")
    kwargs = {"cpu_device": True, **kwargs}
    data_parallel_model.Parallelize(model, nothing, build, update, devices=devices, **kwargs)
    rng = np.random.default_rng(3)
    for step in range(STEPS):
        data = rng.random((BATCH, 4), np.float32)
        for device, x in zip(devices, np.split(data, len(devices))):
            workspace.FeedBlob(f"{model._device_prefix}_{device}/data", x)
            workspace.FeedBlob(f"{model._device_prefix}_{device}/label", np.round(x[:, :1]))
        if step == 0:
            workspace.RunNetOnce(model.param_init_net)
        train(model.net)
    first = f"{model._device_prefix}_{devices[0]}/"
    others = [f"{model._device_prefix}_{d}/" for d in devices[1:]]
    names = {name for name in model._param_names if workspace.HasBlob(first + name)}
    for other in others if not kwargs.get("shared_model") else ():
        for name in names:
            assert np.array_equal(workspace.FetchBlob(first + name), workspace.FetchBlob(other + name))
    return {name: workspace.FetchBlob(first + name) for name in names}


def assert_close(found: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert found.keys() == want.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, want[name], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kwargs", [{}, {"cpu_device": False}, {"shared_model": True}])
def test_two_replicas_learn_what_one_does(kwargs: dict[str, Any]) -> None:
    one = learned([0])
    assert np.abs(one["fc_w"]).max() > 0.01
    assert_close(learned([0, 1], **kwargs), one)


def test_four_replicas_with_other_numbers() -> None:
    assert_close(learned([3, 5, 6, 8], cpu_device=False), learned([0]))


def test_statistics_of_the_joined_batch() -> None:
    one, two = learned([0], normalised), learned([0, 1], normalised, combine_spatial_bn=True)
    assert np.abs(one["bn_s"] - 1).max() > 1e-3
    assert_close(two, one)


def test_blobs_of_checkpoints() -> None:
    model = model_helper.ModelHelper(name="checkpoints")
    build = {"optimizer_builder_fun": lambda m: optimizer.build_sgd(m, 0.1, policy="fixed", momentum=0.9)}
    data_parallel_model.Parallelize_CPU(model, nothing, normalised, devices=[1, 2], **build)
    found = {str(blob) for blob in data_parallel_model.GetCheckpointParams(model)}
    assert {"cpu_1/fc_w", "cpu_1/fc_w_momentum", "cpu_1/bn_rm", "optimizer_iteration"} <= found
    assert not any(name.startswith("cpu_2/") for name in found)
    for device, value in ((1, 1.0), (2, 2.0)):
        workspace.FeedBlob(f"cpu_{device}/fc_w", np.full(2, value, np.float32))
    data_parallel_model.FinalizeAfterCheckpoint(model, ["cpu_1/fc_w"], cpu_mode=True)
    assert workspace.FetchBlob("cpu_2/fc_w").tolist() == [1, 1]
    assert data_parallel_model.GetLearningRateBlobNames(model)


def test_the_net_to_be_exported() -> None:
    model = model_helper.ModelHelper(name="exported")
    data_parallel_model.Parallelize_CPU(model, nothing, linear, devices=[1, 2])  # forward only
    net, blobs = data_parallel_model.ExtractPredictorNet(model, ["data"], ["fc"], core.DeviceOption(0))
    assert [op.type for op in net.Proto().op] == ["FC"]
    assert list(net.Proto().external_output) == ["fc"]
    assert sorted(map(str, blobs)) == ["cpu_1/fc_b", "cpu_1/fc_w"]


def test_nets_of_replicas_and_what_is_refused() -> None:
    other = model_helper.ModelHelper(name="other")
    brew.fc(other, "x", "y", 2, 2)
    with core.DeviceScope(core.DeviceOption(0, 3)):
        net = data_parallel_model.ConvertNetForDevice(other.net)
    assert list(net.Proto().op[0].input) == ["cpu_3/x", "cpu_3/y_w", "cpu_3/y_b"]
    assert list(other.net.Proto().op[0].input) == ["x", "y_w", "y_b"]
    model = model_helper.ModelHelper(name="refused")
    with pytest.raises(RuntimeError, match="asks for 2 processes"):
        data_parallel_model.Parallelize_CPU(model, nothing, linear, devices=[0], rendezvous={"num_shards": 2})
    with pytest.raises(AssertionError, match="only supported on CPU"):
        data_parallel_model.Parallelize_GPU(model, nothing, linear, devices=[0], shared_model=True)
    with pytest.raises(AssertionError, match="there are no devices"):
        data_parallel_model.Parallelize_GPU(model, nothing, linear)


def test_blocks_with_a_momentum() -> None:
    """Two replicas that see the same data: their mean is each one's parameter, and the update can be done by hand."""
    model = model_helper.ModelHelper(name="bmuf")
    data_parallel_model.Parallelize_CPU_BMUF(
        model, nothing, linear, update, block_learning_rate=0.5, block_momentum=0.25, devices=[0, 1]
    )
    rng = np.random.default_rng(5)
    data = rng.random((BATCH, 4), np.float32)
    for device in (0, 1):
        workspace.FeedBlob(f"cpu_{device}/data", data)
        workspace.FeedBlob(f"cpu_{device}/label", np.round(data[:, :1]))
    data_parallel_model.RunInitNet(model)
    common = speed = np.zeros((1, 4), np.float32)
    for _ in range(2):
        workspace.RunNet(model.net, 3)
        mean = workspace.FetchBlob("cpu_1/fc_w")
        workspace.RunNet(model._global_model_param_updates_net)
        speed = 0.25 * speed + 0.5 * (mean - common)
        common = common + speed
        np.testing.assert_allclose(workspace.FetchBlob("cpu_1/fc_w"), common, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_sums_over_devices(count: int) -> None:
    net = core.Net("muji")
    blobs = [net.ConstantFill([], f"x{i}", shape=[2], value=float(i + 1)) for i in range(count)]
    sums = muji.Allreduce(net, blobs)
    workspace.RunNetOnce(net)
    for i, blob in enumerate(sums):
        assert str(blob) == f"x{i}_reduced"
        assert workspace.FetchBlob(blob).tolist() == [count * (count + 1) / 2] * 2
