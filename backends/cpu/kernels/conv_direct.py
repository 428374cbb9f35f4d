"""Direct convolution: any kernel size, stride, dilation and group, from and to NCHWc or plain values.

One kernel serves them all, 1x1 and the phases of transposed convolutions included; what is static is the register
tile, the distance of neighbouring pixels, the layouts and the epilogue. A unit is a block of output rows and columns
times one group of channel blocks; weights are packed in the order in which a unit reads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from graphc.backends.cpu.kernels.epilogue import Epilogue, image_strides
from graphc.backends.cpu.kernels.half_types import FLOATS, Types, at, itemsize, stored
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts, emit_unit
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task, View

PARAMS = (
    *("x", "weights", "bias", "y"),
    *("xn", "xc", "xd", "xh"),  # strides of the input: image, plane, from depth to depth, from row to row of the output
    *("kd", "kh", "kw", "ud", "uh", "uw"),  # window and the strides between its elements
    *("channels", "maps", "group_blocks"),  # channels and maps of a group, groups of channel blocks of a group
    *("depth", "rows", "columns"),  # output: depth times rows are counted as rows
    *("row_block", "column_block", "row_blocks", "column_blocks", "map_blocks"),
    *("yn", "yc", "yh", "scratch", "scratch_stride"),
    *("wn", "ahead"),  # stride of the weights from image to image; distance of those to fetch into the cache meanwhile
)


LINE = 16
"""Floats of a cache line."""
FETCH = 48 << 10
"""Panels up to so many floats are fetched while the one before is in use; larger ones a piece ahead."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``conv_direct{pixels, tail, blocks, step, blocked_in, blocked_out, spread, epilogue, kinds}``."""
    return _Emitter(spec, target).source()


