"""Products on tensor cores: C[pixel, map] = sum over k of X[pixel, k] * W[map, k], X gathered on the way.

k runs over pieces of 16 bytes: for each tap of a window the pieces of a pixel's channels. A step multiplies four pieces
of every pixel and map of a tile. They come to shared memory by copies beside the arithmetic, ``stages - 1`` steps
ahead; there a pixel or map has a row of 64 bytes whose pieces are exchanged by its number (piece ^ row / 2 mod 4), so
that neither copies nor loads of matrices meet in a bank. Weights are packed as the tiles need them (``pack``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.backends.cuda.kernels.tensor_tile import ITEMSIZES, PIECE, PIECES, ROW, TensorTile
from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec

FAR = 1 << 29
"""A row that is outside of every image, from whichever row in it one counts; so is the sum of two or three such."""
NAMES = (
    *("x", "xn", "xc", "xr", "xp", "weights", "pixels", "image", "ow", "h", "w", "channels", "pieces", "kh", "kw"),
    *("maps", "packed", "steps", "sh", "sw", "dh", "dw", "pt", "pl"),
)
"""xn .. xp: bytes to the next image, piece of channels, row, pixel of X. image: pixels of an image of the result.
channels, pieces, maps: of a group. packed: maps of a group with padding, as the weights have them."""


@dataclass(frozen=True)
class Product:
    """What the code depends on. kind: that of ``mma``. window: windows are more than single pixels inside the image.

    What is outside of the image is 0; for u1 it is what the 16 bytes at the kernel's parameter ``filling`` say.
    """

    tile: TensorTile
    kind: str
    window: bool

    @staticmethod
    def of_spec(spec: KernelSpec) -> Product:
        """That of a kernel."""
        names = ("pixels", "maps", "warp_pixels", "warp_maps", "stages")
        return Product(TensorTile(*(spec.int(n) for n in names)), str(spec["kind"]), bool(spec.int("window")))

    def static(self) -> dict[str, int | str]:
        """The parameters of a spec."""
        return {**self.tile.static(), "kind": self.kind, "window": int(self.window), "threads": self.tile.threads}

    @property
    def itemsize(self) -> int:
        """Bytes of an element of X."""
        return ITEMSIZES[self.kind]

    @property
    def sums(self) -> list[str]:
        """The names of a thread's sums, four for each product of matrices."""
        t = self.tile
        return [f"c{i}_{j}_{k}" for i in range(t.warp_pixels // 16) for j in range(t.warp_maps // 8) for k in range(4)]

    def pieces(self, channels: int) -> int:
        """Pieces of so many channels."""
        return -(-channels * self.itemsize // PIECE)

    def packed(self, maps: int, taps: int, channels: int) -> tuple[int, int]:
        """Steps, and maps with padding, of packed weights of a group."""
        return -(-taps * self.pieces(channels) // PIECES), -(-maps // self.tile.maps) * self.tile.maps


def pack(weights: np.ndarray, groups: int, product: Product) -> np.ndarray:
    """Weights (M, taps, C / groups) as (groups, steps, maps, ``ROW`` bytes), filled up with zeros to whole tiles."""
    maps, taps, channels = weights.shape[0] // groups, *weights.shape[1:]
    each, pieces = PIECE // product.itemsize, product.pieces(channels)
    steps, rows = product.packed(maps, taps, channels)
    padded = np.zeros((groups, rows, taps, pieces * each), weights.dtype)
    padded[:, :maps, :, :channels] = weights.reshape(groups, maps, taps, channels)
    packed = np.zeros((groups, rows, steps * PIECES * each), weights.dtype)
    packed[:, :, : taps * pieces * each] = padded.reshape(groups, rows, -1)
    return np.ascontiguousarray(packed.reshape(groups, rows, steps, -1).transpose(0, 2, 1, 3))


def emit_sums(s: Lines, product: Product, in_parts: bool = False) -> None:
    """Code that computes ``product.sums``; it sets ``group``, the first pixel ``p0`` and map ``m0`` of the thread's.

    in_parts: of ``each`` steps alone, which part it is ``share`` says; the kernel has the parameters ``groups``, too.
    What the loop carries from step to step has 32 bits, but for addresses.
    """
    tile = product.tile
    last = (tile.stages - 1) * tile.stage
    s(f"ring = shared({tile.stages * tile.stage // 4})")
    s("t = i64(thread())")
    _emit_place(s, product, in_parts)
    zero = "i32(0)" if product.kind == "u1" else "f4(0.0)"
    for i in range(0, len(product.sums), 4):
        s("; ".join(f"{name} = {zero}" for name in product.sums[i : i + 4]))
    for stage in range(tile.stages - 1):
        with s.block(f"if {stage} < own:"):
            s(f"to = ring + {stage * tile.stage}")
            _emit_copies(s, product)
        s("commit()")
    s(f"stage, ahead, left = i32(0), i32({last}), i32(own)")
    with s.block("while left > 0:"):
        s(f"wait({tile.stages - 2})")
        s("barrier()")
        with s.block(f"if left >= {tile.stages}:"):
            s("to = ring + ahead")
            _emit_copies(s, product)
        s("commit()")
        s("from_ = ring + stage")
        _emit_products(s, product)
        for name in ("stage", "ahead"):
            s(f"{name} = i32({name} + {tile.stage} if {name} < {last} else 0)")
        s("left = i32(left - 1)")
    s("lane, warp = t & 31, t >> 5")
    across = tile.maps // tile.warp_maps
    s(f"p0 = p0 + quot(warp, {across}) * {tile.warp_pixels} + (lane >> 2)")
    s(f"m0 = m0 + rest(warp, {across}) * {tile.warp_maps} + (lane & 3) * 2")


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
    s(f"part, line = quot(t, {quarter}), rest(t, {quarter})")
    for j in range(tile.pixels // quarter):
        s(f"p = p0 + line + {j * quarter}")
        s("n, q = quot(min(p, pixels - 1), image), rest(min(p, pixels - 1), image)")
        s("row, column = quot(q, ow) * sh - pt, rest(q, ow) * sw - pl")
        s(f"x{j} = x + n * xn + group * pieces * xc + row * xr + column * xp")
        s(f"row{j}, column{j} = i32(row if p < pixels else {2 * FAR}), i32(column)")
    _emit_piece(s, product)
    s(f"wide = weights + ((group * steps + begin) * packed + m0) * {ROW} + t * {PIECE}")
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


def _emit_piece(s: Lines, product: Product) -> None:
    """Which piece of which tap this thread copies first, and where that lies from the window's first pixel on.

    Behind the last tap the row is so far away that all is outside of the image.
    """
    s("size, turn = i32(channels), i32(pieces)")
    if not product.window:
        s(f"first = part + begin * {PIECES}")
        s("piece, at = i32(first), first * xc")
        return
    s(f"tap = part + begin * {PIECES}")
    s("first, tap = rest(tap, pieces), quot(tap, pieces)")
    s("r, q = quot(tap, kw) * dh, rest(tap, kw) * dw")
    s("at = first * xc + r * xr + q * xp")
    s(f"piece, r, q = i32(first), i32(r if r < kh * dh else {FAR}), i32(q)")
    s("lines, broad, tall, side, fall = i32(h), i32(w), i32(kh * dh), i32(kw * dw), i32(dh)")
    s("next_tap, next_row = xp * dw - pieces * xc, xr * dh - kw * dw * xp")


def _emit_copies(s: Lines, product: Product) -> None:
    """Begin to copy this thread's share of the next step to ``to``, and go on to the step behind it."""
    tile, size = product.tile, product.itemsize
    quarter, each = tile.threads // PIECES, PIECE // size
    within = f"i32(min(size - piece * {each}, {each}))"
    s(f"count = i32({within if product.window else f'max({within}, 0)'} * {size})")
    for j in range(tile.pixels // quarter):
        if product.window:
            s(f"has = within(row{j} + r, lines) & within(column{j} + q, broad)")
        else:
            s(f"has = row{j} < {FAR}")
        if product.kind == "u1":
            s(f"copy16(to + line_at + {j * quarter * ROW}, x{j} + at if has & (count > 0) else filling, 16)")
        else:
            s(f"copy16(to + line_at + {j * quarter * ROW}, x{j} + at, count if has else 0)")
    for j in range(PIECES * tile.maps // tile.threads):
        offset = j * tile.threads * PIECE
        s(f"copy16(to + map_at + {offset}, wide + {offset}, 16)")
    s(f"wide = wide + packed * {ROW}")
    s(f"piece, at = i32(piece + {PIECES}), at + {PIECES} * xc")
    if product.window:
        with s.block("while piece >= turn:"):
            s("piece, q, at = i32(piece - turn), i32(q + dw), at + next_tap")
            with s.block("if q >= side:"):
                s("q, r, at = i32(0), i32(r + fall), at + next_row")
                with s.block("if r >= tall:"):
                    s(f"r = i32({FAR})")


def _emit_products(s: Lines, product: Product) -> None:
    """Add the products of the stage at ``from_`` to the sums."""
    tile = product.tile
    for half in range(2):
        for i in range(tile.warp_pixels // 16):
            s(f"a{i} = matrices(from_ + a{half}_at + {i * 16 * ROW})")
        for j in range(tile.warp_maps // 16):
            s(f"b{j} = matrices(from_ + b{half}_at + {j * 16 * ROW})")
        for i in range(tile.warp_pixels // 16):
            left = ", ".join(f"a{i}[{k}]" for k in range(4))
            for j in range(tile.warp_maps // 8):
                right = ", ".join(f"b{j // 2}[{j % 2 * 2 + k}]" for k in range(2))
                sums = ", ".join(f"c{i}_{j}_{k}" for k in range(4))
                s(f"{sums} = mma_{product.kind}({left}, {right}, {sums})")
