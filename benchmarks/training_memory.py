"""Memory of nets for training: ``python benchmarks/training_memory.py [resnet50 ...] [--batch 32] [--image 224]``.

Prints a table in Markdown: the blobs that the net makes, each in memory of its own as Caffe2 keeps them; the arena in
which they share it; the arena below ``--max-memory`` of half of that, what is computed again for it, its share of all
operations of the net, and the seconds that it takes to plan. What the caller gives and takes counts nowhere: inputs,
weights and their gradients, running statistics.
"""

from __future__ import annotations

import argparse
import time

import training_nets
from training_nets import TrainingNet

import graphc
from graphc.frontends.netdef import import_net
from graphc.ir import Graph, infer_types
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Schedule
from graphc.ir.summary import node_flops

MIB = 1 << 20
HEAD = (
    "net",
    "operators",
    "blobs",
    "arena",
    "share",
    "limit",
    "arena below it",
    "computed again",
    "more operations",
    "s",
)


def blob_bytes(graph: Graph) -> int:
    """Bytes of the blobs that a typed graph makes for itself, each name counted once."""
    given = {v.name for v in graph.inputs} | set(graph.output_names)
    sizes = {r.name: r.type.nbytes for node in graph.nodes for r in node.results if r.name not in given}
    return sum(sizes.values())


def planned(made: TrainingNet, max_memory: int | None = None) -> Schedule:
    """The schedule of a net, proved by the checker."""
    graph = import_net(made.net, None, made.given)
    (schedule,) = graphc.compile_graph(graph, prepare=False, max_memory=max_memory).schedules
    report = check_memory(schedule)
    if not report.ok:
        raise SystemExit(str(report))
    return schedule


def row(name: str, made: TrainingNet) -> tuple[str, ...]:
    """One net's figures as text, in the order of ``HEAD``."""
    graph = import_net(made.net, None, made.given)
    infer_types(graph)
    blobs, free = blob_bytes(graph), planned(made).arena_bytes
    start = time.perf_counter()
    tight = planned(made, free // 2)
    seconds = time.perf_counter() - start
    flops, again = sum(node_flops(node) or 0 for node in graph.nodes), tight.memory
    return (
        name,
        str(len(made.net.ops)),
        f"{blobs / MIB:,.0f} MiB",
        f"{free / MIB:,.0f} MiB",
        f"{free / blobs:.0%}",
        f"{free // 2 / MIB:,.0f} MiB",
        f"{tight.arena_bytes / MIB:,.0f} MiB",
        f"{len(again.recomputed)} values",
        f"{again.recomputed_flops / 1e9:.3g} GFLOP ({again.recomputed_flops / flops:.1%})",
        f"{seconds:.1f}",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(training_nets.NETS)}; default: all")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--image", type=int, default=224)
    arguments = parser.parse_args()
    print("|" + "|".join(f" {title} " for title in HEAD) + "|")
    print("|" + " --- |" * len(HEAD))
    for name in arguments.names or training_nets.NETS:
        made = training_nets.resnet(training_nets.NETS[name], arguments.batch, arguments.image)
        print("| " + " | ".join(row(name, made)) + " |")


if __name__ == "__main__":
    main()
