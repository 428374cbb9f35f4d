"""The random numbers of Caffe2's CPU operators whose device option has a ``random_seed``.

The rules are those of Caffe2 in PyTorch 1.10 (``caffe2/core/context.h``, ``caffe2/utils/math_cpu.cc``,
``ATen/core/DistributionsHelper.h``): an operator has a Mersenne Twister of its own, begun with the seed (without one,
with the time and the process number), and every number of its output takes the next 32-bit word or words. Caffe2's
recorded fills of seed 7 and its picture of the style-transfer net come out of it, the former to the last bit.
"""

from __future__ import annotations

import math
import re

import numpy as np

from graphc.ir.opdef import Call

_SEED = re.compile(r"cpu:\d+ random_seed=(\d+)")
_MANTISSA = 24
"""Binary digits of a float32: so many of a word's low bits make a uniform number."""


_IDLE: list[np.random.RandomState] = []
"""Twisters that nobody uses: to make one takes a hundred times as long as to give it a seed."""


def seed_of(call: Call) -> int | None:
    """The seed that the device option gives the operator's generator; None without one, and on other devices than the
    CPU, whose generators are others."""
    found = _SEED.fullmatch(call.node.device)
    return int(found[1]) & 0xFFFFFFFF if found else None


class Caffe2Generator:
    """Caffe2's generator with the methods of ``numpy.random.Generator`` that fills need; all give float32 or int32.

    A second run of an operator goes on where the first ended; this is the first run.
    """

    def __init__(self, seed: int) -> None:
        try:
            self._twister = _IDLE.pop()
        except IndexError:
            self._twister = np.random.RandomState()
        self._twister.seed(seed)

    def __del__(self) -> None:
        _IDLE.append(self._twister)

    def words(self, n: int) -> np.ndarray:
        """The next ``n`` words of the Mersenne Twister, uint32."""
        return np.asarray(self._twister.randint(0, 1 << 32, n, np.uint32))

    def _unit(self, n: int) -> np.ndarray:
        """``n`` numbers in [0, 1): the low 24 bits of a word each."""
        low = self.words(n) & np.uint32((1 << _MANTISSA) - 1)
        return np.asarray(low.astype(np.float32) * np.float32(2.0**-_MANTISSA))

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers in [low, high), computed in float32."""
        start, width = np.float32(low), np.float32(high) - np.float32(low)
        return np.asarray(self._unit(math.prod(shape)) * width + start).reshape(shape)

    def normal(self, mean: float, std: float, shape: tuple[int, ...]) -> np.ndarray:
        """Normal numbers by Box and Muller's method: words 2k and 2k + 1 give the angle and the radius of two of them.

        Caffe2 calls the functions of C for double and rounds radius, angle and product to float32.
        """
        n = math.prod(shape)
        turn, tail = self._unit(n + n % 2).reshape(-1, 2).T
        radius = np.sqrt(-2.0 * np.log1p(-tail.astype(np.float64))).astype(np.float32)
        angle = np.float32(2) * np.float32(np.pi) * turn
        waves = np.stack([np.cos(angle.astype(np.float64)), np.sin(angle.astype(np.float64))], 1)
        unit = (radius[:, None] * waves).astype(np.float32).reshape(-1)[:n]
        return np.asarray(unit * np.float32(std) + np.float32(mean)).reshape(shape)

    def integers(self, low: int, high: int, shape: tuple[int, ...], *, endpoint: bool) -> np.ndarray:
        """Integers from ``low`` to ``high``, which ``endpoint`` includes: a word modulo the number of them."""
        count = int(high) - int(low) + int(endpoint)
        return (self.words(math.prod(shape)).astype(np.int64) % count + int(low)).astype(np.int32).reshape(shape)
