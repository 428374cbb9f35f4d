"""Direct convolution of uint8 NHWC: any window, stride, dilation and group, matrix products too; int32 sums, bytes out.

A word is what ``wdot`` multiplies at once: four bytes of X with four of the weights where the target has VNNI, else
two int16 with two. A run is what windows read without a gap: the channels of a group, or those of a whole row of the
window. Where it is no multiple of a word, the kernel reads what follows and multiplies it by zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels import int8_epilogue
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts, emit_unit
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import Int8Product
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task

PARAMS = (
    *("x", "weights", "tail", "span", "y", "sums"),  # span: bytes of each of the arrays of the tail
    *("xn", "xh", "xp", "xg"),  # bytes of X from image to image, row to row and pixel to pixel of Y, group to group
    *("kh", "kj", "uh", "uj", "run"),  # rows of the window, runs of a row, bytes between them, words of a run
    *("maps", "groups", "group_blocks", "rows", "columns"),  # maps of a group; blocks of maps of a group
    *("row_block", "column_block", "row_blocks", "column_blocks", "map_blocks", "ahead"),
    *("yn", "yh", "yp"),  # results from image to image, row to row and pixel to pixel
    *int8_epilogue.PARAMS,
)
Places = tuple[int, int, int]
"""How far results lie from image to image, row to row and pixel to pixel, in elements."""
SHIFT = 128
"""What is subtracted from weights that do not fit int8 without their zero point."""
LINE = 64
FETCH = 192 << 10
"""Panels up to so many bytes are fetched while the one before is in use; larger ones a piece ahead."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_conv{pixels, tail, blocks, sums, ...}``; a unit is a part of the result's rows and maps.

    sums: each pixel has a number of its own that is added. The rest is that of ``int8_epilogue``.
    """
    return _Emitter(spec, target).source()


class _Emitter:
    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        self.spec, self.lanes = spec, target.lanes
        self.tile = Tile(spec.int("pixels"), spec.int("tail"), spec.int("blocks"))
        self.width = self.tile.blocks * self.lanes
        self.s = Lines()
        self.end = int8_epilogue.Epilogue(self.s, spec, target.lanes, len(PARAMS) - len(int8_epilogue.PARAMS))

    def source(self) -> str:
        """The kernel."""
        s = self.s
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(PARAMS):
                s(f"{name} = ld(p, {i})")
            self.end.head()
            s(f"panel = kh * kj * run * {4 * self.width}")
            with s.block("for u in range(lo, hi):"):
                self._place()
                with s.block("for row in range(row0, row1):"):
                    s("pixel0 = (n * rows + row) * columns")
                    s("xr = x + n * xn + row * xh + g * xg")
                    s("yr = n * yn + row * yh + m0")
                    emit_cuts(s, self.tile, "column0", "column1", "column", self._tile)
        return s.text()

    def _place(self) -> None:
        """From the unit: image, rows, columns, group and maps."""
        s = self.s
        emit_unit(s, self.width)
        s("count = maps - m0")
        s("m0 += g * maps")
        s(f"ends = tail + mb * {4 * self.width}")
        for o in range(self.tile.blocks):
            s(f"b{o} = wload(ends, {4 * o * self.lanes})")

    def _tile(self, pixels: int) -> None:
        s, blocks = self.s, self.tile.blocks
        for i in range(pixels):
            if self.spec.int("sums"):
                s(f"v = wbcast(sums, ((pixel0 + column + {i}) * groups + g) * 4)")
            for o in range(blocks):
                s(f"a{o}_{i} = {f'wadd(b{o}, v)' if self.spec.int('sums') else f'b{o}'}")
        s("xt = xr + column * xp")
        s("wt = weights + mb * panel")
        with s.block("for i in range(kh):"), s.block("for j in range(kj):"):
            s("xk = xt + i * uh + j * uj")
            for i in range(pixels):
                s(f"x{i} = xk + {i} * xp")
            with s.block("for k in range(run):"):
                self._multiply(pixels)
            s(f"wt += run * {4 * self.width}")
        self._store(pixels)

    def _multiply(self, pixels: int) -> None:
        s, blocks = self.s, self.tile.blocks
        s(f"wo = k * {4 * self.width}")
        for o in range(blocks):
            s(f"w{o} = wload(wt, wo + {4 * o * self.lanes})")
        for line in range(0, 4 * self.width, LINE):
            s(f"prefetch_l2(wt + wo + ahead + {line}, 0)")
        for i in range(pixels):
            s(f"v = wbcast(x{i}, 4 * k)")
            for o in range(blocks):
                s(f"a{o}_{i} = wdot(a{o}_{i}, v, w{o})")

    def _store(self, pixels: int) -> None:
        """Two blocks of maps side by side where both are whole, else each for itself."""
        s, lanes, blocks = self.s, self.lanes, self.tile.blocks
        s("yt = yr + column * yp")
        if blocks == 2 and self.end.is_native:
            with s.block(f"if count >= {2 * lanes}:"):
                self.end.read("ends", 2)
                self.end.finish([(f"yt + {i} * yp", [f"a0_{i}", f"a1_{i}"]) for i in range(pixels)])
            with s.block("else:"):
                self._store_blocks(pixels)
        else:
            self._store_blocks(pixels)

    def _store_blocks(self, pixels: int) -> None:
        s, lanes = self.s, self.lanes
        for o in range(self.tile.blocks):
            with s.block(f"if count > {o * lanes}:"):
                self.end.read(f"ends + {4 * o * lanes}", 1)
                rows = [(f"yt + {i} * yp + {o * lanes}", [f"a{o}_{i}"]) for i in range(pixels)]
                self.end.finish(rows, f"(count - {o * lanes})")


TEMPLATE = Template("int8_conv", emit)


def word(target: CpuTarget) -> int:
    """Elements of a word."""
    return 4 if target.vnni else 2


def runs(p: Int8Product) -> tuple[int, int]:
    """Runs in a row of the window, and elements of one."""
    if p.group == 1 and p.dilation[1] == 1:
        return 1, p.kernel[1] * p.channels
    return p.kernel[1], p.depth


def reads_beyond(p: Int8Product, target: CpuTarget) -> bool:
    """Runs are no multiples of a word."""
    return runs(p)[1] % word(target) > 0


def centred(weights: np.ndarray, w_zero: int, target: CpuTarget) -> tuple[np.ndarray, bool]:
    """Weights in the type that the target multiplies, and whether the sums of X have to correct the result.

    Without their zero point where that fits, else without ``SHIFT``.
    """
    shifted = weights.astype(np.int16) - w_zero
    if not target.vnni:
        return shifted, False
    if shifted.size == 0 or (shifted.min() >= -128 and shifted.max() <= 127):
        return shifted.astype(np.int8), False
    return (weights.astype(np.int16) - SHIFT).astype(np.int8), True


def pack(p: Int8Product, weights: np.ndarray, blocks: int, target: CpuTarget) -> np.ndarray:
    """Weights (M, kH, kW, C / group) in the order in which the kernel reads them, as bytes.

    (group, blocks of maps, rows of the window, runs, words, maps, elements of a word); zero where anything is missing.
    """
    width, per, k = blocks * target.lanes, p.maps // p.group, word(target)
    groups, (count, elements) = -(-per // width), runs(p)
    words = -(-elements // k)
    padded = np.zeros((p.group, groups * width, p.kernel[0], count, words * k), weights.dtype)
    padded[:, :per, :, :, :elements] = weights.reshape(p.group, per, p.kernel[0], count, elements)
    panels = padded.reshape(p.group, groups, width, p.kernel[0], count, words, k)
    return np.ascontiguousarray(panels.transpose(0, 1, 3, 4, 5, 2, 6)).reshape(-1).view(np.uint8)


def packed_sizes(p: Int8Product, blocks: int, target: CpuTarget) -> tuple[int, int]:
    """Bytes of the panels, and of each array of the tail."""
    width, (count, elements) = blocks * target.lanes, runs(p)
    words = p.kernel[0] * count * -(-elements // word(target))
    span = 4 * p.group * -(-(p.maps // p.group) // width) * width
    return words * span, span


def make_task(
    spec: KernelSpec,
    target: CpuTarget,
    p: Int8Product,
    x: Address,
    weights: Address,
    y: Address,
    sums: Param,
    ending: Sequence[Param],
    label: str,
    places: Places | None = None,
) -> Task:
    """The task of a product. x: the image that the kernel reads, with its border where it has one.

    ending: ``int8_epilogue.params``. places: where the results go, one after the other by default.
    """
    size = 1 if target.vnni else 2
    (height, width), blocks = p.padded, spec.int("blocks")
    pixel = p.channels * size
    images, (rows, columns) = p.images, p.output
    yn, yh, yp = places = places or (rows * columns * p.maps, columns * p.maps, p.maps)
    if p.is_flat and places == (rows * yh, columns * yp, yp):
        images, rows, columns = 1, 1, p.pixels
    group_blocks = -(-(p.maps // p.group) // (blocks * target.lanes))
    map_blocks = group_blocks * p.group
    row_block, column_block = _blocking(p, rows, columns, map_blocks * images, target, spec.int("pixels"))
    row_blocks, column_blocks = -(-rows // row_block), -(-columns // column_block)
    panels, span = packed_sizes(p, blocks, target)
    count, elements = runs(p)
    panel = panels // max(map_blocks, 1)
    params = (
        *(x.plus(origin(p, size)), weights, weights.plus(panels), span, y, sums),
        *(height * width * pixel, p.stride[0] * width * pixel, p.stride[1] * pixel, p.depth * size),
        *(p.kernel[0], count, p.dilation[0] * width * pixel, p.dilation[1] * pixel, -(-elements // word(target))),
        *(p.maps // p.group, p.group, group_blocks, rows, columns),
        *(row_block, column_block, row_blocks, column_blocks, map_blocks),
        *(panel if panel <= FETCH else 4096, yn, yh, yp, *ending),
    )
    moved = p.images * p.channels * p.image[0] * p.image[1] + p.pixels * p.maps + panels
    return Task(spec, params, images * row_blocks * column_blocks * map_blocks, label, 2 * p.macs, moved)


def origin(p: Int8Product, size: int) -> int:
    """Bytes from the start of the image to what the first window reads first."""
    skipped = [max(0, -h) for h in p.heads]
    return (skipped[0] * p.padded[1] + skipped[1]) * p.channels * size


def _blocking(p: Int8Product, rows: int, columns: int, others: int, target: CpuTarget, pixels: int) -> tuple[int, int]:
    """Rows and columns of a unit: their inputs stay in the second-level cache, and there are enough units to share."""
    per_pixel = max(1, p.depth * p.stride[0] * p.stride[1] * (1 if target.vnni else 2))
    budget = max(pixels, target.l2 // 4 // per_pixel)
    wanted = max(1, -(-16 // max(others, 1)))
    if rows == 1:
        tiles = max(1, min(budget // pixels, -(-columns // pixels) // wanted))
        return 1, max(1, min(columns, tiles * pixels))
    return max(1, min(budget // columns, rows // wanted)), columns
