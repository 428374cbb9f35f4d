"""Kernels and nets on a card, by its own clock, in turns with cuBLAS, cuDNN and torch.compile where PyTorch is there.

    python benchmarks/on_card.py [--only memory gemm conv nets tf32 int8] [--turns 7] [--repeats 20] [--tune]
        [--json FILE]

Every figure is the median over turns of the median over repetitions, each between two CUDA events around the replay of
a CUDA graph; graphc and its peer take turns. Copies between host and card are left out on both sides.

memory: float32 elementwise operators and reductions, ``share`` of the speed of a copy within the card's memory.
gemm, conv: a product of float16 matrices and ResNet-50's convolutions, batch 32. nets: float16, batches 1 and 64.
tf32: the product and the nets in TF32, beside PyTorch's that may use it. int8: ResNet-50 quantised, batch 64, beside
graphc's own float16. For these ``ratio`` is the peer's time by graphc's: 1
is as fast, 2 twice as fast. The time of a convolution or product is that of its kernel, without changes of layout and
precision around it, which a net makes once at its ends.

Exit code 2: this machine has no card that graphc has a target for.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
from model_files import ensure

import graphc
from graphc.backends.cuda.target import TARGETS
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.plan import Plan
from graphc.runtime.nvidia import NvidiaCard
from graphc.zoo.architectures import ARCHITECTURES
from graphc.zoo.layers import Net as Described

PARTS = ("memory", "gemm", "conv", "nets", "tf32", "int8")
NETS = ("squeezenet1_1", "resnet50")
BATCHES = (1, 64)
CONV_BATCH = 32
SIDE = 4096

Clock = Callable[[int], float]
"""The median seconds of some repetitions."""


@dataclass(frozen=True)
class Row:
    """A line of the table. milliseconds: graphc's; peer: the other's, 0 without one; ratio, share: see above."""

    part: str
    case: str
    milliseconds: float
    peer: float = 0.0
    ratio: float = 0.0
    share: float = 0.0

    def __str__(self) -> str:
        text = f"{self.part:7} {self.case:34} {self.milliseconds:9.4f} ms"
        if self.share:
            return f"{text}  share {self.share:5.2f}"
        return f"{text}  peer {self.peer:9.4f} ms  ratio {self.ratio:5.2f}" if self.peer else text


@dataclass(frozen=True)
class Settings:
    """How often to measure, and for what; tune: with tilings that are measured here first."""

    target: str
    turns: int
    repeats: int
    tune: bool


def find_target() -> str:
    """The target that this machine's card runs; raises ``GraphcError`` where there is none."""
    refused: graphc.GraphcError | None = None
    for name, target in TARGETS.items():
        try:
            NvidiaCard(target.arch, target.serves)
            return name
        except graphc.PlanError as error:  # a card, but of another architecture
            refused = error
    raise refused or graphc.GraphcError("graphc has no target for cards")


def in_turns(settings: Settings, *clocks: Clock) -> list[float]:
    """The median of each side, which take turns."""
    times: list[list[float]] = [[] for _ in clocks]
    for _ in range(settings.turns):
        for mine, clock in zip(times, clocks):
            mine.append(clock(settings.repeats))
    return [median(mine) for mine in times]


# ---- graphc ----------------------------------------------------------------------------------------------------------


def compile_ops(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    settings: Settings,
    precision: str = "float",
) -> Plan:
    """A net of a few operators with the output y."""
    fills = [
        Operator("GivenTensorFill", [], [name], {"shape": w.shape, "values": w.ravel()}) for name, w in weights.items()
    ]
    predict = Net("bench", list(ops), [*inputs, *weights], ["y"])
    init = write_net(Net("bench_init", fills, [], list(weights))) if weights else None
    options = {"target": settings.target, "precision": precision, "tune": settings.tune}
    return graphc.compile(write_net(predict), init, inputs=dict(inputs), **options)


def whole(plan: Plan, inputs: Mapping[str, np.ndarray]) -> Clock:
    """All kernels of a plan."""
    return lambda repeats: sum(median(t.whole) for t in plan.card_times(inputs, repeats, each=False))


