"""Models that come with the API: how many numbers they hold, against the published nets, and that they run."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from graphc.caffe2 import convnet_benchmarks, core, model_helper, workspace
from graphc.caffe2.convnet_benchmarks import Built
from graphc.caffe2.models import imagenet_trainer_test_utils as counting
from graphc.caffe2.models.shufflenet import ShuffleNetV2Builder, create_shufflenet

SHUFFLENETS = {"0.5x": 1_366_792, "1.0x": 2_278_604, "1.5x": 3_503_624, "2.0x": 7_393_996}
"""Trainable numbers of torchvision's nets; theirs normalise the first and the last convolution, and none has a bias."""
NETS: dict[Callable[[str, int | None], Built], int] = {
    convnet_benchmarks.AlexNet: 61_100_840,  # torchvision's alexnet
    convnet_benchmarks.VGGA: 132_863_336,  # torchvision's vgg11
    convnet_benchmarks.Inception: 6_998_552,  # bvlc_googlenet of Caffe's zoo
}


def count(model: model_helper.ModelHelper) -> int:
    """Elements of all parameters."""
    shapes, _ = workspace.InferShapesAndTypes([model.param_init_net])
    return sum(math.prod(shapes[str(p)]) for p in model.params)


@pytest.mark.parametrize("width", SHUFFLENETS)
def test_shufflenet(width: str) -> None:
    model = model_helper.ModelHelper(name="shufflenet")
    builder = ShuffleNetV2Builder(model, "data", 3, 1000, width=width)
    builder.create()
    fed = {"data": [2, 3, 224, 224]}
    shapes, _ = workspace.InferShapesAndTypes([model.param_init_net, model.net], fed)
    channels = builder.output_channels
    normalised = [str(p).removesuffix("_bn_s") for p in model.params if str(p).endswith("_bn_s")]
    biases = channels[0] + channels[4] + sum(shapes[f"{name}_b"][0] for name in normalised)
    norms = 2 * (channels[0] + channels[4])
    assert count(model) - biases == SHUFFLENETS[width] - norms
    assert shapes[str(builder.last_out)] == [2, 1000]


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_benchmarks_have_the_published_sizes(build: Callable[[str, int | None], Built]) -> None:
    model, size = build("NCHW", 1 << 20)
    assert count(model) == NETS[build]
    fed = {"data": [2, 3, size, size], "label": [2]}
    shapes, _ = workspace.InferShapesAndTypes([model.param_init_net, model.net], fed)
    assert shapes["pred"] == [2, 1000]
    assert {arg.i for arg in model.Proto().op[0].arg if arg.name == "ws_nbytes_limit"} == {1 << 20}


def test_overfeat() -> None:
    """The fast net: 145 920 872 numbers follow from its table of layers."""
    model, size = convnet_benchmarks.OverFeat("NCHW", None)
    convolutions = ((3, 96, 11), (96, 256, 5), (256, 512, 3), (512, 1024, 3), (1024, 1024, 3))
    layers = ((1024 * 36, 3072), (3072, 4096), (4096, 1000))
    want = sum(i * o * k * k + o for i, o, k in convolutions) + sum(i * o + o for i, o in layers)
    assert count(model) == want == 145_920_872
    assert size == 231


def test_benchmark_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert convnet_benchmarks.main(["--model", "LeNet"]) == 2
    assert "--forward_only" in capsys.readouterr().out


def test_counting() -> None:
    net = core.Net("net")
    net.Relu("x", "y_shared")
    net.Relu("y_shared", "z")
    assert counting.count_blobs(net.Proto()) == 3
    assert counting.count_shared_blobs(net.Proto()) == 1
    assert counting.has_blob(net.Proto(), "z")
    assert not counting.has_blob(net.Proto(), "y")


def test_shufflenet_with_a_label() -> None:
    model = model_helper.ModelHelper(name="shufflenet")
    assert create_shufflenet(model, "data", 3, 10, label="label") == ("softmax", "loss")
    gradients = model.AddGradientOperators(["loss"])
    assert len(model.param_to_grad) == len(model.params)
    assert gradients["stage1_conv_w"] == "stage1_conv_w_grad"
    again = model_helper.ModelHelper(name="shufflenet")
    assert create_shufflenet(again, "data", 3, 10, is_test=True) is None
    scores = create_shufflenet(model_helper.ModelHelper(name="shufflenet"), "data", 3, 10, no_loss=True)
    assert scores == "last_out_L10"
