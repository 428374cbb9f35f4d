"""LSTMUnit: one step of an LSTM from the sums of its gates, vectors of columns at a time."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template, float_bits
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

UNIT_VECTORS = 8
"""Vectors of columns that a unit of work covers, so that one sequence is enough for several threads."""

PARAMETERS = ("hidden", "cell", "gates", "lengths", "step", "y", "state", "width", "spans", "bias", "drop")


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``lstm_unit{lengths}``; a unit is ``UNIT_VECTORS`` vectors of columns of one row."""
    s, lanes = Lines(), target.lanes
    span = UNIT_VECTORS * lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMETERS):
            s(f"{name} = ld(p, {i})" if name != "bias" else f"bias = vsplat(f4(ld_f8(p, {i})))")
        with s.block("for u in range(lo, hi):"):
            s("row = u // spans")
            s(f"first = (u - row * spans) * {span}")
            s(f"last = min(width, first + {span})")
            s("a, b, g = hidden + row * width * 4, cell + row * width * 4, gates + row * width * 16")
            s("c, d = y + row * width * 4, state + row * width * 4")
            s("runs = ld_i4(step, 0) < ld_i4(lengths, row)" if spec.int("lengths") else "runs = True")
            with s.block(f"for i in range(first, last, {lanes}):"):
                s(f"n = min({lanes}, last - i)")
                with s.block("if runs:"):
                    _cell(s)
                with s.block("elif drop != 0:"):
                    s("vstorem(c, i, n, vzero())")
                    s("vstorem(d, i, n, vzero())")
                with s.block("else:"):
                    s("vstorem(c, i, n, vloadm(a, i, n))")
                    s("vstorem(d, i, n, vloadm(b, i, n))")
    return s.text()


def _cell(s: Lines) -> None:
    """cell = sigmoid(forget + bias) cell + sigmoid(input) tanh(candidate); hidden = sigmoid(output) tanh(cell)."""
    s("kept = vmul(vsigmoid(vadd(vloadm(g, width + i, n), bias)), vloadm(b, i, n))")
    s("new = vfma(vsigmoid(vloadm(g, i, n)), vtanh(vloadm(g, 3 * width + i, n)), kept)")
    s("vstorem(d, i, n, new)")
    s("vstorem(c, i, n, vmul(vsigmoid(vloadm(g, 2 * width + i, n)), vtanh(new)))")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    size = call.type(1).size
    spec = KernelSpec.make("lstm_unit", lengths=int(bool(call.arg("sequence_lengths"))))
    return Choice("lstm_unit", spec, cost=100 + 40 * size / target.lanes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    views = [v.address for v in ins if v is not None]
    lengths, step = views[3] if choice.spec.int("lengths") else 0, views[call.n_inputs - 1]
    bias, flag, drop, width = call.opdef.loop_arguments(call)
    del flag  # it is in the specification
    size = call.type(1).size
    rows = size // max(width, 1)
    spans = -(-width // (UNIT_VECTORS * target.lanes))
    numbers: tuple[Param, ...] = (width, spans, float_bits(bias), drop)
    params = (*views[:3], lengths, step, outs[0].address, outs[1].address, *numbers)
    return [(Task(choice.spec, params, rows * spans, call.node.results[0].name, 60 * size, 32 * size),)]


RULES = (Rule("lstm_unit", ("LSTMUnit",), _choose, all_dense, _bind),)
TEMPLATES = (Template("lstm_unit", emit),)
