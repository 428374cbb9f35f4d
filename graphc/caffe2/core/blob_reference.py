"""Names of blobs as objects: ``BlobReference``, names in scopes, sparse gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphc.caffe2 import scope
from graphc.caffe2.operator_types import is_operator, near_operators, operator_types


class GradientSlice(NamedTuple):
    """A sparse gradient: the rows ``indices`` of a tensor have the gradients ``values``."""

    indices: Any
    values: Any


class BlobReference:
    """A blob's name, and the net that makes it, to which ``blob.Relu(...)`` adds operators.

    Equal to a string of the same name. ``blob + "_w"`` is another blob of the same net. meta: for helpers' own use.
    """

    def __init__(self, name: Any, net: Any = None) -> None:
        self._name = name.decode("utf-8") if isinstance(name, bytes) else str(name)
        self._from_net = net
        self.meta: dict[Any, Any] = {}

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            return self._name == other.decode("utf-8")
        return isinstance(other, str | BlobReference) and self._name == str(other)

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f'BlobReference("{self._name}")'

    def __add__(self, other: str) -> BlobReference:
        if not isinstance(other, str):
            raise RuntimeError("Cannot add BlobReference to a non-string.")
        return BlobReference(self._name + other, self._from_net)

    def __radd__(self, other: str) -> BlobReference:
        if not isinstance(other, str):
            raise RuntimeError("Cannot add a non-string to BlobReference.")
        return BlobReference(other + self._name, self._from_net)

    def Net(self) -> Any:
        """The net that the blob comes from, or None."""
        return self._from_net

    def GetNameScope(self) -> str:
        """The part of the name up to its last slash, that included."""
        return self._name[: self._name.rfind(scope._NAMESCOPE_SEPARATOR) + 1]

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("_"):
            raise AttributeError(f"Attribute {op_type} not found.")
        if self._from_net is None:
            raise AttributeError(
                f"blob '{self._name}' belongs to no net, so {op_type} cannot be added to one: create the operator from "
                "a net: net.Relu(blob)"
            )
        if not is_operator(op_type):
            raise AttributeError(unknown_operator(op_type))

        def create(inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
            given = [inputs] if isinstance(inputs, BlobReference | str) else list(inputs or [])
            return getattr(self._from_net, op_type)([self, *given], *args, **kwargs)

        return create

    def __dir__(self) -> Sequence[str]:
        return sorted({*object.__dir__(self), *operator_types()})


def unknown_operator(op_type: str) -> str:
    """What to say of an attribute that is no operator."""
    return f"Method {op_type} is not a registered operator. Did you mean: [{','.join(near_operators(op_type))}]"


def ScopedName(name: str | bytes) -> str:
    """The name with the current scope before it."""
    return scope.CurrentNameScope() + (name.decode("utf-8") if isinstance(name, bytes) else name)


def ScopedBlobReference(name: str | bytes, *args: Any, **kwargs: Any) -> BlobReference:
    """A blob whose name has the current scope before it."""
    return BlobReference(ScopedName(name), *args, **kwargs)


def blob_references(blobs: Any, net: Any = None) -> list[BlobReference]:
    """Inputs or outputs of an operator as users give them: a name, a blob or a list of these.

    Names get the current scope, blobs have theirs. Raises ``TypeError``.
    """
    if isinstance(blobs, str | bytes | BlobReference):
        blobs = [blobs]
    if not isinstance(blobs, list | tuple):
        raise TypeError(f"Unknown input/output type: {blobs} of type {type(blobs)}.")
    found = []
    for i, blob in enumerate(blobs):
        if isinstance(blob, str | bytes):
            found.append(ScopedBlobReference(blob, net=net))
        elif isinstance(blob, BlobReference):
            found.append(blob)
        else:
            raise TypeError(f"I/O blob #{i} of unsupported type: {blob} of type {type(blob)}")
    return found


def GetIndexFromGradientList(g_list: Sequence[Any], name: Any) -> int | None:
    """Where a gradient stands in a list whose items are names, ``GradientSlice`` or None; None where it does not."""
    for i, g in enumerate(g_list):
        if g == name or (isinstance(g, GradientSlice) and name in (g.indices, g.values)):
            return i
    return None
