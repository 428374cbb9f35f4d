"""Gradients of float32 sums, products and quotients: pointwise kernels, and sums where an operand was broadcast.

What is to be summed up is written to the workspace first, unless it is the gradient itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.pointwise import bind_text, make_spec
from graphc.backends.cpu.kernels.reduce import Extent, reduction_spec, reduction_task, serves
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.ops.elementwise.arithmetic_gradient import aligned_operands, operand_roles
from graphc.ir.schedule import Address, Choice, Needs, Step, Task, View
from graphc.ir.types import DType

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """An output: ``text`` of the inputs ``operands``, summed over ``axes`` and divided by ``divisor``.

    Where the text is the gradient alone, ``sums_gradient``, it is summed from where it is.
    """

    text: str
    operands: tuple[int, ...]
    axes: tuple[int, ...]
    divisor: float = 1.0

    @property
    def sums_gradient(self) -> bool:
        """Nothing has to be computed before the sum."""
        return len(self.operands) == 1


def _parts(call: Call) -> tuple[list[Part], dict[int, Shape]]:
    """The outputs dA and dB; the shapes of the inputs among the result's dimensions."""
    a, b, g = operand_roles(call)
    shape = call.type(g).static_shape
    small = [tuple(d for d in s if isinstance(d, int)) for s in aligned_operands(call)]
    full = {i: (1,) * (len(shape) - len(s)) + s for i, s in zip((a, b), small)}
    axes = [tuple(k for k, d in enumerate(full[i]) if d == 1 != shape[k]) for i in (a, b)]
    full |= {i: shape for i in range(call.n_inputs) if i not in (a, b)}
    if call.node.op == "DivGradient":
        c = a if call.n_inputs == 3 else 3
        full[c] = shape
        down = Part("t0=mul(x0,x1);t1=div(t0,x2);y=neg(t1)", (g, c, b), axes[1])
        return [Part("y=div(x0,x1)", (g, b), axes[0]), down], full
    if call.node.op == "MulGradient":
        return [Part("y=mul(x0,x1)", (g, b), axes[0]), Part("y=mul(x0,x1)", (g, a), axes[1])], full
    minus = call.node.op == "SubGradient"
    sums = Part("y=neg(x0)" if minus and not axes[1] else "y=x0", (g,), axes[1], -1.0 if minus else 1.0)
    return [Part("y=x0", (g,), axes[0]), sums], full


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    types = [call.type(i) for i in range(call.n_inputs)]
    g = types[operand_roles(call)[2]]
    if any(t.dtype is not DType.FLOAT or t.layout.block > 1 for t in types) or g.size == 0:
        return None
    parts, _ = _parts(call)
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
    summed = sum(bool(p.axes) and not p.sums_gradient for p in _parts(call)[0])
    return Needs(dense=frozenset(range(call.n_inputs)), dense_out=True, workspace=summed * _room(size))


def _room(size: int) -> int:
    return -(-size // 64) * 64


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    g = call.type(operand_roles(call)[2])
    shape, (parts, full) = g.static_shape, _parts(call)
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


OPERATORS = ("AddGradient", "SubGradient", "MulGradient", "DivGradient")
RULES = (Rule("broadcast_gradient", OPERATORS, _choose, _needs, _bind),)
