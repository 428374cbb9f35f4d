"""Kernels of loops, runs of rows, boxes and searches as machine code. Needs the extra cuda."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import emulated_plan
from one_net import operator
from test_machine_code import REGISTERS, compiled, compiler, data, sources

from graphc.backends.cache import KernelCache
from graphc.backends.cuda.compile import compile_kernels
from graphc.backends.cuda.target import TARGETS, find

__all__ = ["compiler"]  # the fixture that skips these tests without the extra

IDS, LENGTHS = np.zeros(6, np.int64), np.array([2, 4], np.int32)
RUNS = {"i": IDS, "n": LENGTHS}
NETS = {
    "indices": ([operator("Gather", "x i", "y")], {"x": data(9, 7), "i": IDS}),
    "images": ([operator("ResizeNearest", "x", "y", width_scale=2.0, height_scale=2.0)], {"x": data(1, 2, 5, 5)}),
    "a cell": ([operator("LSTMUnit", "h c g n t", "y z")], {
        **{name: data(1, 3, 5) for name in "hc"},
        "g": data(1, 3, 20), "n": np.ones(3, np.int32), "t": np.ones(1, np.int32),
    }),
    "an optimiser": ([operator("Adam", "p a b g l t", "q c d")], {
        **{name: data(7) for name in "pabg"},
        "l": data(1), "t": np.ones(1, np.int64),
    }),
    "rows that occur several times": ([operator("RowWiseSparseAdagrad", "p m i g l", "p m")], {
        "p": data(5, 3), "m": data(5), "i": IDS, "g": data(6, 3), "l": data(1),
    }),
    "the sizes at hand": ([operator("FloatToFused8BitRowwiseQuantized", "x", "y")], {"x": data(5, 12)}),
    "earlier turns": ([operator("LengthsPad", "x n", "y", target_length=9)], {"x": data(6, 3), "n": LENGTHS}),
    "rows": ([operator("SparseLengthsSum", "x i n", "y")], {"x": data(9, 128), **RUNS}),
    "rows of bytes": ([operator("SparseLengthsMeanFused8BitRowwise", "x i n", "y")], {
        "x": np.ones((9, 40), np.uint8), **RUNS
    }),
    "rows of 4 bits": ([operator("SparseLengthsSum4BitRowwiseSparse", "x i n m", "y")], {
        "x": np.ones((9, 20), np.uint8), "m": np.zeros(9, np.int32), **RUNS
    }),
    "boxes": ([operator("RoIAlign", "x r", "y", pooled_h=2, pooled_w=2)], {"x": data(1, 3, 9, 9), "r": data(2, 5)}),
    "a convolution in training": ([
        operator("Conv", "x w b", "y", kernel=3),
        operator("ConvGradient", "x w dy", "dw db dx", kernel=3),
    ], {"x": data(2, 3, 30, 30), "w": data(40, 3, 3, 3), "b": data(40), "dy": data(2, 40, 28, 28)}),
    "in three dimensions": (
        [operator("Conv3DGradient", "x w dy", "dw db dx", kernels=[3, 3, 3])],
        {"x": data(1, 2, 5, 5, 5), "w": data(3, 2, 3, 3, 3), "dy": data(1, 3, 3, 3, 3)},
    ),
    "pools in training": ([
        operator("MaxPoolGradient", "x p d", "dx", kernel=2, stride=2),
        operator("AveragePoolGradient", "x p d", "da", kernel=2, stride=2),
    ], {"x": data(1, 2, 8, 8), "p": data(1, 2, 4, 4), "d": data(1, 2, 4, 4)}),
    "a batch": ([
        operator("SpatialBN", "x s b", "y m v sm sv"),
        operator("SpatialBNGradient", "x s dy k l", "dx ds db"),
    ], {"x": data(3, 4, 5, 5), "dy": data(3, 4, 5, 5), **{name: data(4) for name in "sbkl"}}),
    "gradients": ([
        operator("AffineChannelGradient", "d z s", "dx ds db", is_learnable=1),
        operator("LpPoolGradient", "p q e", "dp", kernel=2, stride=2),
        operator("PReluGradient", "x z d a", "dz da"),
    ], {
        **{name: data(2, 4, 6, 6) for name in "xdzp"}, **{name: data(2, 4, 3, 3) for name in "qe"},
        **{name: data(4) for name in "sa"},
    }),
    "blocks of pixels": ([operator("BatchToSpace", "x", "y", block_size=2)], {"x": data(4, 3, 5, 5)}),
    "the largest": (
        [operator("ArgMax", "x", "a", axis=1), operator("TopK", "x", "y z", k=3)],
        {"x": data(4, 50)},
    ),
}  # fmt: skip
COLUMNS = (
    [operator("Im2Col", "x", "c", kernel=3, order="NHWC"), operator("Col2Im", "d d", "y", kernel=1, order="NHWC")],
    {"x": data(2, 6, 7, 3), "d": data(2, 6, 7, 3)},
)


@pytest.mark.parametrize("target", TARGETS)
def test_they_fit_the_registers(target: str) -> None:
    kernels = {}
    for ops, inputs in NETS.values():
        outputs = " ".join(name for op in ops for name in op.outputs)
        kernels |= sources(emulated_plan(ops, inputs, outputs, {}, target))
    assert len(kernels) >= 12
    compiled(kernels, target)


@pytest.mark.parametrize("target", TARGETS)
def test_what_would_spill_has_more_registers(target: str) -> None:
    """128 are too few for a kernel that tells orders, borders and steps apart in one nest of loops."""
    ops, inputs = COLUMNS
    kernels = sources(emulated_plan(ops, inputs, "c y", {}, target))
    made = compile_kernels(kernels, find(target), KernelCache.default())
    assert (max(cubin.registers for cubin in made.values()) > REGISTERS) == (target == "cuda:sm_90a")
    for cubin in made.values():
        assert cubin.stack == cubin.spilled == 0, cubin.name
        assert cubin.registers * cubin.threads <= 1 << 16, cubin.name
