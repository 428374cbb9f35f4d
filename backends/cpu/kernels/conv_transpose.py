"""ConvTranspose by direct convolution: outputs a stride apart form phases, each with its own part of the filter.

Output o meets input i by tap k where o + head = i * stride + k. So outputs with equal (o + head) mod stride = a share
the taps a, a + stride, ...; in reverse order these are the filter of a convolution of stride 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cpu.kernels import conv_direct, conv_pack, costs
from graphc.backends.cpu.kernels.conv_direct import Geometry
from graphc.backends.cpu.kernels.epilogue import Epilogue
from graphc.backends.cpu.kernels.tiles import tile_for
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, transposed_window
from graphc.ir.schedule import Address, Choice, Halo, KernelSpec, Needs, Param, Step, View


@dataclass(frozen=True)
class Axis:
    """One direction of a phase. tap: its first tap; taps: how many; start: its first output; count: its outputs;
    origin: input under the first tap of the convolution at the first output."""

    tap: int
    taps: int
    start: int
    count: int
    origin: int

    @property
    def last(self) -> int:
        """The last input that is read."""
        return self.origin + self.count - 1 + self.taps - 1


def axes(w: Window, i: int, outputs: int) -> list[Axis]:
    """The phases of spatial dimension ``i`` that have outputs."""
    stride, head, kernel = w.stride[i], w.heads[i], w.kernel[i]
    found = []
    for tap in range(stride):
        start = (tap - head) % stride
        taps = max(0, -(-(kernel - tap) // stride))
        count = -(-(outputs - start) // stride)
        if count > 0:
            found.append(Axis(tap, taps, start, count, (start + head - tap) // stride - (taps - 1)))
    return found


@dataclass(frozen=True)
class Transposed(ConvCall):
    """A ConvTranspose call on one image size."""

    @staticmethod
    def of(call: Call) -> Transposed | None:
        """The call where kernels can do it: 4-D float, NCHW; else None."""
        return Transposed.read(call, (4,), transposed_window)

    @property
    def phases(self) -> list[tuple[Axis, Axis]]:
        """Rows and columns of every phase."""
        return list(product(axes(self.window, 0, self.result[2]), axes(self.window, 1, self.result[3])))

    @property
    def halo(self) -> Halo:
        """Zero border that the phases read."""
        rows, columns = zip(*((r, c) for r, c in self.phases))
        top, left = (max(0, *(-a.origin for a in part if a.taps), 0) for part in (rows, columns))
        bottom, right = (
            max(0, *(a.last - size + 1 for a in part if a.taps), 0)
            for part, size in zip((rows, columns), self.shape[2:])
        )
        return top, left, bottom, right

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        taps = math.prod(self.window.kernel)
        return math.prod(self.shape) * taps * self.result[1] // self.window.group

    def geometry(self, rows: Axis, columns: Axis) -> Geometry:
        """One phase for the direct kernel."""
        return Geometry(
            self.window.group,
            self.shape[1],
            self.result[1],
            (1, rows.taps, columns.taps),
            (1, 1, 1),
            (1, 1, 1),
            (0, rows.origin, columns.origin),
            (1, rows.count, columns.count),
            (self.window.stride[0], self.window.stride[1]),
            (rows.start, columns.start),
        )


def choose(call: Call, target: CpuTarget) -> Choice | None:
    """Any 4-D transposed convolution; blocked results need groups of whole blocks, computed weights plain inputs."""
    t = Transposed.of(call)
    if (
        t is None
        or (t.block_in > 1 and not t.constant)
        or t.block_in not in (1, target.lanes)
        or t.block_out not in (1, target.lanes)
    ):
        return None
    w, per = t.window, t.result[1] // t.window.group
    if t.block_out > 1 and w.group > 1 and per % target.lanes:
        return None
    epilogue = Epilogue.of_call(call)
    tile = tile_for(target, -(-per // target.lanes), -(-t.result[3] // w.stride[1]))
    spec = conv_direct.make_spec(tile, 1, t.block_in > 1, t.block_out > 1, epilogue, w.stride[1])
    weights, predicted = call.constant(1), costs.compute_ns(target, 2 * t.macs)
    if weights is None or not t.constant:
        return Choice("conv_transpose", spec, epilogue.packed(call), predicted)
    parts = [
        conv_direct.pack(_phase_filter(weights, t, *phase), w.group, target.lanes, tile.blocks, t.block_in > 1)
        for phase in t.phases
    ]
    bias = conv_direct.pack_bias(call.constant(2), t.result[1], w.group, target.lanes, tile.blocks)
    packed = {1: np.concatenate([*parts, bias]), **epilogue.packed(call)}
    return Choice("conv_transpose", spec, packed, predicted)


def _phase_filter(weights: np.ndarray, t: Transposed, rows: Axis, columns: Axis) -> np.ndarray:
    """Filter (M, C / group, 1, taps, taps) of a phase from weights (C, M / group, kernel, kernel)."""
    group, (sh, sw) = t.window.group, t.window.stride
    part = weights[:, :, rows.tap :: sh, columns.tap :: sw][:, :, ::-1, ::-1]
    c, per = weights.shape[:2]
    swapped = part.reshape(group, c // group, per, *part.shape[2:]).swapaxes(1, 2)
    return np.asarray(swapped.reshape(group * per, c // group, 1, *part.shape[2:]), np.float32)


def needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """The zero border that the phases read; scratch where the result is plain."""
    t = Transposed.of(call)
    assert t is not None
    assert choice.spec is not None
    halo = {0: t.halo} if any(t.halo) else {}
    dense = Epilogue.of_call(call).dense_operands(call) | (frozenset() if t.constant else {1, 2})
    workspace = 0 if t.constant else 4 * sum(_panels(t, choice.spec, target))
    scratch = conv_direct.scratch_bytes(choice.spec, target)
    return Needs(halo=halo, dense=dense, workspace=workspace, scratch=scratch)


def bind(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """A task for each phase, all in one step."""
    t, epilogue, spec = Transposed.of(call), Epilogue.of_call(call), choice.spec
    x, weights = ins[0], ins[1]
    assert t is not None
    assert spec is not None
    assert x is not None
    assert weights is not None
    *panels, _ = _panels(t, spec, target)
    start = weights.address if t.constant else workspace
    bias = start.plus(4 * sum(panels))
    steps = [] if t.constant else [_pack_tasks(t, spec, target, ins, start, bias)]
    tasks, at = [], 0
    for (rows, columns), size in zip(t.phases, panels):
        extra = epilogue.params(call, ins, (rows.start, columns.start), t.window.stride[0])
        tasks.append(
            conv_direct.make_task(
                spec,
                target,
                t.geometry(rows, columns),
                x,
                start.plus(4 * at),
                bias,
                outs[0],
                extra,
                epilogue.same_views(call, ins),
                call.node.results[0].name,
            )
        )
        at += size
    return [*steps, tuple(tasks)]


def _panels(t: Transposed, spec: KernelSpec, target: CpuTarget) -> list[int]:
    """Floats of the packed weights of each phase, and last those of the bias."""
    sizes = [conv_pack.panel_floats(t.geometry(*phase), spec, target) for phase in t.phases]
    return [*(panels for panels, _ in sizes), sizes[0][1]]


def _pack_tasks(
    t: Transposed, spec: KernelSpec, target: CpuTarget, ins: Sequence[View | None], start: Address, tail: Address
) -> Step:
    """Computed weights (C, M / group, *kernel), each phase's taps in reverse, into panels."""
    weights, bias = ins[1], ins[2] if t.has_bias else None
    assert weights is not None
    (sh, sw), (_, kw), taps = t.window.stride, t.window.kernel, math.prod(t.window.kernel)
    per = t.result[1] // t.window.group
    address: Param = bias.address if bias is not None else 0
    tasks, at = [], 0
    for rows, columns in t.phases:
        g = t.geometry(rows, columns)
        last = (rows.tap + sh * (rows.taps - 1)) * kw + columns.tap + sw * (columns.taps - 1)
        last = last if rows.taps and columns.taps else 0  # a phase without taps, of a stride beyond the kernel
        strides = (t.shape[1] // t.window.group * per * taps, taps, per * taps, 0, -sh * kw, -sw)
        source = weights.address.plus(4 * last)
        tasks.append(conv_pack.pack_task(g, spec, target, source, strides, address, start.plus(4 * at), tail))
        at += conv_pack.panel_floats(g, spec, target)[0]
    return tuple(tasks)


RULE = Rule("conv_transpose", ("ConvTranspose",), choose, needs, bind)
