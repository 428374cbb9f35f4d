"""Rewritings of convolutions: the engine NNPACK, Relu as a part of them, pools after Relu."""

from __future__ import annotations

from graphc.caffe2.transforms.dataflow import argument, fresh, is_given, names, only_reader, order, readers, remove
from graphc.frontends.netdef.schema import Message

_CPU = 0


def add_nnpack(net: Message) -> None:
    """Let convolutions in NCHW on the CPU ask for the engine NNPACK, which changes no answer."""
    for op in net.op:
        device = op.device_option if op.HasField("device_option") else net.device_option
        if op.type == "Conv" and order(op) == "NCHW" and device.device_type == _CPU:
            op.engine = "NNPACK"


def fuse_nnpack_conv_relu(net: Message) -> None:
    """Let convolutions of the engine NNPACK do the Relu that alone reads them: one operator ConvRelu.

    It gets the argument ``activation``, as in Caffe2, and an output that it does not read.
    """
    taken, at = names(net), 0
    while at < len(net.op):
        op = net.op[at]
        relu = only_reader(net, at, "Relu") if op.type == "Conv" and op.engine == "NNPACK" else None
        if relu is not None and _fuse(net, at, relu, taken):
            remove(net, [relu])
        at += 1


def _fuse(net: Message, at: int, relu: int, taken: set[str]) -> bool:
    """Join two operators; False where the output's name is used in between, or declared and read by the first."""
    conv, output = net.op[at], net.op[relu].output[0]
    between = [blob for op in net.op[at + 1 : relu] for blob in (*op.input, *op.output)]
    if output in between and output != conv.output[0]:
        return False
    if output in conv.input:
        if is_given(net, relu, output):
            return False
        renamed = fresh(taken, f"{output}_fusion_fix")
        _rename(net, relu, output, renamed)
        output = renamed
    conv.output[0] = output
    conv.type = "ConvRelu"
    (argument(conv, "activation") or conv.arg.add(name="activation")).s = b"Relu"
    return True


def _rename(net: Message, at: int, blob: str, renamed: str) -> None:
    """Call what operator ``at`` writes by another name where it is read."""
    for i in readers(net, at, blob):
        net.op[i].input[:] = [renamed if name == blob else name for name in net.op[i].input]


def sink_max_pool(net: Message) -> None:
    """Let a MaxPool that a Relu alone reads come after it: the largest of numbers is positive where any is."""
    taken = names(net)
    for at, op in enumerate(net.op):
        relu = only_reader(net, at, "Relu") if op.type == "MaxPool" and at + 1 < len(net.op) else None
        if relu != at + 1:
            continue
        pool, after = type(op).FromString(op.SerializeToString()), net.op[relu]
        inner = fresh(taken, f"{pool.input[0]}_relu")
        pool.output[0] = after.output[0]
        first = type(op).FromString(after.SerializeToString())
        first.input[0], first.output[0] = pool.input[0], inner
        pool.input[0] = inner
        net.op[at].CopyFrom(first)
        net.op[relu].CopyFrom(pool)
