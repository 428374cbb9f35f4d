"""``ExtractPredictorNet``: from a net with input, loss and gradients to one that predicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def ExtractPredictorNet(
    net_proto: Message,
    input_blobs: Collection[Any],
    output_blobs: Collection[Any],
    device: Message | None = None,
    renames: Mapping[str, str] | None = None,
    disabled_inputs: Collection[str] | None = None,
) -> tuple[core.Net, list[str]]:
    """A net of the operators between inputs and outputs, and its other external inputs, which are the parameters.

    The operators are those from the first one that reads an input to the last one that writes an output, of which all
    inputs are known. device: where they run. renames: other names for blobs. disabled_inputs: operators that need
    these are left out. External inputs and outputs come in a fixed order: the given ones first, then by their first
    use. Raises ``Exception`` where no operator reads an input or writes an output, or one has ``is_test=0``: take a
    model that was built for testing.
    """
    inputs, outputs = _unique(input_blobs), _unique(output_blobs)
    names = dict(renames or {})
    outside = set(net_proto.external_input) - set(map(str, disabled_inputs or ()))
    found_inputs, found_outputs = dict.fromkeys(inputs), dict.fromkeys(outputs)
    known = {*inputs, *outside} - set(map(str, disabled_inputs or ()))
    predict_net = core.Net(net_proto.name + "_predict")
    proto = predict_net.Proto()
    for source in _range(net_proto, inputs, outputs):
        if not known.issuperset(source.input):
            continue
        op = caffe2_pb2.OperatorDef()
        op.CopyFrom(source)
        _check_is_test(op)
        reads = [*op.input, *_prepare(op, device, names)]
        found_inputs.update(dict.fromkeys(name for name in reads if name in net_proto.external_input))
        found_outputs.update(dict.fromkeys(name for name in op.output if name in net_proto.external_output))
        known.update(op.output)
        _rename(op.input, names)
        _rename(op.output, names)
        proto.op.extend([op])
    proto.external_input.extend(found_inputs)
    proto.external_output.extend(found_outputs)
    _rename(proto.external_input, names)
    _rename(proto.external_output, names)
    renamed = {names.get(name, name) for name in inputs}
    return predict_net, [name for name in proto.external_input if name not in renamed]


def _unique(blobs: Collection[Any]) -> list[str]:
    """Names, each once; sets have no order, so their names are sorted."""
    ordered = sorted(map(str, blobs)) if isinstance(blobs, set | frozenset) else map(str, blobs)
    return list(dict.fromkeys(ordered))


def _range(net: Message, inputs: Collection[str], outputs: Collection[str]) -> list[Message]:
    """The operators from the first that reads an input to the last that writes an output."""
    reading = [i for i, op in enumerate(net.op) if op.type != "StopGradient" and set(inputs) & set(op.input)]
    writing = [i for i, op in enumerate(net.op) if set(outputs) & set(op.output)]
    if not reading:
        raise Exception(f"No ops with input={sorted(inputs)}")
    if not writing:
        raise Exception(f"No ops with output={sorted(outputs)}")
    return list(net.op[reading[0] : writing[-1] + 1])


def _check_is_test(op: Message) -> None:
    if any(arg.name == "is_test" and arg.i == 0 for arg in op.arg):
        raise Exception(
            "An operator had is_test=0, did you try to extract a predictor from a train model (instead of test "
            f"model)? Op was: {op}"
        )


def _prepare(op: Message, device: Message | None, names: Mapping[str, str]) -> list[str]:
    """Set an operator's device, prepare the step net of a recurrent one, and give what that net reads from outside."""
    if device is not None:
        op.device_option.device_type, op.device_option.device_id = device.device_type, device.device_id
    reads: list[str] = []
    for arg in op.arg if op.type == "RecurrentNetwork" else ():
        if arg.name == "backward_step_net":
            arg.ClearField("n")
        elif arg.name == "step_net":
            for step in arg.n.op:
                _prepare(step, device, names)
                _rename(step.input, names)
                _rename(step.output, names)
            reads = list(arg.n.external_input)
            _rename(arg.n.external_input, names)
            _rename(arg.n.external_output, names)
    return reads


def _rename(blobs: Any, names: Mapping[str, str]) -> None:
    blobs[:] = [names.get(name, name) for name in blobs]
