"""Random numbers in loops: hashes of a seed and a position."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from graphc.ir.opdef import Call, Seed
from graphc.ir.ops._caffe2_random import seed_of

MASK = 0xFFFFFFFF


def hash_seed(call: Call) -> Seed:
    """The seed of the device option, else one that the first output's name gives."""
    seed = seed_of(call)
    return Seed(zlib.crc32(call.node.results[0].name.encode("utf-8", "surrogateescape")) if seed is None else seed)


def drawn(seed: int, i: Any) -> Any:
    """The number that belongs to ``i``, evenly distributed over [0, 1)."""
    x = (np.int64(seed) + np.int64(i) * 40503) & MASK
    for _ in range(3):
        x = ((x ^ (x >> 16)) * 2146121005) & MASK
    return (x ^ (x >> 15)) / 4294967296.0
