"""Operators whose record gives a loop: the loop itself, compiled.

A kernel holds the source of the record's function and a wrapper that makes arrays of addresses. What the loop may say
is what ``backends/vocabulary.py`` allows: plain statements on arrays and numbers, names of ``math``, NumPy's types.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.loop_call import (
    ABSENT,
    FEW,
    LISTS,
    NOTHING,
    argument_params,
    codes_of,
    literal,
    number_of,
    operand,
    placed_arrays,
    scratch_bytes,
    spec_parts,
    width,
)
from graphc.backends.loop_source import loop_source
from graphc.ir.loops import is_fill, loop_operands
from graphc.ir.opdef import Call, lookup
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    parts = spec_parts(call)
    return None if parts is None else Choice("loop", KernelSpec.make("loop", **parts), {}, _cost(call))


def _cost(call: Call) -> float:
    """Half a nanosecond an operation, or ten an element where the record does not count operations.

    Rules made for an operator are faster and come first.
    """
    if call.opdef.flops:
        return 1000.0 + 0.5 * call.opdef.flops(call)
    return 1000.0 + 10.0 * sum(r.type.size for r in call.node.results)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``loop{op, ins, outs, work, args}``.

    Parameters: of each array the address and the dimensions, then the numbers that are arguments and the lengths of
    long lists, then the address of the status word, which receives the number of an error, then the long lists.
    """
    s = Lines()
    opdef = lookup(str(spec["op"]))
    ins, outs, work, args = codes_of(spec)
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        names, k = [], 0
        for i, code in enumerate([*ins, *outs, *work]):
            zeroed = i >= len(ins) and not (i >= len(ins) + len(outs) and is_fill(opdef))
            names.append(f"a{i}")
            k = _array(s, f"a{i}", code, k, zeroed)
        first = len(ins) + len(outs)
        operands = loop_operands(opdef, names[: len(ins)], names[len(ins) : first], names[first:], NOTHING)
        numbers = []
        end = f"{k + sum(map(width, args)) + bool(opdef.errors)}"
        for code in args:
            numbers.append(argument(code, k, end))
            end += f" + ld(p, {k})" * (code in LISTS)
            k += width(code)
        s(f"code = loop({', '.join([*map(operand, operands), *numbers])})")
        if opdef.errors:
            with s.block("if code != 0:"):
                s(f"st_i8(ld(p, {k}), 0, code)")
    return loop_source(opdef) + "\n\n" + s.text()


def argument(code: str, k: int, end: str) -> str:
    """An argument as source, from parameter ``k``; ``end``: where the next long list begins."""
    if code in LISTS:
        return f"array_{'i8' if code == 'I' else 'f8'}(p + 8 * ({end}), (ld(p, {k}),))"
    if few := FEW.fullmatch(code):
        return f"({''.join(argument(few[2], k + i, end) + ', ' for i in range(int(few[1])))})"
    if code == "s":  # the seed itself in the first run; 2**32 divided by the golden ratio keeps further ones apart
        return f"(ld(p, {k}) ^ ((ld(p, {k + 1}) * 2654435769) & 4294967295))"
    return {"i": f"ld(p, {k})", "f": f"ld_f8(p, {k})"}.get(code) or literal(code)


def _array(s: Lines, name: str, code: str, k: int, zeroed: bool) -> int:
    """Define the array ``name`` from parameter ``k`` on; returns the next parameter's number."""
    if code == ABSENT:
        s(f"{name} = {NOTHING}")
        return k
    letters, _, rank = code.partition(":")
    sizes = [f"ld(p, {k + 1 + d})" for d in range(int(rank))]
    s(f"{name} = array_{letters}(ld(p, {k}), ({''.join(size + ', ' for size in sizes)}))")
    k += 1 + int(rank)
    if zeroed:
        _zero(s, k - 1 - int(rank), sizes, np.dtype(letters).itemsize)
    return k


def _zero(s: Lines, k: int, sizes: Sequence[str], itemsize: int) -> None:
    code = {1: "u1", 2: "u2", 4: "i4", 8: "i8"}[itemsize]
    with s.block(f"for i in range({' * '.join(sizes) or '1'}):"):
        s(f"st_{code}(ld(p, {k}), i, 0)")


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    operands = frozenset(range(len(call.node.operands)))
    return Needs(dense=operands, dense_out=True, workspace=scratch_bytes(call))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    params: list[Param] = []
    for side in placed_arrays(call, ins, outs, workspace):
        for address, type in side:
            params += [address, *type.static_shape]
    codes = codes_of(choice.spec)[3]
    params += argument_params(call, codes)
    params += [Address("status")] if call.opdef.errors else []
    lists = [(v, c) for v, c in zip(call.opdef.loop_arguments(call), codes) if c in LISTS]
    params += [number_of(v, c.lower()) for values, c in lists for v in values]
    size = sum(v.type.size for v in outs)
    label = call.node.results[0].name if call.node.results else call.node.op
    return [(Task(choice.spec, tuple(params), 1, label, size, 4 * size),)]


TEMPLATES = (Template("loop", emit),)
RULES = (Rule("loop", ("*loop*",), _choose, _needs, _bind),)