class _Emitter:
    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        self.spec, self.lanes = spec, target.lanes
        self.tile = Tile(spec.int("pixels"), spec.int("tail"), spec.int("blocks"))
        self.blocked_in, self.blocked_out = bool(spec.int("blocked_in")), bool(spec.int("blocked_out"))
        self.in_step = spec.int("step") * (target.lanes if self.blocked_in else 1)
        self.out_step = spec.int("spread") * (target.lanes if self.blocked_out else 1)
        self.epilogue = Epilogue.of_spec(spec)
        self.types = Types.of_spec(spec)
        self.has_scratch = scratch_bytes(spec, target) > 0
        self.odd = bool(spec.get("odd", 0))
        self.s = Lines()

    def source(self) -> str:
        """The kernel."""
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(PARAMS):
                s(f"{name} = ld(p, {i})")
            self.epilogue.read(s, len(PARAMS))
            if self.has_scratch:
                s("scratch += tid * scratch_stride")
            s(f"panel = {'(channels + 1)' if self.odd else 'channels'} * kd * kh * kw * {nb * lanes}")
            with s.block("for u in range(lo, hi):"):
                self._place()
                with s.block("for row in range(row0, row1):"):
                    self._row()
        return s.text()

    def _place(self) -> None:
        """From the unit: image, rows, columns, group and maps."""
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        emit_unit(s, nb * lanes)
        s(f"left = min(maps - m0, {nb * lanes})")
        s("m0 += g * maps")
        s("c0 = g * channels")
        s("c1 = c0 + channels")
        for o in range(nb):
            s(f"b{o} = vload(bias, mb * {nb * lanes} + {o * lanes})")
            self.epilogue.read_channels(s, f"_{o}", f"m0 + {o * lanes}", "m0 + left")

    def _row(self) -> None:
        s = self.s
        s("d = 0")
        s("h = row")
        with s.block("if depth > 1:"):
            s("d = row // (rows // depth)")
            s("h = row - d * (rows // depth)")
        s("xr = n * xn + d * xd + h * xh")
        first = f"(m0 // {self.lanes}) * yc" if self.blocked_out else "m0 * yc"
        s(f"yr = n * yn + {first} + row * yh")
        for i in self.epilogue.same:
            first = f"(m0 // {self.lanes}) * e{i}c" if self.blocked_out else f"m0 * e{i}c"
            s(f"er{i} = n * e{i}n + {first} + row * e{i}h")
        emit_cuts(s, self.tile, "column0", "column1", "column", self._tile)

    def _tile(self, pixels: int) -> None:
        s = self.s
        for o in range(self.tile.blocks):
            for i in range(pixels):
                s(f"a{o}_{i} = b{o}")
        self._fetch_results(pixels)
        s(f"xt = xr + column * {self.in_step}")
        s("wt = n * wn + mb * panel")
        if self.blocked_in:
            self._sum_blocked(pixels)
        else:
            self._sum_plain(pixels)
        self._store(pixels)

    def _fetch_results(self, pixels: int) -> None:
        """Bring what the tile will write, and operands of the result's shape, into the cache during the sums."""
        s = self.s
        s(f"yt = yr + column * {self.out_step}")
        for i in self.epilogue.same:
            s(f"et{i} = er{i} + column * {self.out_step}")
        if not self.blocked_out:
            return
        for o in range(self.tile.blocks):
            for i in range(0, pixels, max(1, 4 * LINE // (itemsize(self.types.y) * self.lanes))):
                s(f"prefetch_write({at('y', f'yt + {o} * yc + {i * self.out_step}', self.types.y)})")
                for e in self.epilogue.same:
                    s(self.epilogue.prefetch(e, f"et{e} + {o} * e{e}c + {i * self.out_step}"))

    def _sum_blocked(self, pixels: int) -> None:
        """Over channel blocks, window, and the lanes of the block that belong to the group."""
        if self.types.x:
            self._sum_halves(pixels)
            return
        s, lanes = self.s, self.lanes
        with s.block(f"for cb in range(c0 // {lanes}, (c1 + {lanes - 1}) // {lanes}):"):
            s(f"l0 = max(c0 - cb * {lanes}, 0)")
            s(f"count = min(c1 - cb * {lanes}, {lanes}) - l0")
            with s.block("for i in range(kh):"), s.block("for j in range(kw):"):
                s("xk = xt + cb * xc + i * uh + j * uw + l0")
                with s.block("for k in range(count):"):
                    self._multiply(pixels, "xk + k")
                s(f"wt += count * {self.tile.blocks * lanes}")

    def _sum_halves(self, pixels: int) -> None:
        """The same for inputs in half precision, of which groups have whole blocks: pairs of bfloat16 are multiplied by
        pairs, vectors of float16 are widened into scratch memory first."""
        s, lanes = self.s, self.lanes
        with s.block(f"for cb in range(c0 // {lanes}, (c1 + {lanes - 1}) // {lanes}):"):
            s(f"count = min(c1 - cb * {lanes}, {lanes})")
            with s.block("for i in range(kh):"), s.block("for j in range(kw):"):
                s("xk = xt + cb * xc + i * uh + j * uw")
                if self.types.dot:
                    self._multiply_pairs(pixels)
                else:
                    self._multiply_widened(pixels)

    def _multiply_widened(self, pixels: int) -> None:
        """All channels of a block, by way of scratch memory."""
        s, lanes = self.s, self.lanes
        for i in range(pixels):
            s(f"vstore(scratch, {i * lanes}, vload{self.types.x}(x, xk + {i * self.in_step}))")
        with s.block("for k in range(count):"):
            self._multiply(pixels, "k", "scratch", lanes)
        s(f"wt += count * {self.tile.blocks * lanes}")

    def _multiply_pairs(self, pixels: int) -> None:
        """All pairs of channels of a block."""
        s, width = self.s, 2 * self.tile.blocks * self.lanes
        with s.block("for k in range(count // 2):"):
            self._pairs(pixels, "hpair", "2 * k")
            s(f"wt += {width}")
        if self.odd:
            with s.block("if count % 2 != 0:"):
                self._pairs(pixels, "hsingle", "count - 1")
                s(f"wt += {width}")

    def _pairs(self, pixels: int, load: str, channel: str) -> None:
        s, nb, width = self.s, self.tile.blocks, 2 * self.lanes
        s(f"xo = xk + {channel}")
        for o in range(nb):
            s(f"w{o} = hload(weights, wt + {o * width})")
        for line in range(0, nb * width, 2 * LINE):
            s(f"prefetch_l2({at('weights', f'wt + ahead + {line}', self.types.weights)})")
        for i in range(pixels):
            s(f"v = {load}(x, xo + {i * self.in_step})")
            for o in range(nb):
                s(f"a{o}_{i} = hdot(a{o}_{i}, v, w{o})")

    def _sum_plain(self, pixels: int) -> None:
        """Over channels and window, its columns innermost."""
        s = self.s
        with s.block("for c in range(c0, c1):"), s.block("for z in range(kd):"), s.block("for i in range(kh):"):
            s("xk = xt + c * xc + z * ud + i * uh")
            with s.block("for k in range(kw):"):
                self._multiply(pixels, "xk + k * uw")
            s(f"wt += kw * {self.tile.blocks * self.lanes}")

    def _multiply(self, pixels: int, offset: str, x: str = "x", step: int = 0) -> None:
        """Channel ``k`` of all pixels, ``step`` floats apart, by its weights."""
        s, nb, lanes, half = self.s, self.tile.blocks, self.lanes, self.types.weights
        s(f"xo = {offset}")
        s(f"wo = wt + k * {nb * lanes}")
        for o in range(nb):
            s(f"w{o} = vload{half}(weights, wo + {o * lanes})")
        for line in range(0, nb * lanes, 4 * LINE // itemsize(half)):
            s(f"prefetch_l2({at('weights', f'wo + ahead + {line}', half)})")
        for i in range(pixels):
            s(f"v = vbcast({x}, xo + {i * (step or self.in_step)})")
            for o in range(nb):
                s(f"a{o}_{i} = vfma(v, w{o}, a{o}_{i})")

    def _store(self, pixels: int) -> None:
        s = self.s
        for o in range(self.tile.blocks):
            if self.blocked_out:
                with s.block(f"if left > {o * self.lanes}:"):
                    self._store_blocked(o, pixels)
            else:
                with s.block(f"if left > {o * self.lanes}:"):
                    self._store_plain(o, pixels)

    def _store_blocked(self, o: int, pixels: int) -> None:
        s = self.s
        s(f"yo = yt + {o} * yc")
        for e in self.epilogue.same:
            s(f"eo{e} = et{e} + {o} * e{e}c")
        for i in range(pixels):
            same = [self.epilogue.load(e, f"eo{e} + {i * self.out_step}") for e in self.epilogue.same]
            result = self.epilogue.apply(s, f"a{o}_{i}", f"_{o}", same)
            s(f"vstore{self.types.y}(y, yo + {i * self.out_step}, {result})")

    def _store_plain(self, o: int, pixels: int) -> None:
        """Through scratch: vectors hold maps, memory holds rows. Operands of the result's shape come the same way."""
        s, lanes = self.s, self.lanes
        s(f"lanes = min(left - {o * lanes}, {lanes})")
        operands = self.epilogue.same
        for e in operands:
            with s.block("for k in range(lanes):"), s.block(f"for i in range({pixels}):"):
                source = f"et{e} + ({o * lanes} + k) * e{e}c + i * {self.out_step}"
                s(f"sts(scratch, {e * self.tile.pixels * lanes} + i * {lanes} + k, lds(e{e}, {source}))")
        for i in range(pixels):
            same = [f"vload(scratch, {(e * self.tile.pixels + i) * lanes})" for e in operands]
            s(f"vstore(scratch, {i * lanes}, {self.epilogue.apply(s, f'a{o}_{i}', f'_{o}', same)})")
        with s.block("for k in range(lanes):"), s.block(f"for i in range({pixels}):"):
            s(f"sts(y, yt + ({o * lanes} + k) * yc + i * {self.out_step}, lds(scratch, i * {lanes} + k))")


TEMPLATE = Template("conv_direct", emit)


def make_spec(
    tile: Tile,
    step: int,
    blocked_in: bool,
    blocked_out: bool,
    epilogue: Epilogue,
    spread: int = 1,
    types: Types = FLOATS,
    odd: bool = False,
) -> KernelSpec:
    """The kernel for a tile. step: pixels between the inputs of neighbouring outputs; spread: between the outputs.

    odd: of types that are multiplied in pairs, whether a group's channels are odd in number.
    """
    return KernelSpec.make(
        "conv_direct",
        pixels=tile.pixels,
        tail=tile.tail,
        blocks=tile.blocks,
        step=step,
        blocked_in=int(blocked_in),
        blocked_out=int(blocked_out),
        spread=spread,
        **({"odd": 1} if odd and types.dot else {}),
        **types.static(),
        **epilogue.static(),
    )


def scratch_bytes(spec: KernelSpec, target: CpuTarget) -> int:
    """Scratch of a thread: where results are plain, a tile of one block, and one for each operand of their shape; where
    float16 is read, a tile's inputs as floats."""
    types = Types.of_spec(spec)
    if spec.int("blocked_out"):
        return 4 * target.lanes * spec.int("pixels") if types.x and not types.dot else 0
    return 4 * target.lanes * spec.int("pixels") * (1 + len(Epilogue.of_spec(spec).kinds))


@dataclass(frozen=True)
class Geometry:
    """A convolution for the kernel: depth, rows and columns are those of the output that one task computes.

    kernel, stride, dilation: depth, rows, columns (stride of columns is the spec's ``step``). origin: input pixel under
    the first element of the window at the first output. spread, start: distance of outputs in the result, the first.
    """

    group: int
    channels: int
    maps: int
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    dilation: tuple[int, int, int]
    origin: tuple[int, int, int]
    output: tuple[int, int, int]
    spread: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return math.prod(self.kernel)


def pack_weights(weights: np.ndarray, group: int, lanes: int, blocks: int) -> np.ndarray:
    """(M, C / group, D, H, W) as (group, map blocks, channel runs..., blocks * lanes), zero where maps are missing.

    Order of the kernel's sums for plain inputs: channels, then window; ``pack`` has that for blocked ones.
    """
    m, c = weights.shape[:2]
    per, width = m // group, blocks * lanes
    groups = -(-per // width)
    padded = np.zeros((group, groups * width, c, *weights.shape[2:]), np.float32)
    padded[:, :per] = weights.reshape(group, per, c, *weights.shape[2:])
    return np.moveaxis(padded.reshape(group, groups, width, c, *weights.shape[2:]), 2, -1)


def pack_pairs(weights: np.ndarray, group: int, lanes: int, blocks: int) -> np.ndarray:
    """Weights (M, C / group, D, H, W) for pairs of channels: as ``pack``, runs being blocks, with (pair, map, element)
    innermost; a channel without a partner has zeros beside it. Bits of bfloat16 numbers."""
    if weights.shape[1] % 2:
        weights = np.pad(weights, ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
    packed = pack_weights(weights, group, lanes, blocks)  # (group, map blocks, C, D, H, W, width)
    edges = [*range(0, packed.shape[2], lanes), packed.shape[2]]
    parts = []
    for a, b in pairwise(edges):
        run = packed[:, :, a:b].reshape(*packed.shape[:2], (b - a) // 2, 2, *packed.shape[3:])
        # (group, map blocks, pair, 2, D, H, W, width) -> (group, map blocks, D, H, W, pair, width, 2)
        parts.append(run.transpose(0, 1, 4, 5, 6, 2, 7, 3).reshape(*packed.shape[:2], -1))
    return stored(np.concatenate(parts, 2), "_bf")


def pack(weights: np.ndarray, group: int, lanes: int, blocks: int, blocked_in: bool) -> np.ndarray:
    """Weights (M, C / group, D, H, W) in the order in which the kernel reads them, as one dense float32 array."""
    packed = pack_weights(weights, group, lanes, blocks)
    if not blocked_in:
        return np.ascontiguousarray(packed).reshape(-1)
    channels = packed.shape[2]
    parts = []
    for g in range(group):
        edges = [0, *(c for c in range(1, channels) if (g * channels + c) % lanes == 0), channels]
        runs = [packed[g, :, a:b] for a, b in pairwise(edges)]
        # (map blocks, run, D, H, W, width) -> (map blocks, D, H, W, run, width)
        parts.append(np.concatenate([np.moveaxis(r, 1, 4).reshape(len(r), -1) for r in runs], 1))
    return np.ascontiguousarray(np.stack(parts)).reshape(-1)


def pack_bias(bias: np.ndarray | None, maps: int, group: int, lanes: int, blocks: int) -> np.ndarray:
    """The bias (zeros where there is none) for each map block, padded with zeros."""
    per, width = maps // group, blocks * lanes
    out = np.zeros((group, -(-per // width) * width), np.float32)
    if bias is not None:
        out[:, :per] = bias.reshape(group, per)
    return out.reshape(-1)


def make_task(
    spec: KernelSpec,
    target: CpuTarget,
    g: Geometry,
    x: View,
    weights: Address,
    bias: Address,
    y: View,
    extra: Sequence[Param],
    same: Sequence[View] = (),
    label: str = "",
    weights_step: int = 0,
) -> Task:
    """The task of one convolution. extra: parameters of the epilogue; same: its operands of the result's shape;
    weights_step: floats from one image's weights to the next's, if each has its own."""
    lanes, blocks = target.lanes, spec.int("blocks")
    pixel = lanes if spec.int("blocked_in") else 1
    xs, ys = _spatial_strides(x, pixel), image_strides(y)
    images = x.type.static_shape[0]
    depth, rows, columns = g.output
    flat = _is_flat(g, x, y, same)
    if flat:
        rows, columns = 1, rows * columns
    origin = sum(o * s for o, s in zip(g.origin, xs[2:]))
    group_blocks = -(-(g.maps // g.group) // (blocks * lanes))
    types = Types.of_spec(spec)
    panel = (g.channels // g.group + int(spec.get("odd", 0))) * g.taps * blocks * lanes
    rb, cb = _blocking(g, depth * rows, columns, group_blocks * g.group * images, target, spec)
    row_blocks, column_blocks = -(-depth * rows // rb), -(-columns // cb)
    out_pixel = lanes if spec.int("blocked_out") else 1
    start = g.start[0] * ys[2] + g.start[1] * out_pixel
    params = (
        *(x.address.plus(itemsize(types.x) * origin), weights, bias, y.address.plus(itemsize(types.y) * start)),
        *(xs[0], xs[1], g.stride[0] * xs[2], g.stride[1] * xs[3]),
        *(*g.kernel, g.dilation[0] * xs[2], g.dilation[1] * xs[3], g.dilation[2] * xs[4]),
        *(g.channels // g.group, g.maps // g.group, group_blocks),
        *(depth, depth * rows, columns),
        *(rb, cb, row_blocks, column_blocks, group_blocks * g.group),
        *(ys[0], ys[1], ys[2] * g.spread[0], Address("scratch"), Address("stride")),
        *(weights_step, panel if panel <= FETCH else 4096),
        *extra,
    )
    units = images * row_blocks * column_blocks * group_blocks * g.group
    pixels = images * math.prod(g.output)
    flops = 2 * pixels * g.maps * (g.channels // g.group) * g.taps
    nbytes = x.type.nbytes + y.type.nbytes + itemsize(types.weights) * g.maps * (g.channels // g.group) * g.taps
    return Task(spec, params, units, label, flops, nbytes)


def _spatial_strides(x: View, pixel: int) -> tuple[int, int, int, int, int]:
    """Strides of image, plane, depth, row, pixel."""
    s = x.strides
    if len(s) == 4:
        return s[0], s[1], 0, s[2], pixel
    if len(s) == 3:
        return s[0], s[1], 0, 0, pixel
    return s[0], s[1], s[2], s[3], pixel


def _is_flat(g: Geometry, x: View, y: View, same: Sequence[View]) -> bool:
    """Rows follow each other without gaps in every value, so that an image is one long row."""
    if g.taps > 1 or set(g.stride) | set(g.spread) != {1} or g.output[0] > 1 or any(g.origin) or any(g.start):
        return False
    return all(len(v.strides) == 4 and v.strides[2] == v.type.static_shape[3] * v.strides[3] for v in (x, y, *same))


def _blocking(
    g: Geometry, rows: int, columns: int, others: int, target: CpuTarget, spec: KernelSpec
) -> tuple[int, int]:
    """Rows and columns of a unit: their inputs stay in the second-level cache, and there are enough units to share."""
    pixels = spec.int("pixels")
    per_pixel = 4 * max(g.channels // g.group, 1) * g.stride[1] * spec.int("step")
    budget = max(pixels, target.l2 // 4 // per_pixel)
    wanted = max(1, -(-16 // others))
    if rows == 1:
        tiles = max(1, min(budget // pixels, -(-columns // pixels) // wanted))
        return 1, min(columns, tiles * pixels)
    return max(1, min(budget // columns, rows // wanted)), columns
