"""Sums of products of a tile by FFMA, as ``conv_tile.py`` describes tiles: what its kernels have in common.

Tiles of both operands go through shared memory at ``a`` and ``b``, a line for each product of a sum, two tiles of each:
while one is multiplied, the next is fetched into registers.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.lines import Lines

Code = Callable[[str], None]
"""Writes code; given: the name of the first product of a sum, or of a side of shared memory."""
Pitches = tuple[int, int]
"""Floats from a line at ``a``, and at ``b``, to the next one."""


def emit_zeros(s: Lines, tile: Tile) -> None:
    """Code that makes the sums ``c<i>_<j>`` of a thread 0."""
    for i in range(tile.own_maps):
        s("; ".join(f"c{i}_{j} = f4(0.0)" for j in range(tile.own_pixels)))


def emit_sums(
    s: Lines, tile: Tile, fetch: Code, keep: Code, span: tuple[str, str], pitches: Pitches, condition: str = ""
) -> None:
    """Code that computes the sums ``c<i>_<j>`` of thread ``t`` over the products of ``span``.

    fetch: loads a thread's share of the tiles that begin at a product into registers. keep: stores it into a side of
    shared memory. condition: of the last products.
    """
    emit_zeros(s, tile)
    fetch(span[0])
    keep("0")
    s("barrier()")
    s(f"side, k0 = 0, {span[0]} + {tile.depth}")
    with s.block(f"while k0 < {span[1]}:"):
        fetch("k0")
        emit_products(s, tile, pitches)
        s("side = 1 - side")
        keep("side")
        s("barrier()")
        s(f"k0 = k0 + {tile.depth}")
    if not condition:
        emit_products(s, tile, pitches)
        return
    with s.block(f"if {condition}:"):
        emit_products(s, tile, pitches)


def emit_products(s: Lines, tile: Tile, pitches: Pitches) -> None:
    """Code that adds the products of the tiles of ``side`` at ``a`` and ``b`` to the sums ``c<i>_<j>`` of thread ``t``,
    which are groups of four neighbours.
    """
    across = tile.pixels // tile.own_pixels
    s(f"at = side * {tile.depth * pitches[0]} + quot(t, {across}) * 4")
    s(f"bt = side * {tile.depth * pitches[1]} + rest(t, {across}) * 4")
    s("k = 0")
    with s.block(f"while k < {tile.depth}:"):
        for g in range(tile.own_maps // 4):
            parts = ", ".join(f"a_{4 * g + i}" for i in range(4))
            s(f"{parts} = sld4(a, at + k * {pitches[0]} + {g * 4 * tile.maps // tile.own_maps})")
        for g in range(tile.own_pixels // 4):
            parts = ", ".join(f"b_{4 * g + j}" for j in range(4))
            s(f"{parts} = sld4(b, bt + k * {pitches[1]} + {g * 4 * across})")
        for i in range(tile.own_maps):
            for j in range(tile.own_pixels):
                s(f"c{i}_{j} = fma(a_{i}, b_{j}, c{i}_{j})")
        s("k = k + 1")


def plain(tile: Tile) -> Pitches:
    """Lines that lie one behind the other."""
    return tile.maps, tile.pixels
