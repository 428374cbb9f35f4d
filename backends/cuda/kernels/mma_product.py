"""The part of ``tensor_product.py`` for products that a warp does by itself (``mma``).

A pixel or map has a row of ``ROW`` bytes in shared memory. Its pieces are exchanged by its number (piece ^ row / 2 mod
4), so that neither copies nor loads of matrices meet in a bank.
"""

from __future__ import annotations

from graphc.backends.cuda.kernels.tensor_tile import ROW, TensorTile
from graphc.backends.lines import Lines

LINE = ROW
"""Bytes from a pixel's pieces in shared memory to the next one's."""


def arrange(s: Lines, tile: TensorTile) -> None:
    """Code that says where in a stage this thread's copies go, and where the matrices begin that it loads."""
    s(f"line_at = i32(line * {ROW} + ((part ^ (line >> 1 & 3)) << 4))")
    s(f"map_at = i32({tile.pixels * ROW} + (t >> 2) * {ROW} + (((t & 3) ^ (t >> 3 & 3)) << 4))")
    across = tile.maps // tile.warp_maps
    s(f"lane, down, across = t & 31, quot(t >> 5, {across}), rest(t >> 5, {across})")
    s(f"a_row = down * {tile.warp_pixels} + (lane & 15)")
    s(f"b_row = across * {tile.warp_maps} + (lane & 7) + (lane >> 4) * 8")
    for half in range(2):
        s(f"a{half}_at = i32(a_row * {ROW} + ((((lane >> 4) + {2 * half}) ^ (a_row >> 1 & 3)) << 4))")
        place = f"b_row * {ROW} + ((((lane >> 3 & 1) + {2 * half}) ^ (b_row >> 1 & 3)) << 4)"
        s(f"b{half}_at = i32({tile.pixels * ROW} + {place})")


def zeros(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code that makes all sums 0."""
    zero = "i32(0)" if kind == "u1" else "f4(0.0)"
    for i in range(0, len(tile.sums), 4):
        s("; ".join(f"{name} = {zero}" for name in tile.sums[i : i + 4]))


def landed(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code behind the wait for this thread's copies: the barrier suffices."""


def begin(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code before the next copies: they begin first."""


def end(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code that adds the products of the stage at ``from_`` to the sums."""
    for half in range(2):
        for i in range(tile.warp_pixels // 16):
            s(f"a{i} = matrices(from_ + a{half}_at + {i * 16 * ROW})")
        for j in range(tile.warp_maps // 16):
            s(f"b{j} = matrices(from_ + b{half}_at + {j * 16 * ROW})")
        multiply(s, tile, kind)


def multiply(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code that adds the products of the matrices ``a0`` .. of pixels and ``b0`` .. of maps to the sums.

    For ``tf`` those of pixels are rounded first; those of maps are, as they were packed so.
    """
    for i in range(tile.warp_pixels // 16):
        left = ", ".join(f"a{i}[{k}]" for k in range(4))
        if kind == "tf":
            s(f"r0, r1, r2, r3 = {', '.join(f'tf32(a{i}[{k}])' for k in range(4))}")
            left = "r0, r1, r2, r3"
        for j in range(tile.warp_maps // 8):
            right = ", ".join(f"b{j // 2}[{j % 2 * 2 + k}]" for k in range(2))
            sums = ", ".join(f"c{i}_{j}_{k}" for k in range(4))
            s(f"{sums} = mma_{kind}({left}, {right}, {sums})")


def finish(s: Lines, tile: TensorTile) -> None:
    """Code that sets the first pixel ``p0`` and map ``m0`` whose sum the thread has, from those of the block."""
    s("lane, warp = t & 31, t >> 5")
    across = tile.maps // tile.warp_maps
    s(f"p0 = p0 + quot(warp, {across}) * {tile.warp_pixels} + (lane >> 2)")
    s(f"m0 = m0 + rest(warp, {across}) * {tile.warp_maps} + (lane & 3) * 2")
