"""``IR``: operators with the versions of their blobs, and the backward pass through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from graphc.caffe2.core.blob_reference import BlobReference, GradientSlice
from graphc.caffe2.core.gradient_rules import gradient_names, gradient_rule, messages, plain_operators
from graphc.caffe2.core.nested_names import renamed_inside
from graphc.caffe2.workspace.errors import EnforceError, enforced
from graphc.frontends.netdef.gradients import ONLY_SUM_MARK, SUM_MARK, gradient_operators
from graphc.frontends.netdef.schema import Message
from graphc.ir.backward_pass import BackwardPass
from graphc.ir.gradient import Gradient


class OrphanError(EnforceError, ValueError):
    """A StopGradient whose output nobody reads."""


class OpSSA(NamedTuple):
    """An operator and the versions of the blobs that it reads and writes, by name."""

    op: Message
    in_versions: dict[str, int]
    out_versions: dict[str, int]


class IR:
    """The operators of a net with the versions of their blobs.

    ssa: one ``OpSSA`` an operator. frontier: the last version of each blob, 0 where it is first read or written.
    input_usages: blob -> version -> positions of the operators that read it. Raises ``OrphanError``.
    """

    AUTOGEN_GRAD_SUFFIX = "_autogen_grad"
    IS_AUTO_GEN_SUM_OPS_TAG = SUM_MARK.partition(":")[0]
    ONLY_KEEP_IS_AUTO_GEN_SUM_OPS_TAG = ONLY_SUM_MARK.partition(":")[0]

    def __init__(self, operators: Iterable[Message]) -> None:
        self.ssa: list[OpSSA] = []
        self.frontier: dict[str, int] = {}
        self.input_usages: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        operators = list(operators)
        for op in operators:
            self.Play(op)
        self.SanityCheck(operators)

    def SanityCheck(self, operators: Iterable[Message]) -> None:
        """Raise ``OrphanError``, a ``ValueError``, for a StopGradient whose output none of the operators reads."""
        for op in operators:
            if op.type == "StopGradient" and op.output[0] not in self.input_usages:
                raise OrphanError(
                    f"StopGradient's output '{op.output[0]}' is orphan: no operator reads it, so that it stops nothing",
                    f"let it write '{op.input[0]}' in place, or let the operators behind it read '{op.output[0]}'",
                )

    def Play(self, op: Message) -> None:
        """Append an operator."""
        for name in op.input:
            self.input_usages[name][self.frontier.setdefault(name, 0)].append(len(self.ssa))
        read = {name: self.frontier[name] for name in op.input}
        for name in op.output:
            self.frontier[name] = self.frontier.get(name, -1) + 1
        self.ssa.append(OpSSA(op, read, {name: self.frontier[name] for name in op.output}))

    def GetBackwardPass(self, ys: Any) -> tuple[list[Message], dict[BlobReference, Any]]:
        """The operators that compute the gradients of ``ys``, and the gradient of every blob that has one.

        ys: blobs whose gradient is one, or a dict from blob to its gradient, None for one. Raises ``TypeError`` for
        anything else, ``RuntimeError`` where there is no gradient.
        """
        if not isinstance(ys, list | dict):
            raise TypeError("ys should either be a list or a dict.")
        given = ys if isinstance(ys, Mapping) else dict.fromkeys(ys)
        losses = {str(y): gradient_names(g) for y, g in given.items()}
        made, found = backward_pass((entry.op for entry in self.ssa), losses, False)
        return made, {BlobReference(blob): _reference(g) for blob, g in found.gradients.items()}


def backward_pass(
    operators: Iterable[Message], losses: Mapping[str, Gradient], adds_given: bool
) -> tuple[list[Message], BackwardPass]:
    """Gradient operators, and what else ``graphc.ir.differentiate`` says; raises ``EnforceError``."""
    with enforced():
        made, found = gradient_operators(plain_operators(operators), losses, gradient_rule, renamed_inside, adds_given)
    return messages(made), found


def _reference(gradient: str | tuple[str, str]) -> Any:
    if isinstance(gradient, tuple):
        return GradientSlice(*map(BlobReference, gradient))
    return BlobReference(gradient)
