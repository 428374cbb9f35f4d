"""Int8 convolutions beside float ones of the same sizes, both by graphc, on one core, call by call in turn.

    python benchmarks/int8_operators.py [--net resnet50] [--caffe2] [--target native] [--seconds 0.3] [--json FILE]

Kernels alone, each in the layout that a net would give it: float in blocks of channels with relu, int8 in NHWC with the
copies that it needs. Times are lower quartiles less that of a call of next to no work, which takes longer than some
layers; ``ratio`` is float's time by int8's: 2 means twice as fast. GOP/s count direct convolution, so that float's
Winograd does fewer. Operators are graphc's own, with ``--caffe2`` Caffe2's, whose weights are uint8 around the zero
point 128, as a symmetric quantisation makes them; with ``--asymmetric`` around another, where the kernel has to add up
X as well.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import quantiles

import numpy as np
from kernels import NETS, Layer, call_of, flops_of, runner
from machine import processor

from graphc.backends.cpu.target import CpuTarget, find
from graphc.ir import Call, Graph, Node, Value
from graphc.ir.types import DType, Quant, TensorType


@dataclass(frozen=True)
class Figures:
    """Microseconds, and GOP/s of the int8 call."""

    net: str
    layer: str
    float32: float
    int8: float
    ratio: float
    gops: float


LEAST = Layer(16, 16, 1)
"""A layer of next to no work."""


def int8_call_of(layer: Layer, batch: int, zero: int | None) -> Call:
    """The layer in int8 with random weights and relu: graphc's own operator, Caffe2's with a zero point of weights."""
    r, graph, fc = np.random.default_rng(0), Graph("layer"), not layer.size
    shape = (batch, layer.channels) if fc else (batch, layer.size, layer.size, layer.channels)
    taps = () if fc else (layer.kernel, layer.kernel)
    x = graph.add_input(TensorType(DType.UINT8, shape, quant=Quant(0.02, 114)), "x")
    integers = r.integers(0, 256, (layer.maps, *taps, layer.channels // layer.group)).astype(np.uint8)
    w = graph.add_constant("w", integers if zero is not None else integers.view(np.int8))
    operands = [x, w, graph.add_constant("b", r.integers(-999, 999, layer.maps).astype(np.int32))]
    if zero is None:
        operands.append(graph.add_constant("scales", np.full(layer.maps, 0.01, np.float32)))
    else:
        for value, quant in zip(operands[1:], (Quant(0.01, zero), Quant(0.0002, 0))):
            value.type = replace(value.type, quant=quant)
    window = {"kernel": layer.kernel, "stride": layer.stride, "pad": layer.kernel // 2, "group": layer.group}
    attrs = {"Y_scale": 0.5, "Y_zero_point": 3, "order": b"NHWC", **({} if fc else window)}
    op = ("Int8FCRelu" if fc else "Int8ConvRelu") if zero is not None else "g.int8_fc" if fc else "g.int8_conv"
    node = Node(op, operands, [Value(TensorType(), "y")], attrs | ({} if zero is not None else {"relu": 1}))
    graph.append(node)
    node.results[0].type = node.opdef.infer(Call(node))[0]
    return Call(node)


def in_turn(calls: list[Callable[[], None]], seconds: float) -> list[float]:
    """Lower quartiles of the seconds of each call."""
    for call in calls * 2:
        call()
    samples: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(samples[0]) < 5 or time.perf_counter() < end:
        for i in (*range(len(calls)), *reversed(range(len(calls)))):
            start = time.perf_counter()
            calls[i]()
            samples[i].append(time.perf_counter() - start)
    return [quantiles(times, n=4)[0] for times in samples]


def measure(
    net: str, layer: Layer, target: CpuTarget, batch: int, zero: int | None, seconds: float
) -> tuple[Figures, str]:
    """The figures of a layer, and the names of the rules."""
    floats, ints = call_of(layer, target, batch), int8_call_of(layer, batch, zero)
    (first, one), (second, other) = runner(floats, target), runner(ints, target)
    least, _ = runner(int8_call_of(LEAST, 1, zero), target)
    a, b, start = in_turn([first, second, least], seconds)
    a, b = a - start, b - start
    rate = flops_of(layer, ints) / b / 1e9
    return Figures(net, str(layer), a * 1e6, b * 1e6, a / b, rate), f"{one} / {other}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=sorted(NETS), action="append", help="default: resnet50 and squeezenet")
    parser.add_argument("--target", default="native")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each layer")
    parser.add_argument("--caffe2", action="store_true", help="Caffe2's operators instead of graphc's own")
    parser.add_argument(
        "--asymmetric", action="store_true", help="of Caffe2, with weights that do not fit int8 without the zero point"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    options = parser.parse_args()
    target = find(options.target)
    print(f"{processor()}; target {target.name}, one core, batch {options.batch}\n")
    print("| net | layer | kernels | float us | int8 us | ratio | int8 GOP/s |\n|---|---|---|--:|--:|--:|--:|")
    figures = []
    for net in options.net or ["resnet50", "squeezenet"]:
        for layer in NETS[net]:
            zero = 119 if options.asymmetric else 128 if options.caffe2 else None
            f, names = measure(net, layer, target, options.batch, zero, options.seconds)
            figures.append(f)
            times = f"{f.float32:.1f} | {f.int8:.1f} | {f.ratio:.2f} | {f.gops:.0f}"
            print(f"| {net} | {layer} | {names} | {times} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
