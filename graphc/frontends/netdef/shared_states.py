"""Step nets of RecurrentNetwork that read a state in which one of their own operators has already put a new part.

The links of a step net are views of one array: a blob that is linked to several time steps of a state shows what an
operator of the same step writes into one of them (Caffe2's ``recurrent_network_op.h``). Values of a graph do not
change, so operators that come after the write read another blob: the old steps and the written ones, put together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.frontends.netdef.net import Net, Operator

STEP_NET = "step_net"


@dataclass(frozen=True)
class _Link:
    """A blob of the step net that shows ``window`` time steps of a state, from ``offset`` on."""

    internal: str
    external: bytes
    offset: int
    window: int

    def covers(self, part: _Link) -> bool:
        """The other link's time steps are among these, of the same state."""
        ends = part.offset + part.window <= self.offset + self.window
        return self.external == part.external and self.offset <= part.offset and ends


def share_states(op: Operator) -> Operator:
    """A RecurrentNetwork whose step net says so where it reads what it has written; links across are left alone."""
    step = op.args.get(STEP_NET)
    if op.type != "RecurrentNetwork" or not isinstance(step, Net):
        return op
    shared = _shared(step, _links(op))
    return op if shared is step else replace(op, args={**op.args, STEP_NET: shared})


def _links(op: Operator) -> list[_Link]:
    lists = [op.args.get(f"link_{part}", ()) for part in ("internal", "external", "offset")]
    windows = op.args.get("link_window", ())
    widths = windows if len(windows) else (1,) * len(lists[0])
    return [_Link(i.decode("utf-8", "backslashreplace"), e, int(o), int(w)) for i, e, o, w in zip(*lists, widths)]


def _shared(step: Net, links: list[_Link]) -> Net:
    """The step net with operators behind each write that put the new part into the wider views."""
    ops: list[Operator] = []
    names: dict[str, str] = {}
    for op in step.ops:
        ops.append(replace(op, inputs=[names.get(n, n) for n in op.inputs]))
        for part in (k for k in links if k.internal in op.outputs):
            for view in (k for k in links if k.internal not in op.outputs and k.covers(part)):
                made = f"{view.internal}/{part.internal}"
                ops += _joined(view, part, names.get(view.internal, view.internal), made)
                names[view.internal] = made
    return replace(step, ops=ops) if names else step


def _joined(view: _Link, part: _Link, source: str, made: str) -> list[Operator]:
    """The time steps of a view, of shape (steps, batch, width), before the part, the part, and those after it."""
    begin = part.offset - view.offset
    spans = {f"{made}/before": (0, begin), f"{made}/after": (begin + part.window, view.window)}
    pieces = [
        Operator("Slice", [source], [name], {"starts": (a, 0, 0), "ends": (b, -1, -1)})
        for name, (a, b) in spans.items()
        if a < b
    ]
    found = {piece.outputs[0] for piece in pieces}
    order = [n for n in (f"{made}/before", part.internal, f"{made}/after") if n in found or n == part.internal]
    if len(order) == 1:
        return [Operator("Copy", order, [made])]
    return [*pieces, Operator("Concat", order, [made, f"{made}/sizes"], {"axis": 0})]
