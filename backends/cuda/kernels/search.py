"""The largest or smallest elements along a dimension: ArgMax, ArgMin, TopK.

ArgMax: a warp looks at a row of float32, a thread at others. TopK: a thread counts for its element those that come
before it, which is its place; so every element is compared with every other of its row.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.across import WARP
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.backends.rows import around
from graphc.backends.typed import number_code
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View

EXACT = 1 << 24
"""Indices below this are float32 numbers, in which a warp exchanges them."""
COMPARISONS = 1 << 34
"""What TopK may take; above, the CPU is quicker."""


def emit_extreme(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``extreme{sign, type, lanes}``: the index of the first largest or smallest, NaN being more so."""
    s, code, lanes = Lines(), str(spec["type"]), spec.int("lanes")
    sign, nothing = (">", "f4(-1e999)") if spec.int("sign") > 0 else ("<", "f4(1e999)")
    better = f"({{v}} {sign} best) | (({{v}} != {{v}}) & (best == best))"
    with s.block(f"def {spec.name}(x, y, n, inner, total):"):
        s(f"t = i64(block()) * {spec.int('threads') // lanes} + quot(thread(), {lanes})")
        s(f"lane = i64(thread() & {lanes - 1})")
        with s.block("if t < total:"):
            s("o = quot(t, inner) * n * inner + rest(t, inner)")
            s(f"best, at = {nothing if lanes > 1 else f'ld_{code}(x, o)'}, {'n' if lanes > 1 else 'i64(0)'}")
            with s.block(f"for i in range({'lane' if lanes > 1 else 1}, n, {lanes}):"):
                s(f"v = ld_{code}(x, o + i * inner)")
                with s.block(f"if {better.format(v='v')}{' | (at == n)' if lanes > 1 else ''}:"):
                    s("best, at = v, i")
            distance = lanes // 2
            while distance:
                s(f"v, i = swap(best, {distance}), i64(swap(f4(at), {distance}))")
                s("same = (v == best) | ((v != v) & (best != best))")
                with s.block(f"if {better.format(v='v')} | (same & (i < at)):"):
                    s("best, at = v, i")
                distance //= 2
            with s.block("if lane == 0:"):
                s("st_i8(y, t, at)")
    return s.text()


def emit_top(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``top{type, flat}``: the k largest in falling order, those alike in theirs, NaN after all others.

    Parameters: x, values, indices, indices among all elements, elements and room of a row (the larger of the elements
    and k), inner dimensions, k, threads.
    """
    s, code = Lines(), str(spec["type"])
    with each_thread(s, spec, ("x", "y", "z", "flat", "n", "room", "inner", "k", "total"), "t"):
        s("c, u = rest(t, inner), quot(t, inner)")
        s("i, row = rest(u, room), quot(u, room)")
        s("o, q = row * n * inner + c, row * k * inner + c")
        with s.block("if i < n:"):
            s(f"v, place = ld_{code}(x, o + i * inner), 0")
            with s.block("for j in range(n):"):
                s(f"w = ld_{code}(x, o + j * inner)")
                s("same = (w == v) | ((w != w) & (v != v))")
                s("place = place + (1 if (w > v) | ((v != v) & (w == w)) | (same & (j < i)) else 0)")
            with s.block("if place < k:"):
                s(f"st_{code}(y, q + place * inner, v)")
                s("st_i8(z, q + place * inner, i)")
                if spec.int("flat"):
                    s("st_i8(flat, q + place * inner, o + i * inner)")
        with s.block("else:"):
            s(f"st_{code}(y, q + i * inner, 0)")
            s("st_i8(z, q + i * inner, -1)")
            if spec.int("flat"):
                s("st_i8(flat, q + i * inner, -1)")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    code = number_code(call.type(0))
    if code is None:
        return None
    rows, n, inner = around(call.type(0).static_shape, call.arg("axis"))
    if call.node.op == "TopK":
        if rows * inner * n * n > COMPARISONS:
            return None
        return Choice("search", KernelSpec.make("top", type=code, flat=int(call.n_outputs > 2), threads=THREADS))
    sign = 1 if call.node.op == "ArgMax" else -1
    lanes = WARP if code == "f4" and inner == 1 and n < EXACT else 1
    return Choice("search", KernelSpec.make("extreme", type=code, sign=sign, lanes=lanes, threads=THREADS))


def _why_not(call: Call, target: CudaTarget) -> str:
    return "so many elements take a sort" if number_code(call.type(0)) else ""


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, spec, label = ins[0], choice.spec, call.node.results[0].name
    assert spec is not None
    assert x is not None
    require_reach(x)
    rows, n, inner = around(x.type.static_shape, call.arg("axis"))
    if spec.template == "extreme":
        total = rows * inner
        units = blocks_for(total * spec.int("lanes"))
        task = Task(spec, (x.address, outs[0].address, n, inner, total), units, label, total * n, x.type.nbytes)
    else:
        k = outs[0].type.static_shape[call.arg("axis")]
        room = max(n, k)
        total = rows * room * inner
        places = [v.address for v in outs]
        params = (x.address, *(places + places[:1])[:3], n, max(room, 1), max(inner, 1), k, total)
        task = Task(spec, params, blocks_for(total), label, total * n, x.type.nbytes)
    return [(task,)] if task.units else []


RULES = (Rule("search", ("ArgMax", "ArgMin", "TopK"), _choose, all_dense, _bind, why_not=_why_not),)
TEMPLATES = (Template("extreme", emit_extreme), Template("top", emit_top))
