"""Operators that run as functions of a workspace, because they have to do with more than tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import numpy as np

from graphc.caffe2.workspace.errors import EnforceError
from graphc.caffe2.workspace.values import Value, boxed, is_boxed, type_name
from graphc.frontends.netdef.net import Net, Operator
from graphc.operators import Int8Tensor


class Blobs(Protocol):
    """What host operators see of a workspace."""

    def value(self, name: str) -> Value:
        """What a blob holds; raises ``EnforceError`` for one that does not exist."""

    def put(self, name: str, value: Value, filled: bool = False) -> None:
        """Put a value into a blob, which is made if need be. filled: it comes from a file."""

    def remove(self, name: str) -> bool:
        """Remove a blob; False where there is none."""

    def names(self) -> list[str]:
        """The names of all blobs."""

    def own_names(self) -> list[str]:
        """The names of the blobs that are not those of a workspace around."""

    def scope(self, names: Mapping[str, str]) -> Any:
        """A new workspace in which some of these blobs have other names: those of ``names``."""

    @property
    def root_folder(self) -> str:
        """The folder to which paths of files are relative."""


RunNet = Callable[[Net, Any], None]
"""``run_net(net, workspace)`` runs a net that is an argument of the operator."""


class RunMemory(dict[int, Any]):
    """What operators of a created net keep from run to run, by the operator's ``id``.

    cancelled: set where the run is to end, which operators look at while they wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = threading.Event()


class HostCall:
    """A call of a host operator: its workspace, its arguments, and a way to run the nets in it.

    memory: what operators of a created net keep from run to run, by the operator's ``id``.
    """

    def __init__(self, blobs: Blobs, op: Operator, where: str, run_net: RunNet, memory: RunMemory) -> None:
        self.blobs, self.op, self.where, self.memory = blobs, op, where, memory
        self._run_net = run_net

    def run_net(self, net: Net, blobs: Blobs | None = None) -> None:
        """Run a net among the arguments on the operator's workspace, or on another one."""
        self._run_net(net, self.blobs if blobs is None else blobs)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return len(self.op.inputs)

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.op.outputs)

    def read(self, i: int) -> Value:
        """What input ``i`` holds; fails where it holds nothing."""
        if i >= len(self.op.inputs):
            self.fail(f"input {i} is missing")
        value = self.blobs.value(self.op.inputs[i])
        if value is None:
            self.fail(f"input '{self.op.inputs[i]}' is empty")
        return value

    def read_all(self) -> Iterator[Value]:
        """What all inputs hold."""
        return (self.read(i) for i in range(self.n_inputs))

    def object(self, i: int, kind: type) -> Any:
        """Input ``i``, which has to be an object of a class."""
        value = self.read(i)
        if is_boxed(value):
            value = value.item()
        if not isinstance(value, kind):
            self.fail(f"input '{self.op.inputs[i]}' is {type_name(value)}, a {kind.__name__} is needed")
        return value

    def write(self, i: int, value: Value) -> None:
        """Put a value into output ``i``, an object as an array of no axes, as plans pass it on; nothing where the
        operator has no such output."""
        if not (value is None or isinstance(value, np.ndarray | bytes | Int8Tensor)):
            value = boxed(value)
        if i < len(self.op.outputs) and self.op.outputs[i]:
            self.blobs.put(self.op.outputs[i], value)

    def arg(self, name: str, default: Any = None) -> Any:
        """An argument; bytes as text."""
        value = self.op.args.get(name, default)
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value

    def strings(self, name: str) -> list[str]:
        """An argument that is a list of texts."""
        return [s.decode("utf-8", "surrogateescape") for s in self.op.args.get(name, ())]

    def fail(self, message: str, help: str = "") -> NoReturn:
        """Raise ``EnforceError`` that names the operator."""
        raise EnforceError(f"{self.where} {self.op.type}: {message}", help)


HostFunction = Callable[[HostCall], None]

HOST_OPERATORS: dict[str, HostFunction] = {}
"""Operator type -> what runs it."""


def host_operator(*names: str) -> Callable[[HostFunction], HostFunction]:
    """A decorator: the function runs these operators."""

    def register(function: HostFunction) -> HostFunction:
        HOST_OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register
