"""Winograd's minimal filtering F(m x m, 3 x 3): its matrices, and the transforms as kernel source.

m = 2 and m = 4 with interpolation points 0, 1, -1 (2, -2) and infinity: S. Winograd, Arithmetic complexity of
computations (1980); A. Lavin and S. Gray, Fast algorithms for convolutional neural networks (2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.lines import Lines

FILTER = {
    2: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}
"""G: a filter of 3 taps as m + 2 products."""


def transform_filters(weights: np.ndarray, m: int) -> np.ndarray:
    """Weights (M, C, 3, 3) as ((m + 2)^2, M, C): G w G^T, computed in double precision."""
    g = FILTER[m]
    rows = np.tensordot(weights.astype(np.float64), g, axes=([2], [1]))
    both = np.tensordot(rows, g, axes=([2], [1]))
    maps, channels = weights.shape[:2]
    return np.asarray(both.reshape(maps, channels, -1).transpose(2, 0, 1), np.float32)


def _number(value: float) -> str:
    return f"vsplat(f4({value!r}))"


def _times(factor: float, x: str, plus: str) -> str:
    return f"vfma({_number(factor)}, {x}, {plus})"


def input_transform(s: Lines, m: int, d: Sequence[str], out: Sequence[str]) -> None:
    """Lines for ``out = B^T d`` in one direction: m + 2 values each."""
    if m == 2:
        s(f"{out[0]} = vsub({d[0]}, {d[2]})")
        s(f"{out[1]} = vadd({d[1]}, {d[2]})")
        s(f"{out[2]} = vsub({d[2]}, {d[1]})")
        s(f"{out[3]} = vsub({d[1]}, {d[3]})")
        return
    s(f"{out[0]} = {_times(-5.0, d[2], _times(4.0, d[0], d[4]))}")
    s(f"ta = {_times(-4.0, d[2], d[4])}")
    s(f"tb = {_times(-4.0, d[1], d[3])}")
    s(f"tc = vsub({d[4]}, {d[2]})")
    s(f"td = vsub({d[3]}, {d[1]})")
    s(f"{out[5]} = {_times(-5.0, d[3], _times(4.0, d[1], d[5]))}")
    s(f"{out[1]} = vadd(ta, tb)")
    s(f"{out[2]} = vsub(ta, tb)")
    s(f"{out[3]} = {_times(2.0, 'td', 'tc')}")
    s(f"{out[4]} = {_times(-2.0, 'td', 'tc')}")


def output_transform(s: Lines, m: int, d: Sequence[str], out: Sequence[str]) -> None:
    """Lines for ``out = A^T d`` in one direction: m + 2 values to m."""
    if m == 2:
        s(f"{out[0]} = vadd(vadd({d[0]}, {d[1]}), {d[2]})")
        s(f"{out[1]} = vsub(vsub({d[1]}, {d[2]}), {d[3]})")
        return
    s(f"ta = vadd({d[1]}, {d[2]})")
    s(f"tb = vadd({d[3]}, {d[4]})")
    s(f"tc = vsub({d[1]}, {d[2]})")
    s(f"td = vsub({d[3]}, {d[4]})")
    s(f"{out[0]} = vadd(vadd({d[0]}, ta), tb)")
    s(f"{out[1]} = {_times(2.0, 'td', 'tc')}")
    s(f"{out[2]} = {_times(4.0, 'tb', 'ta')}")
    s(f"{out[3]} = vadd({_times(8.0, 'td', 'tc')}, {d[5]})")
