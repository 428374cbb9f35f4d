"""Gradients of float32 sums, products and quotients, and sums over the dimensions along which a value was repeated.

What is to be summed up is written to the workspace first, unless it is the gradient itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphc.backends.broadcast_gradient import OPERATORS, Part, Shape, parts_of
from graphc.backends.cuda.kernels.pointwise import bind_text, flat_spec
from graphc.backends.cuda.kernels.reduce import REDUCED, Reduction, dense_reduction, sum_bytes, sum_steps
from graphc.backends.cuda.rules import Rule, is_float32, require_reach
from graphc.backends.cuda.target import ALIGNMENT, CudaTarget
from graphc.ir.opdef import Call
from graphc.ir.ops.elementwise.arithmetic import aligned_at_axis
from graphc.ir.ops.elementwise.arithmetic_gradient import operand_roles
from graphc.ir.schedule import Address, Choice, Needs, Step, View


def _small(call: Call) -> Shape:
    """The shape to which SumReduceLike or ExpandGradient sums up, among the dimensions of what is summed."""
    rank, given = call.type(0).rank or 0, call.type(1).static_shape
    if call.node.op == "SumReduceLike":
        given = tuple(d for d in aligned_at_axis(call) if isinstance(d, int))
    return (1,) * (rank - len(given)) + given


def _parts(call: Call) -> tuple[int, list[Part], dict[int, Shape]]:
    """The input that has the shape of the result, the outputs, and the shapes of the inputs."""
    if call.node.op in OPERATORS:
        return operand_roles(call)[2], *parts_of(call)
    shape = call.type(0).static_shape
    axes = tuple(k for k, d in enumerate(_small(call)) if d == 1 != shape[k])
    return 0, [Part("y=x0", (0,), axes)], {0: shape}


def _reduction(call: Call, part: Part) -> Reduction | None:
    """The sum of a part that has one."""
    whole = _parts(call)[0]
    return dense_reduction(call.type(whole).static_shape, part.axes, part.divisor) if part.axes else None


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    whole, parts, _ = _parts(call)
    if not is_float32(call) or not call.type(whole).size:
        return None
    sums = [made for part in parts if (made := _reduction(call, part)) is not None]
    if any(len(made.reduced) > REDUCED for made in sums):
        return None
    first = sums[0].spec("sum", False, target) if sums else flat_spec(parts[0].text, "v" * len(parts[0].operands))
    return Choice("broadcast_gradient", first)


def _room(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _bytes(call: Call, part: Part, target: CudaTarget) -> tuple[int, int]:
    """Bytes for what a part sums up, and for the pieces of its sums."""
    whole, made = _parts(call)[0], _reduction(call, part)
    if made is None:
        return 0, 0
    return 0 if part.sums_gradient else _room(call.type(whole).nbytes), _room(sum_bytes(made, target))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    workspace = sum(sum(_bytes(call, part, target)) for part in _parts(call)[1])
    return Needs(dense=frozenset(range(call.n_inputs)), dense_out=True, workspace=workspace)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    whole, parts, full = _parts(call)
    shape = call.type(whole).static_shape
    strides, steps = tuple(prod(shape[k + 1 :]) for k in range(len(shape))), list[Step]()
    for part, out, result in zip(parts, outs, call.node.results):
        views, made = [v for i in part.operands if (v := ins[i]) is not None], _reduction(call, part)
        require_reach(*views)
        terms, pieces = _bytes(call, part, target)
        if made is None or terms:
            into = View(out.address if made is None else workspace, call.type(whole), strides)
            steps += bind_text(part.text, views, [full[i] for i in part.operands], into, result.name)
        if made is not None:
            source = workspace if terms else views[0].address
            steps += sum_steps(made, out.address, source, workspace.plus(terms), target, result.name)
        workspace = workspace.plus(terms + pieces)
    return steps


RULES = (Rule("broadcast_gradient", (*OPERATORS, "SumReduceLike", "ExpandGradient"), _choose, _needs, _bind),)
