"""SpatialBN in training and its gradient, in float32: statistics of each channel, then an element a thread.

The elements of a channel are cut into pieces, so that the card is busy whatever the number of channels. A block takes
two numbers of a piece; a thread a channel joins them, always in the same order; the last launch gives the results. In
the forward direction the two are mean and squares around it, of which pieces combine without cancellation.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphc.backends.cuda.kernels.across import across_block
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.norm import emit_joined
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.ops._rules import channel_axis, nhwc
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

PIECE, PIECES = 2048, 64
"""Elements of a piece at least, and pieces of a channel at most."""
WHERE = ("channels", "plane", "count", "pieces", "size")
"""plane: elements of a channel of an image. count: of a channel. size: of a piece."""
RUNNING = ("scale", "bias", "old_mean", "old_var", "new_mean", "new_var", "saved_mean", "saved_inverse")
"""Addresses, 0 of old statistics that are not given."""


def emit_moments(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``batch_moments{last}``; parameters: ``WHERE``, x, sums. Mean and squares around it of each piece."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join((*WHERE, 'x', 'sums'))}):"):
        _begin(s)
        s("a = f4(0.0)")
        with counting(s, "e", "low + thread()", "high", THREADS):
            s(f"a = a + ld_f4(x, {_place(spec)})")
        across_block(s, "a", "({} + {})", THREADS)
        s("mean, a = div(a, f4(high - low)), f4(0.0)")
        with counting(s, "e", "low + thread()", "high", THREADS):
            s(f"d = ld_f4(x, {_place(spec)}) - mean")
            s("a = fma(d, d, a)")
        across_block(s, "a", "({} + {})", THREADS)
        _keep(s, "mean", "a")
    return s.text()


def emit_products(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``batch_products{last}``; parameters: ``WHERE``, x, dy, mean, sums. Sums of dy * (x - mean) and dy."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join((*WHERE, 'x', 'dy', 'mean', 'sums'))}):"):
        _begin(s)
        s("a, b, center = f4(0.0), f4(0.0), ld_f4(mean, channel)")
        with counting(s, "e", "low + thread()", "high", THREADS):
            s(f"at = {_place(spec)}")
            s("d = ld_f4(dy, at)")
            s("a, b = fma(d, ld_f4(x, at) - center, a), b + d")
        across_block(s, "a", "({} + {})", THREADS)
        across_block(s, "b", "({} + {})", THREADS)
        _keep(s, "a", "b")
    return s.text()


def _begin(s: Lines) -> None:
    s(f"words = shared({THREADS // 32})")
    s("u = i64(block())")
    s("channel, piece = quot(u, pieces), rest(u, pieces)")
    s("low, high = piece * size, min((piece + 1) * size, count)")


def _place(spec: KernelSpec) -> str:
    """Where element ``e`` of a channel lies."""
    if spec.int("last"):
        return "e * channels + channel"
    return "(quot(e, plane) * channels + channel) * plane + rest(e, plane)"


def _keep(s: Lines, first: str, second: str) -> None:
    with s.block("if thread() == 0:"):
        s(f"st_f4(sums, 2 * u, {first})")
        s(f"st_f4(sums, 2 * u + 1, {second})")


def emit_statistics(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``batch_statistics``; parameters: ``WHERE``, sums, ``RUNNING``, epsilon, momentum, pairs.

    epsilon, momentum: bits of float64. pairs: factor and offset of each channel.
    """
    s = Lines()
    names = (*WHERE, "sums", *RUNNING, "epsilon", "momentum", "pairs")
    with each_thread(s, spec, names, "k", "channels"):
        emit_joined(s, "k", "j", "count")
        s("share, spread = f4(double(momentum)), div(a, f4(count))")
        s("unbiased = div(a, f4(max(count - 1, 1)))")
        s("inverse = div(f4(1.0), sqrt(spread + f4(double(epsilon))))")
        for name, value in (("mean", "mean"), ("var", "unbiased")):
            s(f"old = {value}")
            with s.block(f"if old_{name} != 0:"):
                s(f"old = ld_f4(old_{name}, k)")
            s(f"st_f4(new_{name}, k, share * old + (f4(1.0) - share) * {value})")
        s("st_f4(saved_mean, k, mean)")
        s("st_f4(saved_inverse, k, inverse)")
        s("factor = ld_f4(scale, k) * inverse")
        s("st_f4(pairs, 2 * k, factor)")
        s("st_f4(pairs, 2 * k + 1, ld_f4(bias, k) - mean * factor)")
    return s.text()


