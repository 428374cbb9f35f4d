"""The largest or smallest elements along a dimension: ArgMax, ArgMin, TopK."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.backends.rows import around
from graphc.backends.typed import number_code
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

WORK = 16384
"""Elements that a unit looks at, where there are so many."""
NAMES = ("x", "y", "z", "flat", "n", "inner", "total", "group", "k", "zero")


def _head(s: Lines) -> None:
    for i, name in enumerate(NAMES):
        s(f"{name} = ld(p, {i})")


def emit_extreme(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``extreme{sign, type}``: indices of the first largest, NaN being larger; parameters: ``NAMES``.

    Zero is a parameter, or LLVM would call the C library's memset.
    """
    s, code = Lines(), str(spec["type"])
    sign = ">" if spec.int("sign") > 0 else "<"
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"), s.block("for t in range(u * group, min(total, u * group + group)):"):
            s("o = t // inner * n * inner + t % inner")
            s("at = zero")
            s(f"best = ld_{code}(x, o)")
            with s.block("for i in range(1, n):"):
                s(f"v = ld_{code}(x, o + i * inner)")
                with s.block(f"if v {sign} best or (v != v and best == best):"):
                    s("best = v")
                    s("at = i")
            s("st_i8(y, t, at)")
    return s.text()


def emit_top(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``top{type, flat}``: elements are put in their places among the k largest so far, NaN after all others.

    Parameters: ``NAMES``; y: values, z: indices, flat: indices among all elements.
    """
    s, code = Lines(), str(spec["type"])
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"), s.block("for t in range(u * group, min(total, u * group + group)):"):
            s("o = t // inner * n * inner + t % inner")
            s("q = t // inner * k * inner + t % inner")
            s("found = 0")
            with s.block("for i in range(n):"):
                s(f"v = ld_{code}(x, o + i * inner)")
                with s.block("if found == k:"):
                    s(f"last = ld_{code}(y, q + (k - 1) * inner)")
                    with s.block("if not (v > last or (last != last and v == v)):"):
                        s("continue")
                s("j = found if found < k else k - 1")
                s("found = min(k, found + 1)")
                with s.block("while j > 0:"):
                    s(f"other = ld_{code}(y, q + (j - 1) * inner)")
                    with s.block("if not (v > other or (other != other and v == v)):"):
                        s("break")
                    s(f"st_{code}(y, q + j * inner, other)")
                    s("st_i8(z, q + j * inner, ld_i8(z, q + (j - 1) * inner))")
                    s("j -= 1")
                s(f"st_{code}(y, q + j * inner, v)")
                s("st_i8(z, q + j * inner, i)")
            with s.block("for j in range(found, k):"):
                s(f"st_{code}(y, q + j * inner, 0)")
                s("st_i8(z, q + j * inner, -1)")
            if spec.int("flat"):
                with s.block("for j in range(k):"):
                    s("i = ld_i8(z, q + j * inner)")
                    s("st_i8(flat, q + j * inner, o + i * inner if i >= 0 else -1)")
    return s.text()


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x = call.type(0)
    code = number_code(x)
    if code is None:
        return None
    if call.node.op == "TopK":
        return Choice("search", KernelSpec.make("top", type=code, flat=int(call.n_outputs > 2)), cost=4.0 * x.size)
    sign = 1 if call.node.op == "ArgMax" else -1
    return Choice("search", KernelSpec.make("extreme", type=code, sign=sign), cost=2.0 * x.size)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x = ins[0]
    assert choice.spec is not None
    assert x is not None
    axis = call.arg("axis")
    rows, n, inner = around(x.type.static_shape, axis)
    total = rows * inner
    group = max(1, min(-(-total // 16), WORK // max(n, 1)))
    places = [v.address for v in outs]
    k = outs[0].type.static_shape[axis] if call.node.op == "TopK" else 1
    params: tuple[Param, ...] = (x.address, *(places + places[:1] * 2)[:3], n, inner, total, group, k, 0)
    return [(Task(choice.spec, params, -(-total // group), call.node.results[0].name, total * n, x.type.nbytes),)]


RULES = (Rule("search", ("ArgMax", "ArgMin", "TopK"), _choose, all_dense, _bind),)
TEMPLATES = (Template("extreme", emit_extreme), Template("top", emit_top))
