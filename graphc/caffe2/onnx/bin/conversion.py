"""``caffe2.python.onnx.bin.conversion``: a net in files becomes a model of ONNX.

``python -m graphc.caffe2.onnx.bin.conversion predict_net.pb --caffe2-init-net init_net.pb
--value-info '{"data": [1, [1, 3, 224, 224]]}' -o model.onnx``: the options of Caffe2's ``convert-caffe2-to-onnx``.
"""

from __future__ import annotations

import json
from typing import IO

import click

from graphc.caffe2.onnx import frontend
from graphc.frontends.netdef import read_net
from graphc.frontends.netdef.schema import Message
from graphc.frontends.netdef.writer import to_message
from graphc.ir import GraphcError


@click.command(
    help="Convert a Caffe2 net to a model of ONNX.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.argument("caffe2_net", type=click.File("rb"))
@click.option("--caffe2-net-name", help="name of the graph, that of the net without it")
@click.option("--caffe2-init-net", type=click.File("rb"), help="the init net: a file")
@click.option("--value-info", help='types and shapes of the inputs, in JSON: {"data": [1, [1, 3, 224, 224]]}')
@click.option("-o", "--output", required=True, type=click.File("wb", lazy=True), help="the model: a file")
def caffe2_to_onnx(
    caffe2_net: IO[bytes],
    caffe2_net_name: str | None,
    caffe2_init_net: IO[bytes] | None,
    value_info: str | None,
    output: IO[bytes],
) -> None:
    """Write the model; what is wrong with the files or the net is told, with exit code 1."""
    try:
        net, init = _read(caffe2_net), _read(caffe2_init_net) if caffe2_init_net else None
        net.name = caffe2_net_name or net.name
        if not net.name:
            raise click.BadParameter("The input caffe2 net does not have name, --caffe2-net-name must be provided")
        known = json.loads(value_info) if value_info else None
        model = frontend.caffe2_net_to_onnx_model(net, init, known)
    except (GraphcError, RuntimeError, ValueError, ImportError) as error:
        raise click.ClickException(str(error)) from None
    output.write(model.SerializeToString())


def _read(file: IO[bytes]) -> Message:
    return to_message(read_net(file.read()))


if __name__ == "__main__":
    caffe2_to_onnx()
