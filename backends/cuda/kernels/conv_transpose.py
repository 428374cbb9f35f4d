"""ConvTranspose: a convolution for each of its phases (``backends/conv_transpose.py``), all in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from graphc.backends.conv_transpose import Axis, Transposed
from graphc.backends.cuda.kernels import conv
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import Geometry, image_strides
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.rules import Rule, is_float32
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Needs, Step, Task, View
from graphc.ir.types import DType, TensorType


def _window(phase: tuple[Axis, Axis]) -> tuple[int, int]:
    """Taps of a phase; a phase without any, of a stride beyond the kernel, has one, which reads no channel."""
    return max(phase[0].taps, 1), max(phase[1].taps, 1)


def _filter(weights: np.ndarray, t: Transposed, phase: tuple[Axis, Axis]) -> np.ndarray:
    made = t.phase_filter(weights, *phase)
    return made if made.size else np.zeros((*made.shape[:2], *_window(phase)), np.float32)


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for: that of the pixels of one phase, under the whole window."""
    t = Transposed.of(call)
    if t is None or not t.constant or not is_float32(call):
        return None
    group, stride = t.window.group, conv.two(t.window.stride)
    pixels = t.result[0] * -(-t.result[2] // stride[0]) * -(-t.result[3] // stride[1])
    sizes = (pixels, t.result[1] // group, t.shape[1] // group, group, conv.two(t.window.kernel), stride)
    return Problem("conv_transpose", "f4", "f4", *sizes, others=len(Epilogue.of_call(call).same))


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    t, problem = Transposed.of(call), problem_of(call)
    tiling = decide(problem, target) if problem is not None else None
    if t is None or tiling is None or not isinstance(tiling.tile, Tile):
        return None
    weights, group, tile = call.constant(1), t.window.group, tiling.tile
    spec = conv.make_spec(tile, (1, 1), t.has_bias, Epilogue.of_call(call))
    if weights is None:
        return Choice("conv_transpose", spec, {}, float(t.macs))
    parts = [conv.pack(_filter(weights, t, phase), group, tile).ravel() for phase in t.phases]
    return Choice("conv_transpose", spec, {1: np.concatenate(parts)}, float(t.macs))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=Epilogue.of_call(call).dense_operands(call))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    t, weights = Transposed.of(call), ins[1]
    assert t is not None
    assert weights is not None
    assert choice.spec is not None
    tile, tasks, at = conv.tile_of(choice.spec), [], 0
    for phase in t.phases:
        shape = _packed_shape(t, phase, tile)
        part = View(weights.address.plus(4 * at), TensorType(DType.FLOAT, shape), (shape[1] * shape[2], shape[2], 1))
        tasks.append(_task(call, choice, t, phase, [ins[0], part, *ins[2:]], outs[0]))
        at += prod(shape)
    return [tuple(tasks)]


def _packed_shape(t: Transposed, phase: tuple[Axis, Axis], tile: Tile) -> tuple[int, int, int]:
    """Groups, products, maps, as ``conv.pack`` fills them up."""
    group = t.window.group
    products, maps = t.shape[1] // group * prod(_window(phase)), t.result[1] // group
    return group, -(-products // tile.depth) * tile.depth, -(-maps // tile.maps) * tile.maps


def _task(
    call: Call, choice: Choice, t: Transposed, phase: tuple[Axis, Axis], ins: Sequence[View | None], y: View
) -> Task:
    (rows, columns), kinds = phase, Epilogue.of_call(call).kinds
    assert choice.spec is not None
    x = ins[0]
    assert x is not None
    others = [
        _part(v, t, phase) if kind == "same" and v is not None else v for v, kind in zip(ins[call.n_inputs :], kinds)
    ]
    kh, kw = _window(phase)
    spec = choice.spec.but(kh=kh, kw=kw)
    part, group = _part(y, t, phase), t.window.group
    pixels = t.result[0] * rows.count * columns.count
    channels = t.shape[1] // group if rows.taps and columns.taps else 0
    sizes = (pixels, rows.count, columns.count, *t.shape[2:], channels, t.result[1] // group)
    moves = (1, 1, 1, 1, -rows.origin, -columns.origin)
    geometry = Geometry(image_strides(x), image_strides(part), sizes, moves, group)
    views = [*ins[: call.n_inputs], *others]
    return conv.product_task(call, replace(choice, spec=spec), views, [part], geometry)


def _part(view: View, t: Transposed, phase: tuple[Axis, Axis]) -> View:
    """The elements of a value of the result's shape that belong to a phase."""
    (rows, columns), (sh, sw), (n, c, r, p) = phase, t.window.stride, view.strides
    shape = (*view.type.static_shape[:2], rows.count, columns.count)
    address = view.address.plus(4 * (rows.start * r + columns.start * p))
    return View(address, replace(view.type, shape=shape), (n, c, r * sh, p * sw), False)


RULES = (Rule("conv_transpose", ("ConvTranspose",), _choose, _needs, _bind),)
