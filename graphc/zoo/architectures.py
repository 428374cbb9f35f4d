"""The standard architectures, with seeded weights: nets to measure and to try things on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from graphc.ir import FileError
from graphc.zoo.layers import Net


def _fire(net: Net, x: str, squeeze: int, expand: int) -> str:
    x = net.conv_relu(x, squeeze, 1)
    return net.concat(net.conv_relu(x, expand, 1), net.conv_relu(x, expand, 3, pad=1))


def squeezenet1_0(seed: int = 0) -> Net:
    """Iandola et al. 2016."""
    net = Net("squeezenet1_0", 1, 3, 227, 227, seed=seed)
    x = net.max_pool(net.conv_relu("data", 96, 7, 2), 3, 2, ceil=True)
    for squeeze, expand in ((16, 64), (16, 64), (32, 128)):
        x = _fire(net, x, squeeze, expand)
    x = net.max_pool(x, 3, 2, ceil=True)
    for squeeze, expand in ((32, 128), (48, 192), (48, 192), (64, 256)):
        x = _fire(net, x, squeeze, expand)
    x = _fire(net, net.max_pool(x, 3, 2, ceil=True), 64, 256)
    net.softmax(net.flatten(net.mean(net.conv_relu(x, 1000, 1))))
    return net


def squeezenet1_1(seed: int = 0) -> Net:
    """SqueezeNet 1.1 of its authors: 2.4 times less work than 1.0."""
    net = Net("squeezenet1_1", 1, 3, 227, 227, seed=seed)
    x = net.max_pool(net.conv_relu("data", 64, 3, 2), 3, 2, ceil=True)
    for squeeze in (16, 32):
        x = _fire(net, _fire(net, x, squeeze, 4 * squeeze), squeeze, 4 * squeeze)
        x = net.max_pool(x, 3, 2, ceil=True)
    for squeeze in (48, 48, 64, 64):
        x = _fire(net, x, squeeze, 4 * squeeze)
    net.softmax(net.flatten(net.mean(net.conv_relu(x, 1000, 1))))
    return net


def _basic(net: Net, x: str, channels: int, stride: int, project: bool) -> str:
    shortcut = net.conv_norm(x, channels, 1, stride, gain=0.7) if project else x
    y = net.relu(net.conv_norm(x, channels, 3, stride, 1))
    return net.relu(net.add(net.conv_norm(y, channels, 3, pad=1, gain=0.4), shortcut))


def _bottleneck(net: Net, x: str, channels: int, stride: int, project: bool) -> str:
    shortcut = net.conv_norm(x, 4 * channels, 1, stride, gain=0.7) if project else x
    y = net.relu(net.conv_norm(x, channels, 1, stride))
    y = net.relu(net.conv_norm(y, channels, 3, pad=1))
    return net.relu(net.add(net.conv_norm(y, 4 * channels, 1, gain=0.4), shortcut))


def _resnet(name: str, blocks: tuple[int, int, int, int], bottleneck: bool, seed: int) -> Net:
    net = Net(name, 1, 3, 224, 224, seed=seed)
    x = net.max_pool(net.relu(net.conv_norm("data", 64, 7, 2, 3)), 3, 2, 1)
    for stage, (channels, count) in enumerate(zip((64, 128, 256, 512), blocks)):
        for block in range(count):
            stride, project = 2 if stage and not block else 1, not block and (bottleneck or stage > 0)
            x = (_bottleneck if bottleneck else _basic)(net, x, channels, stride, project)
    net.softmax(net.fc(net.flatten(net.mean(x)), 1000, 0.25))
    return net


def resnet18(seed: int = 0) -> Net:
    """He et al. 2015, two 3x3 convolutions a block."""
    return _resnet("resnet18", (2, 2, 2, 2), False, seed)


def resnet34(seed: int = 0) -> Net:
    """He et al. 2015, two 3x3 convolutions a block."""
    return _resnet("resnet34", (3, 4, 6, 3), False, seed)


def resnet50(seed: int = 0) -> Net:
    """He et al. 2015; the stride is that of the first 1x1 convolution, as in the original."""
    return _resnet("resnet50", (3, 4, 6, 3), True, seed)


def resnet101(seed: int = 0) -> Net:
    """He et al. 2015, as ``resnet50``."""
    return _resnet("resnet101", (3, 4, 23, 3), True, seed)


def resnet152(seed: int = 0) -> Net:
    """He et al. 2015, as ``resnet50``."""
    return _resnet("resnet152", (3, 8, 36, 3), True, seed)


def _inverted(net: Net, x: str, channels: int, stride: int, factor: int) -> str:
    wide = factor * net.shapes[x][1]
    y = net.relu6(net.conv_norm(x, wide, 1)) if factor > 1 else x
    y = net.relu6(net.conv_norm(y, wide, 3, stride, 1, wide))
    if stride > 1 or net.shapes[x][1] != channels:
        return net.conv_norm(y, channels, 1)
    return net.add(x, net.conv_norm(y, channels, 1, gain=0.5))


def mobilenetv2(seed: int = 0) -> Net:
    """Sandler et al. 2018, width 1."""
    net = Net("mobilenetv2", 1, 3, 224, 224, seed=seed)
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


def googlenet(seed: int = 0) -> Net:
    """Szegedy et al. 2014, without the two outputs that only training uses."""
    net = Net("googlenet", 1, 3, 224, 224, seed=seed)
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


def alexnet(seed: int = 0) -> Net:
    """Krizhevsky et al. 2012 in the form of Caffe's model zoo: groups and local response normalisation."""
    net = Net("alexnet", 1, 3, 227, 227, seed=seed)
    x = net.max_pool(net.lrn(net.conv_relu("data", 96, 11, 4)), 3, 2)
    x = net.max_pool(net.lrn(net.conv_relu(x, 256, 5, pad=2, group=2)), 3, 2)
    x = net.conv_relu(net.conv_relu(x, 384, 3, pad=1), 384, 3, pad=1, group=2)
    x = net.flatten(net.max_pool(net.conv_relu(x, 256, 3, pad=1, group=2), 3, 2))
    x = net.relu(net.fc(net.relu(net.fc(x, 4096)), 4096))
    net.softmax(net.fc(x, 1000, 0.1))
    return net


