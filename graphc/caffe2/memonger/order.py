"""In which order the operators of a net have to run, as Caffe2's ``dag`` nets see it.

An operator waits for the last writer of each blob that it reads or writes, and, where it writes, for all that read the
blob since. Every order that keeps this gives each operator the same inputs as the order of the net does.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.caffe2.memonger.nets import nested_names
from graphc.frontends.netdef.schema import Message
from graphc.ir import Trait, registry


def dependencies(ops: Sequence[Message]) -> list[dict[int, set[str]]]:
    """Per operator the earlier operators that it waits for directly, and the blobs on whose account."""
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    found: list[dict[int, set[str]]] = []
    for i, op in enumerate(ops):
        waits: dict[int, set[str]] = {}
        reads, writes = _accesses(op)
        for blob in reads | writes:
            if blob in writer:
                waits.setdefault(writer[blob], set()).add(blob)
        for blob in reads:
            readers.setdefault(blob, []).append(i)
        for blob in writes:
            for reader in readers.pop(blob, ()):
                waits.setdefault(reader, set()).add(blob)
            writer[blob] = i
        waits.pop(i, None)
        found.append(waits)
    return found


def _accesses(op: Message) -> tuple[set[str], set[str]]:
    """Blobs that the operator reads and writes; nested nets may do both with every name in them."""
    nested = nested_names(op)
    return {*op.input, *op.control_input, *nested}, {*op.output, *nested}


def ancestors(ops: Sequence[Message]) -> list[int]:
    """Per operator the set of all operators that have run before it in every order, as a mask: bit i is operator i."""
    masks: list[int] = []
    for waits in dependencies(ops):
        mask = 0
        for parent in waits:
            mask |= masks[parent] | 1 << parent
        masks.append(mask)
    return masks


def keeps_its_turn(op: Message) -> bool:
    """The operator has an effect or draws random numbers: among its like, it runs in the order of the net."""
    record = registry().get(op.type)
    return record is not None and bool(record.traits & (Trait.EFFECT | Trait.RANDOM))
