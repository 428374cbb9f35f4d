"""Outputs of RecurrentNetwork in the order of its aliases.

The operator's outputs are blobs by name: the ones that ``alias_dst`` lists, in any order, and whole states, which
``recurrent_states`` lists (Caffe2's ``recurrent_network_op.h`` makes all of them in the workspace). The operator's
record counts outputs and aliases in parallel, so the lists of aliases get the order of the outputs, and whole states
become aliases from time step 0 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.frontends.netdef.net import Operator
from graphc.frontends.netdef.renames import old_names


def order_aliases(op: Operator) -> Operator:
    """A RecurrentNetwork or its gradient with lists of aliases that go with the outputs of the network."""
    lists = [op.args.get(f"alias_{part}", ()) for part in ("src", "dst", "offset")]
    states = op.args.get("recurrent_states", ())
    if not (all(isinstance(a, tuple) for a in (*lists, states)) and len({len(a) for a in lists}) == 1):
        return op
    aliases = {dst: (src, offset) for src, dst, offset in zip(*lists)}
    known = {name: (name, 0) for name in states} | aliases
    outputs = [name for name in _network_outputs(op, known) if name in known]
    if len(outputs) != len(set(outputs)) or not set(outputs) >= aliases.keys() or outputs == list(aliases):
        return op
    sources, offsets = zip(*(known[name] for name in outputs))
    return replace(op, args={**op.args, "alias_src": sources, "alias_dst": tuple(outputs), "alias_offset": offsets})


def _network_outputs(op: Operator, known: dict[bytes, tuple[bytes, int]]) -> Sequence[bytes]:
    """The outputs of the network; for the gradient those of its inputs that follow the inputs of the network."""
    old = old_names(op)
    names = [old.get(n, n).encode() for n in (op.outputs if op.type == "RecurrentNetwork" else op.inputs)]
    if op.type == "RecurrentNetwork":
        return names
    inputs = [*op.args.get("initial_recurrent_state_ids", ()), *op.args.get("param", ()), 0]
    least = len(op.args.get("outputs_with_grads", ())) + max(inputs) + 1
    first = next((i for i, name in enumerate(names) if i >= least and name in known), len(names))
    return names[first:]