def _vgg(name: str, counts: tuple[int, int, int, int, int], seed: int) -> Net:
    net = Net(name, 1, 3, 224, 224, seed=seed)
    x = "data"
    for channels, count in zip((64, 128, 256, 512, 512), counts):
        for _ in range(count):
            x = net.conv_relu(x, channels, 3, pad=1)
        x = net.max_pool(x, 2, 2)
    x = net.relu(net.fc(net.relu(net.fc(net.flatten(x), 4096)), 4096))
    net.softmax(net.fc(x, 1000, 1.0))
    return net


def vgg16(seed: int = 0) -> Net:
    """Simonyan and Zisserman 2014, configuration D."""
    return _vgg("vgg16", (2, 2, 3, 3, 3), seed)


def vgg19(seed: int = 0) -> Net:
    """Simonyan and Zisserman 2014, configuration E."""
    return _vgg("vgg19", (2, 2, 4, 4, 4), seed)


def densenet121(seed: int = 0) -> Net:
    """Huang et al. 2016, growth 32: each layer sees the channels of all before it."""
    net = Net("densenet121", 1, 3, 224, 224, seed=seed)
    x = net.max_pool(net.relu(net.conv_norm("data", 64, 7, 2, 3)), 3, 2, 1)
    for stage, layers in enumerate((6, 12, 24, 16)):
        if stage:
            half = net.shapes[x][1] // 2
            x = net.average_pool(net.conv(net.relu(net.batch_norm(x)), half, 1, bias=False), 2, 2)
        for _ in range(layers):
            y = net.conv(net.relu(net.batch_norm(x)), 128, 1, bias=False)
            x = net.concat(x, net.conv(net.relu(net.batch_norm(y)), 32, 3, pad=1, bias=False))
    x = net.relu(net.batch_norm(x))
    net.softmax(net.fc(net.flatten(net.mean(x)), 1000, 0.25))
    return net


def lenet(seed: int = 0) -> Net:
    """LeCun et al. 1998 as Caffe and Caffe2's MNIST tutorial have it."""
    net = Net("lenet", 1, 1, 28, 28, seed=seed)
    x = net.max_pool(net.conv("data", 20, 5), 2, 2)
    x = net.flatten(net.max_pool(net.conv(x, 50, 5), 2, 2))
    net.softmax(net.fc(net.relu(net.fc(x, 500)), 10, 1.0))
    return net


def mlp(seed: int = 0) -> Net:
    """784-1024-1024-10: two matrix-vector products that memory bounds, and what a call costs."""
    net = Net("mlp", 1, 784, seed=seed)
    x = net.relu(net.fc(net.relu(net.fc("data", 1024)), 1024))
    net.softmax(net.fc(x, 10, 1.0))
    return net


ARCHITECTURES: Mapping[str, Callable[[int], Net]] = {
    make.__name__: make
    for make in (
        squeezenet1_0,
        squeezenet1_1,
        alexnet,
        vgg16,
        vgg19,
        googlenet,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        densenet121,
        mobilenetv2,
        lenet,
        mlp,
    )
}
"""Functions of a seed by the name of the net."""
ZOO_NAMES = {
    "squeezenet": "squeezenet1_1",
    "bvlc_alexnet": "alexnet",
    "bvlc_googlenet": "googlenet",
    "inception_v1": "googlenet",
    "mobilenet_v2": "mobilenetv2",
}
"""The names that some of them have in Caffe2's zoo."""


def architecture(name: str, seed: int = 0) -> Net:
    """A net by its name, or that of the zoo; raises ``FileError`` for an unknown one."""
    known = ZOO_NAMES.get(name, name)
    if known not in ARCHITECTURES:
        near = difflib.get_close_matches(name, [*ARCHITECTURES, *ZOO_NAMES], 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise FileError(f"there is no architecture '{name}'", f"{hint}architectures: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[known](seed)
