"""Forward and backward nets mean the same after the passes, are one piece, and their memory can be proved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.compiler import optimise
from graphc.frontends.netdef import Net, Operator, add_gradient_operators, import_net
from graphc.ir import DType, TensorType, evaluate
from graphc.ir.memory_check import check_memory
from graphc.passes.lower import choose_kernels, lower
from graphc.passes.segments import cut_segments

FLOATS = {
    "wide": (2, 6),
    "square": (6, 6),
    "six": (6,),
    "slope": (1,),
    "table": (5, 6),
    "target": (2, 6),
    "image": (2, 3, 8, 8),
    "photo": (2, 8, 8, 3),
    "conv_w": (8, 3, 3, 3),
    "eight": (8,),
    "scale": (8,),
    "mean": (8,),
    "var": (8,),
    "depth_w": (8, 1, 3, 3),
    "mix_w": (4, 16, 1, 1),
    "depth_last": (8, 3, 3, 1),
    "mix_last": (4, 1, 1, 16),
    "fc_w": (3, 196),
    "small_w": (3, 128),
    "three": (3,),
}
"""Blobs that nets are given, by shape."""
INTS = {
    "label": np.array([1, 0], np.int32),
    "rows": np.array([1, 2, 4], np.int64),
    "lengths": np.array([1, 2], np.int32),
    "picked": np.array([0, 4], np.int64),
}


def _convolutions(order: bytes, data: str, depth: str, mix: str) -> list[Operator]:
    """A normalised convolution, one per channel beside it, their sum and both joined."""
    own = {"order": order}
    normal = {"is_test": 0, "epsilon": 2.0**-10, "momentum": 0.875, **own}
    return [
        Operator("Conv", [data, "conv_w", "eight"], ["c"], {"kernel": 3, "pad": 1, **own}),
        Operator(
            "SpatialBN", ["c", "scale", "eight", "mean", "var"], ["n", "mean", "var", "saved_mean", "saved_var"], normal
        ),
        Operator("Relu", ["n"], ["n"]),
        Operator("Conv", ["n", depth], ["d"], {"kernel": 3, "pad": 1, "group": 8, **own}),
        Operator("Sum", ["d", "n"], ["d"]),
        Operator("Concat", ["d", "n"], ["both", "sizes"], own),
        Operator("Conv", ["both", mix], ["mixed"], {"kernel": 1, **own}),
        Operator("MaxPool", ["mixed"], ["p"], {"kernel": 2, "stride": 1, **own}),
        Operator("Sigmoid", ["p"], ["q"]),
        Operator("FC", ["q", "fc_w", "three"], ["f"]),
        Operator("SoftmaxWithLoss", ["f", "label"], ["softmax", "loss"]),
    ]


NETS = {
    "images NCHW": _convolutions(b"NCHW", "image", "depth_w", "mix_w"),
    "images NHWC": _convolutions(b"NHWC", "photo", "depth_last", "mix_last"),
    "test-time normalisation": [
        Operator("Conv", ["image", "conv_w", "eight"], ["c"], {"kernel": 3, "pad": 1, "stride": 2}),
        Operator("SpatialBN", ["c", "scale", "eight", "mean", "var"], ["n"], {"is_test": 1}),
        Operator("Relu", ["n"], ["n"]),
        Operator("FC", ["n", "small_w", "three"], ["f"]),
        Operator("SoftmaxWithLoss", ["f", "label"], ["softmax", "loss"]),
    ],
    "shared weights": [
        Operator("FC", ["wide", "square", "six"], ["h"]),
        Operator("Tanh", ["h"], ["h"]),
        Operator("FC", ["h", "square", "six"], ["g"]),
        Operator("PRelu", ["g", "slope"], ["p"]),
        Operator("LayerNorm", ["p"], ["q", "mean_of_p", "deviation"]),
        Operator("Split", ["q"], ["u", "v"], {"axis": 1}),
        Operator("Mul", ["u", "v"], ["y"]),
        Operator("Softmax", ["y"], ["likely"]),
        Operator("LabelCrossEntropy", ["likely", "label"], ["each"]),
        Operator("AveragedLoss", ["each"], ["loss"]),
    ],
    "a table": [
        Operator("SparseLengthsSum", ["table", "rows", "lengths"], ["e"]),
        Operator("Gather", ["table", "picked"], ["k"]),
        Operator("Sum", ["e", "k"], ["z"]),
        Operator("FC", ["z", "square", "six"], ["h"]),
        Operator("SquaredL2Distance", ["h", "target"], ["d"]),
        Operator("AveragedLoss", ["d"], ["loss"]),
    ],
}


def _differentiated(operators: Sequence[Operator]) -> tuple[Net, dict[str, np.ndarray]]:
    """A net that gives its loss, the gradients of what it is given and the running statistics; blobs for it."""
    read = {name for op in operators for name in op.inputs}
    random = np.random.default_rng(1)
    feeds = {n: random.uniform(0.1, 0.9, s).astype(np.float32) for n, s in FLOATS.items() if n in read}
    for name in feeds.keys() - {"var"}:
        feeds[name] -= np.float32(0.45)
    feeds |= {name: array for name, array in INTS.items() if name in read}
    net = Net("n", list(operators), list(feeds))
    gradients = add_gradient_operators(net, ["loss"])
    found = [gradients[name] for name in feeds if name in gradients]
    written = [name for op in operators for name in op.outputs if name in feeds]
    parts = [part for g in found for part in (g if isinstance(g, tuple) else (g,))]
    net.external_outputs = list(dict.fromkeys(["loss", *parts, *written]))
    return net, feeds


@pytest.mark.parametrize("name", NETS)
def test_passes_keep_gradients(name: str) -> None:
    net, feeds = _differentiated(NETS[name])
    types = {n: TensorType(DType.of(a.dtype), a.shape) for n, a in feeds.items()}
    want = evaluate(import_net(net, None, types), feeds)
    assert len(want) > 4
    for level in (0, 1, 2):
        graph = optimise(import_net(net, None, types), find("native"), level)
        got = evaluate(graph, feeds)
        for blob in want:
            np.testing.assert_allclose(got[blob], want[blob], rtol=1e-4, atol=1e-6, err_msg=f"{blob} at level {level}")
        assert len(cut_segments(graph).parts) == 1
        library = CpuLibrary(find("native"))
        schedule, _ = lower(graph, library, choose_kernels(graph, library))
        assert check_memory(schedule).ok
        assert schedule.arena_bytes < 0.6 * schedule.memory.unshared
