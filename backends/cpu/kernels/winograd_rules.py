"""Rules for Winograd convolution: when it pays, in which form, its packed weights, its memory and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.cpu.kernels import conv_direct, costs
from graphc.backends.cpu.kernels.conv import Candidate, Convolution
from graphc.backends.cpu.kernels.conv_direct import Geometry
from graphc.backends.cpu.kernels.conv_winograd import transformed
from graphc.backends.cpu.kernels.epilogue import Epilogue, image_strides
from graphc.backends.cpu.kernels.half_types import Types, itemsize, joined, stored
from graphc.backends.cpu.kernels.tiles import Tile, tile_for, tile_options
from graphc.backends.cpu.kernels.winograd_transforms import transform_filters
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Halo, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType, Layout, TensorType

NO_EPILOGUE = Epilogue("y=x0", ())
TRANSFORM_NS = {2: (9.0, 9.0), 4: (26.0, 24.0)}
"""Time of the input and the output transform of one tile of one channel block."""

FEWEST = 32
"""Channels or maps from which on half precision is worth F(2, 3): its transforms round once more, and with fewer they
take what the products save."""


@dataclass(frozen=True)
class Plan:
    """Winograd on one image size. tiles: of all images."""

    m: int
    c: Convolution
    types: Types
    target: CpuTarget

    @property
    def tile_rows(self) -> int:
        return -(-self.c.result[2] // self.m)

    @property
    def tile_columns(self) -> int:
        return -(-self.c.result[3] // self.m)

    @property
    def tiles(self) -> int:
        return self.c.images * self.tile_rows * self.tile_columns

    @property
    def positions(self) -> int:
        """Products for a tile: (m + 2)^2."""
        return (self.m + 2) ** 2

    @property
    def channel_blocks(self) -> int:
        return self.c.channels // self.target.lanes

    @property
    def map_blocks(self) -> int:
        return -(-self.c.maps // self.target.lanes)

    @property
    def halo(self) -> Halo:
        """Border of the input: the last tiles reach beyond the image."""
        top, left = self.c.window.heads
        bottom = self.tile_rows * self.m + 2 - top - self.c.shape[2]
        right = self.tile_columns * self.m + 2 - left - self.c.shape[3]
        return top, left, max(0, bottom), max(0, right)

    @property
    def v_bytes(self) -> int:
        """All transformed inputs."""
        return itemsize(transformed(self.types)) * self.positions * self.tiles * self.c.channels

    @property
    def m_bytes(self) -> int:
        """All products before the output transform."""
        return 4 * self.positions * self.tiles * self.map_blocks * self.target.lanes

    @property
    def u_bytes(self) -> int:
        """The transformed weights."""
        return itemsize(self.types.weights) * self.positions * self.c.channels * self.map_blocks * self.target.lanes

    def block(self, tile: Tile) -> int:
        """Tiles of a unit of the fused form. Where weights and a few register tiles share the second-level cache, these
        are enough; else weights come from further away for every unit, and units are as large as fits."""
        per = 4 * self.positions * (self.c.channels + tile.blocks * self.target.lanes) * tile.pixels
        fits = self.u_bytes + per <= self.target.l2 * 9 // 10
        most = 3 if fits else self.target.l2 * 7 // 10 // per
        count = max(1, min(most, self.tiles // tile.pixels // (24 if fits else 12)))
        return min(self.tiles, count * tile.pixels)

    def scratch(self, tile: Tile) -> int:
        """Bytes of a thread's scratch in the fused form."""
        lanes, block = self.target.lanes, self.block(tile)
        floats = self.m**2 * lanes + self.positions * (tile.blocks * block + 1) * lanes
        inputs = self.positions * (self.channel_blocks * block + 1) * lanes
        return 4 * floats + itemsize(transformed(self.types)) * inputs


