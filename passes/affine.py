"""Operators that are y = scale * x + shift per channel with constant scale and shift, whatever they are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphc.ir import Call, Dim, Node
from graphc.passes.matching import channel_axis, channel_vector


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift with one float64 of each per channel."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, after: Affine) -> Affine:
        """``after`` applied to the result of this one."""
        return Affine(after.scale * self.scale, after.scale * self.shift + after.shift)

    @property
    def is_finite(self) -> bool:
        """Every parameter is a finite float32: a variance below -epsilon or an overflow makes one that is not."""
        with np.errstate(over="ignore"):
            return all(bool(np.isfinite(a.astype(np.float32)).all()) for a in (self.scale, self.shift))


def affine_of(node: Node, slot: int, axis: int) -> Affine | None:
    """What ``node`` computes from operand ``slot``, where that is affine per index of dimension ``axis``, else None.

    Handles SpatialBN with is_test, AffineChannel, Mul, Add, Sub, Div and Scale whose other operands are float constants
    of one element or one per channel, Caffe2's legacy broadcast=1, axis=k included.
    """
    rule = _RULES.get(node.op)
    shape = node.results[0].type.shape
    operand = node.operands[slot]
    if rule is None or not shape or operand is None or operand.type.shape != shape or not isinstance(shape[axis], int):
        return None
    return rule(Call(node), slot, shape, axis)


def _spatial_bn(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    """FEATURES trap 10: without is_test the statistics are those of the batch."""
    if call.arg("is_test") != 1 or not _channels_at(call, slot, shape, axis):
        return None
    params = [_vector(call, i, shape[axis]) for i in (1, 2, 3, 4)]
    if any(p is None for p in params):
        return None
    scale, bias, mean, variance = (p for p in params if p is not None)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = scale / np.sqrt(variance + float(np.float32(call.arg("epsilon"))))
    return Affine(factor, bias - mean * factor)


def _affine_channel(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    if not _channels_at(call, slot, shape, axis):
        return None
    scale, bias = _vector(call, 1, shape[axis]), _vector(call, 2, shape[axis])
    return None if scale is None or bias is None else Affine(scale, bias)


def _mul(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    other = channel_vector(call, 1 - slot, shape, axis)
    return None if other is None else Affine(other, np.zeros_like(other))


def _add(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    other = channel_vector(call, 1 - slot, shape, axis)
    return None if other is None else Affine(np.ones_like(other), other)


def _sub(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    other = channel_vector(call, 1 - slot, shape, axis)
    if other is None:
        return None
    one = np.ones_like(other)
    return Affine(one, -other) if slot == 0 else Affine(-one, other)


def _div(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    other = channel_vector(call, 1, shape, axis) if slot == 0 else None
    if other is None or not other.all():
        return None
    return Affine(1 / other, np.zeros_like(other))


def _scale(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> Affine | None:
    channels = shape[axis]
    if not isinstance(channels, int):
        return None
    return Affine(np.full(channels, float(call.arg("scale"))), np.zeros(channels))


def _channels_at(call: Call, slot: int, shape: tuple[Dim, ...], axis: int) -> bool:
    """The operator reads its map from input 0 and has its channels in dimension ``axis``."""
    return slot == 0 and channel_axis(call) % len(shape) == axis % len(shape)


def _vector(call: Call, i: int, channels: Dim) -> np.ndarray | None:
    data = call.constant(i)
    if data is None or data.dtype != np.float32 or data.size != channels:
        return None
    return data.reshape(-1).astype(np.float64)


_RULES: dict[str, Callable[[Call, int, tuple[Dim, ...], int], Affine | None]] = {
    "SpatialBN": _spatial_bn,
    "AffineChannel": _affine_channel,
    "Mul": _mul,
    "Add": _add,
    "Sub": _sub,
    "Div": _div,
    "Scale": _scale,
}
