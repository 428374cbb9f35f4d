"""Blobs that keep their names and whose contents nobody else may overwrite."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.caffe2.memonger.nets import is_recurrent, nested_names
from graphc.frontends.netdef.schema import Message

_SHARE_STORAGE = frozenset(("Alias", "AliasWithName", "UnsafeCoalesce"))
"""Operators whose output is, in Caffe2, the storage of their input under another name."""
_KEEP_STATE = frozenset(("Accumulate", "Iter"))
"""Operators that find in their output what their last run left there."""
_RENAMED_ARGUMENTS = ("alias_dst", "link_external")
"""Arguments of a RecurrentNetwork with blob names that ``apply_assignments`` renames."""


def external_inputs(net: Message) -> set[str]:
    """Blobs that come from outside: those that an operator reads before any writes them.

    A declared input that is written first brings nothing in; some exporters declare every blob.
    """
    found: set[str] = set()
    written: set[str] = set()
    for op in net.op:
        found.update(b for b in (*op.input, *op.control_input) if b not in written)
        written.update(op.output)
    return found


def results(net: Message) -> set[str]:
    """Blobs that somebody wants after the run: the declared outputs, or, where none is declared, all that are left
    over: those whose last value no operator reads.
    """
    if net.external_output:
        return set(net.external_output)
    last_write = {b: i for i, op in enumerate(net.op) for b in op.output}
    last_read = {b: i for i, op in enumerate(net.op) for b in (*op.input, *op.control_input)}
    return {b for b, i in last_write.items() if last_read.get(b, -1) <= i}


def fixed_names(net: Message) -> set[str]:
    """Blobs that more hangs on than the operators' inputs and outputs say: those that nested nets know by name, those
    that share storage with another, and those that keep state from run to run.
    """
    return {name for op in net.op for name in _fixed(op)}


def _fixed(op: Message) -> Iterator[str]:
    if op.type in _SHARE_STORAGE:
        yield from (*op.input, *op.output)
    if op.type in _KEEP_STATE:
        yield from op.output
    yield from op.control_input
    if not is_recurrent(op):
        yield from nested_names(op)
        return
    own = {*op.input, *op.output}
    yield from nested_names(op) - own
    for arg in op.arg:
        said = {s.decode("utf-8", "backslashreplace") for s in arg.strings}
        if not arg.name.endswith(_RENAMED_ARGUMENTS):
            yield from said
        elif not (op.type == "RecurrentNetwork" and arg.name.startswith("backward_")):  # which its gradient reads
            yield from said - own
