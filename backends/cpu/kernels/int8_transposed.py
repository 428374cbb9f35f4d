"""Int8ConvTranspose by the kernel of convolutions, one for each of its phases (``backends/conv_transpose.py``).

All phases read one copy of X with the border that any of them needs, and write results a stride apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from graphc.backends.conv_transpose import Axis, axes
from graphc.backends.cpu.kernels import int8_border, int8_conv, int8_epilogue, int8_sums
from graphc.backends.cpu.kernels.int8_epilogue import Ending
from graphc.backends.cpu.kernels.int8_rules import START, cost_of, tile_of
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import WIDEST, Int8Product, is_quantised
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, transposed_window
from graphc.ir.ops.quantized.int8 import quant_of, result_quant
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View

Phase = tuple[Axis, Axis]
NUMBERS = 4
"""Arrays of the tail of a phase: bias, multiplier, shift, start."""


@dataclass(frozen=True)
class Transposed:
    """A call of known scales and weights. whole: the copy of X that all phases read, as a convolution by one pixel."""

    window: Window
    phases: list[Phase]
    whole: Int8Product

    @staticmethod
    def of(call: Call) -> Transposed | None:
        """The call where its types and scales are known; else None."""
        if not is_quantised(call, 0, 1) or not (call.is_weight(1) and call.is_weight(2)):
            return None
        w, x, y = transposed_window(call), call.type(0).static_shape, call.node.results[0].type.static_shape
        phases = list(product(axes(w, 0, y[1]), axes(w, 1, y[2])))
        before, after = [], []
        for i in range(2):
            read = [phase[i] for phase in phases if phase[i].taps]
            before.append(max(0, *(-a.origin for a in read), 0))
            after.append(max(0, *(a.last - x[1 + i] + 1 for a in read), 0))
        zeros = (quant_of(call, 0).zero_point, quant_of(call, 1).zero_point, result_quant(call).zero_point, 0)
        output = (before[0] + x[1] + after[0], before[1] + x[2] + after[1])
        one, heads = (1, 1), (before[0], before[1])
        whole = Int8Product(x[0], x[3], y[3], 1, (x[1], x[2]), output, one, one, one, heads, *zeros)
        return Transposed(w, phases, whole)

    def convolution(self, phase: Phase) -> Int8Product:
        """A phase as a convolution of the copy."""
        rows, columns = phase
        taps, counts = (rows.taps, columns.taps), (rows.count, columns.count)
        heads = (-self.whole.before[0] - rows.origin, -self.whole.before[1] - columns.origin)
        image = self.whole.padded
        return replace(self.whole, image=image, output=counts, kernel=taps, heads=heads if all(taps) else (0, 0))

    def filter(self, weights: np.ndarray, phase: Phase) -> np.ndarray:
        """Weights (M, taps, taps, C) of a phase from all of them, (C, kernel, kernel, M)."""
        (sh, sw), (rows, columns) = self.window.stride, phase
        part = weights[:, rows.tap :: sh, columns.tap :: sw][:, ::-1, ::-1]
        return np.ascontiguousarray(part.transpose(3, 1, 2, 0))

    def is_copied(self, target: CpuTarget) -> bool:
        """The kernels read a copy of X."""
        return (
            not target.vnni
            or self.whole.has_border
            or any(int8_conv.reads_beyond(self.convolution(phase), target) for phase in self.phases)
        )


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    t = Transposed.of(call)
    weights, bias = call.constant(1), call.constant(2)
    if t is None or weights is None or bias is None or not weights.size:
        return None
    bias = bias.reshape(-1)
    most = t.whole.most_by_map(weights.transpose(3, 1, 2, 0), bias)
    ending = Ending.of(call, t.whole, most)
    if ending is None or most.max(initial=0) > WIDEST:
        return None
    tile = tile_of(t.convolution(t.phases[0]), target)
    values, corrected = int8_conv.centred(weights, t.whole.w_zero, target)
    sizes = {"pixels": tile.pixels, "tail": tile.tail, "blocks": tile.blocks}
    spec = KernelSpec.make("int8_conv", **sizes, sums=int(corrected), **ending.static)
    parts = []
    for phase in t.phases:
        p = t.convolution(phase)
        folded = p.without_zero_point(t.filter(weights, phase), bias) if target.vnni else bias.astype(np.int64)
        parts.append(int8_conv.pack(p, t.filter(values, phase), tile.blocks, target))
        parts.append(ending.tail(p, folded, 1, tile.blocks * target.lanes))
    cost = START + sum(cost_of(t.convolution(phase), target) for phase in t.phases)
    return Choice("int8_transposed", spec, {1: np.concatenate(parts)}, cost)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense values; memory for the copy of X and for the sums of X of every phase."""
    t, spec = Transposed.of(call), choice.spec
    assert t is not None
    assert spec is not None
    copy = int8_border.copy_bytes(t.whole, not target.vnni) if t.is_copied(target) else 0
    sums = sum(int8_sums.sums_bytes(t.convolution(phase)) for phase in t.phases) if spec.int("sums") else 0
    return Needs(dense=frozenset({0}), dense_out=True, workspace=copy + sums)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    """The copy of X and its sums, where they are needed, then all phases."""
    t, spec, x, weights = Transposed.of(call), choice.spec, ins[0], ins[1]
    assert t is not None
    assert spec is not None
    assert x is not None
    assert weights is not None
    steps: list[Step] = []
    source, packed, y = x.address, weights.address, outs[0]
    if t.is_copied(target):
        steps.append((int8_border.border_task(t.whole, not target.vnni, source, workspace),))
        source, workspace = workspace, workspace.plus(int8_border.copy_bytes(t.whole, not target.vnni))
    _, height, width, maps = y.type.static_shape
    (sh, sw), label = t.window.stride, call.node.results[0].name
    places = (height * width * maps, sh * width * maps, sw * maps)
    ending, sums, tasks = int8_epilogue.params(call, t.whole, None), list[Task](), list[Task]()
    for rows, columns in t.phases:
        p = t.convolution((rows, columns))
        extra: Address | int = 0
        if spec.int("sums"):
            sums.append(int8_sums.sums_task(p, source, workspace))
            extra, workspace = workspace, workspace.plus(int8_sums.sums_bytes(p))
        first = y.address.plus((rows.start * width + columns.start) * maps)
        tasks.append(int8_conv.make_task(spec, target, p, source, packed, first, extra, ending, label, places))
        panels, span = int8_conv.packed_sizes(p, spec.int("blocks"), target)
        packed = packed.plus(panels + NUMBERS * span)
    return [*steps, *([tuple(sums)] if sums else []), tuple(tasks)]


RULES = (Rule("int8_transposed", ("Int8ConvTranspose",), _choose, _needs, _bind),)
