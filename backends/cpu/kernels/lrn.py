"""Local response normalisation across channels, plain and blocked.

Plain: a unit is a piece of a row of pixels; each vector of pixels walks through all channels with the squares of the
window in registers. Blocked: a unit is a piece of a row of one channel block; neighbours come from three blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

PARAMS = (
    *("factor", "bias", "power", "channels", "planes", "rows", "length", "chunks", "chunk"),
    *("x", "x_n", "x_p", "x_r", "y", "y_n", "y_p", "y_r", "s", "s_n", "s_p", "s_r"),
)
"""factor, bias, power: bits of float32. Of x, y and scale s: address, strides of image, plane and row. planes: 1, or
channel blocks. length: floats in a row; chunk: how many of them a unit does."""
LARGEST_IN_REGISTERS = 9
CHUNK = 4
"""Vectors that a unit does, times the vectors of a channel walk for blocked values."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``lrn{size, beta, scale, blocked}``; beta is text, scale: the second result is wanted."""
    s, lanes = Lines(), target.lanes
    body = _blocked if spec.int("blocked") else _plain
    names = "xys" if spec.int("scale") else "xy"
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = {'vbcast(p, 2 * {0})' if i < 3 else 'ld(p, {0})'}".format(i))
        with s.block("for u in range(lo, hi):"):
            s("start = u % chunks * chunk")
            s("t = u // chunks")
            s("plane = t // rows % planes")
            for v in names:
                s(f"{v}_o = t // rows // planes * {v}_n + plane * {v}_p + t % rows * {v}_r")
            with s.block(f"for i in range(start, min(length, start + chunk), {lanes}):"):
                body(s, spec, lanes)
    return s.text()


def _plain(s: Lines, spec: KernelSpec, lanes: int) -> None:
    with s.block(f"if length - i >= {lanes}:"):
        _walk(s, spec, "vload({0}, {1})", "vstore({0}, {1}, {2})")
    with s.block("else:"):
        _walk(s, spec, "vloadm({0}, {1}, length - i)", "vstorem({0}, {1}, length - i, {2})")


def _walk(s: Lines, spec: KernelSpec, load: str, store: str) -> None:
    """All channels of one vector of pixels."""
    size = spec.int("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    at: Callable[[str, str], str] = lambda v, c: f"{v}_o + i + ({c}) * {v}_p"
    short = size <= LARGEST_IN_REGISTERS
    for j in range(size - 1 if short else 0):
        s(f"w{j} = vzero()")
        if j >= before:
            with s.block(f"if channels > {j - before}:"):
                _square(s, f"w{j}", load.format("x", at("x", str(j - before))))
    with s.block("for c in range(channels):"):
        if short:
            s(f"w{size - 1} = vzero()")
            with s.block(f"if c + {after} < channels:"):
                _square(s, f"w{size - 1}", load.format("x", at("x", f"c + {after}")))
            s(f"total = {_sum([f'w{j}' for j in range(size)])}")
        else:
            s("total = vzero()")
            with s.block(f"for k in range(max(0, c - {before}), min(channels, c + {after + 1})):"):
                s(f"v = {load.format('x', at('x', 'k'))}")
                s("total = vfma(v, v, total)")
        _finish(s, spec, load.format("x", at("x", "c")))
        s(store.format("y", at("y", "c"), "result"))
        if spec.int("scale"):
            s(store.format("s", at("s", "c"), "scale"))
        for j in range(size - 1 if short else 0):
            s(f"w{j} = w{j + 1}")


def _square(s: Lines, name: str, load: str) -> None:
    s(f"v = {load}")
    s(f"{name} = vmul(v, v)")


def _sum(names: Sequence[str]) -> str:
    """A tree of additions."""
    if len(names) == 1:
        return names[0]
    half = len(names) // 2
    return f"vadd({_sum(names[:half])}, {_sum(names[half:])})"


def _finish(s: Lines, spec: KernelSpec, x: str) -> None:
    """``result`` and ``scale`` from ``total``; the two common powers by square roots."""
    s("scale = vfma(total, factor, bias)")
    beta = str(spec["beta"])
    if beta == "0.5":
        s(f"result = vdiv({x}, vsqrt(scale))")
    elif beta == "0.75":
        s("root = vsqrt(scale)")
        s(f"result = vdiv({x}, vmul(root, vsqrt(root)))")
    else:
        s(f"result = vmul({x}, vpow(scale, power))")


def _blocked(s: Lines, spec: KernelSpec, lanes: int) -> None:
    """One vector of channels; pad lanes of the last block count as zeros."""
    size = spec.int("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    s(f"first = plane * {lanes}")
    s("here = vload(x, x_o + i)")
    s("w1 = vwhere(vfirst(channels - first), vmul(here, here), vzero())")
    s("w0 = vzero()")
    s("w2 = vzero()")
    if before:
        with s.block("if plane > 0:"):
            _square(s, "w0", "vload(x, x_o + i - x_p)")
    if after:
        with s.block("if plane + 1 < planes:"):
            s("v = vload(x, x_o + i + x_p)")
            s(f"w2 = vwhere(vfirst(channels - first - {lanes}), vmul(v, v), vzero())")
    left = [_joined("w0", "w1", lanes - d, lanes) for d in range(before, 0, -1)]
    right = [_joined("w1", "w2", d, lanes) for d in range(1, after + 1)]
    s(f"total = {_sum([*left, 'w1', *right])}")
    _finish(s, spec, "here")
    s("vstore(y, y_o + i, result)")


def _joined(a: str, b: str, k: int, lanes: int) -> str:
    return b if k == lanes else f"vjoin_{k}({a}, {b})"


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, results = call.type(0), call.node.results
    size, blocked = int(call.arg("size")), x.layout.block > 1
    if x.dtype is not DType.FLOAT or call.arg("order") != "NCHW" or x.layout != results[0].type.layout:
        return None
    if blocked and (size > target.lanes * 2 + 1 or len(results) > 1):
        return None
    beta = call.arg("beta")
    text = repr(beta) if beta in (0.5, 0.75) else "any"
    spec = KernelSpec.make("lrn", size=size, beta=text, scale=len(results) - 1, blocked=int(blocked))
    return Choice("lrn", spec, {}, 500 + costs.stream_ns(8 * x.size) + x.size / target.lanes * 8)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    return Needs()


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, block = ins[0], call.type(0).layout.block
    assert x is not None
    assert choice.spec is not None
    n, c, h, w = x.type.static_shape
    length, planes = w * block, -(-c // block) if block > 1 else 1
    if all(v.strides[2] == length for v in (x, *outs)):
        h, length = 1, h * length
    chunk = CHUNK * target.lanes * (8 if block > 1 else 1)
    chunks = -(-length // chunk)
    alpha = np.float32(call.arg("alpha") / call.arg("size"))
    numbers = (_bits(alpha), _bits(call.arg("bias")), _bits(-call.arg("beta")))
    params: list[Param] = [*numbers, c, planes, h, length, chunks, chunk]
    for view in (x, *outs, outs[0])[:3]:
        params += [view.address, *view.strides[:3]]
    size = x.type.size
    units = n * planes * h * chunks if size else 0
    return [(Task(choice.spec, tuple(params), units, call.node.results[0].name, size * 8, 8 * size),)] if units else []


TEMPLATES = (Template("lrn", emit),)
RULES = (Rule("lrn", ("LRN",), _choose, _needs, _bind),)
