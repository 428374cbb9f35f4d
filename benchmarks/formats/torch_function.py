"""A net of the benchmark as a PyTorch function: a peer in float32, and in float64 the reference of all outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from graphc.zoo.layers import EPSILON, LRN_ALPHA, LRN_BETA, LRN_BIAS, LRN_SIZE, Layer, Net

Forward = Callable[[Tensor], Tensor]


def make_forward(net: Net, dtype: torch.dtype, channels_last: bool, device: str = "cpu") -> Forward:
    """The net as a function of its input; channels_last: the layout of its planes, in which PyTorch is fastest."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    steps = [
        (layer, _meaning(layer, [w.to(device) for w in _weights(net, layer, dtype, order)])) for layer in net.layers
    ]

    def forward(data: Tensor) -> Tensor:
        values = {"data": data.to(dtype)}
        if data.dim() == 4:
            values["data"] = values["data"].contiguous(memory_format=order)
        for layer, meaning in steps:
            values[layer.output] = meaning(*[values[n] for n in layer.inputs])
        return values[net.output]

    return forward


def _weights(net: Net, layer: Layer, dtype: torch.dtype, order: torch.memory_format) -> list[Tensor]:
    weights = [torch.from_numpy(net.weights[n]).to(dtype) for n in layer.weights]
    return [w.contiguous(memory_format=order) if w.dim() == 4 else w for w in weights]


def _meaning(layer: Layer, weights: list[Tensor]) -> Callable[..., Tensor]:
    """The layer as a function of its inputs."""
    o = layer.options
    meanings: dict[str, Callable[..., Tensor]] = {
        "conv": lambda x: F.conv2d(x, *weights, stride=o["stride"], padding=o["pad"], groups=o["group"]),
        "fc": lambda x: F.linear(x, *weights),
        "batch_norm": lambda x: _batch_norm(x, *weights),
        "relu": F.relu,
        "relu6": F.relu6,
        "max_pool": lambda x: F.max_pool2d(x, o["kernel"], o["stride"], o["pad"], ceil_mode=bool(o["ceil"])),
        "mean": lambda x: F.adaptive_avg_pool2d(x, 1),
        "lrn": lambda x: F.local_response_norm(x, LRN_SIZE, LRN_ALPHA, LRN_BETA, LRN_BIAS),
        "add": torch.add,
        "concat": lambda *parts: torch.cat(parts, 1),
        "flatten": lambda x: torch.flatten(x, 1),
        "softmax": lambda x: F.softmax(x, 1),
    }
    return meanings[layer.kind]


def _batch_norm(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=EPSILON)
