"""Single operators beside PyTorch, ONNX Runtime and NumPy, in one process, call by call in turn.

    python benchmarks/operators.py [--threads 1] [--seconds 1.0] [--only Relu,LSTM] [--json FILE]

Times are lower quartiles: what a busy machine takes away from some calls does not count. ``ratio`` is graphc's time by
the peer's. For elementwise operators and reductions the column ``% of copy`` compares bytes moved per second with those
of a copy of 4 M floats, which takes its turn too: NumPy's for one thread, PyTorch's for more. With several threads each
turn begins with a pause and two calls that do not count: the others' threads spin for a while after a call.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

import numpy as np
import torch
from machine import processor
from operator_nets import lstm_graphc, lstm_onnxruntime
from operator_peers import box_with_nms_limit, generate_proposals

from graphc.frontends.netdef import Operator
from graphc.operators import compile_operator, operator_graph

Call = Callable[[], object]
MILLION = 1 << 20
PAUSE = 0.05
COPIED = 2 * 4 * 4 * MILLION
"""Bytes that a copy of 4 M floats reads and writes."""


@dataclass(frozen=True)
class Case:
    """Two ways to compute the same. nbytes: memory that has to move, 0 where that is not the measure."""

    name: str
    graphc: Call
    peer: Call
    peer_name: str
    nbytes: int = 0


@dataclass(frozen=True)
class Figures:
    """Milliseconds. bandwidth: bytes per second by those of a copy; 0 where that is not the measure."""

    name: str
    graphc: float
    peer: float
    peer_name: str
    ratio: float
    bandwidth: float


def operator(op: str, inputs: list[np.ndarray], threads: int, outputs: int = 1, **args: object) -> Call:
    """A call of one operator, compiled, on fixed arrays."""
    names = [f"x{i}" for i in range(len(inputs))]
    described = Operator(op, names, [f"y{i}" for i in range(outputs)], dict(args))
    plan = compile_operator(operator_graph(described, inputs), threads=threads)
    plan.prepare()
    given = dict(zip(names, inputs))
    return lambda: plan.run(given)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def elementwise(threads: int) -> list[Case]:
    """4 M elements through one pointwise operator."""
    x, y = floats(4, MILLION), floats(4, MILLION, seed=1)
    tx, ty, out = torch.from_numpy(x), torch.from_numpy(y), torch.empty(4, MILLION)
    unary = {"Relu": torch.relu, "Exp": torch.exp, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Sqr": torch.square}
    binary = {"Add": torch.add, "Mul": torch.mul, "Max": torch.maximum}
    cases = [
        Case(op, operator(op, [x], threads), lambda f=f: f(tx), "torch", 2 * x.nbytes)  # type: ignore[misc]
        for op, f in unary.items()
    ]
    cases += [
        Case(op, operator(op, [x, y], threads), lambda f=f: f(tx, ty, out=out), "torch", 3 * x.nbytes)  # type: ignore[misc]
        for op, f in binary.items()
    ]
    return cases


def reductions(threads: int) -> list[Case]:
    """4 M elements added along the last, the first or all axes."""
    x = floats(2048, 2048)
    tx = torch.from_numpy(x)
    made = []
    for label, axes in (("last axis", (1,)), ("first axis", (0,)), ("all", (0, 1))):
        for op, f in (("ReduceSum", torch.sum), ("ReduceMax", torch.amax)):
            call = operator(op, [x], threads, axes=axes, keepdims=0)
            made.append(Case(f"{op} {label}", call, lambda f=f, a=axes: f(tx, dim=a), "torch", x.nbytes))  # type: ignore[misc]
    return made


def lookups(threads: int) -> list[Case]:
    """100,000 look-ups in a table of 1 M rows of 64, 100 to a segment."""
    rng = np.random.default_rng(0)
    table = floats(1_000_000, 64)
    indices = rng.integers(0, len(table), 100_000)
    lengths = np.full(1000, 100, np.int32)
    offsets = torch.from_numpy(np.arange(0, 100_000, 100))
    weight, where = torch.from_numpy(table), torch.from_numpy(indices)
    scale = np.ptp(table, axis=1, keepdims=True).astype(np.float32) / 255
    low = table.min(1, keepdims=True)
    codes = np.rint((table - low) / scale).astype(np.uint8)
    fused = np.concatenate([codes, scale.view(np.uint8), low.view(np.uint8)], 1)

    def bag() -> object:
        return torch.nn.functional.embedding_bag(where, weight, offsets, mode="sum")

    plain = operator("SparseLengthsSum", [table, indices, lengths], threads)
    small = operator("SparseLengthsSumFused8BitRowwise", [fused, indices, lengths], threads)
    return [
        Case("SparseLengthsSum", plain, bag, "torch"),
        Case("SparseLengthsSumFused8BitRowwise", small, bag, "torch"),
    ]


def searches(threads: int) -> list[Case]:
    """TopK of rows, as detection nets and beam searches use it."""
    x = floats(64, 20_000)
    tx = torch.from_numpy(x)
    return [Case("TopK 64 x 20000, k=100", operator("TopK", [x], threads, 2, k=100), lambda: tx.topk(100), "torch")]


def detection(threads: int) -> list[Case]:
    """Sizes of Detectron's Faster R-CNN with a pyramid's finest level."""
    rng = np.random.default_rng(0)
    anchors = np.array([[-16.0, -8, 16, 8], [-12, -12, 12, 12], [-8, -16, 8, 16]], np.float32)
    scores = rng.random((1, 3, 200, 304), np.float32)
    deltas = (rng.standard_normal((1, 12, 200, 304)) * 0.2).astype(np.float32)
    info = np.array([[800, 1216, 1.0]], np.float32)
    args = {"spatial_scale": 0.25, "pre_nms_topN": 6000, "post_nms_topN": 1000, "nms_thresh": 0.7, "min_size": 0.0}
    corners = rng.random((1000, 2), np.float32) * 700
    sizes = rng.random((1000, 81, 2), np.float32) * 80 + 8
    boxes = np.concatenate([corners[:, None] + sizes * 0.1, corners[:, None] + sizes], 2).reshape(1000, 324)
    classes = rng.dirichlet(np.full(81, 0.1), 1000).astype(np.float32)
    limits = {"score_thresh": 0.05, "nms": 0.5, "detections_per_im": 100}
    proposals = operator("GenerateProposals", [scores, deltas, info, anchors], threads, 2, **args)
    limited = operator("BoxWithNMSLimit", [classes, boxes], threads, 3, **limits)
    return [
        Case(
            "GenerateProposals", proposals, lambda: generate_proposals(scores, deltas, info, anchors, **args), "numpy"
        ),
        Case("BoxWithNMSLimit", limited, lambda: box_with_nms_limit(classes, boxes, **limits), "numpy"),
    ]


def recurrent(threads: int) -> list[Case]:
    """A sequence of 100 steps, 256 inputs, 256 hidden."""
    made = []
    for batch in (1, 32):
        graphc, arrays, weights = lstm_graphc(100, batch, 256, 256, threads)
        made.append(Case(f"LSTM batch {batch}", graphc, lstm_onnxruntime(arrays, weights, threads), "onnxruntime"))
    return made


GROUPS = (elementwise, reductions, lookups, searches, detection, recurrent)


def turn(call: Call, threads: int) -> list[float]:
    """Seconds of a call, or of some after those of the others' threads that spin have gone to sleep."""
    times = []
    if threads > 1:
        time.sleep(PAUSE)
        call()
        call()
    for _ in range(min(threads, 3)):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def measure(case: Case, seconds: float, copy: Call, threads: int) -> Figures:
    """The calls, and ``copy`` where bandwidth counts, forwards and backwards in turn until the time is up: none always
    finds the caches as the same other one leaves them."""
    calls = [case.graphc, case.peer, *([copy] if case.nbytes else [])]
    for call in calls * 2:
        call()
    samples: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(samples[0]) < 5 or time.perf_counter() < end:
        for i in (*range(len(calls)), *reversed(range(len(calls)))):
            samples[i] += turn(calls[i], threads)
    graphc, peer, *others = (quantiles(times, n=4)[0] for times in samples)
    share = case.nbytes / graphc / (COPIED / others[0]) if others else 0.0
    return Figures(case.name, graphc * 1e3, peer * 1e3, case.peer_name, graphc / peer, share)


def copy_of(threads: int) -> Call:
    """A copy of 4 M floats."""
    x, y = floats(4, MILLION), floats(4, MILLION)
    if threads == 1:
        return lambda: np.copyto(y, x)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    return lambda: ty.copy_(tx)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each operator")
    parser.add_argument("--only", default="", help="comma-separated beginnings of names")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    copy = copy_of(options.threads)
    print(f"{processor()}; torch {torch.__version__}; {options.threads} threads", flush=True)
    print(f"{'operator':36}{'graphc ms':>11}{'peer ms':>11}{'ratio':>8}{'% of copy':>11}  peer")
    figures = []
    for group in GROUPS:
        for case in group(options.threads):
            if not case.name.startswith(tuple(options.only.split(","))):
                continue
            f = measure(case, options.seconds, copy, options.threads)
            figures.append(f)
            share = f"{100 * f.bandwidth:10.0f} " if f.bandwidth else " " * 11
            print(f"{f.name:36}{f.graphc:11.3f}{f.peer:11.3f}{f.ratio:8.2f}{share}  {f.peer_name}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
