"""Scripts that build training nets with the Python API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.caffe2 import brew, optimizer
from graphc.caffe2.model_helper import ModelHelper


def lenet(model: ModelHelper) -> Any:
    x = brew.conv(model, "data", "conv1", 1, 8, kernel=5)
    x = brew.max_pool(model, x, "pool1", kernel=2, stride=2)
    x = brew.conv(model, x, "conv2", 8, 16, kernel=5)
    x = brew.max_pool(model, x, "pool2", kernel=2, stride=2)
    x = brew.fc(model, x, "fc3", 16 * 4 * 4, 64)
    x = brew.relu(model, x, x)
    return brew.fc(model, x, "pred", 64, 10)


def mlp(model: ModelHelper) -> Any:
    x = brew.fc(model, "data", "h1", 784, 32)
    x = brew.tanh(model, x, "t1")
    return brew.fc(model, x, "pred", 32, 10)


def residual_block(model: ModelHelper) -> Any:
    x = brew.conv(model, "data", "c0", 1, 8, kernel=3, pad=1, stride=2)
    x = brew.spatial_bn(model, x, "b0", 8, epsilon=1e-3, momentum=0.9, is_test=False)
    x = brew.relu(model, x, x)
    y = brew.conv(model, x, "c1", 8, 8, kernel=3, pad=1)
    y = brew.spatial_bn(model, y, "b1", 8, epsilon=1e-3, momentum=0.9, is_test=False)
    s = brew.sum(model, [y, x], "s1")
    s = brew.relu(model, s, s)
    s = brew.average_pool(model, s, "gap", kernel=14)
    return brew.fc(model, s, "pred", 8, 10)


def _sgd(model: ModelHelper) -> Any:
    return optimizer.build_sgd(
        model, base_learning_rate=0.01, policy="step", stepsize=20, gamma=0.5, momentum=0.9
    )  # fmt: skip


def _adagrad(model: ModelHelper) -> Any:
    return optimizer.build_adagrad(model, base_learning_rate=0.02)


SCRIPTS: dict[str, tuple[Callable[[ModelHelper], Any], Callable[[ModelHelper], Any], int]] = {
    "lenet_sgd": (lenet, _sgd, 0),
    "mlp_adagrad": (mlp, _adagrad, 0),
    "resblock_sgd": (residual_block, _sgd, 1),
}
"""Layers, optimizer, and how many optimizers of its class were made before, by the folder of real Caffe2's nets."""


def build(name: str) -> ModelHelper:
    """The model of a script: layers, loss, accuracy, gradients, updates."""
    layers, optimize, earlier = SCRIPTS[name]
    optimizer.reset_optimizer_instance_count()
    for _ in range(earlier):
        optimizer.SgdOptimizer()
    model = ModelHelper(name=name)
    prediction = layers(model)
    softmax, loss = model.net.SoftmaxWithLoss([prediction, "label"], ["softmax", "loss"])
    model.net.Accuracy([softmax, "label"], "accuracy")
    model.AddGradientOperators([loss])
    optimize(model)
    return model
