"""What nodes of a graph hold: tensors by name, operators by type, and notes on both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


class NeuralNetData:
    """A tensor."""

    def __init__(self, name: str) -> None:
        self._name = str(name)

    def getName(self) -> str:
        """The blob's name."""
        return self._name

    name = property(getName)


class Annotation:
    """Notes on a node: a device, an ``OperatorDef``, and for distributed lists key, lengths and levels."""

    def __init__(self) -> None:
        self._device, self._device_type = "", 0
        self._device_option: Message | None = None
        self._operator_def: Message | None = None
        self._key_node: Any = None
        self._length_node: Any = None
        self._levels: list[str] = []

    def setDevice(self, device: str) -> None:
        """Note a device by name."""
        self._device = device

    def getDevice(self) -> str:
        """The device's name."""
        return self._device

    def setDeviceType(self, device_type: int) -> None:
        """Note a type of device."""
        self._device_type = device_type

    def getDeviceType(self) -> int:
        """The type of device."""
        return self._device_type

    def setKeyNode(self, node: Any) -> None:
        """Note the node that says on which device what is."""
        self._key_node = node

    def getKeyNode(self) -> Any:
        """That node; None where there is none."""
        return self._key_node

    def setLengthNode(self, node: Any) -> None:
        """Note the node that has the lengths."""
        self._length_node = node

    def getLengthNode(self) -> Any:
        """That node; None where there is none."""
        return self._length_node

    def setComponentLevels(self, levels: Sequence[str]) -> None:
        """Note the names of the levels."""
        self._levels = list(levels)

    def getComponentLevels(self) -> list[str]:
        """The names of the levels."""
        return self._levels

    def hasDeviceOption(self) -> bool:
        """A device option is noted."""
        return self._device_option is not None

    @property
    def device_option(self) -> Message:
        """The ``DeviceOption``, an empty one where none is noted."""
        return caffe2_pb2.DeviceOption() if self._device_option is None else self._device_option

    @device_option.setter
    def device_option(self, option: Message) -> None:
        self._device_option = option

    @property
    def operator_def(self) -> Message:
        """The ``OperatorDef``: everything but inputs and outputs, which the graph says."""
        if self._operator_def is None:
            self._operator_def = caffe2_pb2.OperatorDef()
        return self._operator_def

    @operator_def.setter
    def operator_def(self, op: Message) -> None:
        self._operator_def = op

    getOperatorDef = property(lambda self: lambda: self.operator_def)


class NeuralNetOperator:
    """An operator."""

    def __init__(self, name: str) -> None:
        self._name = str(name)
        self.annotation = Annotation()
        self.annotation.operator_def = caffe2_pb2.OperatorDef(type=self._name)

    def getName(self) -> str:
        """The operator's type."""
        return self._name

    name = property(getName)


def operator_of(op: Message) -> NeuralNetOperator:
    """The operator of an ``OperatorDef``, which is copied."""
    value = NeuralNetOperator(op.type)
    value.annotation.operator_def = caffe2_pb2.OperatorDef.FromString(op.SerializeToString())
    if op.HasField("device_option"):
        value.annotation.device_option = value.annotation.operator_def.device_option
        value.annotation.setDeviceType(op.device_option.device_type)
    return value
