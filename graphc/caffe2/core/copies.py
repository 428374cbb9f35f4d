"""Copies between devices, where operators of a net read blobs that another device has.

graphc runs everything on the CPU, where a copy is the identity; the nets are those that Caffe2 would run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from graphc.caffe2.core.device import InferOpBlobDevices, InferOpDeviceAsBlobDevices, device_equal
from graphc.caffe2.core.net import Net
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.scope import DeviceScope
from graphc.frontends.netdef.schema import Message


class RemapEntry(NamedTuple):
    """A blob and, as text, the device to which it was copied."""

    blob: str
    device: str


def copy_func_between_devices(src: Message, dst: Message) -> Callable[..., Any] | None:
    """``function(net, input, output)`` that adds a copy; None where none is needed. Raises ``ValueError``."""
    kinds = (src.device_type, dst.device_type)
    if device_equal(src, dst) or kinds == (caffe2_pb2.CPU, caffe2_pb2.CPU):
        return None
    names = {
        (caffe2_pb2.CUDA, caffe2_pb2.CUDA): ("Copy", dst),
        (caffe2_pb2.CUDA, caffe2_pb2.CPU): ("CopyGPUToCPU", src),
        (caffe2_pb2.CPU, caffe2_pb2.CUDA): ("CopyCPUToGPU", dst),
    }
    if kinds not in names:
        raise ValueError(f"Non-supported devices: {src} and {dst}")
    operator, device = names[kinds]

    def copy(net: Net, *args: Any, **kwargs: Any) -> Any:
        with DeviceScope(device):
            return getattr(net, operator)(*args, **kwargs)

    return copy


def InjectCrossDeviceCopies(
    net: Net,
    blob_to_device: dict[str, Message] | None = None,
    blob_remap: dict[RemapEntry, str] | None = None,
    placeHolderOps: Sequence[str] | None = None,
) -> tuple[Net, dict[str, Message]]:
    """A net in which every operator reads blobs of its own device, and the device of every blob.

    blob_to_device: where blobs are; external inputs that it lacks are on the net's device. blob_remap: copies that
    exist. placeHolderOps: types of operators whose blobs all are on the operator's device. Raises ``RuntimeError`` for
    a blob that operators of different devices write.
    """
    devices = {} if blob_to_device is None else blob_to_device
    copies = {} if blob_remap is None else blob_remap
    new_net = net.Clone(f"{net.Name()}_cross_device")
    del new_net.Proto().op[:]
    inputs = list(new_net.Proto().external_input)
    new_net.Proto().external_input.extend(name for key, name in copies.items() if key.blob in inputs)
    for op in list(net.Proto().op):
        placed = InferOpDeviceAsBlobDevices if op.type in (placeHolderOps or ()) else InferOpBlobDevices
        wanted, made = placed(op)
        names = {
            blob: _on_device(net, new_net, blob, device, devices, copies) for device, blob in zip(wanted, op.input)
        }
        new_net.extend_ops([_moved(op, names, made, devices)])
    return new_net, devices


def _on_device(
    net: Net, new_net: Net, blob: str, device: Message, devices: dict[str, Message], copies: dict[RemapEntry, str]
) -> str:
    """What a blob is called on a device; a copy is added where there is none."""
    if blob not in devices:
        if not net.is_external_input(blob):
            raise AttributeError(f"No device information found for blob {blob}.")
        devices[blob] = net.Proto().device_option
    if device_equal(devices[blob], device):
        return blob
    key = RemapEntry(blob, str(device))
    if key not in copies:
        cuda = device.device_type == caffe2_pb2.CUDA
        copies[key] = f"{blob}_cuda_{device.device_id}" if cuda else f"{blob}_cpu"
        copy = copy_func_between_devices(devices[blob], device)
        if copy is not None:
            copy(new_net, blob, copies[key])
        devices[copies[key]] = device
    return copies[key]


def _moved(op: Message, names: Mapping[str, str], made: Sequence[Message], devices: dict[str, Message]) -> Message:
    """A copy of an operator that reads and, in place, writes the blobs of its device."""
    moved = caffe2_pb2.OperatorDef()
    moved.CopyFrom(op)
    moved.input[:] = [names[blob] for blob in op.input]
    moved.output[:] = [names.get(blob, blob) for blob in op.output]
    for blob, device in zip(op.output, made):
        if blob in devices and blob not in op.input and not device_equal(devices[blob], device):
            raise RuntimeError(f"In-place blob: {blob} is not supported between operators with different devices: {op}")
    devices.update(zip(moved.output, made))
    return moved


def InjectDeviceCopiesAmongNets(
    nets: Sequence[Net], blob_to_device_init: dict[str, Message] | None = None
) -> tuple[list[Net], dict[str, Message]]:
    """``InjectCrossDeviceCopies`` of nets that run one after another, and the device of every blob."""
    devices = blob_to_device_init if blob_to_device_init is not None else {}
    copies: dict[RemapEntry, str] = {}
    return [InjectCrossDeviceCopies(net, devices, copies)[0] for net in nets], devices


def InjectDeviceCopiesAmongNetsWithoutB2D(
    nets: Sequence[Net], blob_to_device_init: dict[str, Message] | None = None
) -> list[Net]:
    """The nets of ``InjectDeviceCopiesAmongNets``."""
    return InjectDeviceCopiesAmongNets(nets, blob_to_device_init)[0]
