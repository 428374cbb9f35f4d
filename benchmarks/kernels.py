"""Speed of the heavy kernels, layer by layer, on one core: time, GFLOP/s, and per cent of the core's FMA peak.

    python benchmarks/kernels.py                       # all nets' layers
    python benchmarks/kernels.py --net resnet50 --target avx2

FLOPs are those of direct convolution, so that Winograd's may pass 100 %. Weights and values stay in the caches as far
as they fit; inside a net large weights come from memory, which costs up to a fifth more. Pin the process to an idle
core (``taskset -c 1``) for figures that repeat.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import peak
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import CpuTarget, find
from graphc.backends.load import LoadedKernels
from graphc.ir import Call, Graph, Node, Value
from graphc.ir.schedule import NO_HALO, Address, Step, View
from graphc.ir.types import PLAIN, DType, Layout, TensorType

FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int32, *([ctypes.c_void_p] * 2), *([ctypes.c_int64] * 4))


@dataclass(frozen=True)
class Layer:
    """A convolution of a square image, or (size 0) a fully connected layer; relu after it."""

    channels: int
    maps: int
    size: int
    kernel: int = 1
    stride: int = 1
    group: int = 1

    def __str__(self) -> str:
        if not self.size:
            return f"fc {self.channels} -> {self.maps}"
        tail = f" / {self.stride}" if self.stride > 1 else ""
        group = f" x {self.group} groups" if self.group > 1 else ""
        return f"{self.kernel}x{self.kernel}{tail} {self.channels} -> {self.maps} at {self.size}{group}"


NETS = {
    "resnet50": [
        Layer(3, 64, 224, 7, 2),
        *(x for s, c in ((56, 64), (28, 128), (14, 256), (7, 512)) for x in (Layer(4 * c, c, s), Layer(c, 4 * c, s))),
        *(Layer(c, c, s, 3) for s, c in ((56, 64), (28, 128), (14, 256), (7, 512))),
        *(Layer(c, c, s, 3, 2) for s, c in ((56, 128), (28, 256), (14, 512))),
        *(Layer(c, 2 * c, s, 1, 2) for s, c in ((56, 256), (28, 512), (14, 1024))),
        Layer(2048, 1000, 0),
    ],
    "squeezenet": [
        Layer(3, 64, 224, 3, 2),
        *(Layer(c, m, s) for c, m, s in ((64, 16, 55), (128, 16, 55), (256, 32, 27), (384, 48, 13), (512, 64, 13))),
        *(Layer(c, m, s) for c, m, s in ((16, 64, 55), (32, 128, 27), (48, 192, 13), (64, 256, 13), (512, 1000, 13))),
        *(Layer(c, m, s, 3) for c, m, s in ((16, 64, 55), (32, 128, 27), (48, 192, 13), (64, 256, 13))),
    ],
    "vgg16": [
        *(Layer(c, m, s, 3) for c, m, s in ((3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112))),
        *(
            Layer(c, m, s, 3)
            for c, m, s in ((128, 256, 56), (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 14))
        ),
        Layer(25088, 4096, 0),
        Layer(4096, 4096, 0),
    ],
    "mobilenetv2": [
        Layer(3, 32, 224, 3, 2),
        *(Layer(c, c, s, 3, 1, c) for c, s in ((32, 112), (144, 56), (192, 28), (384, 14), (576, 14), (960, 7))),
        *(Layer(c, c, s, 3, 2, c) for c, s in ((96, 112), (144, 56), (192, 28), (576, 14))),
        *(Layer(c, m, s) for c, m, s in ((16, 96, 112), (96, 24, 56), (24, 144, 56), (192, 32, 28), (384, 64, 14))),
        *(Layer(c, m, s) for c, m, s in ((64, 384, 14), (576, 96, 14), (960, 160, 7), (320, 1280, 7))),
    ],
    "mlp": [Layer(784, 1024, 0), Layer(1024, 1024, 0), Layer(1024, 10, 0)],
}


def call_of(layer: Layer, target: CpuTarget, batch: int) -> Call:
    """The layer as a node with random weights and a relu as epilogue, in the layouts that a net would have."""
    r, graph = np.random.default_rng(0), Graph("layer")
    fc, block = not layer.size, Layout(target.lanes)
    shape = (batch, layer.channels) if fc else (batch, layer.channels, layer.size, layer.size)
    x = graph.add_input(TensorType(DType.FLOAT, shape, PLAIN if fc or layer.channels <= 4 else block), "x")
    taps = () if fc else (layer.channels // layer.group, layer.kernel, layer.kernel)
    weights = r.standard_normal((layer.maps, layer.channels) if fc else (layer.maps, *taps)).astype(np.float32)
    bias = r.standard_normal(layer.maps).astype(np.float32)
    attrs = {"kernel": layer.kernel, "stride": layer.stride, "pad": layer.kernel // 2, "group": layer.group}
    operands = [x, graph.add_constant("w", weights), graph.add_constant("b", bias)]
    node = graph.append(Node("FC" if fc else "Conv", operands, [Value(TensorType(), "y")], {} if fc else attrs))
    (y,) = node.opdef.infer(Call(node))
    node.results[0].type = y if fc else TensorType(y.dtype, y.shape, block)
    body = Graph("relu")
    bare = body.add_input(node.results[0].type, "bare")
    body.add_output(body.append(Node("Relu", [bare], [Value(bare.type, "z")])).results[0])
    node.attrs["epilogue"] = body
    return Call(node)


class Memory:
    """Zeroed memory, handed out piece by piece."""

    def __init__(self, nbytes: int) -> None:
        self.array = np.zeros(nbytes + 64, np.uint8)
        self.at = -self.array.ctypes.data % 64

    def take(self, nbytes: int) -> int:
        """Address of the next piece."""
        address = int(self.array.ctypes.data) + self.at
        self.at += -(-nbytes // 64) * 64
        assert self.at <= self.array.nbytes
        return address

    def view(self, type: TensorType, halo: tuple[int, int, int, int] = NO_HALO) -> View:
        """A value with a border; its address is absolute."""
        shape, block = type.static_shape, type.layout.block
        if len(shape) == 2:
            return View(Address("abs", self.take(4 * type.size)), type, (shape[1], 1))
        n, c, h, w = shape
        top, left, bottom, right = halo
        row = (left + w + right) * block
        plane = (top + h + bottom) * row
        image = -(-c // block) * plane
        start = self.take(4 * n * image) + 4 * (top * row + left * block)
        return View(Address("abs", start), type, (image, plane, row, block), halo == NO_HALO)


def measure(layer: Layer, target: CpuTarget, batch: int, seconds: float) -> tuple[float, int, str]:
    """Fastest time of the layer in seconds, its FLOPs, and the rule that was chosen."""
    call = call_of(layer, target, batch)
    run, label = runner(call, target)
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest, flops_of(layer, call), label


def runner(call: Call, target: CpuTarget, nbytes: int = 1 << 30) -> tuple[Callable[[], None], str]:
    """A function that does the steps of a call once on one core, in memory of so many bytes, and the rule's name."""
    library, memory = CpuLibrary(target), Memory(nbytes)
    choice = library.choose(call)
    needs = library.needs(call, choice)
    ins: list[View | None] = []
    for i, v in enumerate(call.node.operands):
        assert v is not None
        if v.data is None:
            ins.append(memory.view(v.type, needs.halo.get(i, NO_HALO)))
            continue
        data = np.ascontiguousarray(choice.packed.get(i, v.data))
        address = memory.take(data.nbytes)
        ctypes.memmove(address, data.ctypes.data, data.nbytes)
        strides = tuple(s // data.itemsize for s in data.strides)
        ins.append(View(Address("abs", address), TensorType(DType.of(data.dtype), data.shape), strides))
    workspace, scratch = Address("abs", memory.take(needs.workspace)), memory.take(needs.scratch)
    outs = [memory.view(r.type) for r in call.node.results]
    steps = library.bind(call, choice, ins, outs, workspace)
    label = choice.rule + ("" if choice.spec is None else f" {_tile(choice.spec.params)}")
    return _of_steps(library, target, steps, scratch, memory), label


def _tile(params: tuple[tuple[str, int | str], ...]) -> str:
    known = dict(params)
    return "x".join(str(known[k]) for k in ("pixels", "rows", "blocks") if k in known)


def flops_of(layer: Layer, call: Call) -> int:
    """Floating-point operations of direct convolution, or as many on integers."""
    taps = layer.kernel**2 if layer.size else 1
    return 2 * call.node.results[0].type.size * layer.channels // layer.group * taps


def _of_steps(
    library: CpuLibrary, target: CpuTarget, steps: list[Step], scratch: int, memory: Memory
) -> Callable[[], None]:
    specs = {t.kernel.name: t.kernel for s in steps for t in s}
    objects = compile_kernels({n: library.source(k) for n, k in specs.items()}, target, KernelCache.default())
    loaded = LoadedKernels(objects)
    spaces = {"scratch": scratch, "stride": 0, "abs": 0}
    work = []
    for task in (t for s in steps for t in s):
        block = np.array([p if isinstance(p, int) else spaces[p.space] + p.offset for p in task.params], np.int64)
        work.append((FUNCTION(loaded.addresses[task.kernel.name]), block, task.units))
    ignored = (ctypes.c_int64 * 2)()
    first = ctypes.addressof(ignored)

    def run(keep: tuple[object, ...] = (loaded, memory, ignored)) -> None:
        for function, block, units in work:
            function(first, first + 8, block.ctypes.data, 0, units, 0)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=sorted(NETS), action="append", help="default: all")
    parser.add_argument("--target", default="native")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.2, help="for each layer")
    args = parser.parse_args()
    target = find(args.target)
    top = peak.measure(target.name, 1)[0]
    print(f"target {target.name}, FMA peak {top / 1e9:.0f} GFLOP/s on one core, batch {args.batch}\n")
    print("| net | layer | kernel | us | GFLOP/s | of peak |\n|---|---|---|--:|--:|--:|")
    for net in args.net or NETS:
        for layer in NETS[net]:
            seconds, flops, kernel = measure(layer, target, args.batch, args.seconds)
            rate = flops / seconds
            print(
                f"| {net} | {layer} | {kernel} | {seconds * 1e6:.1f} | {rate / 1e9:.0f} | {rate / top:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
