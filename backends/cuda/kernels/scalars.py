"""Pointwise operators on integers, booleans and float64, comparisons and conversions: one element a thread."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends import pointwise, typed
from graphc.backends.broadcast import nbytes
from graphc.backends.cuda.kernels import nest
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.pointwise import SCALAR
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import nothing
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View

_FUNCTIONS = ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round", "sqrt", "pow")
SINGLE = {name: SCALAR[name] for name in _FUNCTIONS}
"""What only float32 has; float64 has nothing of its own here."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``scalars{body, types, dims}``, the result's type first; parameters: the nest, result first."""
    s, types, dims = Lines(), str(spec["types"]).split(","), spec.int("dims")
    names = ["y", *(f"x{k}" for k in range(len(types) - 1))]
    with each_thread(s, spec, nest.arguments(names, dims)):
        nest.decode(s, names, dims)
        for name, code in zip(names[1:], types[1:]):
            s(f"{name}v = {typed.load(code, name, f'{name}_o')}")
        text, values = typed.body(str(spec["body"]), types[1:]), [f"{name}v" for name in names[1:]]
        offered = typed.functions(types[1:], SINGLE, {})
        lines, result = pointwise.emit(text, values, "e_", offered, typed.number(types[1:]))
        for line in lines:
            s(line)
        s(typed.store(types[0], "y_o", result, types[1:]))
    return typed.with_helpers(s.text())


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    found = typed.text_and_types(call, SINGLE, {})
    if found is None:
        return None
    text, codes = found
    spec = KernelSpec.make("scalars", body=text, types=",".join(codes), dims=1, threads=THREADS)
    return Choice("scalars", spec, cost=2.0 * nbytes(call))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    assert choice.spec is not None
    views, made = typed.operands(call, ins, outs[0])
    spec = choice.spec.but(dims=len(made.sizes))
    params = nest.params(made, [v.address for v in views])
    units = blocks_for(nest.elements(made))
    return [(Task(spec, params, units, call.node.results[0].name, outs[0].type.size, nbytes(call)),)]


RULES = (Rule("scalars", ("*pointwise*", *typed.TEXTS), _choose, nothing, _bind),)
TEMPLATES = (Template("scalars", emit),)
