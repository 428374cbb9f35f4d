"""Pointwise operators on integers, booleans and float64, comparisons and conversions: one element at a time."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends import typed
from graphc.backends.broadcast import nbytes
from graphc.backends.cpu.kernels import nest
from graphc.backends.cpu.pointwise import emit as emit_text
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import nothing
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View

SINGLE = {n: f"s{n}({{}})" for n in ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round")}
SINGLE["pow"] = "spow({}, {})"
SINGLE["sqrt"] = "math.sqrt({})"
"""What only float32 has."""
DOUBLE = {n: f"math.{n}({{}})" for n in ("exp", "log", "tanh", "erf", "sin", "cos", "sqrt")}
DOUBLE |= {"sigmoid": "(1.0 / (1.0 + math.exp(-{})))", "pow": "math.pow({}, {})"}
"""The same for float64."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``typed{body, types}``, the result's type first; parameters: the nest, then strides along the run."""
    types = str(spec["types"]).split(",")
    text = typed.body(str(spec["body"]), types[1:])
    names = ["y", *(f"x{i}" for i in range(len(types) - 1))]
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        last = nest.head(s, names)
        for i, name in enumerate(names):
            s(f"{name}_i = ld(p, {last + i})")
        with s.block("for u in range(lo, hi):"):
            nest.decode(s, names)
            with s.block("for r in range(top, bottom):"):
                with s.block("for i in range(start, stop):"):
                    for i, code in enumerate(types[1:]):
                        s(f"v{i} = {typed.load(code, f'x{i}', f'x{i}_o + i * x{i}_i')}")
                    offered, number = typed.functions(types[1:], SINGLE, DOUBLE), typed.number(types[1:])
                    lines, result = emit_text(text, [f"v{i}" for i in range(len(types) - 1)], "e_", offered, number)
                    for line in lines:
                        s(line)
                    s(typed.store(types[0], "y_o + i * y_i", result, types[1:]))
                for name in names:
                    s(f"{name}_o += {name}_r")
    return typed.with_helpers(s.text())


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    found, result = typed.text_and_types(call, SINGLE, DOUBLE), call.node.results[0].type
    if found is None:
        return None
    text, codes = found
    spec = KernelSpec.make("typed", body=text, types=",".join(codes))
    return Choice("typed", spec, cost=1000 + nbytes(call) + result.size * text.count("("))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    views, made = typed.operands(call, ins, outs[0])
    units = nest.cut(made.sizes[:-1], [s[:-1] for s in made.strides], made.sizes[-1])
    params = (*units.params([v.address for v in views]), *made.inner)
    size = outs[0].type.size
    name = call.node.results[0].name
    return [(Task(choice.spec, params, units.count, name, size, nbytes(call)),)] if units.count else []


RULES = (Rule("typed", ("*pointwise*", *typed.TEXTS), _choose, nothing, _bind),)
TEMPLATES = (Template("typed", emit),)
