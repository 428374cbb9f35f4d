"""Runs the steps of one node straight from the kernel library, in memory poisoned with NaN.

Views get the halo that the rule asks for (zeros), and beyond it NaN; a blocked value's pad lanes are NaN; nothing but
logical elements and pad lanes of the results may change. Every node runs several times, its units cut differently.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import target as cpu_target
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.load import LoadedKernels
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.schedule import NO_HALO, Address, Choice, Halo, KernelSpec, Step, Task, View
from graphc.ir.types import PLAIN, DType, Layout, TensorType

KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64
)
GUARD = 4096
POISON = 0xFF
"""Bytes of memory that nobody wrote: NaN as float32, -1 as int32."""


@dataclass
class Memory:
    """Bytes that views live in: ``allocate`` hands out pieces with guards between them."""

    size: int = GUARD
    buffer: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def allocate(self, nbytes: int, misalign: int = 0) -> int:
        """Offset of a piece, 64-byte aligned plus ``misalign``."""
        offset = -(-self.size // 64) * 64 + misalign
        self.size = offset + nbytes + GUARD
        return offset

    def make(self) -> None:
        """Create the memory, poisoned."""
        raw = np.full(self.size + 64, POISON, np.uint8)
        start = -raw.ctypes.data % 64
        self.buffer = raw[start : start + self.size]


def physical_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Shape in memory, without lanes for a plain value."""
    if layout.block == 1:
        return tuple(shape)
    n, c, h, w = shape
    return (n, -(-c // layout.block), h, w)


def make_view(memory: Memory, type: TensorType, halo: Halo = NO_HALO, neighbours: tuple[int, int] = (0, 0)) -> View:
    """A view in ``memory``. neighbours: channel blocks (planes) before and after it in a bigger buffer (4-D only)."""
    shape, block = type.static_shape, type.layout.block
    itemsize = type.dtype.itemsize if type.dtype else 4
    if len(shape) != 4:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        return View(Address("arena", memory.allocate(int(np.prod(shape)) * itemsize)), type, strides)
    n, planes, h, w = physical_shape(shape, type.layout)
    top, left, bottom, right = halo
    row = (left + w + right) * block
    plane = (top + h + bottom) * row
    image = (neighbours[0] + planes + neighbours[1]) * plane
    offset = memory.allocate(n * image * itemsize)
    first = neighbours[0] * plane + top * row + left * block
    dense = halo == NO_HALO and neighbours == (0, 0)
    return View(Address("arena", offset + first * itemsize), type, (image, plane, row, block), dense)


def window_of(memory: Memory, view: View, halo: Halo = NO_HALO) -> np.ndarray:
    """The elements of a view in physical shape (lanes last if blocked), with ``halo`` pixels around."""
    dtype = view.type.dtype.numpy if view.type.dtype else np.dtype(np.float32)
    shape, strides, block = (
        physical_shape(view.type.static_shape, view.type.layout),
        view.strides,
        view.type.layout.block,
    )
    start = view.address.offset
    if len(shape) == 4:
        top, left, bottom, right = halo
        start -= (top * strides[2] + left * strides[3]) * dtype.itemsize
        shape = (shape[0], shape[1], shape[2] + top + bottom, shape[3] + left + right)
    if block > 1:
        shape, strides = (*shape, block), (*strides, 1)
    return np.ndarray(shape, dtype, memory.buffer.data, start, tuple(s * dtype.itemsize for s in strides))


def put(memory: Memory, view: View, value: np.ndarray, halo: Halo = NO_HALO) -> None:
    """Write a logical value and its zero halo; pad lanes stay poisoned."""
    if halo != NO_HALO:
        window_of(memory, view, halo)[...] = 0
    target, block = window_of(memory, view), view.type.layout.block
    if block == 1:
        target[...] = value
        return
    target[...] = np.frombuffer(b"\xff" * 8, target.dtype)[0]
    for c in range(value.shape[1]):
        target[:, c // block, :, :, c % block] = value[:, c]


def get(memory: Memory, view: View) -> np.ndarray:
    """The logical value of a view."""
    source, block = window_of(memory, view), view.type.layout.block
    if block == 1:
        return source.copy()
    n, c, h, w = view.type.static_shape
    return source.transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)[:, :c].copy()


class Machine:
    """A target with its library, its cache and the kernels loaded so far."""

    def __init__(self, name: str, folder: Path) -> None:
        self.target = cpu_target.find(name)
        self.library = CpuLibrary(self.target)
        self.cache = KernelCache(folder)
        self.loaded: dict[KernelSpec, ctypes._FuncPointer] = {}
        self._keep: list[LoadedKernels] = []

    def kernel(self, spec: KernelSpec) -> ctypes._FuncPointer:
        """The machine code of a kernel, compiled on first use."""
        if spec not in self.loaded:
            self.compile([spec])
        return self.loaded[spec]

    def compile(self, specs: Sequence[KernelSpec]) -> None:
        """Compile and load the kernels that are missing, in parallel."""
        missing = {s.name: s for s in specs if s not in self.loaded}
        if not missing:
            return
        objects = compile_kernels({n: self.library.source(s) for n, s in missing.items()}, self.target, self.cache)
        loaded = LoadedKernels(objects)
        self._keep.append(loaded)
        for name, spec in missing.items():
            self.loaded[spec] = KERNEL(loaded.addresses[name])


@dataclass
class Bound:
    """One node's steps with the memory that they address."""

    machine: Machine
    steps: list[Step]
    ins: list[View | None]
    outs: list[View]
    memory: Memory
    constants: list[np.ndarray]
    choice: Choice
    scratch: int
    scratch_stride: int
    status: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))

    def resolve(self, param: int | Address) -> int:
        """The number that the kernel gets for a parameter."""
        if isinstance(param, int):
            return param
        if param.space == "stride":
            return self.scratch_stride
        base = {
            "arena": self.memory.buffer.ctypes.data,
            "scratch": self.memory.buffer.ctypes.data + self.scratch,
            "const": self.constants[param.index].ctypes.data if self.constants else 0,
            "status": self.status.ctypes.data,
        }[param.space]
        return base + param.offset

    def run(self, cut: str = "whole") -> None:
        """Run all steps. cut: ``whole``, or ``single`` units in reverse order on changing threads."""
        for step in self.steps:
            for task in step:
                self.run_task(task, cut)

    def prepare(self) -> list[tuple[ctypes._FuncPointer, np.ndarray, int]]:
        """(function, parameters, units) of every task in order, for timing."""
        return [(self.machine.kernel(t.kernel), self.parameters(t), t.units) for s in self.steps for t in s]

    def parameters(self, task: Task) -> np.ndarray:
        """The parameter block of a task."""
        return np.array([self.resolve(p) for p in task.params] or [0], np.int64)

    def run_task(self, task: Task, cut: str) -> None:
        function, block = self.machine.kernel(task.kernel), self.parameters(task)
        result, exception = ctypes.c_int64(0), ctypes.c_int64(0)
        chunks = [(0, task.units)] if cut == "whole" else [(u, u + 1) for u in reversed(range(task.units))]
        for i, (lo, hi) in enumerate(chunks):
            status = function(
                ctypes.addressof(result), ctypes.addressof(exception), block.ctypes.data, lo, hi, i % THREADS
            )
            assert status == 0, f"{task.kernel} ended with status {status}"


