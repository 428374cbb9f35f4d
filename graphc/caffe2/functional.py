"""``caffe2.python.functional``: operators as functions of arrays.

``Functional.Relu(x)[0]`` runs one operator in a workspace of its own. The answer is a tuple of the outputs, which can
be asked for by name, too: ``output["output_0"]``.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.workspace.store import Workspace
from graphc.ir import lookup
from graphc.ir.opdef import OpDef


def namedtupledict(typename: str, field_names: Sequence[str], *args: Any, **kwargs: Any) -> Any:
    """A named tuple whose fields are also found by ``t["name"]``; names that Python does not allow keep that way."""
    kwargs.setdefault("rename", True)
    base: Any = collections.namedtuple(typename, field_names, *args, **kwargs)  # type: ignore[misc]
    places = {name: i for i, name in enumerate(field_names)}

    class NamedTupleDict(base):
        def __getitem__(self, key: Any) -> Any:
            return base.__getitem__(self, places[key] if isinstance(key, str) else key)

    NamedTupleDict.__name__ = typename
    return NamedTupleDict


class _Functional:
    """Every attribute is the function of an operator; raises ``VerifyError`` for an unknown one, with near names."""

    def __getattribute__(self, op_type: str) -> Callable[..., Any]:
        record = lookup(op_type)

        def run(*inputs: Any, **args: Any) -> Any:
            names, results = _input_names(record, len(inputs)), _output_names(record, args.pop("num_output", None))
            for i, k in record.enforced:
                if i < len(names) and k < len(results):
                    results[k] = names[i]
            operator = core.CreateOperator(op_type, names, results, **args)
            workspace = Workspace()
            for name, value in zip(names, inputs, strict=True):
                workspace.feed(name, value)
            workspace.run_operator(operator.SerializeToString())
            return namedtupledict("output", results)(*(workspace.fetch(name) for name in results))

        return run


def _input_names(record: OpDef, given: int) -> list[str]:
    ports = record.inputs
    least = sum(not (port.optional or port.variadic) for port in ports)
    if given < least or (given > len(ports) and not any(port.variadic for port in ports)):
        raise ValueError(f"{record.name} takes {least} to {len(ports)} inputs, {given} are given")
    return [f"input_{i}" for i in range(given)]


def _output_names(record: OpDef, wanted: int | None) -> list[str]:
    """As many as asked for, otherwise all that the operator has."""
    ports = record.outputs
    open_ended = any(port.variadic for port in ports)
    if wanted is None and open_ended:
        raise ValueError(f"{record.name} has any number of outputs: say how many, num_output=n")
    least = sum(not (port.optional or port.variadic) for port in ports)
    if wanted is not None and (wanted < least or (wanted > len(ports) and not open_ended)):
        raise ValueError(f"{record.name} has {least} to {len(ports)} outputs, num_output is {wanted}")
    return [f"output_{i}" for i in range(len(ports) if wanted is None else wanted)]


Functional: Any = _Functional()
