"""Pointwise operators and fused bodies on float32: any rank, any broadcasting, plain or blocked, in place or not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.broadcast import full_shape, full_shapes, inputs, nbytes, operand_strides, views
from graphc.backends.cpu.kernels import costs, nest
from graphc.backends.cpu.kernels.alignment import LONG, until_aligned
from graphc.backends.cpu.kernels.half_types import SUFFIX, itemsize, suffix
from graphc.backends.cpu.kernels.nest import Nest
from graphc.backends.cpu.pointwise import emit as emit_text
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.pointwise import text_of_call
from graphc.ir.opdef import Call
from graphc.ir.precision import reads_float
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import TensorType

# How a kernel reads an operand along its inner run, whose elements it takes a vector at a time:
# v: a vector, contiguous     c: one vector for the whole run (a channel block)    m: the same, of fewer lanes
# b: one element for the whole run      p: one element a pixel of a blocked value      q: one element a pixel, plain


def make_spec(text: str, modes: str, blocked: bool, halves: Sequence[str] = ()) -> KernelSpec:
    """The kernel of a text for operands read in ``modes``; blocked: runs are whole vectors.

    halves: the suffixes (``half_types``) of the result and of the operands; none where all are float32.
    """
    codes = {"halves": ",".join(h.removeprefix("_") for h in halves)} if any(halves) else {}
    return KernelSpec.make("pointwise", body=text, modes=modes, blocked=int(blocked), **codes)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of a pointwise kernel; parameters: the nest (result first), lanes of ``m`` operands, streams.

    streams: 1 where the result is to go past the caches (plain results only).
    """
    modes, text, blocked = str(spec["modes"]), str(spec["body"]), spec.int("blocked")
    names = ["y", *(f"x{i}" for i in range(len(modes)))]
    codes = str(spec.get("halves", "," * len(modes))).split(",")
    halves = [f"_{code}" if code else "" for code in codes]
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        last = nest.head(s, names)
        s(f"lanes, streams = ld(p, {last}), ld(p, {last + 1})")
        with s.block("for u in range(lo, hi):"):
            nest.decode(s, names)
            with s.block("for r in range(top, bottom):"):
                _run(s, modes, text, target.lanes, blocked, halves)
                for name in names:
                    s(f"{name}_o += {name}_r")
        if not blocked and not any(halves):
            with s.block("if streams != 0:"):
                s("fence()")
    return s.text()


def _run(s: Lines, modes: str, text: str, lanes: int, blocked: int, halves: Sequence[str]) -> None:
    y, xs = halves[0], halves[1:]
    for i, mode in enumerate(modes):
        hoisted = {"c": "vload{1}(x{0}, x{0}_o)", "m": "vloadm{1}(x{0}, x{0}_o, lanes)", "b": "vbcast{1}(x{0}, x{0}_o)"}
        if mode in hoisted:
            s(f"v{i} = {hoisted[mode].format(i, xs[i])}")
    loads = {
        "v": "vload{1}(x{0}, x{0}_o + i)",
        "p": "vbcast{1}(x{0}, x{0}_o + i)",
        "q": f"vbcast{{1}}(x{{0}}, x{{0}}_o + i // {lanes})",
    }
    if blocked:
        with s.block(f"for i in range(start, stop, {lanes}):"):
            _body(s, modes, text, loads, xs)
            s(f"vstore{y}(y, y_o + i, result)")
        return
    if any(halves):
        _plain_halves(s, modes, text, lanes, loads, halves)
        return
    s("first, past = start, 0")
    with s.block(f"if stop - start >= {LONG * lanes}:"):
        s(f"first, past = start + ({until_aligned('y', 'y_o + start', lanes)}), streams")
    s(f"whole = first + (stop - first) // {lanes} * {lanes}")
    with s.block(f"for i in range(first, whole, {lanes}):"):
        _body(s, modes, text, loads, xs)
        with s.block("if past != 0:"):
            s("vstream(y, y_o + i, result)")
        with s.block("else:"):
            s("vstore(y, y_o + i, result)")
    with s.block("for end in range(2):"):
        s("i, left = (whole, stop - whole) if end else (start, first - start)")
        with s.block("if left > 0:"):
            _body(s, modes, text, {"v": "vloadm(x{0}, x{0}_o + i, left)"}, xs)
            s("vstorem(y, y_o + i, left, result)")


