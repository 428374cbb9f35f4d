"""Training steps and gradients of convolutions beside PyTorch's eager mode, in one process, in turn.

    python benchmarks/training_steps.py [--threads 1,2] [--rounds 15] [--batch 64] [--layers]

A step is forward, backward and update of LeNet, built by Caffe2's Python API and run by ``workspace.RunNet``; ``plan``
is the same net as a plan, whose parameters come and go as arrays. PyTorch trains the same layers with the same data,
``zero_grad`` to ``step``. ``--layers``: the gradients of single convolutions of ResNet-50 instead, of filter, bias and
image, beside ``torch.ops.aten.convolution_backward``.

A round gives each of them a turn: a pause, calls that do not count, for the other's threads spin for a while after a
call, then some that do; its figure is their median. The ratio is the median of the ratios by round. The process keeps
to as many cores as there are threads: the workspace takes all that it may use.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np
import torch
from machine import processor

import graphc
from graphc.caffe2 import brew, optimizer, workspace
from graphc.caffe2.model_helper import ModelHelper
from graphc.frontends.netdef import Net, Operator, import_net, read_net
from graphc.ir import DType, TensorType

Call = Callable[[], object]
PAUSE = 0.05
CLASSES = 10
MOMENTUM = {"momentum": 0.9, "nesterov": 1}
LAYERS = {
    "7x7, 3 to 64, stride 2, 224": ((3, 224, 224), (64, 3, 7, 7), 2, 3),
    "1x1, 64 to 256, 56": ((64, 56, 56), (256, 64, 1, 1), 1, 0),
    "1x1, 256 to 64, 56": ((256, 56, 56), (64, 256, 1, 1), 1, 0),
    "1x1, 256 to 512, stride 2, 56": ((256, 56, 56), (512, 256, 1, 1), 2, 0),
    "3x3, 64, 56": ((64, 56, 56), (64, 64, 3, 3), 1, 1),
    "3x3, 128, stride 2, 56": ((128, 56, 56), (128, 128, 3, 3), 2, 1),
    "3x3, 256, 14": ((256, 14, 14), (256, 256, 3, 3), 1, 1),
    "3x3, 512, 7": ((512, 7, 7), (512, 512, 3, 3), 1, 1),
    "1x1, 512 to 2048, 7": ((512, 7, 7), (2048, 512, 1, 1), 1, 0),
}
"""Channels and picture, filters, stride, border."""


def lenet() -> ModelHelper:
    """The training net: two convolutions with pooling, two layers, momentum SGD with a step policy."""
    model = ModelHelper(name="lenet", arg_scope={"order": "NCHW"})
    brew.conv(model, "data", "conv1", dim_in=1, dim_out=8, kernel=5)
    brew.max_pool(model, "conv1", "pool1", kernel=2, stride=2)
    brew.conv(model, "pool1", "conv2", dim_in=8, dim_out=16, kernel=5)
    brew.max_pool(model, "conv2", "pool2", kernel=2, stride=2)
    brew.fc(model, "pool2", "fc3", dim_in=16 * 4 * 4, dim_out=64)
    brew.relu(model, "fc3", "fc3")
    brew.fc(model, "fc3", "pred", dim_in=64, dim_out=CLASSES)
    _, loss = model.net.SoftmaxWithLoss(["pred", "label"], ["softmax", "loss"])
    model.AddGradientOperators([loss])
    optimizer.build_sgd(model, base_learning_rate=0.01, policy="step", stepsize=20, gamma=0.5, **MOMENTUM)
    return model


def net_steps(batch: Mapping[str, np.ndarray], threads: int) -> tuple[Call, Call]:
    """A step by the workspace, and by a plan that gets the workspace's parameters."""
    model = lenet()
    workspace.ResetWorkspace()
    for name, array in batch.items():
        workspace.FeedBlob(name, array)
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net)
    net = read_net(model.net.Proto().SerializeToString())
    state = {name: workspace.FetchBlob(name) for name in net.external_inputs if name not in batch}
    given = {name: a for name, a in {**batch, **state}.items() if isinstance(a, np.ndarray)}
    given |= {name: np.zeros(1, np.float32) for name in state if name not in given}  # the counter's mutex
    net.external_outputs = ["loss", *(name for name in state if name in {o for op in net.ops for o in op.outputs})]
    types = {name: TensorType(DType.of(a.dtype), a.shape) for name, a in given.items()}
    plan = graphc.compile_graph(import_net(net, None, types), threads=threads)
    name = model.net.Name()
    return lambda: workspace.RunNet(name), lambda: plan.run(given)