THREADS = 3


@dataclass(frozen=True)
class Placement:
    """Where a test puts values. blocked, blocked_out: operands (by index) and results that are in the target's NCHWc.

    halo_out: extra border of the results (never to be written). slices: operands and results are channel slices of
    bigger buffers, where the rule does not insist on dense ones.
    """

    blocked: frozenset[int] = frozenset()
    blocked_out: bool = False
    halo_out: Halo = NO_HALO
    slices: bool = False


def build_call(
    op: str,
    operands: Sequence[np.ndarray | None],
    *,
    constants: Sequence[int] = (),
    target: cpu_target.CpuTarget,
    place: Placement = Placement(),
    attrs: dict | None = None,
    results: int = 1,
) -> Call:
    """A call on typed values: ``operands[i]`` is a weight where i is in ``constants``; result types are inferred."""
    graph = Graph("test")
    block = Layout(target.lanes)
    values: list[Value | None] = []
    for i, a in enumerate(operands):
        if a is None:
            values.append(None)
        elif i in constants:
            values.append(graph.add_constant(f"w{i}", a))
        else:
            layout = block if i in place.blocked else PLAIN
            values.append(graph.add_input(TensorType(DType.of(a.dtype), a.shape, layout), f"x{i}"))
    named = [Value(TensorType(), f"y{k or ''}") for k in range(results)]
    node = Node(op, values, named, dict(attrs or {}))
    graph.append(node)
    types = node.opdef.infer(Call(node))
    for extra in range(results, len(types)):
        node.results.append(Value(TensorType(), f"y{extra}"))
        node.results[-1].producer, node.results[-1].index = node, extra
    for r, t in zip(node.results, types):
        layout = block if place.blocked_out and t.rank == 4 else PLAIN
        r.type = TensorType(t.dtype or DType.FLOAT, t.shape, layout)
    return Call(node)


