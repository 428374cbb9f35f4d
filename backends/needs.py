"""What most rules ask of memory."""

from __future__ import annotations

from graphc.ir.opdef import Call
from graphc.ir.schedule import Choice, Needs


def nothing(call: Call, choice: Choice, target: object) -> Needs:
    """Operands and results may lie as they do."""
    return Needs()


def all_dense(call: Call, choice: Choice, target: object) -> Needs:
    """Dense operands and results."""
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True)
