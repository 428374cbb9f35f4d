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
    s("low_b = bsplat(low)")
    s("left_w = wsplat(left)")
    s("most_w = wsplat(limit)")
    s("least_w = wsplat(-limit)")


def read(s: Lines, place: str, span: str) -> None:
    """Vectors of what a block of maps has of its own, behind its biases at ``place``."""
    for i, name in enumerate(("multiplier", "right", "start")):
        s(f"{name} = wload({place}, {i + 1} * {span})")


def apply(s: Lines, total: str, scaling: str) -> None:
    """Source that turns the sums in variable ``total`` into results, in place, but for the clamp.

    scaling: see ``Scaling.step``.
    """
    s(f"{total} = wscale({total}, multiplier)")
    if scaling == "add":
        s(f"{total} = wsra(waway({total}, start), right)")
    elif scaling == "grow":
        s(f"{total} = wadd(wshl(wmin(wmax({total}, least_w), most_w), left_w), zero_w)")
    else:
        s(f"{total} = wadd(wshift({total}, right), zero_w)")


def store(s: Lines, stores: list[tuple[str, str]], count: str, lanes: int) -> None:
    """Source that clamps the variables of (place, variable) pairs and stores the first ``count`` lanes of each."""
    fours = [stores[i : i + 4] for i in range(0, len(stores), 4)]
    for i, four in enumerate(fours):
        names = [value for _, value in four] + [four[-1][1]] * (4 - len(four))
        s(f"q{i} = bmax(wpack({', '.join(names)}), low_b)")
    with s.block(f"if {count} >= {lanes}:"):
        for i, four in enumerate(fours):
            for k, (place, _) in enumerate(four):
                s(f"bstore_{k}(y, {place}, q{i})")
    with s.block("else:"):
        for i, four in enumerate(fours):
            for k, (place, _) in enumerate(four):
                s(f"bstore_{k}m(y, {place}, {count}, q{i})")


def pack_tail(p: Int8Product, bias: np.ndarray, scaling: Scaling, group: int, width: int) -> np.ndarray:
    """Bias, multiplier, right shift and start of every map, as bytes: int32, each group padded to blocks of ``width``.

    bias: int64 (M,), with what the zero points contribute; modulo 2**32.
    """
    per = bias.size // group
    out = np.zeros((4, group, -(-per // width) * width), np.uint32)
    out[0, :, :per] = (bias.reshape(group, per) & 0xFFFFFFFF).astype(np.uint32)
    out[1], out[2], out[3] = scaling.multiplier, scaling.right, scaling.start(p.zero) & 0xFFFFFFFF
    return out.reshape(-1).view(np.uint8)
