"""Nets described layer by layer, with shapes and seeded weights, to be written in any format.

Weights are random with the variances of He et al. (2015), so that activations stay within range as in a trained net.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]
EPSILON = 1e-5
LRN_SIZE, LRN_ALPHA, LRN_BETA, LRN_BIAS = 5, 1e-4, 0.75, 1.0


@dataclass(frozen=True)
class Layer:
    """One operation. inputs: values; weights: names in ``Net.weights``, in the order of Caffe2 and ONNX.

    kind: conv, fc, batch_norm, relu, relu6, max_pool, average_pool, mean (over the plane), lrn, add, concat, flatten or
    softmax. options: of conv ``kernel stride pad group``, of pools ``kernel stride pad ceil``.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    weights: tuple[str, ...] = ()
    options: Mapping[str, int] = field(default_factory=dict)


class Net:
    """A net under construction: each method appends a layer and returns the name of its value."""

    def __init__(self, name: str, *shape: int, seed: int = 0) -> None:
        """shape: of the input ``data``, with the batch. seed: of the weights, together with the name."""
        self.name = name
        self.layers: list[Layer] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {"data": shape}
        self.macs = 0
        self._random = np.random.default_rng(zlib.crc32(name.encode()) + seed)

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
        return np.asarray(self._random.standard_normal(shape, dtype=np.float32) * np.float32(variance**0.5))

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
        return self._pool("max_pool", x, kernel, stride, pad, ceil)

    def average_pool(self, x: str, kernel: int, stride: int) -> str:
        """Average pooling without padding."""
        return self._pool("average_pool", x, kernel, stride, 0, False)

    def _pool(self, kind: str, x: str, kernel: int, stride: int, pad: int, ceil: bool) -> str:
        n, c, *plane = self.shapes[x]
        up = stride - 1 if ceil else 0
        h, w = ((d + 2 * pad - kernel + up) // stride + 1 for d in plane)
        return self._append(kind, (x,), (n, c, h, w), kernel=kernel, stride=stride, pad=pad, ceil=int(ceil))

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
        """Each picture as a row."""
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
