"""Caffe2's workspace beside plans by themselves: ``python benchmarks/workspace.py [FOLDER]``.

Prints tables in Markdown. Nets: ``RunNet`` beside ``Executor.run`` of the same plan, which is the native call with its
inputs bound, and, where it is installed, PyTorch's eager mode. Operators: ``RunOperatorOnce`` of a message that exists,
and of one that is created for each call. First runs: ``CreateNet`` and the first ``RunNet`` of a process, of nets of
about 300 operators whose kernels are in the cache.

FOLDER holds the files ``init_net.pb`` and ``predict_net.pb`` of SqueezeNet; without it the other nets are measured.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from graphc.caffe2 import core, workspace
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.current import current

try:
    import torch
except ImportError:
    torch = None

IMAGE = (1, 3, 227, 227)
BATCH = 64

Call = Callable[[], object]


def medians(calls: Sequence[Call], seconds: float) -> list[float]:
    """Microseconds of each call: medians over turns of one call each, there and back, for so many seconds together."""
    times: dict[int, list[float]] = {i: [] for i in range(len(calls))}
    order = [*times, *reversed(times)]
    for i in order * 5:
        calls[i]()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i in order:
            start = time.perf_counter()
            calls[i]()
            times[i].append(time.perf_counter() - start)
    return [1e6 * statistics.median(kept) for kept in times.values()]


def in_blocks(ours: Sequence[Call], peer: Call, seconds: float) -> list[float]:
    """The same of our calls together and of another library's, whose threads spin on for a while, in turns of 0.3 s."""
    found = []
    for _ in range(max(2, int(seconds / 0.6))):
        mine = medians(ours, 0.3)
        time.sleep(0.3)
        found.append([*mine, *medians([peer], 0.3)])
        time.sleep(0.3)
    return [statistics.median(column) for column in zip(*found)]


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' --- |' + ' ---: |' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


# ---- nets ------------------------------------------------------------------------------------------------------------


def squeezenet(folder: Path) -> core.Net:
    init, predict = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()
    init.ParseFromString((folder / "init_net.pb").read_bytes())
    predict.ParseFromString((folder / "predict_net.pb").read_bytes())
    predict.name = "squeezenet"
    workspace.RunNetOnce(init)
    workspace.FeedBlob("data", np.random.default_rng(0).standard_normal(IMAGE, np.float32))
    return core.Net(predict)


def trained(net: core.Net, init: core.Net, loss: core.BlobReference, parameters: Sequence[str]) -> core.Net:
    """The net with gradients and steps of gradient descent, its parameters filled."""
    gradients = net.AddGradientOperators([loss])
    init.ConstantFill([], "ONE", shape=[1], value=1.0)
    init.ConstantFill([], "iteration", shape=[1], value=0, dtype=core.DataType.INT64)
    net.Iter("iteration", "iteration")
    net.LearningRate("iteration", "rate", base_lr=-0.01, policy="step", stepsize=20, gamma=0.9)
    for name in parameters:
        net.WeightedSum([name, "ONE", gradients[core.BlobReference(name)], "rate"], name)
    workspace.RunNetOnce(init)
    return net


def toy_regression() -> core.Net:
    """The tutorial's: a plane through points, batch 64."""
    init, net = core.Net("toy_init"), core.Net("toy")
    init.XavierFill([], "w", shape=[1, 2])
    init.ConstantFill([], "b", shape=[1])
    points = np.random.default_rng(0).standard_normal((BATCH, 2), np.float32)
    workspace.FeedBlob("x", points)
    workspace.FeedBlob("y", points @ np.array([[2.0], [1.5]], np.float32))
    distance = net.SquaredL2Distance([net.FC(["x", "w", "b"], "prediction"), "y"], "distance")
    return trained(net, init, net.AveragedLoss(distance, "loss"), ["w", "b"])


