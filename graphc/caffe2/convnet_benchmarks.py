"""``caffe2.python.convnet_benchmarks``: nets that Caffe2 was measured with, and the measuring.

``python -m graphc.caffe2 -m caffe2.python.convnet_benchmarks --model AlexNet --batch_size 16`` times forward and
backward passes and updates; with ``--forward_only`` the first alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from graphc.caffe2 import brew, model_helper, workspace

XAVIER: tuple[str, dict[str, Any]] = ("XavierFill", {})
ZERO: tuple[str, dict[str, Any]] = ("ConstantFill", {})
Built = tuple[Any, int]
"""A model and the number of rows and columns of its pictures, or of its features."""


def MLP(order: str, cudnn_ws: int | None) -> Built:
    """20 layers of three fully connected nets of width 256 side by side, whose sum goes into a last one."""
    model = model_helper.ModelHelper(name="MLP")
    size, depth, width = 256, 20, 3
    for i in range(depth):
        for j in range(width):
            before = f"fc_{i}_{j}" if i > 0 else "data"
            brew.fc(model, before, f"fc_{i + 1}_{j}", size, size, weight_init=XAVIER, bias_init=XAVIER)
    brew.sum(model, [f"fc_{depth}_{j}" for j in range(width)], ["sum"])
    brew.fc(model, "sum", "last", size, 1000, weight_init=XAVIER, bias_init=XAVIER)
    _add_loss(model, "last")
    return model, size


def AlexNet(order: str, cudnn_ws: int | None) -> Built:
    """AlexNet of one column (Krizhevsky 2014)."""
    model = _model("alexnet", order, cudnn_ws)
    x = _conv(model, "data", "conv1", 3, 64, 11, stride=4, pad=2)
    x = brew.max_pool(model, x, "pool1", kernel=3, stride=2)
    x = _conv(model, x, "conv2", 64, 192, 5, pad=2)
    x = brew.max_pool(model, x, "pool2", kernel=3, stride=2)
    x = _conv(model, x, "conv3", 192, 384, 3, pad=1)
    x = _conv(model, x, "conv4", 384, 256, 3, pad=1)
    x = _conv(model, x, "conv5", 256, 256, 3, pad=1)
    x = brew.max_pool(model, x, "pool5", kernel=3, stride=2)
    _classify(model, x, ["fc6", "fc7", "fc8"], [256 * 6 * 6, 4096, 4096, 1000])
    return model, 224


def OverFeat(order: str, cudnn_ws: int | None) -> Built:
    """OverFeat, the fast one (Sermanet et al. 2013)."""
    model = _model("overfeat", order, cudnn_ws)
    x = _conv(model, "data", "conv1", 3, 96, 11, stride=4)
    x = brew.max_pool(model, x, "pool1", kernel=2, stride=2)
    x = _conv(model, x, "conv2", 96, 256, 5)
    x = brew.max_pool(model, x, "pool2", kernel=2, stride=2)
    x = _conv(model, x, "conv3", 256, 512, 3, pad=1)
    x = _conv(model, x, "conv4", 512, 1024, 3, pad=1)
    x = _conv(model, x, "conv5", 1024, 1024, 3, pad=1)
    x = brew.max_pool(model, x, "pool5", kernel=2, stride=2)
    _classify(model, x, ["fc6", "fc7", "fc8"], [1024 * 6 * 6, 3072, 4096, 1000])
    return model, 231


def VGGA(order: str, cudnn_ws: int | None) -> Built:
    """VGG of eleven layers (Simonyan and Zisserman 2014)."""
    model = _model("vgga", order, cudnn_ws)
    x: Any = "data"
    layers = ((1, 3, 64), (2, 64, 128), (3, 128, 256), (4, 256, 256), (5, 256, 512), (6, 512, 512), (7, 512, 512))
    for number, in_channels, out_channels in (*layers, (8, 512, 512)):
        x = _conv(model, x, f"conv{number}", in_channels, out_channels, 3, pad=1)
        if number in (1, 2, 4, 6, 8):
            x = brew.max_pool(model, x, f"pool{number}", kernel=2, stride=2)
    _classify(model, x, ["fcix", "fcx", "fcxi"], [512 * 7 * 7, 4096, 4096, 1000])
    return model, 231


def Inception(order: str, cudnn_ws: int | None) -> Built:
    """GoogLeNet without its side classifiers (Szegedy et al. 2014)."""
    model = _model("inception", order, cudnn_ws)
    x = _conv(model, "data", "conv1", 3, 64, 7, stride=2, pad=3)
    x = brew.max_pool(model, x, "pool1", kernel=3, stride=2, pad=1)
    x = _conv(model, x, "conv2a", 64, 64, 1)
    x = _conv(model, x, "conv2", 64, 192, 3, pad=1)
    x = brew.max_pool(model, x, "pool2", kernel=3, stride=2, pad=1)
    depth = 192
    for number, widths in _INCEPTION.items():
        x = _inception(model, x, depth, f"inc{number}", *widths)
        depth = widths[0] + widths[1][1] + widths[2][1] + widths[3]
        if number in _POOLED:
            x = brew.max_pool(model, x, _POOLED[number], kernel=3, stride=2, pad=1)
    x = brew.average_pool(model, x, "pool11", kernel=7, stride=1)
    fc = brew.fc(model, x, "fc", 1024, 1000, XAVIER, ZERO)
    _add_loss(model, brew.softmax(model, fc, "pred"))
    return model, 224


_INCEPTION = {
    3: (64, (96, 128), (16, 32), 32),
    4: (128, (128, 192), (32, 96), 64),
    5: (192, (96, 208), (16, 48), 64),
    6: (160, (112, 224), (24, 64), 64),
    7: (128, (128, 256), (24, 64), 64),
    8: (112, (144, 288), (32, 64), 64),
    9: (256, (160, 320), (32, 128), 128),
    10: (256, (160, 320), (32, 128), 128),
    11: (384, (192, 384), (48, 128), 128),
}
"""Widths of the branches 1x1, 3x3 and 5x5 with the 1x1 before them, and of the one behind pooling, by module."""
_POOLED = {4: "pool5", 9: "pool9"}
"""Modules with a pooling layer behind them."""


def _inception(
    model: Any, x: Any, depth: int, name: str, one: int, three: Sequence[int], five: Sequence[int], pooled: int
) -> Any:
    conv1 = _conv(model, x, f"{name}:conv1", depth, one, 1)
    conv3 = _conv(model, x, f"{name}:conv3_reduce", depth, three[0], 1)
    conv3 = _conv(model, conv3, f"{name}:conv3", three[0], three[1], 3, pad=1)
    conv5 = _conv(model, x, f"{name}:conv5_reduce", depth, five[0], 1)
    conv5 = _conv(model, conv5, f"{name}:conv5", five[0], five[1], 5, pad=2)
    pool = brew.max_pool(model, x, f"{name}:pool", kernel=3, stride=1, pad=1)
    projection = _conv(model, pool, f"{name}:pool_proj", depth, pooled, 1)
    return brew.concat(model, [conv1, conv3, conv5, projection], name)


def _model(name: str, order: str, cudnn_ws: int | None) -> Any:
    scope: dict[str, Any] = {"order": order, "use_cudnn": True, "cudnn_exhaustive_search": True}
    if cudnn_ws:
        scope["ws_nbytes_limit"] = cudnn_ws
    return model_helper.ModelHelper(name=name, arg_scope=scope)


def _conv(model: Any, x: Any, name: str, dim_in: int, dim_out: int, kernel: int, **window: int) -> Any:
    """A convolution and, in place, its rectifier."""
    return brew.relu(model, brew.conv(model, x, name, dim_in, dim_out, kernel, XAVIER, ZERO, **window), name)


def _classify(model: Any, x: Any, names: Sequence[str], sizes: Sequence[int]) -> None:
    """Fully connected layers, the last one without a rectifier, and the loss."""
    for i, name in enumerate(names):
        x = brew.fc(model, x, name, sizes[i], sizes[i + 1], XAVIER, ZERO)
        if name != names[-1]:
            x = brew.relu(model, x, name)
    _add_loss(model, brew.softmax(model, x, "pred"))


def _add_loss(model: Any, scores: Any) -> None:
    model.net.AveragedLoss(model.net.LabelCrossEntropy([scores, "label"], "xent"), "loss")


def AddParameterUpdate(model: Any) -> None:
    """Gradient descent in steps so small that nothing changes: its time is what counts."""
    iteration = brew.iter(model, "iter")
    rate = model.net.LearningRate(iteration, "LR", base_lr=-1e-8, policy="step", stepsize=10000, gamma=0.999)
    one = model.param_init_net.ConstantFill([], "ONE", shape=[1], value=1.0)
    for param in model.params:
        model.net.WeightedSum([param, one, model.param_to_grad[param], rate], param)


def Benchmark(model_gen: Callable[[str, int | None], Built], arg: argparse.Namespace) -> None:
    """Build a model, fill it and its input with random numbers, and time it (``workspace.BenchmarkNet``)."""
    model, size = model_gen(arg.order, arg.cudnn_ws)
    model.Proto().type = arg.net_type
    model.Proto().num_workers = arg.num_workers
    picture = [3, size, size] if arg.order == "NCHW" else [size, size, 3]
    shape = [arg.batch_size, *([size] if model_gen is MLP else picture)]
    model.param_init_net.GaussianFill([], "data", shape=shape, mean=0.0, std=1.0)
    model.param_init_net.UniformIntFill([], "label", shape=[arg.batch_size], min=0, max=999)
    print(f"{arg.model}: running {'forward only' if arg.forward_only else 'forward-backward'}.")
    if not arg.forward_only:
        model.AddGradientOperators(["loss"])
        AddParameterUpdate(model)
    if not arg.cpu:
        model.param_init_net.RunAllOnGPU()
        model.net.RunAllOnGPU()
    if arg.engine:
        for operator in model.net.Proto().op:
            operator.engine = arg.engine
    if arg.dump_model:
        for net, name in ((model.param_init_net, "_init_batch_"), (model.net, "_batch_")):
            with open(f"{arg.model}{name}{arg.batch_size}.pbtxt", "w", encoding="utf-8") as file:
                file.write(str(net.Proto()))
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net)
    workspace.BenchmarkNet(model.net.Proto().name, arg.warmup_iterations, arg.iterations, arg.layer_wise_benchmark)


_OPTIONS: dict[str, dict[str, Any]] = {
    "batch_size": {"type": int, "default": 128, "help": "pictures in a batch"},
    "model": {"help": "AlexNet, OverFeat, VGGA, Inception or MLP"},
    "order": {"default": "NCHW", "help": "NCHW or NHWC"},
    "cudnn_ws": {"type": int, "help": "written into the net"},
    "iterations": {"type": int, "default": 10, "help": "runs that are timed"},
    "warmup_iterations": {"type": int, "default": 10, "help": "runs before them"},
    "forward_only": {"action": "store_true", "help": "no gradients, no updates"},
    "layer_wise_benchmark": {"action": "store_true", "help": "time each operator as well"},
    "cpu": {"action": "store_true", "help": "no device options for a GPU in the nets; they run on the CPU either way"},
    "engine": {"default": "", "help": "the engine of every operator"},
    "dump_model": {"action": "store_true", "help": "write both nets as text"},
    "net_type": {"default": "dag", "help": "written into the net"},
    "num_workers": {"type": int, "default": 2, "help": "written into the net"},
    "use-nvtx": {"action": "store_true", "help": "without effect"},
    "htrace_span_log_path": {"help": "without effect"},
}


def GetArgumentParser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Times convolutional nets.")
    for name, options in _OPTIONS.items():
        parser.add_argument(f"--{name}", **options)
    return parser


_MODELS: dict[str, Callable[[str, int | None], Built]] = {
    "AlexNet": AlexNet,
    "OverFeat": OverFeat,
    "VGGA": VGGA,
    "Inception": Inception,
    "MLP": MLP,
}


def main(arguments: Sequence[str]) -> int:
    """Time one model; exit code 2 without the name of one."""
    parser = GetArgumentParser()
    given, others = parser.parse_known_args(arguments)
    if given.model not in _MODELS:
        parser.print_help()
        return 2
    workspace.GlobalInit(["caffe2", "--caffe2_log_level=0", *others])
    Benchmark(_MODELS[given.model], given)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