def torch_step(batch: Mapping[str, np.ndarray]) -> Call:
    """The same layers, loss and updates."""
    nn = torch.nn
    layers = (nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.MaxPool2d(2), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    steps = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    rates = torch.optim.lr_scheduler.StepLR(steps, 20, 0.5)
    data, label, loss_of = (
        torch.from_numpy(batch["data"]),
        torch.from_numpy(batch["label"]).long(),
        nn.CrossEntropyLoss(),
    )

    def step() -> None:
        steps.zero_grad()
        loss_of(model(data), label).backward()
        steps.step()
        rates.step()

    return step


def layer(image: tuple[int, ...], filters: tuple[int, ...], stride: int, pad: int, threads: int) -> tuple[Call, Call]:
    """The gradients of a convolution, batch 8; raises ``AssertionError`` where the two do not agree."""
    rng = np.random.default_rng(0)
    size = (image[1] + 2 * pad - filters[2]) // stride + 1
    shapes = {"x": (8, *image), "w": filters, "dy": (8, filters[0], size, size)}
    given = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    arguments = {"kernel": filters[2], "stride": stride, "pad": pad}
    outputs = ["dw", "db", "dx"]
    net = Net("gradient", [Operator("ConvGradient", list(shapes), outputs, arguments)], list(shapes), outputs)
    types = {name: TensorType(DType.FLOAT, shape) for name, shape in shapes.items()}
    plan = graphc.compile_graph(import_net(net, None, types), threads=threads)
    x, w, dy = map(torch.from_numpy, given.values())
    sizes = ([filters[0]], [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, [True] * 3)

    def peer() -> tuple[torch.Tensor, ...]:
        return tuple(torch.ops.aten.convolution_backward(dy, x, w, *sizes))

    got = plan.run(given)
    for name, want in zip(("dx", "dw", "db"), peer()):
        assert np.abs(got[name] - want.numpy()).max() < 1e-4 * want.abs().max().item(), name
    return lambda: plan.run(given), peer


def turn(call: Call, calls: int) -> float:
    """Seconds of a call: the median of some."""
    time.sleep(PAUSE)
    samples = []
    for i in range(-max(2, calls // 4), calls):
        start = time.perf_counter()
        call()
        if i >= 0:
            samples.append(time.perf_counter() - start)
    return median(samples)


def compare(label: str, peer: Call, others: Mapping[str, Call], rounds: int, calls: int) -> None:
    """Print milliseconds of all, and of the others by the peer's."""
    every = {**others, "torch": peer}
    times: dict[str, list[float]] = {name: [] for name in every}
    for i in range(rounds):
        for name in (every, reversed(every))[i % 2]:
            times[name].append(turn(every[name], calls))
    cells = [f"{1e3 * median(times[name]):9.3f}" for name in every]
    ratios = [f"{median(a / b for a, b in zip(times[name], times['torch'])):8.2f}" for name in others]
    print(f"{label:42}", *cells, *ratios, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--layers", action="store_true", help="gradients of single convolutions instead")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    batch = {
        "data": rng.random((options.batch, 1, 28, 28), np.float32),
        "label": rng.integers(0, CLASSES, options.batch).astype(np.int32),
    }
    print(f"{processor()}; torch {torch.__version__}; milliseconds, and ratios to torch")
    print(f"{'':42}", *(f"{name:>9}" for name in (("plan",) if options.layers else ("RunNet", "plan")) + ("torch",)))
    cores = sorted(os.sched_getaffinity(0))
    for threads in map(int, options.threads.split(",")):
        os.sched_setaffinity(0, cores[:threads])
        torch.set_num_threads(threads)
        if options.layers:
            for name, (image, filters, stride, pad) in LAYERS.items():
                call, peer = layer(image, filters, stride, pad, threads)
                compare(f"{name}; {threads} threads", peer, {"plan": call}, options.rounds, 2)
        else:
            by_name, by_plan = net_steps(batch, threads)
            others = {"RunNet": by_name, "plan": by_plan}
            compare(f"LeNet, batch {options.batch}; {threads} threads", torch_step(batch), others, options.rounds, 20)


if __name__ == "__main__":
    main()