def lenet() -> core.Net:
    """The tutorial's net for digits in training, batch 64."""
    init, net = core.Net("lenet_init"), core.Net("lenet")
    shapes = {"c1": [20, 1, 5, 5], "c2": [50, 20, 5, 5], "f3": [500, 800], "f4": [10, 500]}
    for name, shape in shapes.items():
        init.XavierFill([], f"{name}_w", shape=shape)
        init.ConstantFill([], f"{name}_b", shape=shape[:1])
    rng = np.random.default_rng(0)
    workspace.FeedBlob("image", rng.standard_normal((BATCH, 1, 28, 28), np.float32))
    workspace.FeedBlob("label", rng.integers(0, 10, BATCH).astype(np.int32))
    x = net.MaxPool(net.Conv(["image", "c1_w", "c1_b"], "c1", kernel=5), "p1", kernel=2, stride=2)
    x = net.MaxPool(net.Conv([x, "c2_w", "c2_b"], "c2", kernel=5), "p2", kernel=2, stride=2)
    x = net.Relu(net.FC([x, "f3_w", "f3_b"], "f3"), "r3")
    _, loss = net.SoftmaxWithLoss([net.FC([x, "f4_w", "f4_b"], "f4"), "label"], ["softmax", "loss"])
    return trained(net, init, loss, [f"{name}_{kind}" for name in shapes for kind in "wb"])


def torch_toy() -> Call:
    layer = torch.nn.Linear(2, 1)
    x, y = torch.randn(BATCH, 2), torch.randn(BATCH, 1)
    return _torch_training(layer, lambda: ((layer(x) - y) ** 2).sum(1).mean() / 2)


def torch_lenet() -> Call:
    nn = torch.nn
    layers = nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip
    x, labels = torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
    return _torch_training(layers, lambda: nn.functional.cross_entropy(layers(x), labels))