def bind_call(
    machine: Machine, call: Call, operands: Sequence[np.ndarray | None], place: Placement = Placement()
) -> Bound:
    """Choose, ask for needs, allocate, bind."""
    library, memory = machine.library, Memory()
    choice = library.choose(call)
    needs = library.needs(call, choice)
    ins: list[View | None] = []
    constants: list[np.ndarray] = []
    fills: list[tuple[View, np.ndarray, Halo]] = []
    for i, v in enumerate(call.node.operands):
        if v is None:
            ins.append(None)
        elif v.is_constant:
            data = np.ascontiguousarray(choice.packed.get(i, v.data))
            type = TensorType(DType.of(data.dtype), tuple(int(d) for d in data.shape))
            strides = tuple(s // data.itemsize for s in data.strides)
            ins.append(View(Address("const", 0, len(constants)), type, strides))
            constants.append(_aligned(data))
        else:
            halo = tuple(needs.halo.get(i, NO_HALO))
            spread = (1, 2) if place.slices and i not in needs.dense else (0, 0)
            ins.append(make_view(memory, v.type, halo, spread))
            fills.append((ins[-1], operands[i], halo))
    outs = [
        make_view(
            memory,
            r.type,
            NO_HALO if needs.dense_out else place.halo_out,
            (2, 1) if place.slices and not needs.dense_out else (0, 0),
        )
        for r in call.node.results
    ]
    workspace = Address("arena", memory.allocate(needs.workspace))
    stride = -(-needs.scratch // 64) * 64
    scratch = memory.allocate(stride * THREADS)
    memory.make()
    for view, value, halo in fills:
        put(memory, view, value, halo)
    steps = library.bind(call, choice, ins, outs, workspace)
    return Bound(machine, steps, ins, outs, memory, constants, choice, scratch, stride)


def _aligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64
    view = raw[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def outside(bound: Bound, workspace_end: int) -> np.ndarray:
    """The memory below ``workspace_end`` with the results' own elements (pad lanes included) blanked."""
    copy = Memory(bound.memory.size, bound.memory.buffer.copy())
    for view in bound.outs:
        window_of(copy, view)[...] = 0
    return copy.buffer[:workspace_end]


def run_call(
    machine: Machine, call: Call, operands: Sequence[np.ndarray | None], place: Placement = Placement()
) -> list[np.ndarray]:
    """The results of a call; asserts that nothing else was written and that every cut of the units agrees."""
    answers: list[list[np.ndarray]] = []
    for cut in ("whole", "single"):
        bound = bind_call(machine, call, operands, place)
        machine.compile([t.kernel for s in bound.steps for t in s])
        end = _end_of_values(bound)
        before = outside(bound, end)
        bound.run(cut)
        assert not bound.status[0], f"{bound.choice.spec} refused its data: error {bound.status[0]}"
        assert np.array_equal(before, outside(bound, end)), f"{bound.choice.spec} wrote outside its result"
        answers.append([get(bound.memory, v) for v in bound.outs])
    for a, b in zip(*answers):
        np.testing.assert_array_equal(a, b, err_msg="the answer depends on how units are shared out")
    return answers[0]


def _end_of_values(bound: Bound) -> int:
    """Where the guard after the last result begins; workspace and scratch lie beyond."""
    ends = [0]
    for view in bound.outs:
        array = window_of(bound.memory, view)
        low = array.__array_interface__["data"][0] - bound.memory.buffer.ctypes.data
        ends.append(low + sum((n - 1) * s for n, s in zip(array.shape, array.strides) if n) + array.itemsize)
    return max(ends) + 64
