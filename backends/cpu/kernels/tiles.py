"""Register tiles: how many pixels and channel blocks a kernel keeps in registers, and how a row is cut into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines


@dataclass(frozen=True)
class Tile:
    """pixels x blocks accumulators; short rows and ends of rows are done ``tail`` pixels at a time."""

    pixels: int
    tail: int
    blocks: int

    def waste(self, width: int) -> float:
        """Work done over work needed for a row of ``width`` pixels; narrow tiles count as a little slower."""
        full, rest = divmod(width, self.pixels)
        if rest > self.tail and full:
            full, rest = full + 1, 0
        if width < self.tail:
            return (full * self.pixels + rest * 3) / width
        tails = -(-rest // self.tail)
        return (full * self.pixels + tails * self.tail * 1.02) / width


def emit_unit(s: Lines, width: int) -> None:
    """From the unit: image ``n``, ``row0`` to ``row1``, ``column0`` to ``column1``, group ``g``, and which of its maps
    is the first, ``m0``, of the ``width`` maps of a block.
    """
    s("mb = u % map_blocks")
    s("t = u // map_blocks")
    s("column0 = (t % column_blocks) * column_block")
    s("t = t // column_blocks")
    s("row0 = (t % row_blocks) * row_block")
    s("n = t // row_blocks")
    s("row1 = min(row0 + row_block, rows)")
    s("column1 = min(column0 + column_block, columns)")
    s("g = mb // group_blocks")
    s(f"m0 = (mb - g * group_blocks) * {width}")


def tile_options(target: CpuTarget, blocks: int) -> list[tuple[float, Tile]]:
    """Tiles for ``blocks`` output channel blocks, each with its slowdown against the fastest.

    Registers hold the accumulators, one weight for each block and a broadcast input (two without fused multiply-add).
    Tiles of the full size are favoured: fewer distinct tiles are fewer kernels.
    """
    spare = 1 if target.fma else 2
    found: list[tuple[float, Tile]] = []
    for nb in (2, 1, 3):
        padded = -(-blocks // nb) * nb / blocks
        most = (target.registers - nb - spare) // nb
        most -= most % 2 if nb == 1 else 0
        for pixels in range(most, max(1, most // 2), -1):
            slowdown = padded * LOADS[nb] * (1.0 if pixels == most else 1.04)
            found.append((slowdown, Tile(pixels, max(1, pixels // 2), nb)))
    return found


def tile_for(target: CpuTarget, blocks: int, width: int) -> Tile:
    """The best tile for ``blocks`` output channel blocks and rows of ``width`` pixels."""
    return min(tile_options(target, blocks), key=lambda o: o[0] * o[1].waste(width))[1]


LOADS = {1: 1.15, 2: 1.0, 3: 1.01}
"""Slowdown of a tile by its channel blocks: one alone needs a load for each multiply-add."""


def emit_cuts(s: Lines, tile: Tile, lo: str, hi: str, index: str, body: Callable[[int], None]) -> None:
    """Source that calls ``body(pixels)`` with ``index`` set to the first pixel of each tile of [lo, hi).

    Where pixels do not divide the range, the last tile overlaps the one before it and computes some pixels again:
    results must not share memory with operands. Ranges shorter than the tail tile go pixel by pixel.
    """
    s(f"w_ = {hi} - {lo}")
    s(f"q_ = w_ // {tile.pixels}")
    s(f"r_ = w_ - q_ * {tile.pixels}")
    s(f"f_ = {lo} + q_ * {tile.pixels}")
    with s.block(f"if r_ > {tile.tail} and q_ > 0:"):
        s("q_ += 1")
        s("r_ = 0")
    with s.block("for j_ in range(q_):"):
        s(f"{index} = min({lo} + j_ * {tile.pixels}, {hi} - {tile.pixels})")
        body(tile.pixels)
    with s.block(f"if w_ >= {tile.tail}:"), s.block(f"for j_ in range((r_ + {tile.tail - 1}) // {tile.tail}):"):
        s(f"{index} = min(f_ + j_ * {tile.tail}, {hi} - {tile.tail})")
        body(tile.tail)
    if tile.tail > 1:
        with s.block(f"if w_ < {tile.tail}:"), s.block(f"for {index} in range({lo}, {hi}):"):
            body(1)
