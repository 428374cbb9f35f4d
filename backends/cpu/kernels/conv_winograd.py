"""Winograd convolution, 3x3 with stride 1, in NCHWc.

Two forms. ``winograd`` does everything for a block of image tiles in one unit, its transformed values in the thread's
scratch: for large images. ``winograd_in``, products by ``conv_direct`` (a group for each of the (m + 2)^2
positions) and ``winograd_out`` share a workspace: for few tiles with many channels, where streaming the weights once is
what counts.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.cpu.kernels.conv_direct import LINE
from graphc.backends.cpu.kernels.epilogue import Epilogue
from graphc.backends.cpu.kernels.half_types import Types, at, itemsize
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts
from graphc.backends.cpu.kernels.winograd_transforms import input_transform, output_transform
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec

IN_PARAMS = ("x", "v", "xn", "xc", "xh", "channel_blocks", "tile_rows", "tile_columns", "v_position", "v_block")
OUT_PARAMS = (
    *("products", "bias", "y", "yn", "yc", "yh", "maps", "map_blocks", "tile_rows", "tile_columns"),
    *("rows", "columns", "v_position", "v_block", "scratch", "scratch_stride"),
)
FUSED_PARAMS = (
    *("x", "weights", "bias", "y", "xn", "xc", "xh", "yn", "yc", "yh"),
    *("channel_blocks", "maps", "map_groups", "tile_rows", "tile_columns", "tiles", "tile_block"),
    *("rows", "columns", "scratch", "scratch_stride"),
)


def transformed(types: Types) -> str:
    """The suffix of transformed inputs: bfloat16 where they are multiplied in pairs, else floats."""
    return "_bf" if types.dot else ""


class _Emitter:
    """What the kernels share: the two transforms on one tile of one channel block."""

    def __init__(self, spec: KernelSpec, target: CpuTarget, params: tuple[str, ...], epilogue: bool) -> None:
        self.spec, self.lanes, self.m = spec, target.lanes, spec.int("m")
        self.size = self.m + 2
        self.params, self.types = params, Types.of_spec(spec)
        self.epilogue = Epilogue.of_spec(spec) if epilogue else Epilogue("y=x0", ())
        self.s = Lines()

    def source(self, body: Callable[[], None]) -> str:
        """The kernel around the code of a unit."""
        s = self.s
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(self.params):
                s(f"{name} = ld(p, {i})")
            self.epilogue.read(s, len(self.params))
            if "scratch" in self.params:
                s("scratch += tid * scratch_stride")
            with s.block("for u in range(lo, hi):"):
                body()
        return s.text()

    def transform_in(self, v: str) -> None:
        """From the tile at offset ``xt`` of ``x`` to offset ``vt`` of ``v``, positions ``v_position`` apart."""
        s, n = self.s, self.size
        for i in range(n):
            s(f"xi{i} = xt + {i} * xh")
        for j in range(n):
            for i in range(n):
                s(f"d{i} = vload{self.types.x}(x, xi{i} + {j * self.lanes})")
            input_transform(s, self.m, [f"d{i}" for i in range(n)], [f"f{i}_{j}" for i in range(n)])
        for i in range(n):
            input_transform(s, self.m, [f"f{i}_{j}" for j in range(n)], [f"d{j}" for j in range(n)])
            for j in range(n):
                s(f"vstore{transformed(self.types)}({v}, vt, d{j})")
                s("vt += v_position")

    def transform_out(self, source: str, position: str, suffix: str) -> None:
        """From offset ``mt`` of ``source`` to the tile at row ``oh``, column ``ow`` of the plane at ``yo``."""
        s, n, m = self.s, self.size, self.m
        for i in range(n):
            for j in range(n):
                s(f"d{j} = vload({source}, mt)")
                s(f"mt += {position}")
            output_transform(s, m, [f"d{j}" for j in range(n)], [f"f{i}_{j}" for j in range(m)])
        for j in range(m):
            output_transform(s, m, [f"f{i}_{j}" for i in range(n)], [f"o{i}_{j}" for i in range(m)])
            for i in range(m):
                s(f"o{i}_{j} = vadd(o{i}_{j}, b{suffix})")
        s(f"yt = yo + oh * yh + ow * {self.lanes}")
        for e in self.epilogue.same:
            s(f"et{e} = eo{e} + oh * e{e}h + ow * {self.lanes}")
        with s.block(f"if oh + {m} <= rows and ow + {m} <= columns:"):
            for i in range(m):
                for j in range(m):
                    self._store(f"o{i}_{j}", str(i), str(j), suffix)
        with s.block("else:"):
            for i in range(m):
                for j in range(m):
                    s(f"vstore(scratch, {(i * m + j) * self.lanes}, o{i}_{j})")
            with s.block(f"for i in range(min({m}, rows - oh)):"), s.block(f"for j in range(min({m}, columns - ow)):"):
                s(f"edge = vload(scratch, (i * {m} + j) * {self.lanes})")
                self._store("edge", "i", "j", suffix)

    def _store(self, value: str, i: str, j: str, suffix: str) -> None:
        s = self.s
        at = f"{i} * {{0}}h + {j} * {self.lanes}"
        same = [self.epilogue.load(e, f"et{e} + {at.format(f'e{e}')}") for e in self.epilogue.same]
        result = self.epilogue.apply(s, value, suffix, same)
        s(f"vstore{self.types.y}(y, yt + {i} * yh + {j} * {self.lanes}, {result})")


def emit_in(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``winograd_in{m}``; a unit is a row of tiles of one channel block."""
    e = _Emitter(spec, target, IN_PARAMS, epilogue=False)

    def unit() -> None:
        s = e.s
        s("h = u % tile_rows")
        s("t = u // tile_rows")
        s("c = t % channel_blocks")
        s("n = t // channel_blocks")
        s(f"xr = n * xn + c * xc + h * {e.m} * xh")
        s(f"vr = c * v_block + (n * tile_rows + h) * tile_columns * {e.lanes}")
        with s.block("for w in range(tile_columns):"):
            s(f"xt = xr + w * {e.m * e.lanes}")
            s(f"vt = vr + w * {e.lanes}")
            e.transform_in("v")

    return e.source(unit)


