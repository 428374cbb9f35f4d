"""Kernels for cards as machine code, beside what a card's figures allow. Needs no card, only the extra ``cuda``.

    python benchmarks/cuda_kernels.py                                  # ResNet-50, SqueezeNet 1.1, MobileNet v2
    python benchmarks/cuda_kernels.py --net resnet50 --batch 64 --target cuda:sm_80 --json build/kernels.json
    python benchmarks/cuda_kernels.py --net FOLDER --svg build/kernels.svg    # predict_net.pb, init_net.pb, inputs.npz

A row is a kernel with all steps that run it. ``regs``, ``shared``, ``occ``: what the code takes of a multiprocessor,
and the share of its threads that can be resident. ``products``, ``shared ld``, ``memory``: shares of the instructions
of the main loop, the innermost one with the most products. ``bound``: the time that the card needs at least, the larger
of flops by its arithmetic and bytes by its memory. ``by code``: the same with the share of products that the main loop
has, the blocks in whole rounds on all multiprocessors, and their warps on the schedulers of these: what this code could
reach if nothing ever waited. Products on tensor cores take several clocks, in which other instructions are issued: of a
warp (HMMA, IMMA) whichever takes longer counts, of four warps (HGMMA, IGMMA) the products. Both are calculated, nothing
is measured: where values stay in the card's cache, even the bound is too high.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from roofline import Dot, roofline_svg

import graphc
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.instructions import PRODUCTS, count, main_loop, read
from graphc.backends.cuda.target import CudaTarget, find
from graphc.ir.schedule import KernelSpec, Task
from graphc.plan import Plan
from graphc.zoo.architectures import ARCHITECTURES
from graphc.zoo.netdef import write_nets


@dataclass(frozen=True)
class Card:
    """NVIDIA's figures of a card: FLOP/s in float32 and on tensor cores in half precision (in TF32 half as many),
    bytes/s of its memory."""

    name: str
    floats: float
    tensors: float
    memory: float
    processors: int


CARDS = {
    "cuda:sm_90a": Card("H200", 67e12, 989e12, 4.8e12, 132),
    "cuda:sm_80": Card("A100 80 GB", 19.5e12, 312e12, 2.0e12, 108),
}
GROUPS = {
    "products": PRODUCTS,
    "arithmetic": ("FADD", "FMUL", "MUFU"),
    "shared_loads": ("LDS", "LDSM"),
    "memory": ("LDG", "STG", "LDGSTS"),
    "stack": ("LDL", "STL"),
}
SCHEDULERS = 4
"""Of a multiprocessor."""
PRODUCT = 16 * 8 * 16
"""Multiply-adds of halves in the time of an HMMA or IMMA: of TF32 it does half as many, of bytes twice."""
LIGHT = 0.05
"""A main loop with fewer products than this is not one of products: its flops are no bound."""


@dataclass(frozen=True)
class Row:
    """A kernel and the steps of a net that run it. Times in microseconds; shares of the main loop's instructions."""

    net: str
    kernel: str
    spec: str
    steps: int
    blocks: int
    threads: int
    registers: int
    shared: int
    stack: int
    spilled: int
    occupancy: float
    instructions: int
    loop: int
    mix: dict[str, float]
    flops: int
    nbytes: int
    bound: float
    by_code: float

    @property
    def share(self) -> float:
        """Of the products in the main loop."""
        return self.mix["products"]


def row(net: str, spec: KernelSpec, cubin: Cubin, tasks: Sequence[Task], target: str) -> Row:
    """The figures of a kernel."""
    code, card = read(cubin.code, find(target).capability), CARDS[target]
    loop = main_loop(code)
    found = count(loop)
    total = sum(found.values())
    mix = {group: sum(found[name] for name in names) / total for group, names in GROUPS.items()}
    on_tensor_cores = any(found[name] for name in ("HGMMA", "IGMMA", "HMMA", "IMMA"))
    peak = card.tensors if on_tensor_cores else card.floats
    peak = peak / 2 if spec.get("kind", "") == "tf" else peak
    bounds = [max(t.flops / peak, t.nbytes / card.memory) for t in tasks]
    return Row(
        net=net,
        kernel=spec.template,
        spec=str(spec),
        steps=len(tasks),
        blocks=sum(t.units for t in tasks),
        threads=cubin.threads,
        registers=cubin.registers,
        shared=cubin.shared,
        stack=cubin.stack,
        spilled=cubin.spilled,
        occupancy=cubin.occupancy(find(target).shared),
        instructions=sum(count(code).values()),
        loop=total,
        mix=mix,
        flops=sum(t.flops for t in tasks),
        nbytes=sum(t.nbytes for t in tasks),
        bound=1e6 * sum(bounds),
        by_code=1e6 * sum(reachable(t, cubin, rate(found, cubin, find(target)), peak, card) for t in tasks),
    )


def rate(found: Counter[str], cubin: Cubin, target: CudaTarget) -> float:
    """The share of the peak that the instructions of a main loop leave to its products, if nothing waits."""
    if found["HGMMA"] + found["IGMMA"] and not cubin.serialized:
        return 1.0
    total, products = sum(found.values()), found["HMMA"] + found["IMMA"]
    if not products:
        return sum(found[name] for name in PRODUCTS) / total
    needed, taken = (
        SCHEDULERS * PRODUCT / r for r in (max(target.products, target.warpgroup_products), target.products)
    )
    return products * needed / max(products * taken, total)


