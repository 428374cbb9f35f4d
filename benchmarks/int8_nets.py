"""Whole nets in int8 beside the same nets in float, by graphc and by its peers, one process each, turn by turn.

    python benchmarks/int8_nets.py [--models resnet50,vgg16] [--threads 1,2] [--rounds 5] [--json int8.json]

All int8 nets are made from the same float net by the runtime's own tool, calibrated on the one input that is measured,
and keep their answers close to it ("max error", relative to the largest output): graphc's operators with a scale for
each map (``graphc.quantize``, native), ONNX Runtime's static quantisation, which OpenVINO reads too, and NNCF's.
The method is that of ``peers.py``. A peer that is not installed is left out with a line that says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from subprocess import CalledProcessError

from machine import processor
from model_files import FOLDER, ModelFiles, ensure
from nets import NETS
from peers import compile_net, measure_case, names, numbers
from report import Case, table
from runtimes import RUNTIMES
from turns import Effort

from graphc.backends.cpu.target import native

MODELS = ("squeezenet1_1", "resnet50", "mobilenetv2", "vgg16")
OURS = ("graphc", "graphc_int8")
PEERS = {"onnxruntime_int8": "onnxruntime", "openvino_int8": "openvino", "openvino_nncf": "nncf"}
"""The package that has to be there, by runtime."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names(list(NETS)), default=list(MODELS), help="some of " + ",".join(NETS))
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="one number or more: 1,2")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each runtime")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--quiet", type=float, default=0.1, help="cores that others may use in an undisturbed turn")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the models' files are kept")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    return parser.parse_args()


def main() -> None:
    """Make what is missing, measure, print a table for each net and thread count, and the ratios at the end."""
    options, runtimes = _options(), [*OURS, *_installed()]
    print(f"{processor()}; target {native().name}", flush=True)
    cases = []
    for model in options.models:
        files, ready = _files(model, runtimes, options.folder)
        for threads in options.threads:
            cases.append(measure_case(files, ready, threads, options.rounds, Effort(options.seconds, 3, options.quiet)))
            print(table(cases[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(c) for c in cases], indent=1) + "\n")
    print(_summary(cases))


def _installed() -> list[str]:
    found = [name for name, package in PEERS.items() if importlib.util.find_spec(package) is not None]
    for name in PEERS.keys() - found:
        print(f"{name} is left out: no package {PEERS[name]} here")
    return found


def _files(model: str, runtimes: Sequence[str], folder: Path) -> tuple[ModelFiles, list[str]]:
    """The files of a net, and the runtimes whose files could be made; plans are made anew."""
    files = ensure(model, ["reference", "caffe2"], folder)
    files.stamp("int8_plan").unlink(missing_ok=True)
    compile_net(files)
    ready = []
    for name in runtimes:
        try:
            files = ensure(model, RUNTIMES[name].formats, folder)
            ready.append(name)
        except CalledProcessError:
            print(f"{name} is left out of {model}: making its files failed", flush=True)
    return files, ready


def _summary(cases: Sequence[Case]) -> str:
    """float's time by int8's, and int8's by that of the fastest peer."""
    lines = ["\n| net | threads | float / int8 | int8 / fastest peer |\n|---|--:|--:|--:|"]
    for case in cases:
        peer = case.fastest(PEERS)
        beside = f"{case.ratio('graphc_int8', peer):.2f} ({peer})" if peer else str(math.nan)
        lines.append(f"| {case.model} | {case.threads} | {case.ratio(*OURS):.2f} | {beside} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
