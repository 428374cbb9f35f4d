"""Depthwise convolution of uint8 NHWC by dot products over the columns of the window, for targets with VNNI.

64 channels of four neighbouring pixels are mixed into words that hold the four pixels of one channel, and a word meets
four weights at once. A word starts at an even pixel and serves the window that starts there and the one a pixel
further, whose weights come behind a zero. Mixing leaves the channels of a vector in an order (``ORDER``) that packing
the results undoes. Outside the image stands a vector of zero points, so that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphc.backends.cpu.kernels import int8_epilogue
from graphc.backends.cpu.kernels.int8_epilogue import Ending, Epilogue
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import Int8Product
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task, View

PARAMS = (
    *("x", "weights", "tail", "span", "y", "border"),  # span: bytes of each of the arrays of the tail
    *("channels", "height", "width", "stride", "dilation", "above", "before"),  # stride, dilation: of rows
    *("rows", "columns", "row_block", "row_blocks"),
    *int8_epilogue.PARAMS,
)
BLOCK = 64
"""Channels of a vector of bytes."""
WORD = 4
VECTORS = BLOCK // 16
ORDER = np.array([[16 * (i // WORD) + WORD * o + i % WORD for i in range(16)] for o in range(VECTORS)])
"""The channel of lane i of vector o of words."""
LONGEST = 5
"""Most rows and columns of a window: all its elements are written out."""


def words_of(output: int, kw: int, step: int) -> Iterator[tuple[int, int, int]]:
    """(first pixel, 1 where the window starts at the second, number) of each word that an output of a tile needs."""
    shift = output * step % 2
    for k in range(-(-(kw + shift) // WORD)):
        yield output * step - shift + WORD * k, shift, k


def variants(kw: int, step: int) -> list[tuple[int, int]]:
    """(shift, number) of the words of weights of a row of the window, in the order in which they are packed."""
    return sorted({(shift, k) for output in range(2) for _, shift, k in words_of(output, kw, step)})


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_taps{kh, kw, step, pixels, tail, narrow, ...}``; a unit is some rows of all channels.

    narrow: there are fewer channels than a vector has.
    """
    return _Emitter(spec, target).source()


