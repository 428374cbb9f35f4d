"""``OperatorDef`` messages from Python values."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence, Set
from typing import Any

from graphc.caffe2 import scope
from graphc.caffe2.arguments import MakeArgument
from graphc.caffe2.core.blob_reference import blob_references
from graphc.caffe2.lazy import TriggerLazyImport
from graphc.caffe2.operator_types import is_operator, operator_types
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.utils import debug_enabled
from graphc.caffe2.workspace.immediate import IsImmediate, RunOperatorImmediate
from graphc.frontends.netdef.schema import Message


class OperatorNames(Set[str]):
    """The names of all operators, looked up when somebody asks."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and is_operator(name)

    def __iter__(self) -> Iterator[str]:
        return iter(operator_types())

    def __len__(self) -> int:
        return len(operator_types())


_REGISTERED_OPERATORS = OperatorNames()


def IsOperator(op_type: str) -> bool:
    """A net may name this operator."""
    return is_operator(op_type)


def IsOperatorWithEngine(op_type: str, engine: str) -> bool:
    """The operator has an implementation of its own for an engine."""
    return is_operator(op_type, engine)


def RefreshRegisteredOperators(trigger_lazy: bool = True) -> None:
    """Do what ``lazy`` has put off; operators themselves are looked up whenever one is named."""
    if trigger_lazy:
        TriggerLazyImport()


def CreateOperator(
    operator_type: str,
    inputs: Any,
    outputs: Any,
    name: str = "",
    control_input: Any = None,
    device_option: Message | None = None,
    arg: Sequence[Message] | None = None,
    engine: str | None = None,
    debug_info: str | None = None,
    **kwargs: Any,
) -> Message:
    """An ``OperatorDef``.

    inputs, outputs, control_input: a name, a blob or a list; names get the name scope. device_option: that of the
    device scope unless given. arg: ``Argument`` messages; kwargs: arguments by ``MakeArgument``, None left out, but
    ``random_seed``, which the device option holds. In immediate mode the operator runs at once.
    """
    operator = caffe2_pb2.OperatorDef()
    if debug_enabled():
        operator.debug_info = "".join(traceback.format_stack()[:-1])
    if debug_info is not None:
        operator.debug_info = debug_info
    operator.type, operator.name = operator_type, name
    operator.input.extend(map(str, blob_references(inputs)))
    operator.output.extend(map(str, blob_references(outputs)))
    if control_input:
        operator.control_input.extend(map(str, blob_references(control_input)))
    device = device_option if device_option is not None else scope.CurrentDeviceScope()
    if device is not None:
        operator.device_option.CopyFrom(device)
    if engine is not None:
        operator.engine = engine
    if "random_seed" in kwargs:
        operator.device_option.random_seed = kwargs.pop("random_seed")
    operator.arg.extend(arg or ())
    operator.arg.extend(MakeArgument(key, value) for key, value in kwargs.items() if value is not None)
    if IsImmediate():
        RunOperatorImmediate(operator)
    return operator
