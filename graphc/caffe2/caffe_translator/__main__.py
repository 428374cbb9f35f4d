"""The command line of the translator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format

from graphc.caffe2.caffe_translator import (
    ConvertTensorProtosToInitNet,
    TranslateModel,
    declare_blobs,
    read_caffemodel,
    read_prototxt,
)
from graphc.ir import GraphcError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="caffe_translator", description="Translate a trained network of Caffe 1 into a pair of Caffe2's nets."
    )
    parser.add_argument("prototext", help="the network, deploy.prototxt")
    parser.add_argument("caffemodel", help="its trained weights")
    parser.add_argument("--init_net", default="init_net.pb", help="the net of the weights to write (%(default)s)")
    parser.add_argument("--predict_net", default="predict_net.pb", help="the net to write (%(default)s), and as text")
    parser.add_argument("--remove_legacy_pad", action="store_true", help="write padding in the place of legacy_pad")
    parser.add_argument("--input_dims", nargs="+", type=int, help="size of the input, for --remove_legacy_pad")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Translate; 0, or 1 with a message for a network that cannot be."""
    options = _parser().parse_args(arguments)
    try:
        network = read_prototxt(Path(options.prototext).read_text("utf-8"), options.prototext)
        trained = read_caffemodel(Path(options.caffemodel).read_bytes(), options.caffemodel)
        net, parameters = TranslateModel(
            network,
            trained,
            is_test=True,
            remove_legacy_pad=options.remove_legacy_pad,
            input_dims=options.input_dims,
        )
        inputs = declare_blobs(net, parameters)
        init = ConvertTensorProtosToInitNet(parameters, inputs)
        Path(options.init_net).write_bytes(init.SerializeToString())
        Path(options.predict_net).write_bytes(net.SerializeToString())
        Path(f"{options.predict_net}txt").write_text(text_format.MessageToString(net), "utf-8")
    except (GraphcError, OSError, UnicodeDecodeError, KeyError, ValueError, NotImplementedError, RuntimeError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    print(f"{options.predict_net}: {len(net.op)} operators, inputs {', '.join(inputs)}, outputs "
          f"{', '.join(net.external_output)}; {options.init_net}: {len(parameters.protos)} parameters")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
