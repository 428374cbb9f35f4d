"""What memonger saves: ``python benchmarks/memonger.py [FOLDER] [--batch 32] [--image 224]``.

Prints tables in Markdown: for each net ``FOLDER/NAME/{init_net.pb,predict_net.pb,inputs.npz}``, and for the training of
ResNet-50, how many blobs the operators write and how many bytes those have, before and after. A blob that several
share has the size of the largest; weights and inputs do not count.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import training_nets

import graphc
from graphc.caffe2 import memonger
from graphc.frontends.netdef import import_net, parse_netdef
from graphc.frontends.netdef.writer import to_message
from graphc.ir import Graph, infer_types

MIB = 1 << 20
WAYS = ("fast", "for dag", "greedy", "optimal")
HEAD = ("net", "operators", "blobs", *WAYS, "MiB", *WAYS)


def blob_sizes(graph: Graph) -> dict[str, int]:
    """Bytes of each blob of a graph whose types are known."""
    infer_types(graph)
    return {name: v.type.nbytes if v.type.is_static else 0 for name, v in graph.blobs().items()}


def written(before: Any, after: Any, sizes: Mapping[str, int]) -> tuple[int, int]:
    """How many blobs a rewritten net's operators write, and their bytes."""
    found: dict[str, int] = {}
    for a, b in zip(before.op, after.op):
        for old, new in zip(a.output, b.output):
            found[new] = max(found.get(new, 0), sizes.get(old, 0))
    return len(found), sum(found.values())


def reordered(net: Any, sizes: Mapping[str, int], algo: memonger.AssignmentAlgorithm) -> tuple[int, int]:
    """The same of ``optimize_interference`` with sizes, from its assignments."""
    every = {b: sizes.get(b, 0) for op in net.op for b in (*op.input, *op.output)}
    order = memonger.topological_sort_traversal_longest_path
    found = memonger.optimize_interference(net, [], order, every, algo)
    made = {b for op in net.op for b in op.output}
    groups = [a for a in found.assignments if made.intersection(name for name, _ in a)]
    return len(groups), memonger.get_memory_usage(groups)


def row(folder: Path) -> tuple[str, ...]:
    """One net's figures as text, in the order of ``HEAD``."""
    net = parse_netdef(folder / "predict_net.pb")
    with np.load(folder / "inputs.npz") as file:
        shapes = {name: file[name] for name in file.files}
    sizes = blob_sizes(graphc.import_model(folder / "predict_net.pb", folder / "init_net.pb", shapes))
    results = [
        written(net, net, sizes),
        written(net, memonger.optimize_inference_fast(net, []), sizes),
        written(net, memonger.optimize_inference_for_dag(net, net.external_input), sizes),
        *(reordered(net, sizes, algo) for algo in memonger.AssignmentAlgorithm),
    ]
    counts, used = [str(n) for n, _ in results], [f"{n / MIB:.2f}" for _, n in results]
    return folder.name, str(len(net.op)), *counts, *used


def training(batch: int, image: int) -> None:
    """The backward pass of ResNet-50, with and without activations and shapes."""
    made = training_nets.resnet(batch=batch, image=image)
    net, sizes = to_message(made.net), blob_sizes(import_net(made.net, None, made.given))
    print("\n| sharing | blobs | MiB | seconds |\n| --- | --- | --- | --- |")
    print_training("none", written(net, net, sizes), 0)
    gradients = {made.gradients[p] for p in made.parameters}
    shapes = {name: [size // 4] for name, size in sizes.items()}
    for words, activations, given in (
        ("gradients", False, None),
        ("gradients, shapes given", False, shapes),
        ("gradients and activations, shapes given", True, shapes),
    ):
        start = time.perf_counter()
        found = memonger.share_grad_blobs(
            net, ["loss"], gradients, "", share_activations=activations, blob_shapes=given
        )
        print_training(words, written(net, found, sizes), time.perf_counter() - start)


def print_training(words: str, result: tuple[int, int], seconds: float) -> None:
    """A row of the second table."""
    print(f"| {words} | {result[0]} | {result[1] / MIB:,.0f} | {f'{seconds:.2f}' if seconds else ''} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of model folders")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--image", type=int, default=224)
    arguments = parser.parse_args()
    logging.getLogger("memonger").setLevel(logging.ERROR)
    if arguments.folder is not None:
        print("|" + "|".join(f" {title} " for title in HEAD) + "|")
        print("|" + " --- |" * len(HEAD))
        for path in sorted(arguments.folder.glob("*/inputs.npz")):
            print("| " + " | ".join(row(path.parent)) + " |")
    training(arguments.batch, arguments.image)


if __name__ == "__main__":
    main()