def _torch_training(layers: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Call:
    optimizer = torch.optim.SGD(layers.parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def net_row(net: core.Net, seconds: float, peer: Call | None) -> list[object]:
    """Microseconds of RunNet, of the executor of its plan, their difference and ratio, and of the peer."""
    workspace.CreateNet(net)
    workspace.RunNet(net, 2)
    (demands,) = current().net(net.Name()).demands
    assert demands.prepared is not None
    variant = demands.prepared.variant
    arrays, (segment,) = [current().raw[name] for name in variant.names], variant.plan.segments
    _, executor = segment.run(arrays)  # the one that RunNet uses, in the same memory
    segment.release(executor)
    calls: list[Call] = [partial(workspace.RunNet, net.Name()), partial(executor.run, arrays)]
    run, alone, *rest = in_blocks(calls, peer, seconds) if peer else medians(calls, seconds)
    name = f"{net.Name()}, {len(net.Proto().op)} operators"
    return [name, f"{run:.1f}", f"{alone:.1f}", f"{run - alone:.1f}", f"{run / alone:.3f}", *map("{:.1f}".format, rest)]


# ---- operators -------------------------------------------------------------------------------------------------------

OPERATORS: dict[str, tuple[str, list[str], list[str], dict[str, object]]] = {
    "Relu": ("Relu", ["x"], ["relu"], {}),
    "Relu in place": ("Relu", ["relu"], ["relu"], {}),
    "Add": ("Add", ["x", "y"], ["sum"], {}),
    "FC": ("FC", ["x", "w", "b"], ["fc"], {}),
    "Softmax": ("Softmax", ["x"], ["softmax"], {}),
    "Copy": ("Copy", ["x"], ["copy"], {}),
    "Reshape": ("Reshape", ["x"], ["shaped", "old_shape"], {"shape": [16, 8]}),
    "Concat": ("Concat", ["x", "y"], ["both", "split"], {"axis": 0}),
    "Iter": ("Iter", ["it"], ["it"], {}),
    "ConstantFill": ("ConstantFill", [], ["filled"], {"shape": [3], "value": 1.0}),
    "UniformFill": ("UniformFill", [], ["drawn"], {"shape": [3]}),
}


def operator_row(label: str, seconds: float) -> list[object]:
    """Microseconds of an operator on 8 x 16 elements: a message that exists, a new one each time."""
    kind, inputs, outputs, arguments = OPERATORS[label]
    create = partial(core.CreateOperator, kind, inputs, outputs, **arguments)
    op = create()
    times = medians([partial(workspace.RunOperatorOnce, op), lambda: workspace.RunOperatorOnce(create())], seconds)
    return [label, *map("{:.1f}".format, times)]


# ---- first runs ------------------------------------------------------------------------------------------------------


def chain(name: str) -> core.Net:
    net, x = core.Net(name), "x"
    kinds = ("Relu", "Sigmoid", "Tanh", "Abs", "Sqr", "Exp", "Softmax", "Negative")
    for i in range(300):
        x = getattr(net, kinds[i % len(kinds)])(x, f"y{i}")
    return net


def perceptron(name: str) -> core.Net:
    """Fifty layers in training: 305 operators."""
    init, net, x = core.Net(f"{name}_init"), core.Net(name), "x"
    for i in range(50):
        init.XavierFill([], f"w{i}", shape=[16, 16])
        init.ConstantFill([], f"b{i}", shape=[16])
        x = net.Relu(net.FC([x, f"w{i}", f"b{i}"], f"fc{i}"), f"h{i}")
    _, loss = net.SoftmaxWithLoss([x, "label"], ["softmax", "loss"])
    return trained(net, init, loss, [f"{kind}{i}" for i in range(50) for kind in "wb"])


def residual(name: str) -> core.Net:
    """Forty-two residual blocks of convolutions with batch normalisation: 299 operators."""
    init, net = core.Net(f"{name}_init"), core.Net(name)

    def layer(x: object, channels: int, label: str) -> object:
        init.XavierFill([], f"{label}_w", shape=[16, channels, 3, 3])
        vectors = [f"{label}_{part}" for part in ("b", "scale", "bias", "mean", "variance")]
        for name in vectors:
            init.ConstantFill([], name, shape=[16], value=0.5)
        x = net.Conv([x, f"{label}_w", vectors[0]], f"{label}_conv", kernel=3, pad=1)
        return net.SpatialBN([x, *vectors[1:]], label, is_test=1)

    x = net.Relu(layer("picture", 3, "stem"), "r")
    for i in range(42):
        branch = layer(net.Relu(layer(x, 16, f"a{i}"), f"ra{i}"), 16, f"b{i}")
        x = net.Relu(net.Sum([branch, x], f"s{i}"), f"r{i}")
    net.Softmax(net.AveragePool(x, "pool", global_pooling=1), "prob")
    workspace.RunNetOnce(init)
    return net


NETS = {make.__name__: make for make in (chain, perceptron, residual)}


def first_run(name: str) -> str:
    """Operators of a net, and seconds to create it and run it for the first time in this process."""
    workspace.FeedBlob("x", np.ones((8, 16), np.float32))
    workspace.FeedBlob("label", np.zeros(8, np.int32))
    workspace.FeedBlob("picture", np.ones((1, 3, 32, 32), np.float32))
    net = NETS[name](name)
    start = time.perf_counter()
    workspace.CreateNet(net)
    workspace.RunNet(net)
    return f"{len(net.Proto().op)} {time.perf_counter() - start}"


def first_row(name: str) -> list[object]:
    """Medians of three processes, after one that fills the cache; the process as a whole, too."""
    runs = []
    for _ in range(4):
        start = time.perf_counter()
        out = subprocess.run([sys.executable, __file__, "--first", name], check=True, capture_output=True, text=True)
        operators, seconds = out.stdout.split()
        runs.append((float(seconds), time.perf_counter() - start))
    return [name, operators, *(f"{statistics.median(times):.2f}" for times in zip(*runs[1:]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each row")
    parser.add_argument("--first", choices=NETS, help="print one figure of the last table")
    arguments = parser.parse_args()
    if arguments.first:
        print(first_run(arguments.first))
        return
    rows = [net_row(squeezenet(arguments.folder), arguments.seconds, None)] if arguments.folder else []
    for make, peer in ((toy_regression, torch_toy), (lenet, torch_lenet)):
        workspace.ResetWorkspace()
        rows.append(net_row(make(), arguments.seconds, peer() if torch else None))
    table("Nets, us", ["net", "RunNet", "executor", "more", "ratio", *(["torch eager"] if torch else [])], rows)
    workspace.ResetWorkspace()
    rng = np.random.default_rng(0)
    for name, shape in {"x": (8, 16), "y": (8, 16), "w": (4, 16), "b": (4,)}.items():
        workspace.FeedBlob(name, rng.standard_normal(shape, np.float32))
    workspace.FeedBlob("it", np.array([0]))
    rows = [operator_row(label, arguments.seconds / 4) for label in OPERATORS]
    table("Operators on 8 x 16 elements, us", ["operator", "RunOperatorOnce", "with CreateOperator"], rows)
    rows = [first_row(name) for name in NETS]
    table("First runs, s", ["net", "operators", "CreateNet and first RunNet", "process"], rows)


if __name__ == "__main__":
    main()
