"""Gradients of float32 sums, products and quotients: pointwise kernels, and sums where an operand was broadcast.

What is to be summed up is written to the workspace first, unless it is the gradient itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.backends.broadcast_gradient import OPERATORS, parts_of
from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.pointwise import bind_text, make_spec
from graphc.backends.cpu.kernels.reduce import Extent, reduction_spec, reduction_task, serves
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.ops.elementwise.arithmetic_gradient import operand_roles
from graphc.ir.schedule import Address, Choice, Needs, Step, Task, View
from graphc.ir.types import DType


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    types = [call.type(i) for i in range(call.n_inputs)]
    g = types[operand_roles(call)[2]]
    if any(t.dtype is not DType.FLOAT or t.layout.block > 1 for t in types) or g.size == 0:
        return None
    parts, _ = parts_of(call)
    shape = g.static_shape
    if not all(serves(shape, p.axes) for p in parts):
        return None
    first = parts[0]
    spec = (
        reduction_spec(shape, first.axes, "sum")
        if first.axes
        else make_spec(first.text, "v" * len(first.operands), False)
    )
    return Choice("broadcast_gradient", spec, {}, 1000 + costs.stream_ns(20 * g.size))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    size = call.type(operand_roles(call)[2]).nbytes
    summed = sum(bool(p.axes) and not p.sums_gradient for p in parts_of(call)[0])
    return Needs(dense=frozenset(range(call.n_inputs)), dense_out=True, workspace=summed * _room(size))


def _room(size: int) -> int:
    return -(-size // 64) * 64


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    g = call.type(operand_roles(call)[2])
    shape, (parts, full) = g.static_shape, parts_of(call)
    strides = tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))
    first: list[Task] = []
    then: list[Task] = []
    for part, out, result in zip(parts, outs, call.node.results):
        views = [v for i in part.operands if (v := ins[i]) is not None]
        shapes, source = [full[i] for i in part.operands], views[0].address
        if not part.axes:
            whole = View(out.address, g, strides)
            first += _tasks(bind_text(part.text, views, shapes, whole, result.name, target, g.size))
            continue
        if not part.sums_gradient and g.size:  # without elements there is no workspace, and nothing to read
            made = View(workspace, g, strides)
            first += _tasks(bind_text(part.text, views, shapes, made, result.name, target, g.size))
            source, workspace = workspace, workspace.plus(_room(g.nbytes))
        spec = reduction_spec(shape, part.axes, "sum")
        extent = Extent.of(shape, part.axes)
        then.append(reduction_task(spec, source, out.address, extent, part.divisor, result.name))
    then = [task for task in then if task.units]
    return [tuple(tasks) for tasks in (first, then) if tasks]


def _tasks(steps: Sequence[Step]) -> list[Task]:
    return [task for step in steps for task in step]


RULES = (Rule("broadcast_gradient", OPERATORS, _choose, _needs, _bind),)
