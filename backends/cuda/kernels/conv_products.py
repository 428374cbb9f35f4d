"""Convolutions on weights that the net computes, and all gradients of convolutions, as products of matrices.

Between an image (C, inside) and a result (M, out) a filter (M, C, taps) stands in three products, each of which gives
one of the three from the others (``Sweep``): no columns are stored, what a tile needs is gathered on the way. A tile of
the result a block, as in ``gemm.py``. A filter's sums run over all pixels of all images, in pieces, which are added up
in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from graphc.backends.cuda.kernels.conv import tile_of
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.tile_share import Share
from graphc.backends.cuda.kernels.tile_sums import emit_sums
from graphc.backends.cuda.rules import Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.ir.ops._window import Window
from graphc.ir.schedule import Address, KernelSpec, Param, Static, Task

FORMS = ("result", "image", "filter")
"""Which of the three a kernel computes."""
PLACES = ("image", "filter", "result", "to")
"""Addresses; to: where pieces of a filter are stored, and else what the form is named after."""
SIZES = ("images", "groups", "channels", "maps", "pieces", "each")
"""channels, maps: of a group. each: elements of the sum of a piece."""
AXES = ("inside", "out", "stride", "dilation", "head")
"""A value for each spatial dimension, the outermost first."""
STRIDES = ("in", "ic", "ip", "rn", "rc", "rp", "fm", "fc", "ft")
"""Of image, channel and pixel of the image and of the result; of map, channel and tap of the filter."""
TILES = (Tile(128, 64, 8, 8, 4, 1.0), Tile(64, 64, 16, 4, 4, 0.7), Tile(32, 32, 8, 4, 4, 0.5))
"""Their rates are shares of the products in the loop: places are worked out for each element that a tile fetches."""
PIECES, PIECE = 64, 512
"""Into how many pieces a filter's sums are cut at most, and the elements of a piece at least."""


@dataclass(frozen=True)
class Sweep:
    """A window over images. Sizes of one, two or three spatial dimensions; channels, maps: of a group. last: NHWC."""

    images: int
    group: int
    channels: int
    maps: int
    inside: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    heads: tuple[int, ...]
    last: bool

    @staticmethod
    def of(w: Window, image: tuple[int, ...], result: tuple[int, ...]) -> Sweep:
        """That of a window between an image and a result of these shapes."""
        last = w.order == "NHWC"
        (c, inside), (m, out) = ((s[-1], s[1:-1]) if last else (s[1], s[2:]) for s in (image, result))
        group = w.group
        return Sweep(
            image[0], group, c // group, m // group, inside, out, w.kernel, w.stride, w.dilation, w.heads, last
        )

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return prod(self.kernel)

    @property
    def filter_size(self) -> int:
        """Elements of the filter."""
        return self.group * self.maps * self.channels * self.taps

    def product(self, form: str) -> tuple[int, int, int]:
        """Rows, columns and elements of a sum, of a group."""
        if form == "filter":
            return self.maps, self.channels * self.taps, self.images * prod(self.out)
        if form == "result":
            return self.maps, self.images * prod(self.out), self.channels * self.taps
        return self.channels, self.images * prod(self.inside), self.maps * self.taps

    def strides(self) -> tuple[int, ...]:
        """The values of ``STRIDES``, of dense values."""
        found: list[int] = []
        for channels, size in (
            (self.channels * self.group, prod(self.inside)),
            (self.maps * self.group, prod(self.out)),
        ):
            found += [channels * size, *((1, channels) if self.last else (size, 1))]
        depth = self.channels * self.taps
        return (*found, depth, *((1, self.channels) if self.last else (self.taps, 1)))


def make_spec(form: str, sweep: Sweep, bias: bool, epilogue: Epilogue, target: CudaTarget) -> KernelSpec:
    """The kernel that computes a form; the tile is the one of the least predicted time, of equal ones the larger."""
    rows, columns, inner = sweep.product(form)
    problem = Problem(form, "f4", "f4", columns, rows, inner, sweep.group)
    tile = min(TILES, key=lambda t: t.clocks(problem, _cut(form, sweep, t, target)[0], target))
    kernel = "x".join(map(str, sweep.kernel))
    static: dict[str, Static] = {**tile.static(), "bias": int(bias), "threads": tile.threads, **epilogue.static()}
    return KernelSpec.make("conv_products", form=form, kernel=kernel, **static)