class _Emitter:
    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        self.spec, self.s, self.step = spec, Lines(), spec.int("step")
        self.kh, self.kw = spec.int("kh"), spec.int("kw")
        self.narrow = spec.int("narrow")
        self.tile = Tile(spec.int("pixels"), spec.int("tail"), 1)
        self.end = Epilogue(self.s, spec, target.lanes, len(PARAMS) - len(int8_epilogue.PARAMS))
        self.weights = variants(self.kw, self.step)
        self.row_bytes = len(self.weights) * BLOCK * WORD

    def source(self) -> str:
        """The kernel."""
        s = self.s
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(PARAMS):
                s(f"{name} = ld(p, {i})")
            self.end.head()
            with s.block("for u in range(lo, hi):"):
                s("n = u // row_blocks")
                s("first = (u - n * row_blocks) * row_block")
                with s.block(f"for block in range((channels + {BLOCK - 1}) // {BLOCK}):"):
                    s("c = 0" if self.narrow else f"c = min(block * {BLOCK}, channels - {BLOCK})")
                    s(f"ends = tail + block * {BLOCK * WORD}")
                    for o in range(VECTORS):
                        s(f"b{o} = wload(ends, {o * BLOCK})")
                    self.end.read("ends", VECTORS)
                    with s.block("for row in range(first, min(first + row_block, rows)):"):
                        s("pixel0 = (n * rows + row) * columns")
                        emit_cuts(s, self.tile, "0", "columns", "column", self._tile)
        return s.text()

    def _tile(self, pixels: int) -> None:
        """``pixels`` neighbouring outputs from ``column`` on."""
        s = self.s
        last = (pixels - 1) * self.step + self.kw - 1
        s(f"j = column * {self.step} - before")
        for i in range(pixels):
            for o in range(VECTORS):
                s(f"a{o}_{i} = b{o}")
        s(f"wt = weights + block * {self.kh * self.row_bytes}")
        with s.block(f"if j >= 0 and j + {last} < width:"):
            self._rows(pixels, last, inside=True)
        with s.block("else:"):
            self._rows(pixels, last, inside=False)
        s("yt = (pixel0 + column) * channels + c")
        rows = [(f"yt + {i} * channels", [f"a{o}_{i}" for o in range(VECTORS)]) for i in range(pixels)]
        self.end.finish(rows, "channels" if self.narrow else "", mixed=True)

    def _rows(self, pixels: int, last: int, inside: bool) -> None:
        """All rows of the window. inside: none of its columns is outside the image."""
        s = self.s
        for k in range(self.kh):
            s(f"i = row * stride - above + {k} * dilation")
            s("pixel = ((n * height + i) * width + j) * channels + c")
            s("at0 = x + pixel if 0 <= i < height else border")
            s("step = channels if 0 <= i < height else 0")
            for place in range(1, last + 1):
                s(f"at{place} = at{place - 1} + step")
            if not inside:
                for place in range(last + 1):
                    s(f"at{place} = at{place} if 0 <= j + {place} < width else border")
            self._row(pixels, last, k * self.row_bytes)

    def _row(self, pixels: int, last: int, weights: int) -> None:
        """One row of the window for all outputs of the tile. weights: where those of the row are, in bytes."""
        s, loaded, paired = self.s, set[int](), set[int]()
        for start in sorted({first for i in range(pixels) for first, _, _ in words_of(i, self.kw, self.step)}):
            for even in (start, start + 2):
                if even not in paired:
                    paired.add(even)
                    self._pair(even, last, loaded)
            for o in range(VECTORS):
                half, word = ("low", "high")[o // 2], ("low", "high")[o % 2]
                s(f"x{o} = wbytes(pmix_{word}({half}{start}, {half}{start + 2}))")
            for i in range(pixels):
                for first, shift, k in words_of(i, self.kw, self.step):
                    if first == start:
                        self._multiply(i, weights + self.weights.index((shift, k)) * VECTORS * BLOCK)

    def _pair(self, even: int, last: int, loaded: set[int]) -> None:
        """Two pixels mixed; what comes behind the last one meets weights of 0."""
        s = self.s
        first, second = min(even, last), min(even + 1, last)
        for place in (first, second):
            if place not in loaded:
                loaded.add(place)
                s(f"v{place} = {f'bloadm(at{place}, 0, channels)' if self.narrow else f'bload(at{place}, 0)'}")
        s(f"low{even} = bmix_low(v{first}, v{second})")
        s(f"high{even} = bmix_high(v{first}, v{second})")

    def _multiply(self, output: int, weights: int) -> None:
        for o in range(VECTORS):
            self.s(f"a{o}_{output} = wdot(a{o}_{output}, x{o}, wload(wt, {weights + o * BLOCK}))")


TEMPLATE = Template("int8_taps", emit)


def serves(p: Int8Product, ending: Ending, target: CpuTarget) -> bool:
    """The kernel can do a depthwise convolution: its words are four bytes, its results uint8."""
    is_plain = p.dilation[1] == 1 and max(p.kernel) <= LONGEST
    return target.vnni and is_plain and not ending.residual and not ending.to_float


TILE = Tile(4, 2, 1)
"""16 accumulators: with those of more pixels the mixed words would not stay in registers."""


def make_spec(p: Int8Product, ending: Ending) -> KernelSpec:
    """The kernel for a convolution."""
    return KernelSpec.make(
        "int8_taps",
        kh=p.kernel[0],
        kw=p.kernel[1],
        step=p.stride[1],
        pixels=TILE.pixels,
        tail=TILE.tail,
        narrow=int(p.channels < BLOCK),
        **ending.static,
    )


def _channels(p: Int8Product) -> np.ndarray:
    """The channel of every lane: (blocks, vectors, lanes). The last block ends with the last channel."""
    starts = [min(first, max(p.channels - BLOCK, 0)) for first in range(0, p.channels, BLOCK)]
    return np.asarray(np.minimum(np.array(starts)[:, None, None] + ORDER, p.channels - 1))


def pack(p: Int8Product, weights: np.ndarray, bias: np.ndarray, ending: Ending) -> np.ndarray:
    """Weights (C, kH, kW, 1) of int8, what ends the sums, and a vector of X's zero point, as bytes."""
    lanes = _channels(p)
    taps = weights.reshape(p.channels, *p.kernel)
    panels = np.zeros((p.kernel[0], len(variants(p.kernel[1], p.stride[1])), p.channels, WORD), np.int8)
    for number, (shift, k) in enumerate(variants(p.kernel[1], p.stride[1])):
        for j in range(WORD):
            tap = WORD * k + j - shift
            if 0 <= tap < p.kernel[1]:
                panels[:, number, :, j] = taps[:, :, tap].T
    blocks = panels[:, :, lanes].transpose(2, 0, 1, 3, 4, 5)
    tail = ending.of_maps(lanes.reshape(-1)).tail(p, bias[lanes.reshape(-1)], 1, BLOCK)
    border = np.full(BLOCK, p.x_zero, np.uint8)
    return np.concatenate([np.ascontiguousarray(blocks).reshape(-1).view(np.uint8), tail, border])


def make_task(
    spec: KernelSpec,
    p: Int8Product,
    x: Address,
    weights: View,
    y: Address,
    ending: Sequence[Param],
    label: str,
) -> Task:
    """The task of a convolution. weights: those packed. ending: ``int8_epilogue.params``."""
    span = WORD * BLOCK * -(-p.channels // BLOCK)
    panels = p.kernel[0] * len(variants(p.kernel[1], p.stride[1])) * span
    packed, (rows, columns) = weights.address, p.output
    row_block = max(1, min(rows, -(-rows * p.images // 32)))
    row_blocks = -(-rows // row_block)
    params = (
        *(x, packed, packed.plus(panels), span, y, packed.plus(weights.type.nbytes - BLOCK)),
        *(p.channels, *p.image, p.stride[0], p.dilation[0], *p.heads),
        *(rows, columns, row_block, row_blocks, *ending),
    )
    moved = p.images * p.channels * (p.image[0] * p.image[1] + rows * columns)
    return Task(spec, params, p.images * row_blocks, label, 2 * p.macs, moved)
