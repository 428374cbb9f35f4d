"""``caffe2.python.onnx.helper``: running and keeping nets beside their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.caffe2.functional import namedtupledict
from graphc.caffe2.onnx.workspace import Workspace
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def c2_native_run_op(op_def: Message, inputs: Mapping[str, Any] | Sequence[Any]) -> tuple[Workspace, Any]:
    """Run one operator on arrays, by name or in order; gives its workspace, and the outputs by name."""
    if not isinstance(inputs, Mapping) and len(inputs) != len(op_def.input):
        raise AssertionError(f"{op_def.type} reads {len(op_def.input)} blobs, {len(inputs)} arrays are given")
    workspace = Workspace()
    _feed(workspace, op_def.input, inputs)
    workspace.RunOperatorOnce(op_def)
    return workspace, _outputs(workspace, op_def.output)


def c2_native_run_net(
    init_net: Message | None, predict_net: Message, inputs: Mapping[str, Any] | Sequence[Any], debug_arg: Any = None
) -> tuple[Workspace, Any]:
    """Run a net once; gives its workspace, and the outputs by name.

    Arrays in order are for those external inputs that the init net does not make, if they are as many, else for the
    first ones.
    """
    workspace = Workspace()
    if init_net:
        workspace.RunNetOnce(init_net)
    names = list(predict_net.external_input)
    missing = [name for name in names if not workspace.HasBlob(name)]
    _feed(workspace, missing if len(missing) == len(inputs) else names, inputs)
    workspace.RunNetOnce(predict_net)
    return workspace, _outputs(workspace, predict_net.external_output)


def _feed(workspace: Workspace, names: Sequence[str], inputs: Mapping[str, Any] | Sequence[Any]) -> None:
    pairs = inputs.items() if isinstance(inputs, Mapping) else zip(names, inputs)
    for name, array in pairs:
        workspace.FeedBlob(name, array)


def _outputs(workspace: Workspace, names: Sequence[str]) -> Any:
    return namedtupledict("Outputs", list(names))(*(workspace.FetchBlob(name) for name in names))


def load_caffe2_net(file: str) -> Message:
    """The net in a file."""
    net = caffe2_pb2.NetDef()
    with open(file, "rb") as opened:
        net.ParseFromString(opened.read())
    return net


def save_caffe2_net(net: Message, file: str, output_txt: bool = False) -> None:
    """Write a net, and beside it, with ``output_txt``, its text, under the name with ``txt`` behind it."""
    with open(file, "wb") as opened:
        opened.write(net.SerializeToString())
    if output_txt:
        with open(file + "txt", "w", encoding="utf-8") as text:
            text.write(str(net))


def benchmark_caffe2_model(
    init_net: Message | None,
    predict_net: Message,
    warmup_iters: int = 3,
    main_iters: int = 10,
    layer_details: bool = True,
) -> float:
    """Milliseconds that a run of a net takes."""
    workspace = Workspace()
    if init_net:
        workspace.RunNetOnce(init_net)
    workspace.CreateNet(predict_net)
    return float(workspace.BenchmarkNet(predict_net.name, warmup_iters, main_iters, layer_details)[0])