def heaviest(plan: Plan, inputs: Mapping[str, np.ndarray]) -> Clock:
    """The kernel with the most work."""

    def clock(repeats: int) -> float:
        tasks = [pair for times in plan.card_times(inputs, repeats) for pair in times.tasks]
        return max(tasks, key=lambda pair: pair[0].flops)[1]

    return clock


def copying(plan: Plan, nbytes: int) -> Clock:
    """A copy within the card's memory."""
    return lambda repeats: plan.code.copy_seconds(nbytes)


def data(*shape: int) -> np.ndarray:
    """Seeded numbers."""
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


# ---- the peer --------------------------------------------------------------------------------------------------------


def torch_clock(make: Callable[[Any], Callable[[], object]]) -> Clock | None:
    """What ``make(torch)`` gives, captured in a CUDA graph; None where PyTorch or its CUDA is not there."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return None
    with torch.inference_mode():
        call = make(torch)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()

    def clock(repeats: int) -> float:
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        graph.replay()
        for start, end in events:
            start.record()
            graph.replay()
            end.record()
        torch.cuda.synchronize()
        return median(start.elapsed_time(end) for start, end in events) / 1e3

    return clock


def peer_dtype(torch: Any, precision: str) -> Any:
    """PyTorch's element type for a precision; products of float32 that it makes from now on may be in TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.float16 if precision == "float16" else torch.float32


def compared(part: str, case: str, settings: Settings, mine: Clock, peer: Clock | None) -> Row:
    """A row of both sides, or of graphc alone."""
    if peer is None:
        (own,) = in_turns(settings, mine)
        return Row(part, case, 1e3 * own)
    own, other = in_turns(settings, mine, peer)
    return Row(part, case, 1e3 * own, 1e3 * other, other / own)


# ---- cases -----------------------------------------------------------------------------------------------------------

MEMORY = {
    "Sigmoid": [Operator("Sigmoid", ["x"], ["y"])],
    "Relu, Mul, Add": [
        Operator("Relu", ["x"], ["a"]),
        Operator("Mul", ["a", "x"], ["b"]),
        Operator("Add", ["b", "x"], ["y"]),
    ],
    "ReduceMean of planes": [Operator("ReduceMean", ["x"], ["y"], {"axes": (2, 3), "keepdims": 0})],
    "ReduceSum of maps": [Operator("ReduceSum", ["x"], ["y"], {"axes": (1,), "keepdims": 0})],
}


def memory(settings: Settings) -> list[Row]:
    """Operators that memory bounds: bytes read and written by those of a copy in the same time."""
    rows, x = [], data(64, 256, 64, 64)
    for case, ops in MEMORY.items():
        plan = compile_ops(ops, {"x": x}, {}, settings)
        nbytes = x.nbytes + plan.graph.outputs[0].type.nbytes
        own, copy = in_turns(settings, whole(plan, {"x": x}), copying(plan, x.nbytes))
        rows.append(Row("memory", case, 1e3 * own, share=(nbytes / own) / (2 * x.nbytes / copy)))
    return rows


def gemm(settings: Settings, precision: str = "float16") -> list[Row]:
    """A product of square matrices, beside cuBLAS."""
    x, w = data(SIDE, SIDE), data(SIDE, SIDE) / SIDE
    ops = [Operator("FC", ["x", "w", "b"], ["y"])]
    plan = compile_ops(ops, {"x": x}, {"w": w, "b": np.zeros(SIDE, np.float32)}, settings, precision)

    def make(torch: Any) -> Callable[[], object]:
        dtype = peer_dtype(torch, precision)
        a, b = (torch.from_numpy(m).cuda().to(dtype) for m in (x, w))
        return lambda: a @ b.T

    return [compared("gemm", f"{SIDE} cubed, {precision}", settings, heaviest(plan, {"x": x}), torch_clock(make))]