def pieces_of(sweep: Sweep, spec: KernelSpec, target: CudaTarget) -> tuple[int, int]:
    """Into how many pieces a kernel cuts the sums, so that the card is busy, and the elements of one."""
    return _cut(str(spec["form"]), sweep, tile_of(spec), target)


def _cut(form: str, sweep: Sweep, tile: Tile, target: CudaTarget) -> tuple[int, int]:
    """Only those of a filter are cut."""
    rows, columns, inner = sweep.product(form)
    if form != "filter":
        return 1, inner
    blocks = -(-rows // tile.maps) * -(-columns // tile.pixels) * sweep.group
    pieces = max(1, min(2 * target.processors // max(blocks, 1), inner // PIECE, PIECES))
    each = -(-inner // (pieces * tile.depth)) * tile.depth
    return max(1, -(-inner // max(each, 1))), each


def make_task(
    spec: KernelSpec,
    sweep: Sweep,
    places: tuple[Address, ...],
    extra: list[Param],
    label: str,
    cut: tuple[int, int] | None = None,
) -> Task:
    """The launch of a form. places: ``PLACES``, of which that of what is computed is not used; extra: the bias and the
    epilogue's. cut: pieces and their elements."""
    tile, (rows, columns, inner) = tile_of(spec), sweep.product(str(spec["form"]))
    pieces, each = cut or (1, inner)
    sizes = (sweep.images, sweep.group, sweep.channels, sweep.maps, pieces, each)
    axes = (*sweep.inside, *sweep.out, *sweep.stride, *sweep.dilation, *sweep.heads)
    for n in (sweep.images * sweep.strides()[0], sweep.images * sweep.strides()[3], sweep.filter_size * pieces):
        blocks_for(n)
    units = blocks_for(-(-rows // tile.maps) * -(-columns // tile.pixels) * sweep.group * pieces, 1)
    work = sweep.group * rows * columns
    params: tuple[Param, ...] = (*places, *sizes, *axes, *sweep.strides(), *extra)
    return Task(spec, params, units, label, 2 * work * inner, 4 * (sweep.filter_size + work))


# ---- source ---------------------------------------------------------------------------------------------------------


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_products{form, kernel}``; parameters: ``PLACES``, ``SIZES``, ``AXES`` of each dimension,
    ``STRIDES``, the bias where there is one, those of the epilogue.
    """
    s, made = Lines(), _Source(spec)
    with s.block(f"def {spec.name}({', '.join(made.parameters())}):"):
        made.begin(s)
        emit_sums(s, made.tile, partial(made.fetch, s), partial(made.keep, s), ("begin", "end"), made.pitches)
        made.store(s)
    return s.text()


Load = Callable[[Lines, str, str], tuple[str, str]]
"""Code for element (k, lane) of an operand; gives a condition, empty where there is none, and what it is then."""


class _Source:
    """The kernel of a form."""

    def __init__(self, spec: KernelSpec) -> None:
        self.spec, self.tile, self.form = spec, tile_of(spec), str(spec["form"])
        self.epilogue, self.bias = Epilogue.of_spec(spec), bool(spec.int("bias"))
        self.kernel = [int(n) for n in str(spec["kernel"]).split("x")]
        self.axes = range(len(self.kernel))
        loads: dict[str, tuple[tuple[bool, Load], tuple[bool, Load]]] = {
            "result": ((True, self._filter_row), (False, self._image_under)),
            "image": ((True, self._filter_column), (False, self._result_over)),
            "filter": ((True, self._result_at), (True, self._image_at)),
        }
        self.loads = [load for _, load in loads[self.form]]
        names = ("left", "a", self.tile.maps), ("right", "b", self.tile.pixels)
        self.shares = [
            Share(*name, self.tile.depth, self.tile.threads, along, 1)
            for name, (along, _) in zip(names, loads[self.form])
        ]

    @property
    def pitches(self) -> tuple[int, int]:
        """Floats of a line of each tile in shared memory."""
        left, right = (share.pitch for share in self.shares)
        return left, right

    def parameters(self) -> list[str]:
        """The kernel's."""
        axes = [f"{name}{k}" for name in AXES for k in self.axes]
        bias = ["bias"] if self.bias else []
        return [
            *(f"{name}_" for name in PLACES),
            *SIZES,
            *axes,
            *(f"{n}_s" for n in STRIDES),
            *bias,
            *self.epilogue.arguments(),
        ]

    def begin(self, s: Lines) -> None:
        """The block's tile, its group and piece, and what this thread loads of the operands' tiles."""
        tile, taps = self.tile, self.spec_taps
        s(f"a, b = {', '.join(f'shared({2 * share.floats})' for share in self.shares)}")
        s("t = thread()")
        for name, sizes in (("pixels_in", "inside"), ("pixels_out", "out")):
            s(f"{name} = {' * '.join(f'{sizes}{k}' for k in self.axes)}")
        s({
            "result": f"rows, columns, inner = maps, images * pixels_out, channels * {taps}",
            "image": f"rows, columns, inner = channels, images * pixels_in, maps * {taps}",
            "filter": f"rows, columns, inner = maps, channels * {taps}, images * pixels_out",
        }[self.form])  # fmt: skip
        s(f"down, across = quot(rows + {tile.maps - 1}, {tile.maps}), quot(columns + {tile.pixels - 1}, {tile.pixels})")
        s("u = i64(block())")
        s(f"n0, u = rest(u, across) * {tile.pixels}, quot(u, across)")
        s(f"m0, u = rest(u, down) * {tile.maps}, quot(u, down)")
        s("group, piece = rest(u, groups), quot(u, groups)")
        s("begin = piece * each")
        s("end = min(begin + each, inner)")
        s("image_from, result_from = group * channels * ic_s, group * maps * rc_s")
        s("filter_from = group * maps * fm_s")
        for share in self.shares:
            share.emit_place(s)

    @property
    def spec_taps(self) -> int:
        """Elements of the window."""
        return prod(self.kernel)

    def fetch(self, s: Lines, k0: str) -> None:
        """Load this thread's share of the tiles that begin at product ``k0`` into registers."""
        for share, load, (first, bound) in zip(self.shares, self.loads, (("m0", "rows"), ("n0", "columns"))):
            for j, (further, skip) in enumerate(share.spots):
                (to,) = share.names(j)
                s(f"k, at = {k0} + {share.name}_k + {further}, {first} + {share.name}_lane + {skip}")
                s(f"{to} = f4(0.0)")
                with s.block(f"if (k < end) & (at < {bound}):"):
                    condition, value = load(s, "k", "at")
                    if condition:
                        with s.block(f"if {condition}:"):
                            s(f"{to} = {value}")
                    else:
                        s(f"{to} = {value}")

    def keep(self, s: Lines, side: str) -> None:
        """Store what was loaded into a side of shared memory."""
        for share in self.shares:
            share.emit_keep(s, side)

    def _tap(self, s: Lines, number: str, channel: str) -> None:
        """The channel, and the place in the window ``tap<axis>``, of a number that counts both; ``tap``: flat."""
        taps = self.spec_taps
        s(f"{channel}, tap = " + (f"{number}, 0" if taps == 1 else f"quot({number}, {taps}), rest({number}, {taps})"))
        s("q = tap")
        for k in reversed(self.axes):
            n = self.kernel[k]
            if k == 0 or n == 1:
                s(f"tap{k} = " + ("q" if n > 1 else "0"))
            else:
                s(f"tap{k}, q = rest(q, {n}), quot(q, {n})")

    def _pixel(self, s: Lines, number: str, sizes: str) -> None:
        """The image ``n`` and the place ``p<axis>`` in it of a number that counts pixels."""
        s(f"q = {number}")
        for k in reversed(self.axes):
            s(f"p{k}, q = rest(q, {sizes}{k}), quot(q, {sizes}{k})")
        s("n = q")

    def _flat(self, names: str, sizes: str) -> str:
        """The number of a pixel in its image."""
        text = f"{names}0"
        for k in self.axes[1:]:
            text = f"({text}) * {sizes}{k} + {names}{k}"
        return f"({text})"

    def _filter_row(self, s: Lines, k: str, at: str) -> tuple[str, str]:
        self._tap(s, k, "c")
        return "", f"ld_f4(filter_, filter_from + {at} * fm_s + c * fc_s + tap * ft_s)"

    def _filter_column(self, s: Lines, k: str, at: str) -> tuple[str, str]:
        self._tap(s, k, "c")
        return "", f"ld_f4(filter_, filter_from + c * fm_s + {at} * fc_s + tap * ft_s)"

    def _image_element(self, s: Lines) -> tuple[str, str]:
        """The image under tap ``tap<axis>`` of pixel ``n``, ``p<axis>`` of the result, channel ``c``."""
        for axis in self.axes:
            s(f"x{axis} = p{axis} * stride{axis} + tap{axis} * dilation{axis} - head{axis}")
        within = " & ".join(f"within(x{axis}, inside{axis})" for axis in self.axes)
        return within, f"ld_f4(image_, image_from + n * in_s + c * ic_s + {self._flat('x', 'inside')} * ip_s)"

    def _image_under(self, s: Lines, k: str, at: str) -> tuple[str, str]:
        self._tap(s, k, "c")
        self._pixel(s, at, "out")
        return self._image_element(s)

    def _image_at(self, s: Lines, k: str, at: str) -> tuple[str, str]:
        self._tap(s, at, "c")
        self._pixel(s, k, "out")
        return self._image_element(s)

    def _result_over(self, s: Lines, k: str, at: str) -> tuple[str, str]:
        """The result whose window has a pixel of the image under this tap, where there is one."""
        self._tap(s, k, "c")
        self._pixel(s, at, "inside")
        tests = []
        for axis in self.axes:
            s(f"from{axis} = p{axis} + head{axis} - tap{axis} * dilation{axis}")
            s(f"up{axis} = max(from{axis}, 0)")
            s(f"x{axis} = quot(up{axis}, stride{axis})")
            tests.append(f"(from{axis} >= 0) & (x{axis} * stride{axis} == up{axis}) & (x{axis} < out{axis})")
        return " & ".join(tests), f"ld_f4(result_, result_from + n * rn_s + c * rc_s + {self._flat('x', 'out')} * rp_s)"

    def _result_at(self, s: Lines, k: str, at: str) -> tuple[str, str]:
        s(f"n, q = quot({k}, pixels_out), rest({k}, pixels_out)")
        return "", f"ld_f4(result_, result_from + n * rn_s + {at} * rc_s + q * rp_s)"

    def store(self, s: Lines) -> None:
        """The results of a thread."""
        tile = self.tile
        per_row, per_column = tile.pixels // tile.own_pixels, tile.maps // tile.own_maps
        for j in range(tile.own_pixels):
            s(f"column = n0 + rest(t, {per_row}) * 4 + {j // 4 * 4 * per_row + j % 4}")
            with s.block("if column < columns:"):
                self._column_place(s)
                for i in range(tile.own_maps):
                    s(f"m = m0 + quot(t, {per_row}) * 4 + {i // 4 * 4 * per_column + i % 4}")
                    with s.block("if m < rows:"):
                        self._store_one(s, f"c{i}_{j}")

    def _column_place(self, s: Lines) -> None:
        if self.form == "filter":
            taps = self.spec_taps
            s("c, tap = " + ("column, 0" if taps == 1 else f"quot(column, {taps}), rest(column, {taps})"))
            s("o, step = piece * groups * maps * fm_s + filter_from + c * fc_s + tap * ft_s, fm_s")
            return
        pixels, letter = ("pixels_out", "r") if self.form == "result" else ("pixels_in", "i")
        s(f"n, q = quot(column, {pixels}), rest(column, {pixels})")
        s(f"o, step = {self.form}_from + n * {letter}n_s + q * {letter}p_s, {letter}c_s")

    def _store_one(self, s: Lines, value: str) -> None:
        s(f"v, channel = {value}, group * rows + m")
        if self.bias:
            s("v = v + ld_f4(bias, channel)")
        result = self.epilogue.apply(s, "v", "channel", ["o + m * step"] * len(self.epilogue.same))
        s(f"st_f4(to_, o + m * step, {result})")


TEMPLATES = (Template("conv_products", emit),)
