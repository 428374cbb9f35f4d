"""The gradient of If: an If with the same condition over the gradients of the branches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.caffe2.core.nested_gradients import (
    Gradients,
    given_gradients,
    gradient_net,
    net_argument,
    net_gradients,
    operator,
    reads_and_writes,
    refuse,
    zeros,
)
from graphc.caffe2.core.remap import DEFAULT_REMAP_FUNCS, remap_operator
from graphc.frontends.netdef.schema import Message


@dataclass
class _Branch:
    """The gradient operators of a branch, and the gradients by blob; an absent branch leaves the given ones alone."""

    operators: list[Message]
    gradients: Gradients

    def makes(self, name: str) -> bool:
        """An operator of the branch writes the blob."""
        return any(name in op.output for op in self.operators)

    def keep_to_itself(self, known: Collection[str]) -> None:
        """Give what the operators write, and nobody outside the branch knows, names that nobody uses there."""
        every = {name for op in self.operators for name in _all_names(op)}
        prefix = "_in_branch/"
        while any(name.startswith(prefix) for name in every):
            prefix = f"_{prefix}"
        _, written = reads_and_writes(self.operators)
        names = {name: f"{prefix}{name}" for name in written if name not in known}
        self.operators = [remap_operator(op, "", names, DEFAULT_REMAP_FUNCS) for op in self.operators]


def _all_names(op: Message) -> Iterator[str]:
    """The names of all blobs of an operator and of the nets in it."""
    yield from (*op.input, *op.output)
    for arg in op.arg:
        for inner in arg.n.op if arg.HasField("n") else ():
            yield from _all_names(inner)


def gen_if_gradient(op: Message, g_output: Sequence[Any]) -> tuple[list[Message], list[str | None]]:
    """The gradient operators of an If, and the gradients of its inputs; raises ``EnforceError``.

    What one branch has a gradient for and the other has not gets zeros there, or the gradient that comes from behind
    the If where the branch leaves the blob alone.
    """
    given = given_gradients(op, g_output)
    then_net, else_net = net_argument(op, "then_net"), net_argument(op, "else_net")
    if then_net is None:
        refuse(op, "argument 'then_net' is missing", "give the operator a net")
    branches = [_Branch(*net_gradients(op, then_net, given, op.input)), _Branch([], dict(given))]
    if else_net is not None:
        branches[1] = _Branch(*net_gradients(op, else_net, given, op.input))
    gradients = {x: _joined(op, x, branches, given) for x in dict.fromkeys(op.input[1:])}
    found = [None, *(gradients[x] for x in op.input[1:])]
    known = {*op.input, *op.output, *filter(None, found)}
    for branch in branches:
        branch.keep_to_itself(known)
    if not any(branch.operators for branch in branches):
        return [], found
    name = f"{then_net.name}_grad"
    nets = {"then_net": gradient_net(then_net, branches[0].operators, name)}
    if else_net is not None:
        nets["else_net"] = gradient_net(else_net, branches[1].operators)
    elif branches[1].operators:
        nets["else_net"] = gradient_net(then_net, branches[1].operators, f"{name}_auto_else_zero_blobs_")
    reads, writes = zip(*(reads_and_writes(branch.operators) for branch in branches))
    inputs = dict.fromkeys(n for names in reads for n in names if n != op.input[0])
    outputs = dict.fromkeys(n for names in writes for n in names if n in known)
    return [operator(op, "If", [op.input[0], *inputs], outputs, **nets)], found


def _joined(op: Message, blob: str, branches: Sequence[_Branch], given: Gradients) -> str | None:
    """The gradient of an input under one name, with operators in the branches that bring it there."""
    names = [branch.gradients.get(blob) for branch in branches]
    made = [name is not None and branch.makes(name) for name, branch in zip(names, branches)]
    if names[0] == names[1] and made[0] == made[1]:
        return names[0]
    result = f"{blob}_grad" if f"{blob}_grad" not in given.values() else f"{blob}_before_grad"
    for branch, name, own in zip(branches, names, made):
        if name is None:
            branch.operators.append(zeros(op, blob, result))
        elif name != result or not own:
            branch.operators.append(operator(op, "Copy", [name], [result]))
    return result


def disambiguate_grad_if_op_output(grad_op: Message, idx: int, new_grad_output: str) -> None:
    """Give an output of a gradient If another name, in its nets too."""
    old = grad_op.output[idx]
    for arg in grad_op.arg:
        written = False
        for op in arg.n.op if arg.HasField("n") else ():
            op.input[:] = [new_grad_output if written and name == old else name for name in op.input]
            written = written or old in op.output
            op.output[:] = [new_grad_output if name == old else name for name in op.output]
    grad_op.output[idx] = new_grad_output
