"""Int8 convolutions and matrix products against the reference, bit for bit, on every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from harness import Machine
from int8_calls import Operand, assert_exact, int8_call, kernels, quantised

from graphc.ir.opdef import Call
from graphc.ir.types import Quant


@dataclass(frozen=True)
class Case:
    """shape: of X; filter: (M, kH, kW, C / group). zeros: of X, W and Y; scale: units of Y per unit of the sums."""

    shape: tuple[int, ...]
    filter: tuple[int, ...]
    attrs: dict = field(default_factory=dict)
    zeros: tuple[int, int, int] = (128, 128, 128)
    scale: float = 1 / 4096
    op: str = "Int8Conv"
    weights: tuple[int, int] = (0, 256)


CASES = [
    Case((2, 5, 7, 64), (48, 1, 1, 64)),
    Case((1, 6, 5, 36), (33, 1, 1, 36), {"stride": 2}, (3, 0, 5)),
    Case((1, 9, 8, 19), (20, 1, 1, 19), {}, (255, 255, 255), op="Int8ConvRelu"),
    Case((2, 9, 11, 16), (16, 3, 3, 16), {"pad": 1}, (7, 100, 31), op="Int8ConvRelu"),
    Case((1, 8, 17, 3), (40, 3, 5, 3), {"stride": 2, "pads": (1, 2, 0, 3)}, (114, 140, 0)),
    Case((1, 13, 10, 12), (7, 3, 3, 12), {"dilation": 2, "pad": 2}, (0, 3, 77)),
    Case((1, 7, 9, 24), (18, 3, 3, 4), {"group": 6, "pad": 1}, (90, 121, 9)),
    Case((1, 7, 9, 10), (4, 2, 3, 5), {"group": 2, "stride_h": 2, "stride_w": 1}, (1, 254, 200)),
    Case((1, 5, 5, 32), (64, 1, 1, 32), {"pad": 1}, (10, 130, 3), op="Int8ConvRelu"),
    Case((1, 4, 6, 20), (32, 1, 1, 20), {"stride": 3, "legacy_pad": 2}, (9, 77, 128)),
    Case((1, 6, 6, 8), (8, 3, 3, 8), {"pad": 1}, (128, 128, 128), scale=1.5, weights=(120, 137)),
    Case((1, 3, 3, 8), (8, 1, 1, 8), {}, (128, 0, 100), scale=3e9),
    Case((1, 3, 3, 8), (8, 1, 1, 8), {}, (128, 0, 100), scale=1e-20),
    Case((1, 3, 3, 8), (8, 1, 1, 8), {}, (128, 0, 100), scale=0.5),
    Case((1, 1, 1, 600), (33, 1, 1, 600), {}, (128, 90, 100), scale=2**-14),
]
DEPTHWISE = [
    Case((2, 9, 13, 33), (33, 3, 3, 1), {"group": 33, "pad": 1}, (128, 3, 128), 1 / 512),
    Case((1, 12, 9, 16), (16, 3, 3, 1), {"group": 16, "pad": 1, "stride": 2}, (0, 255, 4), 1 / 512, "Int8ConvRelu"),
    Case((1, 7, 8, 16), (16, 2, 5, 1), {"group": 16, "dilation": 2, "pads": (1, 4, 0, 3)}, (200, 128, 4), 1 / 99),
    Case((1, 5, 6, 5), (5, 1, 1, 1), {"group": 5}, (20, 128, 4), 1.25),
]
PRODUCTS = [
    Case((1, 100), (37, 100), {}, (3, 128, 7), 1 / 8192, "Int8FC"),
    Case((19, 35), (20, 35), {}, (128, 11, 7), 1 / 8192, "Int8FCRelu"),
    Case((3, 2, 4, 5), (20, 20), {"axis": 2}, (128, 11, 7), 1 / 8192, "Int8FC"),
]


def call_of(case: Case) -> tuple[Call, Sequence[Operand]]:
    rng = np.random.default_rng(3)
    x = quantised(rng, case.shape, 0.5, case.zeros[0])
    w = (rng.integers(*case.weights, case.filter).astype(np.uint8), Quant(0.25, case.zeros[1]))
    bias = (rng.integers(-5000, 5000, case.filter[0]).astype(np.int32), Quant(0.125, 0))
    attrs = {**case.attrs, "Y_scale": 0.125 / case.scale, "Y_zero_point": case.zeros[2]}
    if case.op.startswith("Int8Conv"):
        attrs |= {"kernels": case.filter[1:3], "order": b"NHWC"}
    return int8_call(case.op, [x, w, bias], attrs), [x, w, bias]


@pytest.mark.parametrize("cases", [CASES, DEPTHWISE, PRODUCTS], ids=["direct", "depthwise", "products"])
def test_products_are_those_of_the_reference(int8_machine: Machine, cases: Sequence[Case]) -> None:
    made = [call_of(case) for case in cases]
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_conv")
