"""How long planning takes: the order of operators, their places, steps and offsets, for graphs of many operators.

``python benchmarks/planning_times.py``

Numba, in which the search for offsets is written, is loaded beforehand, as once in every process that needs it; how
long that took stands below the table.
"""

from __future__ import annotations

import random
import time

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.ir import DType, Graph, Node, TensorType, Value, infer_types
from graphc.passes.lower import choose_kernels
from graphc.passes.memory.exact import prepare
from graphc.passes.memory.planner import plan

SIZES = (100, 1000, 10_000)
ROWS = 8


def series_parallel(operators: int, seed: int = 1) -> Graph:
    """A random nest of chains and of branches that begin at one value and end in one sum."""
    made = _Made(random.Random(seed))
    while made.count < operators:
        made.value = made.part(made.value, min(operators - made.count, 400), 4)
    return made.done()


def dense_net(operators: int, seed: int = 1) -> Graph:
    """Blocks in which every layer reads all those before it (Huang et al., 2017), with halvings between the blocks."""
    made = _Made(random.Random(seed))
    while made.count < operators:
        layers = [made.value]
        while len(layers) < 12 and made.count < operators:
            joined = made.concat(layers) if len(layers) > 1 else layers[0]
            layers.append(made.slice(made.unary(joined), 16))
        made.value = made.slice(made.concat(layers), 32)
    return made.done()


class _Made:
    """A graph under construction; values are rows of as many columns as the operators make them."""

    def __init__(self, r: random.Random) -> None:
        self.r = r
        self.graph = Graph("planned")
        self.value = self.graph.add_input(TensorType(DType.FLOAT, (ROWS, 64)), "x")
        self.count = 0

    def node(self, op: str, operands: list[Value], **attrs: int | tuple[int, ...]) -> Value:
        """Append an operator of one result."""
        self.count += 1
        node = Node(op, list(operands), [Value(TensorType(), f"v{self.count}")], dict(attrs))
        if op == "Concat":
            node = Node(op, list(operands), [*node.results, Value(TensorType(), f"v{self.count}_dims")], dict(attrs))
        self.graph.append(node)
        node.results[0].type = TensorType(DType.FLOAT, (ROWS, self.width(node)))
        return node.results[0]

    def width(self, node: Node) -> int:
        """Columns of a result."""
        widths = [int(v.type.static_shape[1]) for v in node.operands if v is not None]
        if node.op == "Slice":
            ends = node.attrs["ends"]
            assert isinstance(ends, tuple)
            return int(ends[1])
        return sum(widths) if node.op == "Concat" else widths[0] * (2 if node.op == "Tile" else 1)

    def unary(self, x: Value) -> Value:
        """An operator that keeps the size."""
        return self.node(self.r.choice(("Softmax", "Sigmoid")), [x])

    def slice(self, x: Value, columns: int) -> Value:
        """The first columns."""
        return self.node("Slice", [x], starts=(0, 0), ends=(-1, min(columns, int(x.type.static_shape[1]))))

    def concat(self, values: list[Value]) -> Value:
        """Values side by side."""
        return self.node("Concat", values, axis=1)

    def part(self, x: Value, operators: int, depth: int) -> Value:
        """About so many operators between ``x`` and the value that it gives."""
        end = self.count + operators
        while self.count < end:
            left = end - self.count
            if left < 6 or not depth or self.r.random() < 0.5:
                wide = int(x.type.static_shape[1]) > 256
                x = self.slice(x, 32) if wide else self.r.choice((self.unary, self.double))(x)
            else:
                share = self.r.randrange(4, left) // 2
                ends = [self.part(x, max(1, share // 2), depth - 1) for _ in range(self.r.randrange(2, 5))]
                x = self.concat(ends)
        return x

    def double(self, x: Value) -> Value:
        """Twice the columns."""
        return self.node("Tile", [x], tiles=2, axis=1)

    def done(self) -> Graph:
        """The typed graph."""
        self.graph.add_output(self.value)
        infer_types(self.graph)
        return self.graph


def main() -> None:
    """Print a table."""
    library, start = CpuLibrary(find("native")), time.perf_counter()
    prepare()
    loading = time.perf_counter() - start
    print("| graph | operators | seconds | without sharing | arena | order |")
    print("| --- | --- | --- | --- | --- | --- |")
    for make in (series_parallel, dense_net):
        for operators in SIZES:
            graph = make(operators)
            choices = choose_kernels(graph, library)
            start = time.perf_counter()
            schedule, _ = plan(graph, library, choices)
            seconds = time.perf_counter() - start
            m = schedule.memory
            print(
                f"| {make.__name__} | {len(graph.nodes)} | {seconds:.2f} | {m.unshared} | "
                f"{schedule.arena_bytes} | {m.order} |",
                flush=True,
            )
    print(f"\nNumba and the search were loaded in {loading:.2f} s.")


if __name__ == "__main__":
    main()