def candidates(call: Call, c: Convolution, target: CpuTarget) -> list[Candidate]:
    """The ways to do a call by Winograd; none where window, groups or layouts are not right for it."""
    w = c.window
    if (
        not c.constant
        or len(c.shape) != 4
        or w.kernel != (3, 3)
        or w.stride != (1, 1)
        or w.dilation != (1, 1)
        or w.group != 1
    ):
        return []
    if {c.block_in, c.block_out} != {target.lanes} or c.channels % target.lanes or min(w.heads) < 0:
        return []
    found = []
    for p in _plans(c, Types.of_call(call), target):
        fused, steps = _fused_tile(p), _steps_tile(p)
        found.append(Candidate(_fused_cost(p, fused), lambda p=p, t=fused: _choose_fused(call, p, t)))  # type: ignore[misc]
        found.append(Candidate(_steps_cost(p, steps), lambda p=p, t=steps: _choose_steps(call, p, t)))  # type: ignore[misc]
    return found


def _plans(c: Convolution, types: Types, target: CpuTarget) -> list[Plan]:
    """F(2, 3) and F(4, 3). The latter multiplies rounding errors of transformed weights by eight, the former by one and
    a half: weights in half precision are for F(2, 3) alone, and for the direct way where channels or maps are few."""
    two, four = Plan(2, c, types, target), Plan(4, c, types, target)
    if not types.weights:
        return [two, four]
    return [two] if max(c.channels, c.maps) >= FEWEST else []


