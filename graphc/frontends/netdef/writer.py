"""Write a NetDef: binary or text, from a message or from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf import text_format

from graphc.frontends.netdef.net import ArgValue, Device, Net, Operator, TensorArg
from graphc.frontends.netdef.reader import Serialisable
from graphc.frontends.netdef.schema import Message, message_class
from graphc.ir import NetError


def write_net(net: Net | Serialisable) -> bytes:
    """Serialise a net. A message keeps its unknown fields; what graphc read and did not change comes out bit by bit."""
    return (to_message(net) if isinstance(net, Net) else net).SerializeToString()


def to_text(net: Net | Serialisable) -> str:
    """The text of a net (.pbtxt)."""
    message: Message = to_message(net) if isinstance(net, Net) else net
    return text_format.MessageToString(message)


def to_message(net: Net) -> Message:
    """The NetDef message of plain data; raises ``NetError`` for an argument value that no field can hold."""
    message = message_class("NetDef", raw=True)()
    _fill_net(message, net)
    return message_class("NetDef").FromString(message.SerializeToString())


def _fill_net(m: Message, net: Net) -> None:
    _set(m, name=net.name.encode(), type=net.type.encode(), num_workers=net.num_workers)
    for op in net.ops:
        _fill_operator(m.op.add(), op)
    m.external_input.extend(n.encode() for n in net.external_inputs)
    m.external_output.extend(n.encode() for n in net.external_outputs)
    _fill_arguments(m, net.args)
    _fill_device(m, net.device)


def _fill_operator(m: Message, op: Operator) -> None:
    m.input.extend(n.encode() for n in op.inputs)
    m.output.extend(n.encode() for n in op.outputs)
    m.name, m.type = op.name.encode(), op.type.encode()
    _fill_arguments(m, op.args)
    _fill_device(m, op.device)
    m.control_input.extend(n.encode() for n in op.control_inputs)
    _set(m, engine=op.engine.encode(), is_gradient_op=op.is_gradient, debug_info=op.debug_info.encode())
    _set(m, domain=op.domain.encode(), op_version=op.version)


def _set(m: Message, **values: bytes | int) -> None:
    """Set the fields that differ from the default."""
    for name, value in values.items():
        if value:
            setattr(m, name, value)


def _fill_device(m: Message, device: Device | None) -> None:
    if device is None:
        return
    m.device_option.SetInParent()
    _set(m.device_option, device_type=device.type, device_id=device.id)
    if device.random_seed is not None:
        m.device_option.random_seed = device.random_seed
    _set(m.device_option, node_name=device.node_name.encode(), numa_node_id=device.numa_node)
    m.device_option.extra_info.extend(n.encode() for n in device.extra_info)


def _fill_arguments(m: Message, args: Mapping[str, ArgValue]) -> None:
    for name, value in args.items():
        arg = m.arg.add()
        arg.name = name.encode()
        _fill_value(arg, value)


def _fill_value(arg: Message, value: ArgValue) -> None:
    if isinstance(value, Net):
        arg.n.SetInParent()
        _fill_net(arg.n, value)
    elif isinstance(value, TensorArg):
        parsed = [
            message_class("QTensorProto" if value.field == "qtensors" else "TensorProto", raw=True).FromString(c)
            for c in value.content
        ]
        getattr(arg, value.field).CopyFrom(parsed[0]) if value.field == "t" else getattr(arg, value.field).extend(
            parsed
        )
    elif isinstance(value, (tuple, list, np.ndarray)):
        _fill_list(arg, value)
    elif isinstance(value, bytes):
        arg.s = value
    elif isinstance(value, (float, np.floating)):
        arg.f = float(value)
    elif isinstance(value, (int, np.integer)):
        arg.i = int(value)
    else:
        raise NetError(f"argument '{arg.name.decode()}': no field of a NetDef holds a {type(value).__name__}")


def _fill_list(arg: Message, values: Sequence[ArgValue] | np.ndarray) -> None:
    if isinstance(values, np.ndarray):
        (arg.floats if values.dtype.kind == "f" else arg.ints).extend(values.ravel().tolist())
    elif any(isinstance(v, Net) for v in values):
        for net in values:
            _fill_net(arg.nets.add(), net)
    elif any(isinstance(v, bytes) for v in values):
        arg.strings.extend(values)
    elif any(isinstance(v, float) for v in values):
        arg.floats.extend(values)
    else:
        arg.ints.extend(values)
