"""Operators of the user's own: ``register_operator``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends.loop_source import loop_source
from graphc.backends.vocabulary import check_source
from graphc.ir import Arg, Attr, Call, GraphcError, OpDef, TensorType, Trait, op, registry
from graphc.ir.builder import attr_of
from graphc.ir.opdef import CUSTOM, Infer, withdraw

Function = Callable[..., Any]

_KINDS = {int: "int", float: "float", bytes: "string"}


def register_operator(
    name: str,
    function: Function,
    *,
    inputs: str,
    outputs: str,
    args: Mapping[str, Any] | Sequence[Arg] = (),
    infer: Infer | None = None,
    gradient: str | Function | None = None,
    host: bool = False,
    **fields: Any,
) -> OpDef:
    """Make a function an operator that nets use by name, from now on in this process.

    function: a loop that is compiled, ``function(*inputs, *outputs, *arguments)``, in plain Python or under Numba's
    ``njit``; its outputs are zeros of the inferred types. With ``host`` any Python function
    ``function(*inputs, *arguments)`` that returns its output, or a tuple of them; it is called between the native parts
    of a plan. inputs, outputs: port names, ``"X W b?"``. args: default by name, or records. infer: types of the outputs
    (default: that of the first input for each). gradient: the operators that compute it, as ``ir/gradient.py`` has it:
    ``"ShiftGradient: GO0 -> GI0"``. fields: what else a record has: ``doc``, ``errors``, ``sizes``, ``inplace``.

    A plan holds the operator's name, not its code: a process that loads it registers the operator first. Registering a
    name again replaces the operator; Caffe2's own cannot be replaced. Raises ``GraphcError``.
    """
    known = registry().get(name)
    if known is not None and known.family != CUSTOM:
        raise GraphcError(f"there is an operator '{name}' already ({known.family})", "choose another name")
    arguments = tuple(args) if not isinstance(args, Mapping) else tuple(_argument(name, *item) for item in args.items())
    plain = getattr(function, "py_func", function)
    if host:
        fields |= {"reference": _host_reference(plain), "traits": fields.get("traits", Trait.NONE) | Trait.HOST}
    else:
        fields["loop"] = plain
    withdraw(name)
    record = op(
        name,
        infer or _same_types,
        inputs=inputs,
        outputs=outputs,
        args=arguments,
        gradient=gradient,
        family=CUSTOM,
        **fields,
    )
    try:
        _check(record, plain)
    except GraphcError:
        withdraw(name)
        raise
    return record


def _argument(operator: str, name: str, default: Any) -> Arg:
    """The record of an argument whose kind is that of its default."""
    try:
        value: Attr = attr_of(default)
        first = value[0] if isinstance(value, tuple) else value
        return Arg(name, _KINDS[type(first)] + "s" * isinstance(value, tuple), value)
    except (TypeError, IndexError, KeyError):
        raise GraphcError(
            f"argument '{name}' of {operator} has the default {default!r}, which tells no kind",
            f"give a number, a text or a tuple of them, or graphc.ir.Arg('{name}', 'ints')",
        ) from None


def _same_types(call: Call) -> list[TensorType]:
    """Every output has the type of the first input."""
    return [call.type(0)] * call.n_outputs


def _host_reference(function: Function) -> Function:
    def reference(call: Call, *arrays: np.ndarray | None) -> list[np.ndarray]:
        made = function(*arrays, *(call.arg(a.name) for a in call.opdef.args))
        return [np.asarray(a) for a in (made if isinstance(made, (tuple, list)) else (made,))]

    return reference


def _check(record: OpDef, function: Function) -> None:
    """Raise ``GraphcError`` for a loop whose parameters are not the record's, or whose source cannot be found."""
    if record.loop is None:
        return
    try:
        check_source(record.name, loop_source(record), ("np", "math"))
    except ValueError as error:
        raise GraphcError(
            f"the function of {record.name} cannot be compiled: {error}",
            "keep to loops over arrays and numbers (docs/adding-an-operator.md), or register it with host=True",
        ) from None
    ports = [p.name for p in (*record.inputs, *record.outputs)]
    wanted = [*ports, *(a.name for a in record.args)]
    given = list(inspect.signature(function).parameters)
    if record.scratch is None and len(given) != len(wanted):
        raise GraphcError(
            f"the function of {record.name} takes {len(given)} arguments ({', '.join(given)})",
            f"it has to take {len(wanted)}: its inputs, outputs and arguments {', '.join(wanted)}",
        )
