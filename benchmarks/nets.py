"""The nets of the benchmark, each described once: layers with shapes and seeded weights, to be written in any format.

Weights are random with the variances of He et al. (2015), so that activations stay within range as in a trained net.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]
EPSILON = 1e-5
LRN_SIZE, LRN_ALPHA, LRN_BETA, LRN_BIAS = 5, 1e-4, 0.75, 1.0


@dataclass(frozen=True)
class Layer:
    """One operation. inputs: values; weights: names in ``Net.weights``, in the order of Caffe2 and ONNX.

    kind: conv, fc, batch_norm, relu, relu6, max_pool, mean (over the plane), lrn, add, concat, flatten or softmax.
    options: of conv ``kernel stride pad group``, of max_pool ``kernel stride pad ceil``.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    weights: tuple[str, ...] = ()
    options: Mapping[str, int] = field(default_factory=dict)


class Net:
    """A net under construction: each method appends a layer and returns the name of its value."""

    def __init__(self, name: str, *shape: int) -> None:
        """shape: of the input ``data``, with the batch."""
        self.name = name
        self.layers: list[Layer] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {"data": shape}
        self.macs = 0
        self._random = np.random.default_rng(zlib.crc32(name.encode()))

    @property
    def output(self) -> str:
        """The name of the last layer's value."""
        return self.layers[-1].output

    def example(self) -> np.ndarray:
        """The input of all measurements: standard normal, float32."""
        return np.random.default_rng(7).standard_normal(self.shapes["data"], dtype=np.float32)

    def _append(
        self, kind: str, inputs: tuple[str, ...], shape: Shape, weights: Mapping[str, np.ndarray] = {}, **options: int
    ) -> str:
        name = f"{kind}{len(self.layers) + 1}"
        own = {f"{name}_{k}": w.astype(np.float32) for k, w in weights.items()}
        self.weights |= own
        self.shapes[name] = shape
        self.layers.append(Layer(kind, inputs, name, tuple(own), options))
        return name

    def _normal(self, shape: Shape, variance: float) -> np.ndarray:
        return self._random.standard_normal(shape, dtype=np.float32) * np.float32(variance**0.5)

    def conv(
        self, x: str, channels: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1, bias: bool = True
    ) -> str:
        """A square convolution."""
        n, c, h, w = self.shapes[x]
        fan = c // group * kernel * kernel
        shape = (n, channels, (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1)
        weights = {"w": self._normal((channels, c // group, kernel, kernel), 2 / fan)}
        if bias:
            weights["b"] = self._normal((channels,), 0.0025)
        self.macs += int(np.prod(shape)) * fan
        return self._append("conv", (x,), shape, weights, kernel=kernel, stride=stride, pad=pad, group=group)

    def fc(self, x: str, units: int, variance: float = 2.0) -> str:
        """A fully connected layer over rows."""
        n, c = self.shapes[x]
        self.macs += n * c * units
        weights = {"w": self._normal((units, c), variance / c), "b": self._normal((units,), 0.0025)}
        return self._append("fc", (x,), (n, units), weights)

    def batch_norm(self, x: str, gain: float = 1.0) -> str:
        """Scale, bias, mean and variance as training leaves them: near 1, 0, 0, 1. gain: multiplies the scale."""
        c, random = self.shapes[x][1], self._random
        weights = {
            "s": gain * random.uniform(0.8, 1.2, c),
            "b": self._normal((c,), 0.0025),
            "m": self._normal((c,), 0.0025),
            "v": random.uniform(0.8, 1.2, c),
        }
        return self._append("batch_norm", (x,), self.shapes[x], weights)

    def max_pool(self, x: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False) -> str:
        """Max pooling; ceil: the last window may reach over the edge, as in Caffe."""
        n, c, *plane = self.shapes[x]
        up = stride - 1 if ceil else 0
        h, w = ((d + 2 * pad - kernel + up) // stride + 1 for d in plane)
        return self._append("max_pool", (x,), (n, c, h, w), kernel=kernel, stride=stride, pad=pad, ceil=int(ceil))

    def relu(self, x: str) -> str:
        return self._append("relu", (x,), self.shapes[x])

    def relu6(self, x: str) -> str:
        return self._append("relu6", (x,), self.shapes[x])

    def lrn(self, x: str) -> str:
        return self._append("lrn", (x,), self.shapes[x])

    def softmax(self, x: str) -> str:
        return self._append("softmax", (x,), self.shapes[x])

    def add(self, x: str, y: str) -> str:
        return self._append("add", (x, y), self.shapes[x])

    def mean(self, x: str) -> str:
        """The mean of each plane, as (n, c, 1, 1)."""
        return self._append("mean", (x,), (*self.shapes[x][:2], 1, 1))

    def flatten(self, x: str) -> str:
        n, *rest = self.shapes[x]
        return self._append("flatten", (x,), (n, int(np.prod(rest))))

    def concat(self, *parts: str) -> str:
        """Along the channels."""
        n, _, *plane = self.shapes[parts[0]]
        return self._append("concat", parts, (n, sum(self.shapes[p][1] for p in parts), *plane))

    def conv_relu(self, x: str, channels: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1) -> str:
        return self.relu(self.conv(x, channels, kernel, stride, pad, group))

    def conv_norm(
        self, x: str, channels: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1, gain: float = 1.0
    ) -> str:
        """A convolution without bias, then batch normalisation, kept apart as in the published nets."""
        return self.batch_norm(self.conv(x, channels, kernel, stride, pad, group, bias=False), gain)


def _fire(net: Net, x: str, squeeze: int, expand: int) -> str:
    x = net.conv_relu(x, squeeze, 1)
    return net.concat(net.conv_relu(x, expand, 1), net.conv_relu(x, expand, 3, pad=1))


def squeezenet1_0() -> Net:
    """Iandola et al. 2016."""
    net = Net("squeezenet1_0", 1, 3, 227, 227)
    x = net.max_pool(net.conv_relu("data", 96, 7, 2), 3, 2, ceil=True)
    for squeeze, expand in ((16, 64), (16, 64), (32, 128)):
        x = _fire(net, x, squeeze, expand)
    x = net.max_pool(x, 3, 2, ceil=True)
    for squeeze, expand in ((32, 128), (48, 192), (48, 192), (64, 256)):
        x = _fire(net, x, squeeze, expand)
    x = _fire(net, net.max_pool(x, 3, 2, ceil=True), 64, 256)
    net.softmax(net.flatten(net.mean(net.conv_relu(x, 1000, 1))))
    return net


def squeezenet1_1() -> Net:
    """SqueezeNet 1.1 of its authors: 2.4 times less work than 1.0."""
    net = Net("squeezenet1_1", 1, 3, 227, 227)
    x = net.max_pool(net.conv_relu("data", 64, 3, 2), 3, 2, ceil=True)
    for squeeze in (16, 32):
        x = _fire(net, _fire(net, x, squeeze, 4 * squeeze), squeeze, 4 * squeeze)
        x = net.max_pool(x, 3, 2, ceil=True)
    for squeeze in (48, 48, 64, 64):
        x = _fire(net, x, squeeze, 4 * squeeze)
    net.softmax(net.flatten(net.mean(net.conv_relu(x, 1000, 1))))
    return net


def _bottleneck(net: Net, x: str, channels: int, stride: int, project: bool) -> str:
    shortcut = net.conv_norm(x, 4 * channels, 1, stride, gain=0.7) if project else x
    y = net.relu(net.conv_norm(x, channels, 1, stride))
    y = net.relu(net.conv_norm(y, channels, 3, pad=1))
    return net.relu(net.add(net.conv_norm(y, 4 * channels, 1, gain=0.4), shortcut))


def resnet50() -> Net:
    """He et al. 2015; the stride is that of the first 1x1 convolution, as in the original."""
    net = Net("resnet50", 1, 3, 224, 224)
    x = net.max_pool(net.relu(net.conv_norm("data", 64, 7, 2, 3)), 3, 2, 1)
    for stage, (channels, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            x = _bottleneck(net, x, channels, 2 if stage and not block else 1, project=not block)
    net.softmax(net.fc(net.flatten(net.mean(x)), 1000, 0.25))
    return net


def _inverted(net: Net, x: str, channels: int, stride: int, factor: int) -> str:
    wide = factor * net.shapes[x][1]
    y = net.relu6(net.conv_norm(x, wide, 1)) if factor > 1 else x
    y = net.relu6(net.conv_norm(y, wide, 3, stride, 1, wide))
    if stride > 1 or net.shapes[x][1] != channels:
        return net.conv_norm(y, channels, 1)
    return net.add(x, net.conv_norm(y, channels, 1, gain=0.5))


def mobilenetv2() -> Net:
    """Sandler et al. 2018, width 1."""
    net = Net("mobilenetv2", 1, 3, 224, 224)
    x = net.relu6(net.conv_norm("data", 32, 3, 2, 1))
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for factor, channels, blocks, stride in stages:
        for block in range(blocks):
            x = _inverted(net, x, channels, 1 if block else stride, factor)
    x = net.relu6(net.conv_norm(x, 1280, 1))
    net.softmax(net.fc(net.flatten(net.mean(x)), 1000, 1.0))
    return net


def _inception(net: Net, x: str, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> str:
    a = net.conv_relu(x, one, 1)
    b = net.conv_relu(net.conv_relu(x, three[0], 1), three[1], 3, pad=1)
    c = net.conv_relu(net.conv_relu(x, five[0], 1), five[1], 5, pad=2)
    return net.concat(a, b, c, net.conv_relu(net.max_pool(x, 3, 1, 1), pooled, 1))


def googlenet() -> Net:
    """Szegedy et al. 2014, without the two outputs that only training uses."""
    net = Net("googlenet", 1, 3, 224, 224)
    x = net.lrn(net.max_pool(net.conv_relu("data", 64, 7, 2, 3), 3, 2, ceil=True))
    x = net.lrn(net.conv_relu(net.conv_relu(x, 64, 1), 192, 3, pad=1))
    x = net.max_pool(x, 3, 2, ceil=True)
    x = _inception(net, x, 64, (96, 128), (16, 32), 32)
    x = net.max_pool(_inception(net, x, 128, (128, 192), (32, 96), 64), 3, 2, ceil=True)
    x = _inception(net, x, 192, (96, 208), (16, 48), 64)
    x = _inception(net, x, 160, (112, 224), (24, 64), 64)
    x = _inception(net, x, 128, (128, 256), (24, 64), 64)
    x = _inception(net, x, 112, (144, 288), (32, 64), 64)
    x = net.max_pool(_inception(net, x, 256, (160, 320), (32, 128), 128), 3, 2, ceil=True)
    x = _inception(net, x, 256, (160, 320), (32, 128), 128)
    x = _inception(net, x, 384, (192, 384), (48, 128), 128)
    net.softmax(net.fc(net.flatten(net.mean(x)), 1000, 0.1))
    return net


def alexnet() -> Net:
    """Krizhevsky et al. 2012 in the form of Caffe's model zoo: groups and local response normalisation."""
    net = Net("alexnet", 1, 3, 227, 227)
    x = net.max_pool(net.lrn(net.conv_relu("data", 96, 11, 4)), 3, 2)
    x = net.max_pool(net.lrn(net.conv_relu(x, 256, 5, pad=2, group=2)), 3, 2)
    x = net.conv_relu(net.conv_relu(x, 384, 3, pad=1), 384, 3, pad=1, group=2)
    x = net.flatten(net.max_pool(net.conv_relu(x, 256, 3, pad=1, group=2), 3, 2))
    x = net.relu(net.fc(net.relu(net.fc(x, 4096)), 4096))
    net.softmax(net.fc(x, 1000, 0.1))
    return net


def vgg16() -> Net:
    """Simonyan and Zisserman 2014, configuration D."""
    net = Net("vgg16", 1, 3, 224, 224)
    x = "data"
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = net.conv_relu(x, channels, 3, pad=1)
        x = net.max_pool(x, 2, 2)
    x = net.relu(net.fc(net.relu(net.fc(net.flatten(x), 4096)), 4096))
    net.softmax(net.fc(x, 1000, 1.0))
    return net


def mlp() -> Net:
    """784-1024-1024-10: two matrix-vector products that memory bounds, and what a call costs."""
    net = Net("mlp", 1, 784)
    x = net.relu(net.fc(net.relu(net.fc("data", 1024)), 1024))
    net.softmax(net.fc(x, 10, 1.0))
    return net


NETS: Mapping[str, Callable[[], Net]] = {
    make.__name__: make
    for make in (squeezenet1_1, squeezenet1_0, resnet50, mobilenetv2, googlenet, alexnet, vgg16, mlp)
}
