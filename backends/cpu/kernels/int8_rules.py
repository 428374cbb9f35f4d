"""The rules for int8 convolutions and matrix products with weights: which kernel, packed weights, memory, steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc.backends.cpu.kernels import (
    costs,
    int8_border,
    int8_conv,
    int8_depthwise,
    int8_epilogue,
    int8_sums,
    int8_taps,
)
from graphc.backends.cpu.kernels.int8_epilogue import Ending
from graphc.backends.cpu.kernels.tiles import Tile, tile_for
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import CONVOLUTIONS, NATIVE, PRODUCTS, WIDEST, Int8Product
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.native import RESIDUAL
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, View

START = 500.0
"""Nanoseconds that a call takes at least, as predicted."""


def choose(call: Call, target: CpuTarget) -> Choice | None:
    """A depthwise kernel where the call is of that kind, else the direct one; None where sums may overflow."""
    p = Int8Product.of(call)
    weights, bias = call.constant(1), call.constant(2)
    if p is None or weights is None or bias is None:
        return None
    weights, bias = weights.reshape(p.maps, *p.kernel, p.depth), bias.reshape(-1)
    most = p.most_by_map(weights, bias)
    ending = Ending.of(call, p, most)
    if ending is None or most.max(initial=0) > WIDEST:
        return None
    make = _depthwise if p.is_depthwise else _direct
    spec, packed = make(p, ending, weights, bias, target)
    return Choice("int8_conv", spec, {1: packed}, START + cost_of(p, target))


def _direct(
    p: Int8Product, ending: Ending, weights: np.ndarray, bias: np.ndarray, target: CpuTarget
) -> tuple[KernelSpec, np.ndarray]:
    tile = tile_of(p, target)
    values, corrected = int8_conv.centred(weights, p.w_zero, target)
    spec = KernelSpec.make(
        "int8_conv",
        pixels=tile.pixels,
        tail=tile.tail,
        blocks=tile.blocks,
        sums=int(corrected),
        **ending.static,
    )
    panels = int8_conv.pack(p, values, tile.blocks, target)
    folded = p.without_zero_point(weights, bias) if target.vnni else bias.astype(np.int64)
    return spec, np.concatenate([panels, ending.tail(p, folded, p.group, tile.blocks * target.lanes)])


def _depthwise(
    p: Int8Product, ending: Ending, weights: np.ndarray, bias: np.ndarray, target: CpuTarget
) -> tuple[KernelSpec, np.ndarray]:
    values, corrected = int8_conv.centred(weights, p.w_zero, target)
    if int8_taps.serves(p, ending, target) and not corrected:
        folded = p.without_zero_point(weights, bias)
        return int8_taps.make_spec(p, ending), int8_taps.pack(p, values, folded, ending)
    spec = int8_depthwise.make_spec(p, ending, target)
    tail = ending.tail(p, p.without_zero_point(weights, bias), 1, target.lanes)
    return spec, np.concatenate([int8_depthwise.pack(p, weights, target), tail])


def tile_of(p: Int8Product, target: CpuTarget) -> Tile:
    """As for floats; a dot product of pairs needs a register more, as a multiplication without addition does."""
    width = p.pixels if p.is_flat else p.output[1]
    per = p.maps // p.group
    return tile_for(replace(target, fma=target.fma and target.vnni), -(-per // target.lanes), width)


def cost_of(p: Int8Product, target: CpuTarget) -> float:
    """Predicted time: VNNI does four times the multiply-adds of float32, dot products of pairs as many."""
    ns = costs.compute_ns(target, 2 * p.macs) / (4 if target.vnni else 1)
    return ns + 0.5 * p.pixels * p.maps / target.lanes


def _copied(p: Int8Product, spec: KernelSpec, target: CpuTarget) -> bool:
    """The kernel reads a copy of X: with a border, as int16, or with something behind it that may be read."""
    if spec.template == "int8_taps":
        return False
    if spec.template == "int8_depthwise":
        return p.has_border or p.channels % target.lanes > 0
    return not target.vnni or p.has_border or int8_conv.reads_beyond(p, target)


def _wide(spec: KernelSpec, target: CpuTarget) -> bool:
    return spec.template == "int8_conv" and not target.vnni


def needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense values; memory for the copy of X and for the sums of X."""
    p, spec = Int8Product.of(call), choice.spec
    assert p is not None
    assert spec is not None
    copy = int8_border.copy_bytes(p, _wide(spec, target)) if _copied(p, spec, target) else 0
    sums = int8_sums.sums_bytes(p) if _corrected(spec) else 0
    dense = frozenset({0, RESIDUAL} if call.has(RESIDUAL) else {0})
    return Needs(dense=dense, dense_out=True, workspace=copy + sums)


def _corrected(spec: KernelSpec) -> bool:
    return spec.template == "int8_conv" and bool(spec.int("sums"))


def bind(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """The copy of X and its sums, where they are needed, then the product."""
    p, spec, x, weights = Int8Product.of(call), choice.spec, ins[0], ins[1]
    assert p is not None
    assert spec is not None
    assert x is not None
    assert weights is not None
    steps: list[Step] = []
    source, sums = x.address, workspace
    if _copied(p, spec, target):
        wide = _wide(spec, target)
        steps.append((int8_border.border_task(p, wide, x.address, workspace),))
        source, sums = workspace, workspace.plus(int8_border.copy_bytes(p, wide))
    if _corrected(spec):
        steps.append((int8_sums.sums_task(p, source, sums),))
    label, y = call.node.results[0].name, outs[0].address
    ending = int8_epilogue.params(call, p, ins[RESIDUAL] if spec.int("residual") else None)
    if spec.template == "int8_taps":
        task = int8_taps.make_task(spec, p, source, weights, y, ending, label)
    elif spec.template == "int8_depthwise":
        task = int8_depthwise.make_task(spec, target, p, source, weights.address, y, ending, label)
    else:
        extra = sums if _corrected(spec) else 0
        task = int8_conv.make_task(spec, target, p, source, weights.address, y, extra, ending, label)
    return [*steps, (task,)]


RULES = (Rule("int8_conv", (*CONVOLUTIONS, *PRODUCTS, *NATIVE), choose, needs, bind),)
