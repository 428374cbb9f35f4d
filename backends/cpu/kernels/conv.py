"""Convolution calls as kernels see them, and the direct way to do them, which serves every one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cpu.kernels import conv_border, conv_direct, conv_pack, costs
from graphc.backends.cpu.kernels.conv_direct import Geometry
from graphc.backends.cpu.kernels.epilogue import Epilogue
from graphc.backends.cpu.kernels.half_types import FLOATS, Types, itemsize, joined, stored
from graphc.backends.cpu.kernels.tiles import Tile, tile_for
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, Halo, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType, TensorType

OPS = ("Conv", "Conv1D", "Conv2D", "Conv3D")


@dataclass(frozen=True)
class Convolution(ConvCall):
    """A Conv call on one image size, its dimensions brought to three (depth, rows, columns)."""

    @staticmethod
    def of(call: Call) -> Convolution | None:
        """The convolution of a call that kernels can do: float, NCHW; else None."""
        return Convolution.read(call, (3, 4, 5), window)

    @property
    def images(self) -> int:
        return self.shape[0]

    @property
    def channels(self) -> int:
        return self.shape[1]

    @property
    def maps(self) -> int:
        return self.result[1]

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return math.prod(self.result) * self.channels // self.window.group * math.prod(self.window.kernel)

    @property
    def reach(self) -> tuple[int, ...]:
        """Zero pixels that windows touch beyond the end of each spatial dimension."""
        w = self.window
        last = [(o - 1) * s + e - h for o, s, e, h in zip(self.result[2:], w.stride, w.extent, w.heads)]
        return tuple(max(0, at - d) for at, d in zip(last, self.shape[2:]))

    @property
    def halo(self) -> Halo:
        """Zero border of a 4-D input."""
        (top, left), (bottom, right) = self.window.heads, self.reach
        return max(0, top), max(0, left), bottom, right

    @property
    def padded(self) -> tuple[int, int, int] | None:
        """Spatial shape of the padded copy that a value which is no image needs; None where it needs none."""
        if len(self.shape) == 4 or not (any(self.reach) or any(h > 0 for h in self.window.heads)):
            return None
        sizes = (max(h, 0) + d + r for h, d, r in zip(self.window.heads, self.shape[2:], self.reach))
        return three(tuple(sizes), 1)

    def geometry(self) -> Geometry:
        """The same for the direct kernel."""
        w = self.window
        return Geometry(
            w.group,
            self.channels,
            self.maps,
            three(w.kernel, 1),
            three(w.stride, 1),
            three(w.dilation, 1),
            three(tuple(-h for h in w.heads), 0),
            three(self.result[2:], 1),
        )


@dataclass(frozen=True)
class Candidate:
    """A way to do a call: its predicted cost, and the function that packs the weights for it."""

    cost: float
    make: Callable[[], Choice]


def three(values: tuple[int, ...], missing: int) -> tuple[int, int, int]:
    """Values of one, two or three spatial dimensions as depth, rows, columns."""
    d, h, w = ((missing,) * (3 - len(values)) + tuple(values))[-3:]
    return d, h, w


def weights_3d(weights: np.ndarray) -> np.ndarray:
    """Weights (M, C / group, *kernel) with three spatial dimensions."""
    return weights.reshape(*weights.shape[:2], *three(weights.shape[2:], 1)).astype(np.float32, copy=False)


def layouts_fit(c: Convolution, types: Types, target: CpuTarget) -> bool:
    """Blocks are the target's; a blocked result has groups of whole blocks; computed weights meet plain inputs.

    Values in half precision are blocked.
    """
    if c.block_in not in (1, target.lanes) or c.block_out not in (1, target.lanes):
        return False
    if c.block_in > 1 and not c.constant:
        return False
    if (types.x and c.block_in == 1) or (types.y and c.block_out == 1) or (types != FLOATS and not c.constant):
        return False
    return c.block_out == 1 or c.window.group == 1 or c.maps // c.window.group % target.lanes == 0


def candidates(call: Call, c: Convolution, target: CpuTarget) -> list[Candidate]:
    """The direct way, where the layouts fit."""
    types = Types.of_call(call)
    if not layouts_fit(c, types, target):
        return []
    w = c.window
    tile = tile_for(target, -(-(c.maps // w.group) // target.lanes), row_width(c))
    predicted = cost(c, tile, types, target)

    def make() -> Choice:
        epilogue = Epilogue.of_call(call)
        odd = c.channels // w.group % 2 == 1
        spec = conv_direct.make_spec(
            tile, w.stride[-1], c.block_in > 1, c.block_out > 1, epilogue, types=types, odd=odd
        )
        weights = elements(call, 1)
        if weights is None or not c.constant:
            return Choice("conv_direct", spec, epilogue.packed(call), predicted)
        if types.dot:
            packed = conv_direct.pack_pairs(weights_3d(weights), w.group, target.lanes, tile.blocks)
        else:
            floats = conv_direct.pack(weights_3d(weights), w.group, target.lanes, tile.blocks, c.block_in > 1)
            packed = stored(floats, types.weights)
        bias = conv_direct.pack_bias(call.constant(2), c.maps, w.group, target.lanes, tile.blocks)
        return Choice("conv_direct", spec, {1: joined(packed, bias), **epilogue.packed(call)}, predicted)

    return [Candidate(predicted, make)]


def row_width(c: Convolution) -> int:
    """Pixels in a row as the kernel sees it: the whole image where a 1x1 window moves by one."""
    return math.prod(c.result[2:]) if c.window.is_plain else c.result[-1]


def cost(c: Convolution, tile: Tile, types: Types, target: CpuTarget) -> float:
    """Predicted time: multiply-adds with those of padding and overlaps, then weights from memory, plain stores."""
    width = tile.blocks * target.lanes
    per = c.maps // c.window.group
    waste = tile.waste(row_width(c)) * -(-per // width) * width / per
    ns = costs.compute_ns(target, 2 * c.macs * waste) / (2 if types.dot and target.bf16 else 1)
    count = c.channels * c.maps // c.window.group * math.prod(c.window.kernel)
    ns = costs.overlapped_ns(ns, itemsize(types.weights) * count)
    if c.block_out == 1:
        ns += 1.0 * math.prod(c.result)
    return ns


def needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """A zero border around a 4-D input; scratch where the result is plain."""
    c = Convolution.of(call)
    assert c is not None
    assert choice.spec is not None
    halo = {0: c.halo} if len(c.shape) == 4 and any(c.halo) else {}
    dense = Epilogue.of_call(call).dense_operands(call) | (frozenset() if c.constant else {1, 2})
    scratch = conv_direct.scratch_bytes(choice.spec, target)
    workspace = _border_bytes(c)
    if not c.constant:
        workspace += 4 * sum(conv_pack.panel_floats(c.geometry(), choice.spec, target))
    return Needs(halo=halo, dense=dense, workspace=workspace, scratch=scratch)


def bind(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """One task; before it the copy of an input that needs a border and cannot have one."""
    c, epilogue, spec = Convolution.of(call), Epilogue.of_call(call), choice.spec
    assert c is not None
    assert spec is not None
    x, weights = ins[0], ins[1]
    assert x is not None
    assert weights is not None
    steps: list[Step] = []
    types = Types.of_call(call)
    geometry = c.geometry()
    start = weights.address
    panels, maps = conv_pack.panel_floats(geometry, spec, target)
    if not c.constant:
        start = workspace.plus(_border_bytes(c))
        steps.append((_pack_task(c, geometry, spec, target, ins, start, start.plus(4 * panels)),))
    bias = start.plus(4 * panels if not types.weights else weights.type.nbytes - 4 * maps)
    if c.padded:
        heads = three(tuple(max(h, 0) for h in c.window.heads), 0)
        steps.insert(0, (conv_border.border_task(x, three(c.shape[2:], 1), heads, c.padded, workspace),))
        x = _padded_view(c, c.padded, workspace)
        geometry = replace(geometry, origin=three(tuple(max(0, -h) for h in c.window.heads), 0))
    task = conv_direct.make_task(
        spec,
        target,
        geometry,
        x,
        start,
        bias,
        outs[0],
        epilogue.params(call, ins),
        epilogue.same_views(call, ins),
        call.node.results[0].name,
    )
    return [*steps, (task,)]


def _border_bytes(c: Convolution) -> int:
    """Bytes of the padded copy, to whole cache lines."""
    return -(-4 * math.prod(c.shape[:2]) * math.prod(c.padded or (0,)) // 64) * 64


def _pack_task(
    c: Convolution,
    g: Geometry,
    spec: KernelSpec,
    target: CpuTarget,
    ins: Sequence[View | None],
    panels: Address,
    tail: Address,
) -> Task:
    """Computed weights (M, C / group, *kernel) into panels."""
    weights, bias = ins[1], ins[2] if c.has_bias else None
    assert weights is not None
    d, h, w = g.kernel
    map_step = c.channels // c.window.group * d * h * w
    strides = (c.maps // c.window.group * map_step, map_step, d * h * w, h * w, w, 1)
    address: Param = bias.address if bias is not None else 0
    return conv_pack.pack_task(g, spec, target, weights.address, strides, address, panels, tail)


def _padded_view(c: Convolution, padded: tuple[int, int, int], address: Address) -> View:
    """The padded copy as a (N, C, D, H, W) value."""
    shape = (*c.shape[:2], *padded)
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(5))
    return View(address, TensorType(DType.FLOAT, shape), strides)