def emit_out(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``winograd_out{m, epilogue, kinds}``; a unit is a row of tiles of one map block."""
    e = _Emitter(spec, target, OUT_PARAMS, epilogue=True)

    def unit() -> None:
        s = e.s
        s("h = u % tile_rows")
        s("t = u // tile_rows")
        s("mb = t % map_blocks")
        s("n = t // map_blocks")
        s(f"b_0 = vload(bias, mb * {e.lanes})")
        e.epilogue.read_channels(s, "_0", f"mb * {e.lanes}", "maps")
        s("yo = n * yn + mb * yc")
        for i in e.epilogue.same:
            s(f"eo{i} = n * e{i}n + mb * e{i}c")
        s(f"mr = mb * v_block + (n * tile_rows + h) * tile_columns * {e.lanes}")
        s(f"oh = h * {e.m}")
        with s.block("for w in range(tile_columns):"):
            s(f"mt = mr + w * {e.lanes}")
            s(f"ow = w * {e.m}")
            e.transform_out("products", "v_position", "_0")

    return e.source(unit)


class _Fused(_Emitter):
    """Everything for a block of tiles: all channels in, then each group of map blocks multiplied and out."""

    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        super().__init__(spec, target, FUSED_PARAMS, epilogue=True)
        self.tile = Tile(spec.int("pixels"), spec.int("tail"), spec.int("blocks"))

    def unit(self) -> None:
        """Code of a unit. Scratch: a tile of results, then transformed inputs, then products of one group."""
        s, lanes, nb, m = self.s, self.lanes, self.tile.blocks, self.m
        s("first = u * tile_block")
        s("count = min(tile_block, tiles - first)")
        s(f"panel = channel_blocks * {lanes * nb * lanes}")
        s(f"v_position = (channel_blocks * tile_block + 1) * {lanes}")
        s(f"m_position = (tile_block * {nb} + 1) * {lanes}")
        s(f"v = scratch + {4 * m * m * lanes}")
        s(f"products = v + {itemsize(transformed(self.types)) * self.size**2} * v_position")
        with s.block("for c in range(channel_blocks):"):
            self._each_tile(self._input)
        with s.block("for mg in range(map_groups):"):
            with s.block(f"for position in range({self.size**2}):"):
                s(f"wp = (mg * {self.size**2} + position) * panel")
                s("vp = position * v_position")
                s("mp = position * m_position")
                emit_cuts(s, self.tile, "0", "count", "t", self._multiply)
            with s.block(f"for o in range(min({nb}, (maps + {lanes - 1}) // {lanes} - mg * {nb})):"):
                s(f"mb = mg * {nb} + o")
                s(f"b_0 = vload(bias, mb * {lanes})")
                self.epilogue.read_channels(s, "_0", f"mb * {lanes}", "maps")
                self._each_tile(self._output)

    def _each_tile(self, body: Callable[[], None]) -> None:
        """Run ``body`` for every tile ``t`` of the block, at image ``n``, tile row ``h`` and column ``w``."""
        s = self.s
        s("w = first % tile_columns")
        s("h = first // tile_columns")
        s("n = h // tile_rows")
        s("h = h - n * tile_rows")
        with s.block("for t in range(count):"):
            body()
            s("w += 1")
            with s.block("if w == tile_columns:"):
                s("w = 0")
                s("h += 1")
                with s.block("if h == tile_rows:"):
                    s("h = 0")
                    s("n += 1")

    def _input(self) -> None:
        s, lanes = self.s, self.lanes
        s(f"xt = n * xn + c * xc + h * {self.m} * xh + w * {self.m * lanes}")
        s(f"vt = (c * tile_block + t) * {lanes}")
        self.transform_in("v")

    def _output(self) -> None:
        s = self.s
        s("yo = n * yn + mb * yc")
        for i in self.epilogue.same:
            s(f"eo{i} = n * e{i}n + mb * e{i}c")
        s(f"mt = (t * {self.tile.blocks} + o) * {self.lanes}")
        s(f"oh = h * {self.m}")
        s(f"ow = w * {self.m}")
        self.transform_out("products", "m_position", "_0")

    def _multiply(self, pixels: int) -> None:
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        for o in range(nb):
            for i in range(pixels):
                s(f"a{o}_{i} = vzero()")
        with s.block("for c in range(channel_blocks):"):
            s(f"vo = vp + (c * tile_block + t) * {lanes}")
            s(f"wc = wp + c * {lanes * nb * lanes}")
            if self.types.dot:
                self._pairs(pixels)
            else:
                self._singles(pixels)
        s(f"mo = mp + t * {nb * lanes}")
        for i in range(pixels):
            for o in range(nb):
                s(f"vstore(products, mo + {(i * nb + o) * lanes}, a{o}_{i})")

    def _singles(self, pixels: int) -> None:
        """A block of channels, one by one."""
        s, nb, lanes, half = self.s, self.tile.blocks, self.lanes, self.types.weights
        with s.block(f"for k in range({lanes}):"):
            for o in range(nb):
                s(f"w{o} = vload{half}(weights, wc + k * {nb * lanes} + {o * lanes})")
            for line in range(0, nb * lanes, 4 * LINE // itemsize(half)):
                s(f"prefetch_l2({at('weights', f'wc + panel + k * {nb * lanes} + {line}', half)})")
            for i in range(pixels):
                s(f"broadcast = vbcast(v, vo + k + {i * lanes})")
                for o in range(nb):
                    s(f"a{o}_{i} = vfma(broadcast, w{o}, a{o}_{i})")

    def _pairs(self, pixels: int) -> None:
        """A block of channels, two by two."""
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        with s.block(f"for k in range(0, {lanes}, 2):"):
            for o in range(nb):
                s(f"w{o} = hload(weights, wc + k * {nb * lanes} + {2 * o * lanes})")
            for line in range(0, 2 * nb * lanes, 2 * LINE):
                s(f"prefetch_l2({at('weights', f'wc + panel + k * {nb * lanes} + {line}', self.types.weights)})")
            for i in range(pixels):
                s(f"broadcast = hpair(v, vo + k + {i * lanes})")
                for o in range(nb):
                    s(f"a{o}_{i} = hdot(a{o}_{i}, broadcast, w{o})")


def emit_fused(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``winograd{m, pixels, tail, blocks, epilogue, kinds}``; a unit is a block of tiles."""
    fused = _Fused(spec, target)
    return fused.source(fused.unit)


TEMPLATES = (Template("winograd_in", emit_in), Template("winograd_out", emit_out), Template("winograd", emit_fused))
