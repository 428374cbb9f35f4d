"""Device options. graphc runs everything on the CPU; a device is kept in the net and changes no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

CPU_TYPES = (caffe2_pb2.CPU, caffe2_pb2.MKLDNN, caffe2_pb2.IDEEP)
"""Device types whose memory is the processor's."""


def IsGPUDeviceType(device_type: int) -> bool:
    """The type is that of a GPU."""
    return device_type in (caffe2_pb2.CUDA, caffe2_pb2.HIP)


def DeviceOption(
    device_type: int,
    device_id: int = 0,
    random_seed: int | None = None,
    node_name: str | None = None,
    numa_node_id: int | None = None,
    extra_info: Sequence[str] | None = None,
) -> Message:
    """A ``DeviceOption`` message. ``random_seed`` makes operators draw the numbers that Caffe2 draws with it."""
    option = caffe2_pb2.DeviceOption()
    option.device_type, option.device_id = device_type, device_id
    if node_name is not None:
        option.node_name = node_name
    if random_seed is not None:
        option.random_seed = random_seed
    if numa_node_id is not None:
        if device_type != caffe2_pb2.CPU:
            raise AssertionError("a NUMA node is for the CPU only")
        option.numa_node_id = numa_node_id
    if extra_info is not None:
        option.extra_info.extend(extra_info)
    return option


def device_option_equal(
    opt1: Message | None, opt2: Message | None, ignore_node_name: bool = True, ignore_random_seed: bool = True
) -> bool:
    """Two options name one device; the id of the CPU does not count."""
    if not opt1 or not opt2:
        return bool(opt1 == opt2)
    if not ignore_node_name and opt1.node_name != opt2.node_name:
        return False
    if not ignore_random_seed and opt1.random_seed != opt2.random_seed:
        return False
    if not opt1.device_type or not opt2.device_type:
        return not opt1.device_type and not opt2.device_type
    return bool(opt1.device_id == opt2.device_id)


def device_equal(src: Message, dst: Message) -> bool:
    """Two options have the same type and id, whether these are set or left at the default."""
    return bool(src.device_type == dst.device_type and src.device_id == dst.device_id)


def InferBlobDevices(net: Any) -> dict[str, Message]:
    """The device of the operator that makes a blob, by blob."""
    return {blob: op.device_option for op in net.Proto().op for blob in op.output}


def InferOpDeviceAsBlobDevices(op: Message) -> tuple[list[Message], list[Message]]:
    """The operator's device for each of its inputs and outputs."""
    return [op.device_option] * len(op.input), [op.device_option] * len(op.output)


def InferOpBlobDevices(op: Message) -> tuple[list[Message], list[Message]]:
    """The device of each input and output of an operator: its own, but the CPU on one side of copies."""
    inputs, outputs = InferOpDeviceAsBlobDevices(op)
    cpu = caffe2_pb2.DeviceOption()
    if op.type in ("CopyCPUToGPU", "CopyFromCPUInput"):
        inputs = [cpu] * len(op.input)
    elif op.type in ("CopyGPUToCPU", "EnsureCPUOutput"):
        outputs = [cpu] * len(op.output)
    return inputs, outputs


def InferOpBlobDevicesAsDict(op: Message) -> tuple[dict[str, Message], dict[str, Message]]:
    """``InferOpBlobDevices`` by blob name."""
    inputs, outputs = InferOpBlobDevices(op)
    return dict(zip(op.input, inputs)), dict(zip(op.output, outputs))
