"""``python -m graphc.caffe2.net_drawer --input FILE``: the graphs of a net or of a plan's nets, as DOT and PDF."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphc.caffe2.net_drawer import OP_STYLE, GetOperatorMapForPlan, GetOpNodeProducer
from graphc.caffe2.net_drawer import GetPydotGraph as full_graph
from graphc.caffe2.net_drawer import GetPydotGraphMinimal as minimal_graph
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.utils import TryReadProtoWithClass
from graphc.frontends.netdef import detect, parse_netdef
from graphc.ir import FileError, GraphcError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if the graphs are written, 2 if the file is neither a net nor a plan."""
    parser = argparse.ArgumentParser(description="Caffe2 net drawer.")
    parser.add_argument("--input", required=True, help="The input protobuf file, binary or text.")
    parser.add_argument("--output_prefix", default="", help="The prefix to be added to the output filename.")
    parser.add_argument("--minimal", action="store_true", help="Operators only.")
    parser.add_argument("--minimal_dependency", action="store_true", help="With --minimal: no edge that others imply.")
    parser.add_argument("--append_output", action="store_true", help="Append the output blobs to the operator names.")
    parser.add_argument("--rankdir", default="LR", help="The direction in which the graph flows: LR or TB.")
    args = parser.parse_args(arguments)
    try:
        nets = _nets(args.input)
    except (GraphcError, OSError) as error:
        print(f"net_drawer: {error}", file=sys.stderr)
        return 2
    for name, operators in nets.items():
        _write(name or "net", operators, args)
    return 0


def _nets(path: str) -> dict[str, Any]:
    """Operators by the name of the net; raises ``FileError``, ``OSError``."""
    data = Path(path).read_bytes()
    kind = detect(memoryview(data))
    if kind.name.startswith("a PlanDef"):
        return GetOperatorMapForPlan(TryReadProtoWithClass(caffe2_pb2.PlanDef, data))
    if not kind.is_net:
        raise FileError(f"{path}: this is {kind.name}, neither a NetDef nor a PlanDef", kind.help)
    net = parse_netdef(data)
    return {net.name: net.op}


def _write(name: str, operators: Any, args: argparse.Namespace) -> None:
    producer = GetOpNodeProducer(args.append_output, **OP_STYLE)
    if args.minimal:
        graph = minimal_graph(operators, name, args.rankdir, args.minimal_dependency, producer)
    else:
        graph = full_graph(operators, name, args.rankdir, producer)
    stem = args.output_prefix + re.sub(r"[^\w.-]", "_", name)
    for format in ("dot", "pdf"):
        graph.write(f"{stem}.{format}", format=format)
        print(f"{stem}.{format}")


if __name__ == "__main__":
    sys.exit(main())
