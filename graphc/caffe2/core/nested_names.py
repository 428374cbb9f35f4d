"""Another name for what a gradient operator writes, in the nets inside it too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphc.frontends.netdef.net import Net, Operator
from graphc.ir import NamedCall

SHARING = ("If", "While", "AsyncIf")
"""Operators whose nets call blobs by the names around them; Do binds names by number."""


def renamed_inside(call: NamedCall, old: str, new: str) -> NamedCall:
    """A call that writes ``new``, with the same name for ``old`` in its nets.

    What the nets read as ``old`` before they write it is renamed where the call reads ``new``, as a loop does that goes
    on from what it is given.
    """
    if call.type not in SHARING:
        return call
    everywhere = new in call.inputs
    return replace(call, args={k: _value(v, old, new, everywhere) for k, v in call.args.items()})


def _value(value: Any, old: str, new: str, everywhere: bool) -> Any:
    if not isinstance(value, Net):
        return value
    ops, written = list[Operator](), everywhere
    for op in value.ops:
        renamed = replace(
            op,
            inputs=[new if n == old and written else n for n in op.inputs],
            outputs=[new if n == old else n for n in op.outputs],
        )
        if op.type in SHARING:
            renamed.args = {k: _value(v, old, new, written) for k, v in op.args.items()}
        written = written or old in op.outputs
        ops.append(renamed)
    return replace(value, ops=ops)
