"""Nets in bfloat16 and float16 beside float32, call by call in turn; beside OpenVINO's bfloat16 where it is installed.

    python benchmarks/half.py [--nets resnet50 mobilenetv2 squeezenet1_1] [--threads 1] [--seconds 2] [--json FILE]

Times are medians over calls that take turns in one process. ``ratio`` is graphc's float32 time by the form's: 2 means
twice as fast. ``error`` is the largest difference from graphc's float32 output by its largest magnitude, ``weights``
the bytes of the plan's weights. Weights are random, so errors say less than those of real nets. OpenVINO runs at the
precision of its name: on processors with bfloat16 it takes that by default.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from machine import processor
from model_files import ModelFiles, ensure
from nets import NETS

import graphc

FORMS = ("float", "bfloat16", "float16")
OPENVINO = {"f32": "openvino f32", "bf16": "openvino bf16"}
FEWEST = 5

Run = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Figures:
    """Milliseconds, ratio to graphc's float32, error, MB of weights (0 where it is not told)."""

    net: str
    form: str
    milliseconds: float
    ratio: float
    error: float
    weights: float


def runners(files: ModelFiles, threads: int) -> dict[str, tuple[Run, float]]:
    """Every form of a net with the MB of its weights."""
    x = np.load(files.input_path)
    found = {}
    for form in FORMS:
        plan = graphc.compile(
            files.predict_net, files.init_net, inputs={"data": x.shape}, precision=form, threads=threads
        )
        weights = sum(a.nbytes for a in plan.weights) / 1e6
        found[form] = (lambda plan=plan: next(iter(plan.run({"data": x}).values())), weights)
    return found | _openvino(files, x, threads)


def _openvino(files: ModelFiles, x: np.ndarray, threads: int) -> dict[str, tuple[Run, float]]:
    if importlib.util.find_spec("openvino") is None:
        return {}
    openvino, found = importlib.import_module("openvino"), {}
    for precision, name in OPENVINO.items():
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
        settings |= {"ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": precision}
        request = openvino.Core().compile_model(str(files.onnx), "CPU", settings).create_infer_request()

        def run(request: object = request) -> np.ndarray:
            request.infer({"data": x}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data)

        found[name] = (run, 0.0)
    return found


def measure(net: str, threads: int, seconds: float) -> list[Figures]:
    """All forms of a net, ``seconds`` for each."""
    has_openvino = importlib.util.find_spec("openvino") is not None
    found = runners(ensure(net, ["caffe2", *(["onnx_file"] if has_openvino else [])]), threads)
    outputs = {form: run().reshape(-1) for form, (run, _) in found.items()}
    times: dict[str, list[float]] = {form: [] for form in found}
    end = time.perf_counter() + seconds * len(found)
    while len(times[FORMS[0]]) < FEWEST or time.perf_counter() < end:
        for form, (run, _) in found.items():
            start = time.perf_counter()
            run()
            times[form].append(time.perf_counter() - start)
    exact, base = outputs["float"], median(times["float"])
    return [
        Figures(
            net,
            form,
            1e3 * median(times[form]),
            base / median(times[form]),
            float(np.abs(outputs[form] - exact).max() / np.abs(exact).max()),
            weights,
        )
        for form, (_, weights) in found.items()
    ]


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["resnet50", "mobilenetv2", "squeezenet1_1"], choices=NETS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each form of a net")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{processor()}; {arguments.threads} threads")
    print(f"{'net':14} {'form':14} {'ms':>8} {'ratio':>6} {'error':>9} {'MB':>7}")
    rows = []
    for net in arguments.nets:
        for f in measure(net, arguments.threads, arguments.seconds):
            rows.append(f)
            size = f"{f.weights:7.1f}" if f.weights else ""
            print(f"{f.net:14} {f.form:14} {f.milliseconds:8.2f} {f.ratio:6.2f} {f.error:9.1e} {size}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(f) for f in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
