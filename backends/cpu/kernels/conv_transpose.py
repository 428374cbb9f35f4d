"""ConvTranspose by direct convolution, one for each of its phases (``backends/conv_transpose.py``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.conv_transpose import Axis, Transposed
from graphc.backends.cpu.kernels import conv_direct, conv_pack, costs
from graphc.backends.cpu.kernels.conv_direct import Geometry
from graphc.backends.cpu.kernels.epilogue import Epilogue
from graphc.backends.cpu.kernels.tiles import tile_for
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Halo, KernelSpec, Needs, Param, Step, View


def halo_of(t: Transposed) -> Halo:
    """Zero border that the phases read."""
    rows, columns = zip(*((r, c) for r, c in t.phases))
    top, left = (max(0, *(-a.origin for a in part if a.taps), 0) for part in (rows, columns))
    bottom, right = (
        max(0, *(a.last - size + 1 for a in part if a.taps), 0) for part, size in zip((rows, columns), t.shape[2:])
    )
    return top, left, bottom, right


def geometry(t: Transposed, rows: Axis, columns: Axis) -> Geometry:
    """One phase for the direct kernel."""
    return Geometry(
        t.window.group,
        t.shape[1],
        t.result[1],
        (1, rows.taps, columns.taps),
        (1, 1, 1),
        (1, 1, 1),
        (0, rows.origin, columns.origin),
        (1, rows.count, columns.count),
        (t.window.stride[0], t.window.stride[1]),
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
        conv_direct.pack(
            t.phase_filter(weights, *phase)[:, :, None], w.group, target.lanes, tile.blocks, t.block_in > 1
        )
        for phase in t.phases
    ]
    bias = conv_direct.pack_bias(call.constant(2), t.result[1], w.group, target.lanes, tile.blocks)
    packed = {1: np.concatenate([*parts, bias]), **epilogue.packed(call)}
    return Choice("conv_transpose", spec, packed, predicted)


def needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """The zero border that the phases read; scratch where the result is plain."""
    t = Transposed.of(call)
    assert t is not None
    assert choice.spec is not None
    halo = {0: halo_of(t)} if any(halo_of(t)) else {}
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
                geometry(t, rows, columns),
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
    sizes = [conv_pack.panel_floats(geometry(t, *phase), spec, target) for phase in t.phases]
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
        g = geometry(t, rows, columns)
        last = (rows.tap + sh * (rows.taps - 1)) * kw + columns.tap + sw * (columns.taps - 1)
        last = last if rows.taps and columns.taps else 0  # a phase without taps, of a stride beyond the kernel
        strides = (t.shape[1] // t.window.group * per * taps, taps, per * taps, 0, -sh * kw, -sw)
        source = weights.address.plus(4 * last)
        tasks.append(conv_pack.pack_task(g, spec, target, source, strides, address, start.plus(4 * at), tail))
        at += conv_pack.panel_floats(g, spec, target)[0]
    return tuple(tasks)


RULE = Rule("conv_transpose", ("ConvTranspose",), choose, needs, bind)
