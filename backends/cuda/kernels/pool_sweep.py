"""Gradients of max and average pooling, and pooling in three dimensions or NHWC order, in float32: an element a thread.

A thread of a gradient adds up what its element gets from the windows that it is in, in the order of the windows: an
element that equals the maximum of a window gets all of the window's gradient, as on Caffe2's CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphc.backends.cuda.kernels.conv_products import Sweep
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import LOWEST, Lines
from graphc.backends.needs import all_dense
from graphc.backends.pooling import kind_of
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Static, Step, Task, View

PLACES = ("total", "x", "y", "dy", "to", "channels")
"""to: where results go. x, y, dy: those of them that a kernel reads."""
AXES = ("inside", "out", "kernel", "stride", "head")
"""A value for each spatial dimension, the outermost first."""
SLOWER = 100.0
"""Its cost beside that of ``pool.py``."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pool_sweep{kind, back, last, dims}``; parameters: ``PLACES``, and ``AXES`` of each dimension.

    back: it is the gradient. last: channels are the innermost dimension.
    """
    s, dims = Lines(), range(spec.int("dims"))
    with each_thread(s, spec, [*PLACES, *(f"{name}{k}" for name in AXES for k in dims)]):
        own, other = ("inside", "out") if spec.int("back") else ("out", "inside")
        s("q = i")
        if spec.int("last"):
            s("c, q = rest(q, channels), quot(q, channels)")
        for k in reversed(dims):
            s(f"p{k}, q = rest(q, {own}{k}), quot(q, {own}{k})")
        (_bounds_back if spec.int("back") else _bounds)(s, dims)
        s(f"value = {LOWEST if spec['kind'] == 'max' and not spec.int('back') else 'f4(0.0)'}")
        if spec.int("back") and spec["kind"] == "max":
            s("own = ld_f4(x, i)")
        _loops(s, spec, other, 0)
        if not spec.int("back") and spec["kind"] != "max":
            s(f"value = div(value, f4({_count(spec, dims)}))")
        s("st_f4(to, i, value)")
    return s.text()


def _bounds(s: Lines, dims: range) -> None:
    """``low<k>`` and ``high<k>``: what of the window of a result is inside the image."""
    for k in dims:
        s(f"start{k} = p{k} * stride{k} - head{k}")
        s(f"low{k}, high{k} = max(start{k}, 0), min(start{k} + kernel{k}, inside{k})")


def _bounds_back(s: Lines, dims: range) -> None:
    """The same of the windows that an element is in."""
    for k in dims:
        s(f"at{k} = p{k} + head{k} + stride{k}")
        s(f"low{k} = quot(max(at{k} - kernel{k}, 0), stride{k})")
        s(f"high{k} = min(quot(max(at{k}, 0), stride{k}), out{k})")


def _count(spec: KernelSpec, dims: range) -> str:
    if spec["kind"] == "average_pad":
        return " * ".join(f"kernel{k}" for k in dims)
    if not spec.int("back"):
        return " * ".join(f"(high{k} - low{k})" for k in dims)
    starts = {k: f"w{k} * stride{k} - head{k}" for k in dims}
    return " * ".join(f"(min({starts[k]} + kernel{k}, inside{k}) - max({starts[k]}, 0))" for k in dims)


def _loops(s: Lines, spec: KernelSpec, other: str, k: int) -> None:
    """Loops over places ``w<k>`` of the other image, and what is done at each."""
    dims = range(spec.int("dims"))
    if k < len(dims):
        with counting(s, f"w{k}", f"low{k}", f"high{k}"):
            _loops(s, spec, other, k + 1)
        return
    place = "q"  # the image, or the plane
    for j in dims:
        place = f"({place}) * {other}{j} + w{j}"
    s(f"at = {place}")
    if spec.int("last"):
        s("at = at * channels + c")
    if not spec.int("back"):
        s("v = ld_f4(x, at)")
        s("value = where(value > v, value, v)" if spec["kind"] == "max" else "value = value + v")
    elif spec["kind"] == "max":
        with s.block("if own == ld_f4(y, at):"):
            s("value = value + ld_f4(dy, at)")
    else:
        s(f"value = value + div(ld_f4(dy, at), f4({_count(spec, dims)}))")


def _is_gradient(call: Call) -> bool:
    return call.node.op.endswith("Gradient")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    rank = call.type(0).rank or 0
    if not is_float32(call) or not 3 <= rank <= 5:
        return None
    w, back = window(call), _is_gradient(call)
    static: dict[str, Static] = {"kind": kind_of(call), "back": int(back), "last": int(w.order == "NHWC")}
    spec = KernelSpec.make("pool_sweep", dims=rank - 2, threads=THREADS, **static)
    return Choice("pool_sweep", spec, cost=SLOWER * call.type(0).nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    assert choice.spec is not None
    views, to, back = [v for v in ins if v is not None], outs[0], _is_gradient(call)
    require_reach(*views, to)
    x, y = views[0].type.static_shape, (views[2] if back else to).type.static_shape
    w = window(call)
    sweep = Sweep.of(w, x, y)
    read = [v.address for v in views] if back else [views[0].address, 0, 0]
    axes = (*sweep.inside, *sweep.out, *w.kernel, *w.stride, *w.heads)
    params: tuple[Param, ...] = (to.type.size, *read, to.address, sweep.channels, *axes)
    work = prod(y) * prod(w.kernel)
    traffic = to.type.nbytes + sum(v.type.nbytes for v in views)
    return [(Task(choice.spec, params, blocks_for(to.type.size), call.node.results[0].name, work, traffic),)]


_KINDS, _DIMENSIONS = ("Max", "Average"), ("", "1D", "2D", "3D")
_OPERATORS = tuple(f"{kind}Pool{dims}{end}" for kind in _KINDS for dims in _DIMENSIONS for end in ("", "Gradient"))
RULES = (Rule("pool_sweep", _OPERATORS, _choose, all_dense, _bind),)
TEMPLATES = (Template("pool_sweep", emit),)
