"""Nets for training, written as Caffe2's own builders write them: the names of ``caffe2/python/models/resnet.py``.

``python benchmarks/training_nets.py resnet50 --batch 32 --image 224 -o train_net.pb``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from graphc.frontends.netdef import Net, Operator, add_gradient_operators, write_net
from graphc.ir import DType, TensorType

RESNET50 = (3, 4, 6, 3)
"""Residual blocks by group."""


@dataclass
class TrainingNet:
    """A net under construction, with the types of what it is given: ``data``, ``label`` and the parameters.

    gradients: by blob, once ``differentiate`` was called. outputs: the loss, gradients of the parameters, statistics.
    """

    net: Net
    given: dict[str, TensorType]
    gradients: dict[str, str] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)

    def operator(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **args: object) -> str:
        """Append an operator; gives its first output."""
        self.net.ops.append(Operator(kind, list(inputs), list(outputs), args))
        return outputs[0]

    def parameter(self, name: str, *shape: int, learned: bool = True) -> str:
        """A blob that the net is given."""
        self.given[name] = TensorType(DType.FLOAT, shape)
        (self.parameters if learned else self.statistics).append(name)
        return name

    def conv(self, x: str, y: str, channels: tuple[int, int], kernel: int, stride: int = 1, pad: int = 0) -> str:
        """A convolution without bias."""
        w = self.parameter(f"{y}_w", channels[1], channels[0], kernel, kernel)
        return self.operator("Conv", [x, w], [y], kernel=kernel, stride=stride, pad=pad, order=b"NCHW")

    def batch_norm(self, x: str, y: str, channels: int) -> str:
        """A normalisation by the batch, which moves the running mean and variance."""
        learned = [self.parameter(f"{y}_{k}", channels) for k in "sb"]
        running = [self.parameter(f"{y}_{k}", channels, learned=False) for k in ("rm", "riv")]
        outputs = [y, *running, f"{y}_sm", f"{y}_siv"]
        args = {"is_test": 0, "epsilon": 2.0**-10, "momentum": 0.875, "order": b"NCHW"}
        return self.operator("SpatialBN", [x, *learned, *running], outputs, **args)

    def relu(self, x: str) -> str:
        """In place."""
        return self.operator("Relu", [x], [x], order=b"NCHW")

    def fc(self, x: str, y: str, inputs: int, units: int) -> str:
        """A fully connected layer."""
        return self.operator("FC", [x, self.parameter(f"{y}_w", units, inputs), self.parameter(f"{y}_b", units)], [y])

    def differentiate(self) -> None:
        """Append the gradients of the loss, and name the outputs."""
        made = add_gradient_operators(self.net, ["loss"])
        self.gradients = {blob: gradient for blob, gradient in made.items() if isinstance(gradient, str)}
        self.net.external_inputs = list(self.given)
        self.net.external_outputs = ["loss", *(self.gradients[p] for p in self.parameters), *self.statistics]

    def example(self, classes: int, seed: int = 7) -> dict[str, np.ndarray]:
        """Seeded data, labels, and parameters with the variances of He et al. (2015)."""
        random = np.random.default_rng(seed)
        feeds: dict[str, np.ndarray] = {}
        for name, type in self.given.items():
            shape = type.static_shape
            if name == "label":
                feeds[name] = random.integers(0, classes, shape, dtype=np.int32)
            elif name.endswith(("_s", "_riv")):
                feeds[name] = random.uniform(0.8, 1.2, shape).astype(np.float32)
            else:
                spread = (2 / np.prod(shape[1:])) ** 0.5 if name.endswith("_w") else 1.0 if name == "data" else 0.05
                feeds[name] = (spread * random.standard_normal(shape)).astype(np.float32)
        return feeds


def resnet(
    groups: Sequence[int] = RESNET50, batch: int = 32, image: int = 224, width: int = 64, classes: int = 1000
) -> TrainingNet:
    """A residual net of bottleneck blocks, with loss and gradients; (3, 4, 6, 3) is ResNet-50.

    image: side in pixels, a multiple of 32. width: channels of the first group's bottleneck; 64 in He et al. (2016).
    """
    data, label = TensorType(DType.FLOAT, (batch, 3, image, image)), TensorType(DType.INT32, (batch,))
    t = TrainingNet(Net(f"resnet_{sum(groups) * 3 + 2}"), {"data": data, "label": label})
    t.conv("data", "conv1", (3, width), 7, 2, 3)
    t.relu(t.batch_norm("conv1", "conv1_spatbn_relu", width))
    x = t.operator("MaxPool", ["conv1_spatbn_relu"], ["pool1"], kernel=3, stride=2, pad=1, order=b"NCHW")
    channels, number = width, 0
    for group, blocks in enumerate(groups):
        for block in range(blocks):
            base = width << group
            x = _bottleneck(t, x, number, (channels, base), 2 if group and not block else 1)
            channels, number = 4 * base, number + 1
    side = image // 2 ** (len(groups) + 1)
    x = t.operator("AveragePool", [x], ["final_avg"], kernel=side, stride=1, order=b"NCHW")
    t.fc(x, f"last_out_L{classes}", channels, classes)
    t.operator("SoftmaxWithLoss", [f"last_out_L{classes}", "label"], ["softmax", "loss"])
    t.differentiate()
    return t


def _bottleneck(t: TrainingNet, x: str, number: int, channels: tuple[int, int], stride: int) -> str:
    """1x1, 3x3, 1x1 convolutions around which the input is added, projected where the shape changes.

    channels: of the input, and of the 3x3 convolution.
    """
    before, base = channels
    sizes, kernels, y = (before, base, base, 4 * base), (1, 3, 1), x
    for i, kernel in enumerate(kernels, 1):
        y = t.conv(y, f"comp_{number}_conv_{i}", sizes[i - 1 : i + 1], kernel, stride if i == 2 else 1, kernel // 2)
        y = t.batch_norm(y, f"comp_{number}_spatbn_{i}", sizes[i])
        if i < len(kernels):
            y = t.relu(y)
    if before != 4 * base:
        short = t.conv(x, f"shortcut_projection_{number}", (before, 4 * base), 1, stride)
        x = t.batch_norm(short, f"shortcut_projection_{number}_spatbn", 4 * base)
    return t.relu(t.operator("Sum", [y, x], [f"comp_{number}_sum_3"]))


NETS = {"resnet50": RESNET50, "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}


def main() -> None:
    """Write a net."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NETS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("-o", type=Path, default=Path("train_net.pb"))
    arguments = parser.parse_args()
    made = resnet(NETS[arguments.name], arguments.batch, arguments.image)
    arguments.o.write_bytes(write_net(made.net))
    print(f"{arguments.o}: {len(made.net.ops)} operators, {len(made.parameters)} parameters, {len(made.given)} inputs")


if __name__ == "__main__":
    main()