def emit_results(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``batch_results{last}``; parameters: ``WHERE``, total, x, pairs, y."""
    s = Lines()
    with each_thread(s, spec, (*WHERE, "total", "x", "pairs", "y")):
        _channel(s, spec)
        s("st_f4(y, i, fma(ld_f4(x, i), ld_f4(pairs, 2 * k), ld_f4(pairs, 2 * k + 1)))")
    return s.text()


def emit_join(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``batch_join``; parameters: ``WHERE``, sums, inverse, d_scale, d_bias. A thread a channel."""
    s = Lines()
    with each_thread(s, spec, (*WHERE, "sums", "inverse", "d_scale", "d_bias"), "k", "channels"):
        s("a, b = f4(0.0), f4(0.0)")
        with counting(s, "j", "0", "pieces"):
            s("at = 2 * (k * pieces + j)")
            s("a, b = a + ld_f4(sums, at), b + ld_f4(sums, at + 1)")
        s("st_f4(d_scale, k, a * ld_f4(inverse, k))")
        s("st_f4(d_bias, k, b)")
    return s.text()


def emit_back(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``batch_back{last}``; parameters: ``WHERE``, then those of ``names``."""
    s = Lines()
    names = (*WHERE, "total", "x", "dy", "scale", "mean", "inverse", "d_scale", "d_bias", "dx")
    with each_thread(s, spec, names):
        _channel(s, spec)
        s("factor = ld_f4(inverse, k)")
        s("normal = (ld_f4(x, i) - ld_f4(mean, k)) * factor")
        s("share = div(fma(normal, ld_f4(d_scale, k), ld_f4(d_bias, k)), f4(count))")
        s("st_f4(dx, i, ld_f4(scale, k) * factor * (ld_f4(dy, i) - share))")
    return s.text()


def _channel(s: Lines, spec: KernelSpec) -> None:
    """The channel ``k`` of element ``i``."""
    s("k = rest(i, channels)" if spec.int("last") else "k = rest(quot(i, plane), channels)")


def _sizes(call: Call, target: CudaTarget) -> tuple[int, ...]:
    """The values of ``WHERE``."""
    shape = call.type(0).static_shape
    axis = channel_axis(call, len(shape))
    channels = shape[axis]
    count = prod(shape) // max(channels, 1)
    size = max(PIECE, -(-count // min(PIECES, max(1, 2 * target.processors // max(channels, 1)))))
    return channels, prod(shape[axis + 1 :]), count, max(1, -(-count // size)), size


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    back = call.node.op == "SpatialBNGradient"
    if not is_float32(call) or not call.type(0).size or (call.arg("is_test") and not back):
        return None
    if call.has(5) or call.arg("num_batches") != 1:  # sums of several batches
        return None
    template = "batch_products" if back else "batch_moments"
    return Choice("batch_norm", _spec(template, call), cost=call.type(0).nbytes)


def _spec(template: str, call: Call) -> KernelSpec:
    return KernelSpec.make(template, last=int(nhwc(call)), threads=THREADS)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    channels, _, _, pieces, _ = _sizes(call, target)
    return Needs(dense=frozenset(range(call.n_inputs)), dense_out=True, workspace=8 * channels * (pieces + 1))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    where, given = _sizes(call, target), [v.address if v is not None else 0 for v in ins]
    channels, _, _, pieces, _ = where
    x, y, total = ins[0], [v.address for v in outs], call.type(0).size
    assert x is not None
    require_reach(x)
    label, nbytes = call.node.results[0].name, x.type.nbytes

    def step(template: str, params: tuple[Param, ...], units: int, plain: bool = False) -> Step:
        spec = KernelSpec.make(template, threads=THREADS) if plain else _spec(template, call)
        return (Task(spec, (*where, *params), units, label, 4 * total, 2 * nbytes),)

    each, threads = blocks_for(channels * pieces, 1), blocks_for(channels)
    if call.node.op == "SpatialBNGradient":
        _, scale, dy, mean, inverse = given[:5]
        dx, d_scale, d_bias = y
        last = (total, x.address, dy, scale, mean, inverse, d_scale, d_bias, dx)
        return [
            step("batch_products", (x.address, dy, mean, workspace), each),
            step("batch_join", (workspace, inverse, d_scale, d_bias), threads, plain=True),
            step("batch_back", last, blocks_for(total)),
        ]
    pairs = workspace.plus(8 * channels * pieces)
    running = (*[*given[1:5], 0, 0][:4], *y[1:])
    bits = (float_bits(call.arg("epsilon")), float_bits(call.arg("momentum")))
    return [
        step("batch_moments", (x.address, workspace), each),
        step("batch_statistics", (workspace, *running, *bits, pairs), threads, plain=True),
        step("batch_results", (total, x.address, pairs, y[0]), blocks_for(total)),
    ]


RULES = (Rule("batch_norm", ("SpatialBN", "SpatialBNGradient"), _choose, _needs, _bind),)
TEMPLATES = (
    Template("batch_moments", emit_moments),
    Template("batch_statistics", emit_statistics),
    Template("batch_results", emit_results),
    Template("batch_products", emit_products),
    Template("batch_join", emit_join),
    Template("batch_back", emit_back),
)
