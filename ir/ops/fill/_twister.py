"""Caffe2's random numbers in loops: the Mersenne Twister MT19937 and what ``_caffe2_random.py`` makes of its words.

A generator is a scratch array of int64: 624 words and the number of those used.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from graphc.ir.opdef import Call, Seed
from graphc.ir.ops._caffe2_random import seed_of
from graphc.ir.types import DType, TensorType

WORDS = 624
SHIFT = 397
MASK = 4294967295

STATE = TensorType(DType.INT64, (WORDS + 1,))
"""The scratch array of a generator."""


def call_seed(call: Call) -> Seed:
    """The seed of a call's generator: that of its device option, else one of the name of its first output."""
    seed = seed_of(call)
    return Seed(zlib.crc32(call.node.results[0].name.encode("utf-8", "surrogateescape")) if seed is None else seed)


def begin(state: np.ndarray, seed: int) -> None:
    """Part of a loop: the generator begins with a seed."""
    state[0] = seed & MASK
    for i in range(1, WORDS):
        last = state[i - 1]
        state[i] = (1812433253 * (last ^ (last >> 30)) + i) & MASK
    state[WORDS] = WORDS


def _renew(state: np.ndarray) -> None:
    for i in range(WORDS):
        mixed = (state[i] & 2147483648) | (state[(i + 1) % WORDS] & 2147483647)
        odd = 2567483615 if mixed & 1 else 0
        state[i] = state[(i + SHIFT) % WORDS] ^ (mixed >> 1) ^ odd
    state[WORDS] = 0


def word(state: np.ndarray) -> Any:
    """Part of a loop: the next word, 0 to 2**32 - 1."""
    if state[WORDS] >= WORDS:
        _renew(state)
    y = state[state[WORDS]]
    state[WORDS] += 1
    y ^= y >> 11
    y ^= (y << 7) & 2636928640
    y ^= (y << 15) & 4022730752
    return y ^ (y >> 18)


def unit(state: np.ndarray) -> Any:
    """Part of a loop: the next float32 in [0, 1), the low 24 bits of a word."""
    return np.float32(word(state) & 16777215) * np.float32(5.9604644775390625e-08)


def uniform(state: np.ndarray, low: Any, high: Any) -> Any:
    """Part of a loop: the next float32 in [low, high)."""
    start = np.float32(low)
    return unit(state) * (np.float32(high) - start) + start


def whole(state: np.ndarray, low: int, high: int) -> Any:
    """Part of a loop: the next integer from ``low`` to ``high``, of one word or for wide ranges of two."""
    number = high - low + 1
    if number <= MASK:
        return low + word(state) % number
    upper = np.uint64(word(state)) << np.uint64(32)
    return low + np.int64((upper | np.uint64(word(state))) % np.uint64(number))
