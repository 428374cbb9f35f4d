"""Which external inputs of a net are given at run time and which are weights."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field

from graphc.frontends.netdef.blobs import free_blobs, operator_reads, written_blobs
from graphc.frontends.netdef.fills import is_dummy
from graphc.frontends.netdef.net import Net
from graphc.frontends.netdef.wiring import produced_later
from graphc.ir import NetError

_WEIGHT_SLOTS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "FC": 1,
    "FCTransposed": 1,
    "FbFCPacked": 1,
    "SpatialBN": 1,
    "InstanceNorm": 1,
    "GroupNorm": 1,
    "PRelu": 1,
    "AffineChannel": 1,
    "Int8Conv": 1,
    "Int8ConvRelu": 1,
    "Int8FC": 1,
    "ConvRelu": 1,
}
"""Operators and the first input that is a weight in every saved net."""


@dataclass
class InputChoice:
    """Names of the run-time inputs in the order of ``external_input``, and in words why, where it needs saying."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose_inputs(predict: Net, init: Net | None, named: Collection[str] = ()) -> InputChoice:
    """Tell inputs from weights.

    A blob that the net reads before writing it is an input if the caller names it, if the init net does not fill it,
    or if its fill is the placeholder that exporters write for an input (one zero) and it stands before the first weight
    in ``external_input`` or is the first operand of the operator that reads it first. Everything else is a weight; but
    where that leaves no input at all, the first external input is one if it is the first operand of the operator that
    reads it first, because exporters from ONNX save the example input as if it were a weight.

    Raises ``NetError`` for a name that the net does not read, and, where an init net is given, for blobs that should
    have been in it: those that the caller does not name while naming others, or that feed the weight slots of
    convolutions and the like. It lists all of them.
    """
    read = _outside(predict, named)
    _check_named(predict, named, read)
    filled = set(written_blobs(init)) if init else set()
    dummies = {op.outputs[0] for op in init.ops if is_dummy(op)} if init else set()
    choice = InputChoice()
    weight_seen = False
    for name in read:
        placeholder = name in dummies and (not weight_seen or _is_data(predict, name))
        if name in named or name not in filled or placeholder:
            choice.names.append(name)
            choice.notes += _notes(predict, name, name in filled, name in named)
        else:
            weight_seen = True
    if not choice.names and read and read[0] in predict.external_inputs and _is_data(predict, read[0]):
        choice.names.append(read[0])
        choice.notes.append(f"'{read[0]}' is an input, though the init net fills it: the net has no other")
    if init is not None:
        unread = [n for n in predict.external_inputs if n not in read and n not in filled]
        choice.notes += [f"external input '{n}' is never read" for n in dict.fromkeys(unread)]
        _check_missing(predict, [n for n in choice.names if n not in filled and n not in named], bool(named), filled)
    return choice


def _outside(net: Net, named: Collection[str]) -> list[str]:
    """External inputs that are read, handed through or named by the caller, then undeclared blobs that are read."""
    read = dict.fromkeys(free_blobs(net))
    used = [n for n in net.external_inputs if n in read or n in net.external_outputs or n in named]
    return list(dict.fromkeys([*used, *(n for n in read if n)]))


def _check_named(net: Net, named: Collection[str], read: list[str]) -> None:
    for name in named:
        if name not in read:
            near = difflib.get_close_matches(name, read, 3)
            help = f"near names: {', '.join(near)}" if near else f"it reads: {', '.join(read[:10])}"
            raise NetError(f"net '{net.name}' does not read the input '{name}'", help)


def _is_data(net: Net, name: str) -> bool:
    """The first operator that reads the blob reads it as its first operand."""
    first = next((op for op in net.ops if name in operator_reads(op)), None)
    return first is not None and bool(first.inputs) and first.inputs[0] == name


def _notes(net: Net, name: str, filled: bool, named: bool) -> list[str]:
    if filled:
        why = "named by the caller" if named else "its fill is a placeholder of one element"
        return [f"'{name}' is an input, though the init net fills it: {why}"]
    later = None if name in net.external_inputs else produced_later(net, name)
    if later is not None:
        return [f"'{name}' is an input: it is read before op #{later} {net.ops[later].type} writes it"]
    return []


def _check_missing(net: Net, names: list[str], strict: bool, filled: set[str]) -> None:
    missing = names if strict else [n for n in names if _feeds_weight(net, n)]
    if not missing:
        return
    has = f"it fills {len(filled)} blobs, e.g. {', '.join(sorted(filled)[:3])}" if filled else "it fills none"
    raise NetError(
        f"the init net has no weights for {len(missing)} blobs of net '{net.name}': {', '.join(missing)}",
        f"{has}; pass the init net saved with this net, or name run-time inputs with their types",
    )


def _feeds_weight(net: Net, name: str) -> bool:
    for op in net.ops:
        slot = _WEIGHT_SLOTS.get(op.type)
        if slot is not None and name in op.inputs[slot:]:
            return True
    return False
