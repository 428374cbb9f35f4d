"""Gradients of convolutions: sums of products for the filter, a convolution by the filter for the image.

Images are copied into runs (``planes.py``) unless they lie like that, a few at a time, so that the copies stay in the
caches and the workspace small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.backends.cpu.kernels import conv_filter, conv_planes, costs
from graphc.backends.cpu.kernels.conv_filter import FilterGradient
from graphc.backends.cpu.kernels.conv_planes import Filters
from graphc.backends.cpu.kernels.planes import Pair, Part, Planes, Tap, gather, planes_task, scatter
from graphc.backends.cpu.kernels.reduce import Extent, reduction_spec, reduction_task
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

COPIES = 4 << 20
"""Bytes of copies that are made at once, unless those of one image are more."""


@dataclass(frozen=True)
class Gradient:
    """A ConvGradient call on one image size; one spatial dimension is a row.

    x: as the filter's gradient reads X; y: as both gradients read dY; parts: of dX, none where it is not asked for.
    """

    window: Window
    images: int
    channels: int
    maps: int
    image: Pair
    result: Pair
    taps: tuple[Tap, ...]
    parts: tuple[Part, ...]
    x: Planes
    y: Planes

    @staticmethod
    def of(call: Call) -> Gradient | None:
        """The gradient of a call that kernels can do: float, NCHW, one or two spatial dimensions; else None."""
        types = [call.type(i) for i in range(3)]
        if any(t.dtype is not DType.FLOAT or not t.is_static or t.layout.block > 1 for t in types):
            return None
        w, x, y = window(call), types[0].static_shape, types[2].static_shape
        if w.order != "NCHW" or len(x) not in (3, 4):
            return None
        w, image, result = _in_two(w), _sizes(x), _sizes(y)
        taps = gather(w)
        parts = scatter(w, image) if call.n_outputs > (1 if call.arg("no_bias") else 2) else ()
        return Gradient(w, x[0], x[1], y[1], image, result, taps, parts, *_runs(w, image, result, taps, parts))

    @property
    def filter_gradient(self) -> tuple[int, int]:
        """Maps and columns of a group of the filter."""
        return self.maps // self.window.group, self.channels // self.window.group * len(self.taps)

    @property
    def copies(self) -> tuple[int, int]:
        """Bytes of an image's copies of X and dY."""
        x, y = (0 if p.as_given else 4 * p.floats for p in (self.x, self.y))
        return x * self.channels, y * self.maps

    @property
    def at_once(self) -> int:
        """Images whose copies are in the workspace together."""
        each = sum(self.copies)
        return max(1, min(self.images, COPIES // each)) if each else max(self.images, 1)


def _in_two(w: Window) -> Window:
    """The window in two dimensions."""
    if len(w.kernel) == 2:
        return w
    pads = (0, w.heads[0], 0, w.tails[0])
    return replace(w, kernel=(1, *w.kernel), stride=(1, *w.stride), dilation=(1, *w.dilation), pads=pads)


def _sizes(shape: Sequence[int]) -> Pair:
    return (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])


def _runs(w: Window, image: Pair, result: Pair, taps: Sequence[Tap], parts: Sequence[Part]) -> tuple[Planes, Planes]:
    """The runs of X and of dY, of one pitch."""
    stride: Pair = (w.stride[0], w.stride[1])
    reads = [(part.size, part.taps) for part in parts]
    here: list[tuple[Pair, Sequence[Tap]]] = [(result, ())]
    pitch = max(Planes.of(image, stride, [(result, taps)]).pitch, Planes.of(result, (1, 1), reads or here).pitch)
    return (
        Planes.of(image, stride, [(result, taps)], pitch),
        Planes.of(result, (1, 1), [*reads, *here], pitch),
    )


@dataclass(frozen=True)
class _Kernels:
    """The kernels of a call, and what they need."""

    g: Gradient
    filters: FilterGradient
    spread: KernelSpec | None

    @staticmethod
    def of(call: Call, target: CpuTarget, spec: KernelSpec | None = None) -> _Kernels | None:
        """Those for a call; ``spec``: that of the filter's gradient, where it is chosen already."""
        g = Gradient.of(call)
        if g is None:
            return None
        maps, columns = g.filter_gradient
        spec = spec or conv_filter.make_spec(target, maps, columns)
        group = g.window.group
        filters = FilterGradient(spec, group, maps, g.channels // group, g.taps, g.y.length(g.result))
        return _Kernels(g, filters, _spread_spec(g, target) if g.parts else None)

    @property
    def sums(self) -> int:
        """Parts of the filter's gradient."""
        return self.filters.parts(self.g.at_once)


def _spread_spec(g: Gradient, target: CpuTarget) -> KernelSpec:
    """The kernel for dX: what it is made for is the filter, and no size of an image."""
    single = {*g.window.kernel, *g.window.stride} == {1}
    return conv_planes.make_spec(target, g.channels // g.window.group, single)


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    kernels = _Kernels.of(call, target)
    if kernels is None:
        return None
    work = call.opdef.flops(call) if call.opdef.flops else 0
    return Choice("conv_gradient", kernels.filters.spec, {}, 500 + costs.compute_ns(target, 1.3 * work))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    k = _Kernels.of(call, target, choice.spec)
    assert k is not None
    scratch = k.filters.scratch_bytes(target)
    if k.spread is not None:
        scratch = max(scratch, *(conv_planes.scratch_bytes(k.spread, k.g.y, part) for part in k.g.parts))
    sums = 4 * k.filters.size * k.sums if k.sums > 1 else 0
    workspace = _lines(sums) + sum(_lines(n * k.g.at_once) for n in k.g.copies)
    return Needs(dense=frozenset({0, 1, 2}), dense_out=True, workspace=workspace, scratch=scratch)


def _lines(nbytes: int) -> int:
    """Bytes to whole cache lines."""
    return -(-nbytes // 64) * 64


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    """For a few images at a time: copies; then both gradients. At last parts of the filter's gradient are summed up."""
    k = _Kernels.of(call, target, choice.spec)
    assert k is not None
    x, weights, dy = (v for v in ins[:3] if v is not None)
    names = [r.name for r in call.node.results]
    bias = () if call.arg("no_bias") else (_bias_task(dy, outs[1], names[1]),)
    into = workspace if k.sums > 1 else outs[0].address
    room = workspace.plus(_lines(4 * k.filters.size * k.sums) if k.sums > 1 else 0)
    steps: list[Step] = []
    for first in range(0, max(k.g.images, 1), k.g.at_once):
        count = min(k.g.at_once, k.g.images - first)
        runs, copies = _copies(k, x, dy, room, first, count)
        tasks = [k.filters.task(runs[1], runs[0], into, count, k.sums, first > 0, target.lanes, names[0])]
        if k.spread is not None:
            tasks += _image_tasks(
                k,
                k.spread,
                runs[1][0],
                weights,
                outs[-1].address.plus(4 * first * k.g.channels * math.prod(k.g.image)),
                count,
                names[-1],
            )
        steps += [tuple(copies)] if copies else []
        steps.append((*tasks, *(bias if first == 0 else ())))
    if k.sums > 1:
        extent = Extent.of((k.sums, k.filters.size), (0,))
        spec = reduction_spec((k.sums, k.filters.size), (0,), "sum")
        steps.append((reduction_task(spec, into, outs[0].address, extent, 1.0, names[0]),))
    return steps


def _bias_task(dy: View, result: View, name: str) -> Task:
    shape = dy.type.static_shape
    shape = (*shape[:2], math.prod(shape[2:]))
    return reduction_task(
        reduction_spec(shape, (0, 2), "sum"), dy.address, result.address, Extent.of(shape, (0, 2)), 1.0, name
    )


def _copies(
    k: _Kernels, x: View, dy: View, room: Address, first: int, count: int
) -> tuple[list[tuple[Address, Planes]], list[Task]]:
    """X and dY as runs from image ``first`` on, and the tasks that make them."""
    runs, tasks = [], []
    for view, planes, channels, nbytes in zip((x, dy), (k.g.x, k.g.y), (k.g.channels, k.g.maps), k.g.copies):
        source = view.address.plus(4 * first * channels * math.prod(planes.image))
        if planes.as_given:
            runs.append((source, planes))
            continue
        runs.append((room, planes))
        tasks.append(planes_task(planes, source, room, count * channels, "gradient"))
        room = room.plus(_lines(nbytes * k.g.at_once))
    return runs, tasks


def _image_tasks(
    k: _Kernels, spec: KernelSpec, run: Address, weights: View, dx: Address, images: int, name: str
) -> list[Task]:
    """dX: every channel is a sum over the maps of its group."""
    g = k.g
    taps, maps, channels = math.prod(g.window.kernel), g.maps // g.window.group, g.channels // g.window.group
    filters = Filters(weights.address, (maps * channels * taps, taps, channels * taps), g.window.group, maps, channels)
    return [conv_planes.make_task(spec, g.y, part, run, filters, dx, g.image, images, name) for part in g.parts]


OPERATORS = ("ConvGradient", "Conv1DGradient", "Conv2DGradient")
RULES = (Rule("conv_gradient", OPERATORS, _choose, _needs, _bind),)
