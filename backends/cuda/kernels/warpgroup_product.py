"""The part of ``tensor_product.py`` for products that four warps do together (``wgmma``), on cards of capability 9.0.

In shared memory the first pieces of all pixels, or maps, lie one behind the other, then the second ones. Eight of them
are the 128 bytes that the instruction takes at once: nothing has to be exchanged for the sake of banks, and blocks of
neighbouring pixels lie as in an image.

The products of two steps are under way while the next two are waited for, so that barriers and fences cost nothing.
Copies therefore go to the stages that were read two barriers before: behind the barrier, everybody has waited for their
products.
"""

from __future__ import annotations

from graphc.backends.cuda.kernels.tensor_tile import PIECE, PIECES, ROW, TensorTile
from graphc.backends.cuda.kernels.typed import TF32
from graphc.backends.lines import Lines

LINE = PIECE
"""Bytes from a pixel's pieces in shared memory to the next one's."""
GROUP, ROWS = 4, 64
"""Warps that multiply together, and pixels that they do."""
EIGHT = 8 * PIECE
"""Bytes from eight rows of a piece to the next eight."""


def arrange(s: Lines, tile: TensorTile) -> None:
    """Code that says where in a stage this thread's copies go, and where the matrices begin that its group reads."""
    s(f"line_at = i32(part * {tile.pixels * PIECE} + line * {PIECE})")
    s(f"map_at = i32({tile.pixels * ROW} + t * {PIECE})")
    across = tile.maps // tile.warp_maps
    s(f"down, across = quot(t >> 7, {across}), rest(t >> 7, {across})")
    s(f"a_at = i32(down * {ROWS * PIECE})")
    s(f"b_at = i32({tile.pixels * ROW} + across * {tile.warp_maps * PIECE})")


def zeros(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code that makes all sums 0."""
    s(f"sums = zeros_{'i4' if kind == 'u1' else 'f4'}({len(tile.sums)})")


def landed(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code behind the wait for this thread's copies: products have to see them behind the barrier.

    What is multiplied as TF32 is rounded where it lies, pixels' pieces here, those of maps when they were packed:
    products would cut off what TF32 does not have.
    """
    copies, each = tile.pixels * PIECES // tile.threads, tile.threads // PIECES * LINE
    places = [step * tile.stage + j * each for step in range(tile.together) for j in range(copies)]
    for place in places if kind == TF32 else ():
        s(f"round_tf32(ring + stage + line_at + {place})")
    s("publish()")


def begin(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code that begins to add the products of the stages from ``from_`` on to the sums."""
    places = [(step * tile.stage, 2 * k) for step in range(tile.together) for k in range(PIECES // 2)]
    for i, (stage, piece) in enumerate(places):
        for name, rows in (("a", tile.pixels), ("b", tile.maps)):
            place = f"from_ + {name}_at + {stage + piece * rows * PIECE}"
            s(f"{name}{i} = descriptor({place}, {rows * PIECE}, {EIGHT})")
    s("wgmma_fence()")
    for i in range(len(places)):
        s(f"sums = wgmma_{kind}(sums, a{i}, b{i})")
    s("wgmma_commit()")


def end(s: Lines, tile: TensorTile, kind: str) -> None:
    """Code behind the next copies: the products of the step before have to be done."""
    s("sums = wgmma_wait(sums, 1)")


def finish(s: Lines, tile: TensorTile) -> None:
    """Code that names the sums, and sets the first pixel ``p0`` and map ``m0`` whose one the thread has, from those of
    the block."""
    s("sums = wgmma_wait(sums, 0)")
    for i in range(0, len(tile.sums), 4):
        s("; ".join(f"{name} = sums[{i + k}]" for k, name in enumerate(tile.sums[i : i + 4])))
    across = tile.maps // tile.warp_maps
    s(f"p0 = p0 + quot(t >> 7, {across}) * {ROWS} + (t >> 5 & {GROUP - 1}) * {ROWS // GROUP} + (t >> 2 & 7)")
    s(f"m0 = m0 + rest(t >> 7, {across}) * {tile.warp_maps} + (t & 3) * 2")
