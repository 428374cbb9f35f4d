"""Residual nets of brew's layers: parameters as published, names, shapes."""

from __future__ import annotations

import math

import pytest

from graphc.caffe2 import workspace
from graphc.caffe2.model_helper import ModelHelper
from graphc.caffe2.models import resnet


def weights(model: ModelHelper) -> int:
    """The number of trained weights, by the shapes of the fills."""
    fills = {
        op.output[0]: next(list(a.ints) for a in op.arg if a.name == "shape") for op in model.param_init_net.Proto().op
    }
    return sum(math.prod(fills[str(p)]) for p in model.params)


def test_resnet50() -> None:
    model = ModelHelper(name="r50", arg_scope={"order": "NCHW"})
    softmax, loss = resnet.create_resnet50(model, "data", 3, 1000, label="label", no_bias=True)
    assert weights(model) == 25_557_032  # torchvision's
    assert (str(softmax), str(loss)) == ("softmax", "loss")
    outputs = [name for op in model.net.Proto().op for name in op.output]
    assert {"conv1_spatbn_relu", "comp_0_conv_1", "shortcut_projection_3_spatbn", "comp_15_sum_3"} <= set(outputs)
    shapes, _ = workspace.InferShapesAndTypes([model.param_init_net, model.net], {"data": [2, 3, 224, 224]})
    assert shapes["comp_15_sum_3"] == [2, 2048, 7, 7]
    assert shapes["last_out_L1000"] == [2, 1000]
    model.AddGradientOperators([loss])


def test_other_sizes() -> None:
    model = ModelHelper(name="rx101", arg_scope={"order": "NCHW"})
    resnet.create_resnext(model, "data", 3, 1000, 101, num_groups=32, num_width_per_group=8, is_test=True)
    assert weights(model) == 88_791_336  # ResNeXt-101 32x8d, torchvision's
    small = ModelHelper(name="r32", arg_scope={"order": "NCHW"})
    assert str(resnet.create_resnet_32x32(small, "data", 3, 2, 10, is_test=True)) == "softmax"
    shapes, _ = workspace.InferShapesAndTypes([small.param_init_net, small.net], {"data": [1, 3, 32, 32]})
    assert shapes["last_out"] == [1, 10]
    with pytest.raises(ValueError, match="51-layer is invalid"):
        resnet.create_resnext(small, "data", 3, 10, 51, 1, 64)
