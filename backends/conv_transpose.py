"""ConvTranspose as convolutions: outputs a stride apart form phases, each with its own part of the filter.

Output o meets input i by tap k where o + head = i * stride + k. So outputs with equal (o + head) mod stride = a share
the taps a, a + stride, ...; in reverse order these are the filter of a convolution of stride 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, transposed_window


@dataclass(frozen=True)
class Axis:
    """One direction of a phase. tap: its first tap; taps: how many; start: its first output; count: its outputs;
    origin: input under the first tap of the convolution at the first output."""

    tap: int
    taps: int
    start: int
    count: int
    origin: int

    @property
    def last(self) -> int:
        """The last input that is read."""
        return self.origin + self.count - 1 + self.taps - 1


def axes(w: Window, i: int, outputs: int) -> list[Axis]:
    """The phases of spatial dimension ``i`` that have outputs."""
    stride, head, kernel = w.stride[i], w.heads[i], w.kernel[i]
    found = []
    for tap in range(stride):
        start = (tap - head) % stride
        taps = max(0, -(-(kernel - tap) // stride))
        count = -(-(outputs - start) // stride)
        if count > 0:
            found.append(Axis(tap, taps, start, count, (start + head - tap) // stride - (taps - 1)))
    return found


@dataclass(frozen=True)
class Transposed(ConvCall):
    """A ConvTranspose call on one image size."""

    @staticmethod
    def of(call: Call) -> Transposed | None:
        """The call where kernels can do it: 4-D float, NCHW; else None."""
        return Transposed.read(call, (4,), transposed_window)

    @property
    def phases(self) -> list[tuple[Axis, Axis]]:
        """Rows and columns of every phase."""
        return list(product(axes(self.window, 0, self.result[2]), axes(self.window, 1, self.result[3])))

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        taps = math.prod(self.window.kernel)
        return math.prod(self.shape) * taps * self.result[1] // self.window.group

    def phase_filter(self, weights: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
        """Filter (M, C / group, taps, taps) of a phase from weights (C, M / group, kernel, kernel)."""
        group, (sh, sw) = self.window.group, self.window.stride
        part = weights[:, :, rows.tap :: sh, columns.tap :: sw][:, :, ::-1, ::-1]
        c, per = weights.shape[:2]
        swapped = part.reshape(group, c // group, per, *part.shape[2:]).swapaxes(1, 2)
        return np.asarray(swapped.reshape(group * per, c // group, *part.shape[2:]), np.float32)