def conv(settings: Settings) -> list[Row]:
    """Each kind of convolution of ResNet-50, beside cuDNN."""
    net, rows, seen = ARCHITECTURES["resnet50"](), [], set()
    for layer in net.layers:
        o = layer.options
        if layer.kind != "conv":
            continue
        _, *image = net.shapes[layer.inputs[0]]
        maps, channels, kernel, _ = net.weights[layer.weights[0]].shape
        case = (*image, maps, kernel, o["stride"])
        if case in seen:
            continue
        seen.add(case)
        x, w = data(CONV_BATCH, *image), data(maps, channels, kernel, kernel) / 30
        args = {"kernel": kernel, "stride": o["stride"], "pad": o["pad"]}
        plan = compile_ops(
            [Operator("Conv", ["x", "w", "b"], ["y"], args)],
            {"x": x},
            {"w": w, "b": np.zeros(maps, np.float32)},
            settings,
            "float16",
        )

        def make(torch: Any, x: np.ndarray = x, w: np.ndarray = w, o: Mapping[str, int] = o) -> Callable[[], object]:
            torch.backends.cudnn.benchmark = True
            halves = (torch.from_numpy(m).cuda().half() for m in (x, w))
            a, b = (m.contiguous(memory_format=torch.channels_last) for m in halves)
            bias, run = torch.zeros(w.shape[0]).cuda().half(), torch.nn.functional.conv2d
            return lambda: run(a, b, bias, stride=o["stride"], padding=o["pad"])

        name = f"{channels}x{image[1]}x{image[2]} to {maps}, {kernel}x{kernel} by {o['stride']}"
        rows.append(compared("conv", name, settings, heaviest(plan, {"x": x}), torch_clock(make)))
    return rows


def nets(settings: Settings, precision: str = "float16") -> list[Row]:
    """Whole nets, beside torch.compile."""
    rows = []
    for name in NETS:
        files, net = ensure(name, ["caffe2"]), ARCHITECTURES[name]()
        for batch in BATCHES:
            x = data(batch, *net.shapes["data"][1:])
            pair, options = (files.predict_net, files.init_net), {"target": settings.target, "tune": settings.tune}
            plan = graphc.compile(*pair, inputs={"data": x}, precision=precision, **options)

            def make(torch: Any, net: Described = net, x: np.ndarray = x) -> Callable[[], object]:
                function = importlib.import_module("formats.torch_function")
                dtype = peer_dtype(torch, precision)
                forward = function.make_forward(net, dtype, channels_last=True, device="cuda")
                run = torch.compile(forward, mode="max-autotune-no-cudagraphs", dynamic=False)
                given = torch.from_numpy(x).cuda().to(dtype)
                return lambda: run(given)

            mine, case = whole(plan, {"data": x}), f"{name}, batch {batch}, {precision}"
            rows.append(compared("nets", case, settings, mine, torch_clock(make)))
    return rows


def tf32(settings: Settings) -> list[Row]:
    """The product and the nets in TF32."""
    return gemm(settings, "tf32") + nets(settings, "tf32")


def int8(settings: Settings) -> list[Row]:
    """A quantised net, beside the same net in float16."""
    name, batch = "resnet50", max(BATCHES)
    files, net = ensure(name, ["caffe2"]), ARCHITECTURES[name]()
    x = {"data": data(batch, *net.shapes["data"][1:])}
    pair, inputs = (files.predict_net, files.init_net), {"data": x["data"].shape}
    quick = {"refine": False, "equalize": False, "correct_bias": False}
    quantized = graphc.quantize(*pair, [x], inputs=inputs, native=True, **quick).compile(
        settings.target, tune=settings.tune
    )
    halves = graphc.compile(*pair, inputs=inputs, target=settings.target, precision="float16", tune=settings.tune)
    return [compared("int8", f"{name}, batch {batch}", settings, whole(quantized, x), whole(halves, x))]


def main() -> int:
    """Measure, print a table, write JSON; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--tune", action="store_true", help="measure graphc's tilings before (graphc compile --tune)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        settings = Settings(find_target(), arguments.turns, arguments.repeats, arguments.tune)
    except graphc.GraphcError as error:
        print(f"no card: {error.message}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for part in arguments.only:
        for row in globals()[part](settings):
            print(row, flush=True)
            rows.append(row)
    ratios = [row.ratio for row in rows if row.part == "conv" and row.ratio]
    if ratios:
        print(f"conv    geometric mean of the ratios {geometric_mean(ratios):5.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