def _plain_halves(s: Lines, modes: str, text: str, lanes: int, loads: dict[str, str], halves: Sequence[str]) -> None:
    """A run with halves among its operands: whole vectors, then the rest."""
    s(f"whole = start + (stop - start) // {lanes} * {lanes}")
    with s.block(f"for i in range(start, whole, {lanes}):"):
        _body(s, modes, text, loads, halves[1:])
        s(f"vstore{halves[0]}(y, y_o + i, result)")
    with s.block("if whole < stop:"):
        s("i, left = whole, stop - whole")
        _body(s, modes, text, {"v": "vloadm{1}(x{0}, x{0}_o + i, left)"}, halves[1:])
        s(f"vstorem{halves[0]}(y, y_o + i, left, result)")


def _body(s: Lines, modes: str, text: str, loads: dict[str, str], xs: Sequence[str]) -> None:
    for i, mode in enumerate(modes):
        if mode in loads:
            s(f"v{i} = {loads[mode].format(i, xs[i])}")
    lines, result = emit_text(text, [f"v{i}" for i in range(len(modes))], "e_")
    for line in lines:
        s(line)
    s(f"result = {result}")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    result = call.node.results[0].type
    types = [call.type(i) for i in inputs(call)]
    if result.dtype not in SUFFIX or not all(reads_float(call.node, i) for i in inputs(call)):
        return None
    if full_shapes(call) is None:
        return None
    text = text_of_call(call)
    cost = 500 + nbytes(call) / 40 + result.size / target.lanes * text.count("(") * 0.15
    if result.layout.block == 1:
        if any(t.layout.block != 1 for t in types):
            return None
        return Choice("pointwise", make_spec(text, "v" * len(types), False, _halves(result, types)), cost=cost)
    packed: dict[int, np.ndarray] = {}
    if not all(_is_readable(call, i, target, packed) for i in inputs(call)):
        return None
    return Choice("pointwise", make_spec(text, "v" * len(types), True, _halves(result, types)), packed, cost)


def _halves(result: TensorType, operands: Sequence[TensorType]) -> list[str]:
    return [suffix(t.dtype) for t in (result, *operands)]


def _is_readable(call: Call, i: int, target: CpuTarget, packed: dict[int, np.ndarray]) -> bool:
    """A kernel with a blocked result can read operand ``i``; weights along channels are packed."""
    full, out = full_shape(call, i), call.node.results[0].type.static_shape
    assert full is not None
    if call.type(i).layout.block != 1 or full[1] == 1:
        return True
    constant = call.constant(i)
    if constant is not None:
        packed[i] = pack_channels(constant.reshape(full), target.lanes)
        return True
    return full[2:] == (1, 1) and out[1] == full[1]