def reachable(task: Task, cubin: Cubin, share: float, peak: float, card: Card) -> float:
    """Seconds of a task whose main loop never waits: blocks in whole rounds, one product in ``share`` instructions.

    The schedulers of a multiprocessor issue one instruction of a warp each.
    """
    memory = task.nbytes / card.memory
    if share < LIGHT or not task.units:
        return memory
    rounds = -(-task.units // card.processors)
    busy = min(1.0, rounds * cubin.threads / (32 * SCHEDULERS))
    return max(memory, task.flops / (peak * share * busy) * rounds * card.processors / task.units)


def rows(net: str, plan: Plan, target: str) -> list[Row]:
    """Those of all kernels that a plan has on the card, in the order of their time."""
    cubins = {c.name: c for c in plan.code.cubins()}
    tasks: dict[KernelSpec, list[Task]] = {}
    for schedule in plan.schedules:
        for task in (t for step in schedule.steps for t in step if t.kernel.name in cubins):
            tasks.setdefault(task.kernel, []).append(task)
    found = [row(net, spec, cubins[spec.name], run, target) for spec, run in tasks.items()]
    return sorted(found, key=lambda r: -r.by_code)


def compile_net(name: str, batch: int, target: str, precision: str) -> Plan:
    """The plan of an architecture of the zoo with random weights, or of a folder with the inputs' sizes."""
    folder = Path(name)
    if folder.is_dir():
        with np.load(folder / "inputs.npz") as file:
            shapes = {n: (batch or a.shape[0], *a.shape[1:]) if a.ndim == 4 else a.shape for n, a in file.items()}
            types = {n: np.empty(shapes[n], a.dtype) for n, a in file.items()}
        files = folder / "predict_net.pb", folder / "init_net.pb"
        return graphc.compile(*files, inputs=types, target=target, precision=precision)
    net = ARCHITECTURES[name](0)
    with tempfile.TemporaryDirectory() as place:
        files = Path(place) / "predict_net.pb", Path(place) / "init_net.pb"
        write_nets(net, *files)
        shape = (batch or 1, *net.shapes["data"][1:])
        return graphc.compile(*files, inputs={"data": shape}, target=target, precision=precision)


def text(found: Sequence[Row], card: Card) -> str:
    """The table of a net."""
    lines = [
        f"{found[0].net} on {card.name}, calculated",
        f"{'kernel':18}{'steps':>6}{'threads':>8}{'regs':>5}{'shared':>8}{'spills':>7}{'occ':>6}"
        f"{'products':>9}{'shared ld':>10}{'memory':>8}{'GFLOP':>8}{'MB':>8}{'bound us':>9}{'by code':>9}",
    ]
    for r in found:
        lines.append(
            f"{label(r):18}{r.steps:6}{r.threads:8}{r.registers:5}{r.shared:8}{r.spilled + r.stack:7}{r.occupancy:6.2f}"
            f"{r.share:9.2f}{r.mix['shared_loads']:10.2f}{r.mix['memory']:8.2f}"
            f"{r.flops / 1e9:8.2f}{r.nbytes / 1e6:8.1f}{r.bound:9.1f}{r.by_code:9.1f}"
        )
    bound, reached = sum(r.bound for r in found), sum(r.by_code for r in found)
    lines.append(f"{'all':18}{sum(r.steps for r in found):6}{'':69}{bound:9.1f}{reached:9.1f}")
    return "\n".join(lines)


def label(r: Row) -> str:
    """A kernel's name with its tile and window."""
    given = dict(part.split("=") for part in r.spec.partition("{")[2][:-1].split(",") if part.count("=") == 1)
    tile = f" {given['maps']}x{given['pixels']}" if {"maps", "pixels"} <= given.keys() else ""
    return r.kernel + tile + (f" {given['kh']}x{given['kw']}" if "kh" in given else "")


def dots(found: Sequence[Row]) -> list[Dot]:
    """Each kernel in the picture: flops by byte, FLOP/s that its code can reach, and its share of the time."""
    total = sum(r.by_code for r in found)
    return [
        Dot(f"{r.net}: {label(r)}", r.flops / r.nbytes, 1e6 * r.flops / r.by_code, r.by_code / total)
        for r in found
        if r.flops and r.nbytes
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    nets = ["resnet50", "squeezenet1_1", "mobilenetv2"]
    parser.add_argument("--net", action="append", default=[], help=f"of {', '.join(ARCHITECTURES)}, or a folder")
    parser.add_argument("--batch", type=int, default=0, help="images; 1, or those of the folder, if not given")
    parser.add_argument("--target", choices=CARDS, default="cuda:sm_90a")
    parser.add_argument("--precision", default="float", help="float, tf32, float16 or bfloat16")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--svg", type=Path, help="write the roofline picture to this file")
    options = parser.parse_args()
    card, every = CARDS[options.target], list[Row]()
    for name in options.net or nets:
        plan = compile_net(name, options.batch, options.target, options.precision)
        found = rows(Path(name).name, plan, options.target)
        print(text(found, card), end="\n\n")
        every += found
    kinds = Counter(r.spec for r in every)
    print(f"{len(kinds)} kernels; spilled or on a stack: {sum(r.spilled + r.stack for r in every)} bytes")
    if options.json:
        options.json.write_text(json.dumps(report(card, options.target, every), indent=1), encoding="utf-8")
    if options.svg:
        rates = {"float32": card.floats} | ({"tensor cores": card.tensors} if options.precision != "float" else {})
        options.svg.write_text(roofline_svg(f"{card.name}, calculated", rates, card.memory, dots(every)), "utf-8")


def report(card: Card, target: str, every: Sequence[Row]) -> Mapping[str, object]:
    """All figures as JSON has them."""
    return {"card": asdict(card), "target": target, "kernels": [asdict(r) for r in every]}


if __name__ == "__main__":
    main()