def _fused_tile(p: Plan) -> Tile:
    """The tile whose cuts of the units, the last and smaller one included, cost least."""
    options = tile_options(p.target, p.map_blocks)
    return min(options, key=lambda o: o[0] * _fused_waste(p, o[1]) * _imbalance(-(-p.tiles // p.block(o[1]))))[1]


def _fused_waste(p: Plan, tile: Tile) -> float:
    block = p.block(tile)
    whole, rest = divmod(p.tiles, block)
    done = whole * block * tile.waste(block) + (rest * tile.waste(rest) if rest else 0.0)
    return done / p.tiles


def _imbalance(units: int) -> float:
    """Half of what two threads lose to an odd number of units."""
    return 1 + 0.5 * (-(-units // 2) * 2 / units - 1)


def _steps_tile(p: Plan) -> Tile:
    return tile_for(p.target, p.map_blocks, p.tiles)


def _products_ns(p: Plan, tile: Tile, waste: float) -> float:
    blocks = -(-p.map_blocks // tile.blocks) * tile.blocks
    flops = 2 * p.positions * p.tiles * waste * p.c.channels * blocks * p.target.lanes
    return costs.compute_ns(p.target, flops) / (2 if p.types.dot and p.target.bf16 else 1)


def _transforms_ns(p: Plan) -> float:
    before, after = TRANSFORM_NS[p.m]
    slow = 1.0 if p.target.registers > 16 else 1.6
    return slow * p.tiles * (before * p.channel_blocks + after * p.map_blocks)


def _fused_cost(p: Plan, tile: Tile) -> float:
    products = _products_ns(p, tile, _fused_waste(p, tile))
    units = -(-p.tiles // p.block(tile))
    # weights beyond the second-level cache are read again for every unit
    again = costs.cached_ns(p.u_bytes) * (units - 1) if p.u_bytes > p.target.l2 * 3 // 4 else 0.0
    spill = costs.cached_ns(2 * p.scratch(tile)) * units if p.scratch(tile) > p.target.l2 else 0.0
    work = max(products, again) + 0.2 * again + spill + _transforms_ns(p)
    return costs.overlapped_ns(work * _imbalance(units), p.u_bytes)


def _steps_cost(p: Plan, tile: Tile) -> float:
    traffic = 2 * (p.v_bytes + p.m_bytes)
    move = costs.stream_ns(traffic) if traffic > 3 * p.target.l3 // 2 else costs.cached_ns(traffic) / 2
    work = _products_ns(p, tile, tile.waste(p.tiles)) + _transforms_ns(p) + move + 1500.0
    return costs.overlapped_ns(work, p.u_bytes)


def _packed(call: Call, p: Plan, blocks: int, fused: bool) -> dict[int, np.ndarray]:
    """Weights (positions, groups, channels, width), groups first if fused; then the bias; then, in the form of steps,
    zeros as the products' bias."""
    weights, width = elements(call, 1), blocks * p.target.lanes
    assert weights is not None
    u = transform_filters(weights, p.m)
    groups = -(-p.c.maps // width)
    padded = np.zeros((p.positions, groups * width, p.c.channels), np.float32)
    padded[:, : p.c.maps] = u
    panels = padded.reshape(p.positions, groups, width, p.c.channels).swapaxes(2, 3)
    if p.types.dot:  # (..., pair, element, width) -> (..., pair, width, element)
        panels = panels.reshape(p.positions, groups, p.c.channels // 2, 2, width).swapaxes(3, 4)
    panels = panels.swapaxes(0, 1) if fused else panels
    zeros = np.zeros(0 if fused else groups * width, np.float32)
    bias = conv_direct.pack_bias(call.constant(2), p.c.maps, 1, p.target.lanes, blocks)
    return {1: joined(stored(panels, p.types.weights), bias, zeros), **Epilogue.of_call(call).packed(call)}


def _choose_fused(call: Call, p: Plan, tile: Tile) -> Choice:
    spec = KernelSpec.make(
        "winograd",
        m=p.m,
        pixels=tile.pixels,
        tail=tile.tail,
        blocks=tile.blocks,
        **p.types.static(),
        **Epilogue.of_call(call).static(),
    )
    return Choice("winograd", spec, _packed(call, p, tile.blocks, True), _fused_cost(p, tile))


def _choose_steps(call: Call, p: Plan, tile: Tile) -> Choice:
    products = Types(transformed(p.types), p.types.weights)
    spec = conv_direct.make_spec(tile, 1, True, True, NO_EPILOGUE, types=products)
    return Choice(f"winograd{p.m}_steps", spec, _packed(call, p, tile.blocks, False), _steps_cost(p, tile))


def _plan(call: Call, choice: Choice, target: CpuTarget) -> tuple[Plan, KernelSpec]:
    c, spec = Convolution.of(call), choice.spec
    assert c is not None
    assert spec is not None
    m = spec.int("m") if choice.rule == "winograd" else int(choice.rule[len("winograd")])
    return Plan(m, c, Types.of_call(call), target), spec


def _tile_of(spec: KernelSpec) -> Tile:
    return Tile(spec.int("pixels"), spec.int("tail"), spec.int("blocks"))


def needs_fused(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """The border that the last tiles read; scratch for a block of tiles."""
    p, spec = _plan(call, choice, target)
    dense = Epilogue.of_call(call).dense_operands(call)
    return Needs(halo={0: p.halo}, dense=dense, scratch=p.scratch(_tile_of(spec)))


def needs_steps(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """The border that the last tiles read; transformed values of the whole call."""
    p, _ = _plan(call, choice, target)
    dense = Epilogue.of_call(call).dense_operands(call)
    v, m = _positions(p)
    return Needs(
        halo={0: p.halo},
        dense=dense,
        workspace=p.positions * (itemsize(transformed(p.types)) * v + 4 * m),
        scratch=4 * p.m**2 * target.lanes,
    )


def _positions(p: Plan) -> tuple[int, int]:
    """Floats from position to position of the transformed inputs and of the products: an odd number of cache lines, so
    that the positions of a tile do not compete for the same lines of the cache."""
    line, odd = p.tiles * p.target.lanes, 16
    v, m = p.channel_blocks * line, p.map_blocks * line
    return v // 32 * 32 + 32 + odd, m // 32 * 32 + 32 + odd


def _input_address(p: Plan, x: View) -> Address:
    top, left = p.c.window.heads
    return x.address.plus(-itemsize(p.types.x) * (top * x.strides[2] + left * p.target.lanes))


def bind_fused(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """One task."""
    p, spec = _plan(call, choice, target)
    x, weights, y = ins[0], ins[1], outs[0]
    assert x is not None
    assert weights is not None
    tile = _tile_of(spec)
    groups = -(-p.map_blocks // tile.blocks)
    bias = weights.address.plus(weights.type.nbytes - 4 * groups * tile.blocks * target.lanes)
    block = p.block(tile)
    params = (
        *(_input_address(p, x), weights.address, bias, y.address),
        *(*image_strides(x), *image_strides(y)),
        *(p.channel_blocks, p.c.maps, groups, p.tile_rows, p.tile_columns, p.tiles, block),
        *(p.c.result[2], p.c.result[3], Address("scratch"), Address("stride")),
        *Epilogue.of_call(call).params(call, ins),
    )
    nbytes = x.type.nbytes + y.type.nbytes + p.u_bytes
    return [(Task(spec, params, -(-p.tiles // block), call.node.results[0].name, 2 * p.c.macs, nbytes),)]


def bind_steps(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """Input transform, products, output transform."""
    p, spec = _plan(call, choice, target)
    x, weights, y = ins[0], ins[1], outs[0]
    assert x is not None
    assert weights is not None
    lanes, name = target.lanes, call.node.results[0].name
    width = spec.int("blocks") * lanes
    padded = -(-p.c.maps // width) * width
    bias = weights.address.plus(weights.type.nbytes - 4 * 2 * padded)
    zeros = weights.address.plus(weights.type.nbytes - 4 * padded)
    v_position, m_position = _positions(p)
    v, products = workspace, workspace.plus(itemsize(transformed(p.types)) * p.positions * v_position)
    geometry = Geometry(
        1,
        p.c.channels,
        p.map_blocks * lanes,
        *((1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, p.tiles)),
    )
    multiply = conv_direct.make_task(
        spec,
        target,
        geometry,
        _position_view(p, v, p.channel_blocks, v_position, DType.BFLOAT16 if p.types.dot else DType.FLOAT),
        weights.address,
        zeros,
        _position_view(p, products, p.map_blocks, m_position),
        (),
        (),
        name,
        p.c.channels * padded,
    )
    epilogue = Epilogue.of_call(call)
    after = _output_task(p, products, m_position, bias, y, epilogue, epilogue.params(call, ins), name)
    return [(_input_task(p, x, v, v_position, name),), (multiply,), (after,)]


def _input_task(p: Plan, x: View, v: Address, position: int, name: str) -> Task:
    """The transform of the image to ``v``; a unit is a row of tiles of one channel block."""
    params = (
        *(_input_address(p, x), v, *image_strides(x)),
        *(p.channel_blocks, p.tile_rows, p.tile_columns, position, p.tiles * p.target.lanes),
    )
    units = p.c.images * p.channel_blocks * p.tile_rows
    spec = KernelSpec.make("winograd_in", m=p.m, **Types(p.types.x, p.types.weights).static())
    return Task(spec, params, units, name, 0, x.type.nbytes + p.v_bytes)


def _output_task(
    p: Plan,
    products: Address,
    position: int,
    bias: Address,
    y: View,
    epilogue: Epilogue,
    operands: Sequence[Param],
    name: str,
) -> Task:
    """The transform of ``products`` to the result; a unit is a row of tiles of one block of maps."""
    params = (
        *(products, bias, y.address, *image_strides(y), p.c.maps, p.map_blocks, p.tile_rows, p.tile_columns),
        *(p.c.result[2], p.c.result[3], position, p.tiles * p.target.lanes, Address("scratch"), Address("stride")),
        *operands,
    )
    units = p.c.images * p.map_blocks * p.tile_rows
    spec = KernelSpec.make("winograd_out", m=p.m, **Types(y=p.types.y).static(), **epilogue.static())
    return Task(spec, params, units, name, 0, p.m_bytes + y.type.nbytes)


def _position_view(p: Plan, address: Address, blocks: int, position: int, dtype: DType = DType.FLOAT) -> View:
    """Transformed values as blocked images of one row: an image for each position, a pixel for each tile."""
    lanes, line = p.target.lanes, p.tiles * p.target.lanes
    type = TensorType(dtype, (p.positions, blocks * lanes, 1, p.tiles), Layout(lanes))
    return View(address, type, (position, line, line, lanes), False)


def _never(call: Call, target: CpuTarget) -> Choice | None:
    """The rule for convolutions chooses among all of them (``conv_rules``)."""
    return None


RULES = (
    Rule("winograd", (), _never, needs_fused, bind_fused, half=True),
    Rule("winograd2_steps", (), _never, needs_steps, bind_steps, half=True),
    Rule("winograd4_steps", (), _never, needs_steps, bind_steps, half=True),
)