def pack_channels(w: np.ndarray, lanes: int) -> np.ndarray:
    """(n, C, h, w) as (n, blocks, h, w, lanes), the last block filled up with zeros."""
    n, c, h, width = w.shape
    blocks = -(-c // lanes)
    padded = np.zeros((n, blocks * lanes, h, width), np.float32)
    padded[:, :c] = w
    return np.ascontiguousarray(padded.reshape(n, blocks, lanes, h, width).transpose(0, 1, 3, 4, 2))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense operands where a channel vector that is not a weight meets a blocked result."""
    if call.node.results[0].type.layout.block == 1:
        return Needs()
    plain = [i for i in inputs(call) if i not in choice.packed and call.type(i).layout.block == 1]
    return Needs(dense=frozenset(i for i in plain if (full_shape(call, i) or (1, 1))[1] != 1))


def bind_text(
    text: str,
    ins: Sequence[View],
    shapes: Sequence[tuple[int, ...]],
    out: View,
    label: str,
    target: CpuTarget,
    flops: int = 0,
) -> list[Step]:
    """The steps that compute a text: shapes are those under which the operands broadcast with the result."""
    total = out.type.nbytes + sum(4 * math.prod(s) for s in shapes)
    if out.type.layout.block > 1:
        tasks = _blocked_tasks(text, ins, shapes, out)
    else:
        tasks = [_plain_task(text, ins, shapes, out, target)]
    done = tuple(Task(t.kernel, t.params, t.units, label, flops, total) for t in tasks if t.units)
    return [done] if done else []


def _plain_task(
    text: str, ins: Sequence[View], shapes: Sequence[tuple[int, ...]], out: View, target: CpuTarget
) -> Task:
    strides = [operand_strides(v, s) for v, s in zip(ins, shapes)]
    made = Nest.make(out.type.static_shape, [out.strides, *strides])
    straight = bool(made.sizes) and made.inner[0] == 1 and set(made.inner) <= {0, 1}
    units = made.cut(straight, 1)
    streams = units.run >= LONG * target.lanes and costs.outgrows_caches(out.type.nbytes, target)
    modes = "".join("v" if straight and m else "b" for m in made.inner[1:])
    params = (*units.params([out.address, *(v.address for v in ins)]), 0, int(streams))
    return Task(make_spec(text, modes, False, _halves(out.type, [v.type for v in ins])), params, units.count)


def _blocked_tasks(text: str, ins: Sequence[View], shapes: Sequence[tuple[int, ...]], out: View) -> list[Task]:
    lanes = out.type.layout.block
    n, c, h, w = out.type.static_shape
    modes = "".join(_mode(v, s, (n, c, h, w)) for v, s in zip(ins, shapes))
    strides = [out.strides, *(_blocked_strides(m, v, s, lanes) for m, v, s in zip(modes, ins, shapes))]
    halves = _halves(out.type, [v.type for v in ins])
    parts = [(0, -(-c // lanes), lanes)]
    if "m" in modes:
        parts = [(0, c // lanes, lanes), (c // lanes, int(c % lanes > 0), c % lanes)]
    tasks = []
    for first, count, valid in parts:
        made = Nest.make((n, count, h, w), strides)
        wanted = [lanes, *({"v": lanes, "p": lanes, "q": 1}.get(m, 0) for m in modes)]
        units = made.cut(bool(made.sizes) and list(made.inner) == wanted, lanes)
        sizes = [itemsize(h) for h in halves]
        addresses = [v.address.plus(size * first * s[1]) for v, s, size in zip([out, *ins], strides, sizes)]
        tasks.append(Task(make_spec(text, modes, True, halves), (*units.params(addresses), valid, 0), units.count))
    return tasks


def _mode(view: View, full: tuple[int, ...], out: tuple[int, ...]) -> str:
    """How the kernel of a blocked result reads an operand along a run of pixels."""
    moves = full[3] != 1 or full[2] != 1
    if full[1] == 1 != out[1] or math.prod(full) == 1 != math.prod(out):
        if not moves:
            return "b"
        return "p" if view.type.layout.block > 1 else "q"
    if view.type.layout.block > 1 or len(view.strides) == 5:
        return "v" if moves else "c"
    return "q" if moves else "m"


def _blocked_strides(mode: str, view: View, full: tuple[int, ...], lanes: int) -> tuple[int, ...]:
    """Strides of an operand along image, channel block, row and pixel of a blocked result."""
    if view.type.layout.block > 1 or len(view.strides) == 5:  # five: a packed weight
        return tuple(0 if d == 1 else s for d, s in zip(full, view.strides))
    plain = operand_strides(view, full)
    return (plain[0], lanes, 0, 0) if mode == "m" else plain


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    shapes = full_shapes(call) or []
    label, size = call.node.results[0].name, outs[0].type.size
    return bind_text(str(choice.spec["body"]), views(call, ins), shapes, outs[0], label, target, size)


TEMPLATES = (Template("pointwise", emit),)
RULES = (Rule("pointwise", ("*pointwise*",), _choose, _needs, _bind, half=True),)
