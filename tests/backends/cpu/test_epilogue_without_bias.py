"""The first operand of an epilogue stands where a bias would; it is not one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from one_net import answers, operator

RNG = np.random.default_rng(0)

CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "direct": ("Conv", (32, 16, 1, 1), {"kernel": 1}),
    "3x3": ("Conv", (32, 16, 3, 3), {"kernel": 3, "pad": 1}),
    "depthwise": ("Conv", (16, 1, 3, 3), {"kernel": 3, "pad": 1, "group": 16}),
    "transposed": ("ConvTranspose", (16, 5, 2, 2), {"kernel": 2, "stride": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_bias(case: str) -> None:
    op, shape, args = CASES[case]
    x = RNG.uniform(-1, 1, (2, 16, 12, 12)).astype(np.float32)
    w = RNG.uniform(-0.2, 0.2, shape).astype(np.float32)
    slope = RNG.uniform(0.5, 1, shape[0] if op == "Conv" else shape[1]).astype(np.float32)
    ops = [operator(op, "x w", "a", **args), operator("PRelu", "a s", "y")]
    answers(ops, {"x": x}, "y", {"w": w, "s": slope}, 1e-5)
