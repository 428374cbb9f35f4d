"""The training net of the memory benchmark: names, gradients, and that its memory is shared."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.compiler import optimise
from graphc.frontends.netdef import import_net
from graphc.ir import evaluate, infer_types
from graphc.ir.memory_check import check_memory
from graphc.ir.summary import node_flops
from graphc.passes.lower import choose_kernels
from graphc.passes.memory.planner import plan

RESNET = runpy.run_path(str(Path(__file__).resolve().parent.parent / "benchmarks" / "training_nets.py"))["resnet"]


@pytest.fixture(scope="module")
def small() -> Any:
    """Two blocks, of which the second halves the picture."""
    return RESNET((1, 1), batch=2, image=32, width=4, classes=5)


def test_resnet50_is_caffe2s() -> None:
    """161 parameters: 53 convolutions, 53 normalisations with scale and bias, a layer with weights and bias."""
    made = RESNET()
    assert len(made.parameters) == 53 + 2 * 53 + 2
    assert len(made.statistics) == 2 * 53
    assert sum(made.given[name].size for name in made.parameters) == 25_557_032
    assert made.gradients["comp_2_sum_3"] == "comp_2_sum_3_grad"
    sums = [op for op in made.net.ops if op.type == "Sum" and op.device is not None]
    assert len(sums) == 16 - 1 + 1
    assert sums[0].inputs == ["comp_14_sum_3_grad", "comp_15_sum_3_grad"]


def test_operations_are_counted() -> None:
    """Gradients of filters and of images take a convolution's multiply-adds each; ResNet-50 has 4.09e9 of them."""
    made = RESNET(batch=1)
    graph = import_net(made.net, None, made.given)
    infer_types(graph)
    flops = {op: sum(node_flops(n) or 0 for n in graph.nodes if n.op == op) for op in ("Conv", "ConvGradient")}
    assert flops["ConvGradient"] == 2 * flops["Conv"]
    assert flops["Conv"] / 2 == pytest.approx(4.087e9, rel=1e-3)
    (fc,) = (n for n in graph.nodes if n.op == "FCGradient")
    assert node_flops(fc) == 2 * 2 * 2048 * 1000 + 1000


@pytest.mark.parametrize(
    "name",
    [
        "conv1_w",
        "comp_0_conv_2_w",
        "comp_0_spatbn_2_s",
        "comp_0_spatbn_3_b",
        "shortcut_projection_1_w",
        "shortcut_projection_1_spatbn_s",
        "last_out_L5_w",
    ],
)
def test_gradients_are_differences(small: Any, name: str) -> None:
    """Along the gradient the loss grows by its square, as long as few units of the net are switched on or off."""
    graph, feeds = import_net(small.net, None, small.given), small.example(classes=5)
    gradient = evaluate(graph, feeds)[small.gradients[name]].astype(np.float64)
    square = (gradient**2).sum()
    step = 2e-4 / square
    ends = [float(evaluate(graph, feeds | {name: _moved(feeds[name], s * step * gradient)})["loss"]) for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(square, rel=0.02)


def test_memory_of_resnet50() -> None:
    """Shared, it takes less than 60 % of what the blobs take alone; half of that again for 2 % more operations."""
    made = RESNET()
    graph = import_net(made.net, None, made.given)
    infer_types(graph)
    own = {r.name: r.type.nbytes for node in graph.nodes for r in node.results if r.name not in graph.output_names}
    optimise(graph, find("native"))
    library = CpuLibrary(find("native"))
    choices = choose_kernels(graph, library)
    shared, _ = plan(graph, library, choices)
    assert shared.arena_bytes < 0.6 * sum(own.values())
    flops = sum(node_flops(node) or 0 for node in graph.nodes)
    tight, _ = plan(graph, library, choices, shared.arena_bytes // 2)
    assert tight.arena_bytes <= shared.arena_bytes // 2
    assert check_memory(tight).ok
    assert 0 < tight.memory.recomputed_flops < 0.02 * flops


def test_values_computed_again_are_the_same() -> None:
    made = RESNET((2, 2), batch=8, image=32, width=4, classes=5)
    feeds = made.example(classes=5)
    graph = optimise(import_net(made.net, None, made.given), find("native"))
    want, before = evaluate(graph, feeds), len(graph.nodes)
    library = CpuLibrary(find("native"))
    choices = choose_kernels(graph, library)
    free, _ = plan(graph, library, choices)
    tight, _ = plan(graph, library, choices, int(0.6 * free.arena_bytes))
    assert len(graph.nodes) - before == len(tight.memory.recomputed) > 5
    assert check_memory(tight).ok
    got = evaluate(graph, feeds)
    assert all(np.array_equal(got[name], want[name]) for name in want)


def _moved(array: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (array + by).astype(np.float32)
