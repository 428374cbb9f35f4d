"""The end of int8 kernels: sums to bytes by fixed-point scaling, zero point and clamp, as source; and its numbers."""

from __future__ import annotations

import numpy as np

from graphc.backends.cpu.kernels.int8_call import Int8Product, Scaling
from graphc.backends.lines import Lines

PARAMS = ("zero", "low", "left", "limit")
"""Zero point and least value of the result, left shift and the limit before it."""


def params(p: Int8Product, scaling: Scaling) -> tuple[int, int, int, int]:
    """Values of ``PARAMS``."""
    return p.zero, p.low, scaling.left, scaling.limit


def head(s: Lines) -> None:
    """Vectors of the numbers that all results share."""
    s("zero_w = wsplat(zero)")
    s("low_w = wsplat(low)")
    s("high_w = wsplat(255)")
    s("left_w = wsplat(left)")
    s("most_w = wsplat(limit)")
    s("least_w = wsplat(-limit)")


def apply(s: Lines, total: str, multiplier: str, right: str, grows: bool) -> None:
    """Source that turns the sums in variable ``total`` into results, in place. grows: the scale is 1 or more."""
    s(f"{total} = wscale({total}, {multiplier})")
    if grows:
        s(f"{total} = wshl(wmin(wmax({total}, least_w), most_w), left_w)")
    else:
        s(f"{total} = wshift({total}, {right})")
    s(f"{total} = wmin(wmax(wadd({total}, zero_w), low_w), high_w)")


def store(s: Lines, stores: list[tuple[str, str]], count: str, lanes: int) -> None:
    """Source that stores (place, variable) pairs as bytes: the first ``count`` lanes of each."""
    with s.block(f"if {count} >= {lanes}:"):
        for place, value in stores:
            s(f"wstore_u1(y, {place}, {value})")
    with s.block("else:"):
        for place, value in stores:
            s(f"wstore_u1m(y, {place}, {count}, {value})")


def pack_tail(bias: np.ndarray, scaling: Scaling, group: int, width: int) -> np.ndarray:
    """Bias, multiplier and right shift of every map, as bytes: int32, each group padded to whole blocks of ``width``.

    bias: int64 (M,), with what the zero points contribute; modulo 2**32.
    """
    per = bias.size // group
    out = np.zeros((3, group, -(-per // width) * width), np.uint32)
    out[0, :, :per] = (bias.reshape(group, per) & 0xFFFFFFFF).astype(np.uint32)
    out[1], out[2] = scaling.multiplier, scaling.right
    return out.reshape(-1).view(np.uint8)
