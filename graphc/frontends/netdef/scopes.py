"""Do: a net in a workspace of its own, some of whose blobs are bound to blobs outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphc.frontends.netdef.blobs import RECURRENT
from graphc.frontends.netdef.net import ArgValue, Net, Operator
from graphc.ir import NetError


def bind_scope(op: Operator) -> Operator:
    """A Do whose nets call blobs by their outer names, as those of If do.

    ``inner_blobs[i]`` is input or output ``outer_blobs_idx[i]``; inputs are numbered before outputs, and the last of
    each, one blob that holds the workspace, has no number (``do_op.h``). Blobs that are not bound are called
    ``WORKSPACE/NAME``: another Do with the same workspace sees them. Raises ``NetError`` for bindings that do not fit.
    """
    names, scope = bindings(op), op.inputs[-1] if op.inputs else op.name
    args = {name: renamed(value, lambda n: names.get(n, f"{scope}/{n}") if n else n) for name, value in op.args.items()}
    return replace(op, args=args)


def bindings(op: Operator) -> dict[str, str]:
    """Of a Do: inner name -> outer name. Raises ``NetError`` for bindings that do not fit."""
    inner, index = op.args.get("inner_blobs", ()), op.args.get("outer_blobs_idx", ())
    scoped = op.inputs[-1:] == op.outputs[-1:]
    outer = [*op.inputs[:-1], *op.outputs[:-1]] if scoped else [*op.inputs, *op.outputs]
    if not isinstance(inner, tuple) or not isinstance(index, tuple) or len(inner) != len(index):
        raise NetError("arguments 'inner_blobs' and 'outer_blobs_idx' differ in length")
    if any(not isinstance(i, int) or not 0 <= i < len(outer) for i in index):
        raise NetError(f"argument 'outer_blobs_idx' points beyond its {len(outer)} inputs and outputs")
    return {bytes(n).decode("utf-8", "backslashreplace"): outer[i] for n, i in zip(inner, index)}


def renamed(value: ArgValue, name: Callable[[str], str]) -> ArgValue:
    """A net, or a tuple of them, with its blobs renamed, nets inside included; other values as they are."""
    if isinstance(value, tuple):
        return tuple(renamed(v, name) for v in value)
    if not isinstance(value, Net):
        return value
    return replace(
        value,
        ops=[_renamed_operator(op, name) for op in value.ops],
        external_inputs=[*map(name, value.external_inputs)],
        external_outputs=[*map(name, value.external_outputs)],
    )


def _renamed_operator(op: Operator, name: Callable[[str], str]) -> Operator:
    """Nets of recurrent operators have blobs of their own."""
    args = op.args if op.type in RECURRENT else {k: renamed(v, name) for k, v in op.args.items()}
    return replace(op, inputs=[*map(name, op.inputs)], outputs=[*map(name, op.outputs)], args=args)
