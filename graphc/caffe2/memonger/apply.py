"""Rename the blobs of a net, step nets of recurrent operators included."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.caffe2.memonger.nets import Net, is_recurrent, is_text_net, message_of
from graphc.frontends.netdef import parse_text, to_text
from graphc.frontends.netdef.schema import Message


def apply_assignments(net: Net, blob_assignments: Mapping[str, str]) -> None:
    """Replace names among inputs and outputs of the net's operators, in place.

    The net's own ``external_input`` and ``external_output`` stay as they are.
    """

    def canonical_name(blob: str) -> str:
        return blob_assignments.get(blob, blob)

    for op in message_of(net).op:
        if is_recurrent(op):
            apply_recurrent_blob_assignments(op, blob_assignments, canonical_name)
        op.input[:] = [canonical_name(b) for b in op.input]
        op.output[:] = [canonical_name(b) for b in op.output]


def apply_recurrent_blob_assignments(
    op: Message, blob_assignments: Mapping[str, str], canonical_name: Callable[[str], str]
) -> None:
    """Rename inside a RecurrentNetwork operator, in place; its own inputs and outputs are left to the caller.

    The blobs of its step nets and the outer blobs that ``alias_dst`` and ``link_external`` name get their new names.
    For each renamed input and output an argument ``<blob>.rename`` tells the new name.
    """
    for arg in op.arg:
        if arg.name.endswith(("alias_dst", "link_external")):
            arg.strings[:] = [canonical_name(s.decode()).encode() for s in arg.strings]
        elif arg.name.endswith("step_net"):
            _rename_step_net(arg, blob_assignments, canonical_name)
    own = {*op.input, *op.output}
    for blob, renamed in blob_assignments.items():
        if blob in own:
            arg = op.arg.add()
            arg.name, arg.s = f"{blob}.rename", renamed.encode()


def _rename_step_net(arg: Message, blob_assignments: Mapping[str, str], canonical_name: Callable[[str], str]) -> None:
    net = parse_text(arg.s.decode()) if is_text_net(arg) else arg.n
    apply_assignments(net, blob_assignments)
    net.external_input[:] = [canonical_name(b) for b in net.external_input]
    if is_text_net(arg):
        arg.s = to_text(net).encode()
