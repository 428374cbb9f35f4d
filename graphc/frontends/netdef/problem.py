"""Problem: one thing that stops a net from being imported."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from graphc.frontends.netdef.net import Net


@dataclass(frozen=True)
class Problem:
    """One thing that stops a net from being imported.

    kind: ``operator`` (graphc has none of the type), ``argument``, ``arity``, ``in place``, ``weight`` or ``wiring``.
    net, index: the operator's place; index -1 for the net as a whole. subject: what is wrong: an operator type, an
    argument, a blob.
    """

    kind: str
    net: str
    index: int
    op_type: str
    op_name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    subject: str
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        """E.g. ``net 'n' op #3 Conv 'c1' (x, w -> y): argument 'kernel' is ...; help: ...``."""
        if self.index < 0:
            where = f"net '{self.net}'"
        else:
            name = f" '{self.op_name}'" if self.op_name else ""
            blobs = f"{some(self.inputs)} -> {some(self.outputs)}"
            where = f"net '{self.net}' op #{self.index} {self.op_type}{name} ({blobs})"
        return f"{where}: {self.reason}" + (f"; help: {self.remedy}" if self.remedy else "")


def some(names: Sequence[str]) -> str:
    """The first names of a list."""
    return ", ".join(names[:6]) + (f", ... {len(names)} in all" if len(names) > 6 else "")


def problem(kind: str, net: Net, index: int, subject: str, reason: str, remedy: str = "") -> Problem:
    """A problem of operator ``index`` of ``net``."""
    op = net.ops[index]
    return Problem(
        kind, net.name, index, op.type, op.name, tuple(op.inputs), tuple(op.outputs), subject, reason, remedy
    )


def near(name: str, pool: Collection[str], otherwise: str) -> str:
    """Remedy that lists the names of ``pool`` that are like ``name``; ``otherwise`` where there are none."""
    found = difflib.get_close_matches(name, pool, 3) if len(pool) <= MAX_POOL else []
    return f"near names: {', '.join(found)}" if found else otherwise


MAX_POOL = 5000
"""Among more names than this the search for near ones takes too long."""
