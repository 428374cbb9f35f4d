"""Batch normalisation as a part of the convolution before it.

``y = s (Conv(x, W) + c - m) / sqrt(v + e) + b`` is the convolution with ``f W`` and ``f (c - m) + b``, where
``f = s / sqrt(v + e)``, one number for each channel.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from graphc.caffe2.transforms.dataflow import argument, fresh, names, only_reader, order, remove
from graphc.frontends.netdef.schema import Message


class Blobs(Protocol):
    """The workspace that has the weights."""

    def has_blob(self, name: str) -> bool:
        """There is a blob of this name."""

    def fetch(self, name: str) -> Any:
        """A copy of what a blob holds."""

    def feed(self, name: str, given: Any) -> None:
        """Put an array into a blob."""


def fuse_conv_bn(net: Message, blobs: Blobs) -> None:
    """Take away each SpatialBN that only tests, and whose input only it reads, where a Conv makes that.

    The convolution's weights and bias change in the workspace; without bias it gets one. Left as it is: what trains,
    weights that are computed or that other operators read, statistics that the workspace does not have.
    """
    taken, at = names(net), 0
    while at < len(net.op):
        norm = only_reader(net, at, "SpatialBN") if net.op[at].type == "Conv" else None
        if norm is not None and _can_fuse(net, at, norm, blobs):
            _fuse(net, net.op[at], net.op[norm], blobs, taken)
            remove(net, [norm])
        at += 1


def _can_fuse(net: Message, at: int, norm: int, blobs: Blobs) -> bool:
    conv, after = net.op[at], net.op[norm]
    tests = argument(after, "is_test")
    if tests is None or not tests.i or len(after.output) != 1 or len(after.input) != 5 or order(conv) != order(after):
        return False
    weights, statistics = list(conv.input[1:]), list(after.input[1:])
    written = {blob for op in net.op for blob in op.output}
    shared = {blob for op in net.op if op is not conv for blob in op.input}
    if written.intersection([*weights, *statistics]) or shared.intersection(weights):
        return False
    between = {blob for op in net.op[at + 1 : norm] for blob in (*op.input, *op.output)}
    if after.output[0] in {*between, *conv.input}:
        return False
    arrays: list[Any] = [blobs.fetch(name) if blobs.has_blob(name) else None for name in (*weights, *statistics)]
    if not all(isinstance(a, np.ndarray) and a.dtype == np.float32 for a in arrays):
        return False
    channels = arrays[0].shape[:1]
    return all(a.shape == channels for a in arrays[1:])


def _fuse(net: Message, conv: Message, norm: Message, blobs: Blobs, taken: set[str]) -> None:
    scale, shift, mean, variance = (blobs.fetch(name).astype(np.float64) for name in norm.input[1:])
    found = argument(norm, "epsilon")
    factor = scale / np.sqrt(variance + (1e-5 if found is None else found.f))
    weight = blobs.fetch(conv.input[1]).astype(np.float64)
    blobs.feed(conv.input[1], (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32))
    if len(conv.input) < 3:
        name = fresh(taken, f"{conv.output[0]}_bias")
        while blobs.has_blob(name):
            name = fresh(taken, f"{conv.output[0]}_bias")
        conv.input.append(name)
        net.external_input.append(name)
        blobs.feed(name, np.zeros(len(factor), np.float32))
        without = argument(conv, "no_bias")
        if without is not None:
            without.i = 0
    bias = blobs.fetch(conv.input[2]).astype(np.float64)
    blobs.feed(conv.input[2], ((bias - mean) * factor + shift).astype(np.float32))
    conv.output[0] = norm.output[0]
