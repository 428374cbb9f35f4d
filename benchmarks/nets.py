"""The nets of the benchmark, of those that ``graphc models build`` writes."""

from __future__ import annotations

from graphc.zoo.architectures import ARCHITECTURES

NETS = {
    name: ARCHITECTURES[name]
    for name in ("squeezenet1_1", "squeezenet1_0", "resnet50", "mobilenetv2", "googlenet", "alexnet", "vgg16", "mlp")
}
"""Functions that make a net, by its name."""
