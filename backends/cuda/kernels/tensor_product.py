"""Products on tensor cores: C[pixel, map] = sum over k of X[pixel, k] * W[map, k], X gathered on the way.

k runs over pieces of 16 bytes: for each tap of a window the pieces of a pixel's channels. A step multiplies four pieces
of every pixel and map of a tile. They come to shared memory by copies beside the arithmetic, some steps ahead. How they
lie there and are multiplied is a matter of the instruction: ``mma_product.py``, ``warpgroup_product.py``. Weights are
packed as the tiles need them (``pack``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from graphc.backends.cuda.kernels import mma_product, warpgroup_product
from graphc.backends.cuda.kernels.tensor_tile import BESIDE, ITEMSIZES, PIECE, PIECES, ROW, TensorTile, pieces_of
from graphc.backends.cuda.kernels.warpgroup_tile import WarpgroupTile
from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec

TILE_KINDS: dict[str, type[TensorTile]] = {kind.by: kind for kind in (TensorTile, WarpgroupTile)}
WAYS: dict[str, Way] = {TensorTile.by: mma_product, WarpgroupTile.by: warpgroup_product}
"""What places copies in shared memory and multiplies them, by the instruction."""
LINES = {TensorTile.by: mma_product.LINE, WarpgroupTile.by: warpgroup_product.LINE}
"""Bytes from a pixel's pieces in shared memory to the next one's."""
FAR = 1 << 29
"""A row that is outside of every image, from whichever row in it one counts; so is the sum of two or three such."""
NAMES = (
    *("x", "xn", "xc", "xr", "xp", "weights", "pixels", "image", "ow", "h", "w", "channels", "pieces", "kh", "kw"),
    *("maps", "packed", "steps", "sh", "sw", "dh", "dw", "pt", "pl"),
)
"""xn .. xp: bytes to the next image, block of channels (one piece, or ``BESIDE``), row, pixel of X. image: pixels of an
image of the result.
channels, pieces, maps: of a group. packed: maps of a group with padding, as the weights have them."""


@dataclass(frozen=True)
class Product:
    """What the code depends on. kind: of elements, f2, bf, u1 or tf. window: windows are more than single pixels inside
    the image.

    What is outside of the image is 0; for u1 it is what the 16 bytes at the kernel's parameter ``filling`` say.
    """

    tile: TensorTile
    kind: str
    window: bool

    @staticmethod
    def of_spec(spec: KernelSpec) -> Product:
        """That of a kernel."""
        names = ("pixels", "maps", "warp_pixels", "warp_maps", "stages")
        tile = TILE_KINDS[str(spec["by"])](*(spec.int(n) for n in names))
        return Product(tile, str(spec["kind"]), bool(spec.int("window")))

    def static(self) -> dict[str, int | str]:
        """The parameters of a spec."""
        return {**self.tile.static(), "kind": self.kind, "window": int(self.window), "threads": self.tile.threads}

    @property
    def itemsize(self) -> int:
        """Bytes of an element of X."""
        return ITEMSIZES[self.kind]

    def pieces(self, channels: int) -> int:
        """Pieces of so many channels."""
        return pieces_of(self.kind, channels)

    @property
    def beside(self) -> int:
        """Pieces of a block of channels."""
        return BESIDE.get(self.kind, 1)

    def blocks(self, pieces: str) -> str:
        """Whole blocks before a piece, or of so many pieces, as an expression."""
        return pieces if self.beside == 1 else f"({pieces} >> 1)"

    def packed(self, maps: int, taps: int, channels: int) -> tuple[int, int]:
        """Steps, and maps with padding, of packed weights of a group."""
        steps = self.tile.steps(-(-taps * self.pieces(channels) // PIECES))
        return steps, -(-maps // self.tile.maps) * self.tile.maps


def pack(weights: np.ndarray, groups: int, product: Product) -> np.ndarray:
    """Weights (M, taps, C / groups) as (groups, steps, maps, ``ROW`` bytes), filled up with zeros to whole tiles; for
    ``wgmma``, in each tile of maps the pieces are in the order (piece, map)."""
    maps, taps, channels = weights.shape[0] // groups, *weights.shape[1:]
    each, pieces = PIECE // product.itemsize, product.pieces(channels)
    steps, rows = product.packed(maps, taps, channels)
    padded = np.zeros((groups, rows, taps, pieces * each), weights.dtype)
    padded[:, :maps, :, :channels] = weights.reshape(groups, maps, taps, channels)
    packed = np.zeros((groups, rows, steps * PIECES * each), weights.dtype)
    packed[:, :, : taps * pieces * each] = padded.reshape(groups, rows, -1)
    packed = packed.reshape(groups, rows, steps, -1).transpose(0, 2, 1, 3)
    if product.tile.by == "wgmma":
        tiles = packed.reshape(groups, steps, -1, product.tile.maps, PIECES, each)
        packed = tiles.swapaxes(3, 4).reshape(packed.shape)
    return np.ascontiguousarray(packed)


class Way(Protocol):
    """How copies lie in a stage of shared memory, and how the stage is multiplied: ``WAYS`` of an instruction."""

    def arrange(self, s: Lines, tile: TensorTile) -> None:
        """Code that says where in a stage this thread's copies go, and where the matrices begin that it loads."""

    def zeros(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Code that makes all sums 0."""

    def landed(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Code behind the wait for this thread's copies to the stages from ``ring + stage`` on."""

    def begin(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Code before the next copies, which may begin to multiply."""

    def end(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Code behind the next copies. The products of the stages from ``from_`` on have begun, or are in the sums."""

    def finish(self, s: Lines, tile: TensorTile) -> None:
        """Code that sets the first pixel ``p0`` and map ``m0`` whose sum the thread has, from those of the block."""


def emit_sums(s: Lines, product: Product, in_parts: bool = False) -> None:
    """Code that computes ``tile.sums``; it sets ``group``, the first pixel ``p0`` and map ``m0`` of the thread's.

    in_parts: of ``each`` steps alone, which part it is ``share`` says; the kernel has the parameters ``groups``, too.
    """

    def place() -> None:
        _emit_place(s, product, in_parts)

    emit_ring(s, product.tile, product.kind, WAYS[product.tile.by], (place, lambda: _emit_copies(s, product)))


def emit_ring(
    s: Lines, tile: TensorTile, kind: str, way: Way, fetch: tuple[Callable[[], None], Callable[[], None]]
) -> None:
    """Code that multiplies ``own`` steps, which come to a ring of stages in shared memory; ``own`` is a multiple of
    ``tile.together``.

    fetch: emits what sets ``own``, the block's first pixel ``p0`` and map ``m0``, and what of each step thread ``t``
    copies; emits its copies of the next step to the stage at ``to``. What the loop carries from step to step has 32
    bits, but for addresses.
    """
    (place, copies), together = fetch, tile.together
    turn, last = together * tile.stage, (tile.stages - together) * tile.stage

    def copy_turn(to: str) -> None:
        for step in range(together):
            s(f"to = {to}" if step == 0 else f"to = to + {tile.stage}")
            copies()

    s(f"ring = shared({tile.ring // 4})")
    s("t = i64(thread())")
    place()
    way.arrange(s, tile)
    way.zeros(s, tile, kind)
    for stage in range(0, tile.ahead, together):
        with s.block(f"if {stage} < own:"):
            copy_turn(f"ring + {stage * tile.stage}")
        s("commit()")
    s(f"stage, ahead, left = i32(0), i32({tile.ahead * tile.stage}), i32(own)")
    with s.block("while left > 0:"):
        s(f"wait({tile.ahead // together - 1})")
        way.landed(s, tile, kind)
        s("barrier()")
        s("from_ = ring + stage")
        way.begin(s, tile, kind)
        with s.block(f"if left > {tile.ahead}:"):
            copy_turn("ring + ahead")
        s("commit()")
        way.end(s, tile, kind)
        for name in ("stage", "ahead"):
            s(f"{name} = i32({name} + {turn} if {name} < {last} else 0)")
        s(f"left = i32(left - {together})")
    way.finish(s, tile)


def _emit_place(s: Lines, product: Product, in_parts: bool) -> None:
    """The block's tile; the pixels whose pieces this thread copies, and which piece of each step."""
    tile, quarter = product.tile, product.tile.threads // PIECES
    s(f"rows, columns = quot(maps + {tile.maps - 1}, {tile.maps}), quot(pixels + {tile.pixels - 1}, {tile.pixels})")
    s("u = i64(block())")
    s(f"m0, u = rest(u, rows) * {tile.maps}, quot(u, rows)")
    s(f"p0, group = rest(u, columns) * {tile.pixels}, quot(u, columns)")
    if in_parts:
        s("group, share = rest(group, groups), quot(group, groups)")
        s("begin = share * each")
        s("own = min(each, steps - begin)")
    else:
        s("begin, own = 0, steps")
    # a warp's copies take whole sectors of 32 bytes: all pieces of eight pixels where those of a pixel lie behind one
    # another, else one block of 16 or 32 pixels
    s(f"near = xc == {product.beside * PIECE}")
    part, line = f"quot(t, {quarter})", f"rest(t, {quarter})"
    if product.beside == 2:
        part, line = f"quot(t, {2 * quarter}) * 2 + (t >> 3 & 1)", f"(rest(t, {2 * quarter}) >> 4) * 8 + (t & 7)"
    s(f"part = t >> 3 & {PIECES - 1} if near else {part}")
    s(f"line = (t >> 5) * 8 + (t & 7) if near else {line}")
    within = f" + (part & 1) * {PIECE}" if product.beside == 2 else ""
    for j in range(tile.pixels // quarter):
        s(f"p = p0 + line + {j * quarter}")
        s("n, q = quot(min(p, pixels - 1), image), rest(min(p, pixels - 1), image)")
        s("row, column = quot(q, ow) * sh - pt, rest(q, ow) * sw - pl")
        s(f"x{j} = x + n * xn + group * {product.blocks('pieces')} * xc + row * xr + column * xp{within}")
        s(f"row{j}, column{j} = i32(row if p < pixels else {2 * FAR}), i32(column)")
    _emit_piece(s, product)
    s(f"wide = weights + ((group * steps + begin) * packed + m0) * {ROW} + t * {PIECE}")


def _emit_piece(s: Lines, product: Product) -> None:
    """Which piece of which tap this thread copies first, and where that lies from the window's first pixel on.

    Behind the last tap the row is so far away that all is outside of the image.
    """
    s("size, turn = i32(channels), i32(pieces)")
    if not product.window:
        s(f"first = part + begin * {PIECES}")
        s(f"piece, at = i32(first), {product.blocks('first')} * xc")
        return
    s(f"tap = part + begin * {PIECES}")
    s("first, tap = rest(tap, pieces), quot(tap, pieces)")
    s("r, q = quot(tap, kw) * dh, rest(tap, kw) * dw")
    s(f"at = {product.blocks('first')} * xc + r * xr + q * xp")
    s(f"piece, r, q = i32(first), i32(r if r < kh * dh else {FAR}), i32(q)")
    s("lines, broad, tall, side, fall = i32(h), i32(w), i32(kh * dh), i32(kw * dw), i32(dh)")
    s(f"next_tap, next_row = xp * dw - {product.blocks('pieces')} * xc, xr * dh - kw * dw * xp")


def _emit_copies(s: Lines, product: Product) -> None:
    """Begin to copy this thread's share of the next step to ``to``, and go on to the step behind it."""
    tile, size, line = product.tile, product.itemsize, LINES[product.tile.by]
    quarter, each = tile.threads // PIECES, PIECE // size
    within = f"i32(min(size - piece * {each}, {each}))"
    filled = product.window and product.beside == 1  # else pieces may begin behind the last channel
    s(f"count = i32({within if filled else f'max({within}, 0)'} * {size})")
    for j in range(tile.pixels // quarter):
        if product.window:
            s(f"has = within(row{j} + r, lines) & within(column{j} + q, broad)")
        else:
            s(f"has = row{j} < {FAR}")
        if product.kind == "u1":
            s(f"copy16(to + line_at + {j * quarter * line}, x{j} + at if has & (count > 0) else filling, 16)")
        else:
            s(f"copy16(to + line_at + {j * quarter * line}, x{j} + at, count if has else 0)")
    whole, rest = divmod(PIECES * tile.maps, tile.threads)
    for j in range(whole + (rest > 0)):
        offset = j * tile.threads * PIECE
        with s.block(f"if t < {rest}:") if j == whole else nullcontext():
            s(f"copy16(to + map_at + {offset}, wide + {offset}, 16)")
    s(f"wide = wide + packed * {ROW}")
    s(f"piece, at = i32(piece + {PIECES}), at + {PIECES // product.beside} * xc")
    if product.window:
        with s.block("while piece >= turn:"):
            s("piece, q, at = i32(piece - turn), i32(q + dw), at + next_tap")
            with s.block("if q >= side:"):
                s("q, r, at = i32(0), i32(r + fall), at + next_row")
                with s.block("if r >= tall:"):
                    s(f"r = i32({FAR})")
