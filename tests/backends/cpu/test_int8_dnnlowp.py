"""Kernels for operators of the engine DNNLOWP against the reference, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine
from int8_calls import assert_exact, int8_call, kernels, quantised

Y = {"Y_scale": 0.3, "Y_zero_point": 77}
SUMS = [("Int8Sum", 0.5, 0.25), ("Int8SumRelu", 0.01, 0.02), ("Add", 76.0, 1e-4), ("SumRelu", 0.2, 0.1)]
POOLS = [
    ({"kernel": 3, "stride": 2, "pad": 1}, (2, 5, 7, 19)),
    ({"kernels": (2, 3), "pads": (0, 2, 1, 1)}, (1, 4, 5, 64)),
    ({"global_pooling": 1}, (2, 7, 7, 33)),
]


def test_sums(int8_machine: Machine) -> None:
    """Whole vectors of the engine's, and the up to 7 elements behind them."""
    made, rng = [], np.random.default_rng(4)
    for op, a_scale, b_scale in SUMS:
        for shape in ((3, 5, 7, 19), (2, 64), (1, 7), (3, 5)):
            operands = [quantised(rng, shape, a_scale, 3), quantised(rng, shape, b_scale, 255)]
            made.append((int8_call(f"{op}_ENGINE_DNNLOWP", operands, Y, ()), operands))
    if not int8_machine.target.fma:
        assert {int8_machine.library.choose(call).rule for call, _ in made} == {"loop"}
        return
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_dnnlowp")


def test_quantisation_of_every_kind_of_number(int8_machine: Machine) -> None:
    """Halves, what lies beyond the ends, infinities and NaN."""
    rest = np.random.default_rng(5).uniform(-100, 100, 300).astype(np.float32)
    x = np.concatenate([np.arange(-300, 300, dtype=np.float32) / 4, [np.inf, -np.inf, np.nan, 3e38, -0.0], rest])
    operands = [(x.astype(np.float32), None)]
    for scale in (0.5, 0.3):
        call = int8_call("Int8Quantize_ENGINE_DNNLOWP", operands, {"Y_scale": scale, "Y_zero_point": 9}, ())
        rule = "int8_dnnlowp" if int8_machine.target.fma else "loop"
        with np.errstate(over="ignore", invalid="ignore"):
            assert_exact(int8_machine, call, operands, rule)


@pytest.mark.parametrize("op", ["AveragePool", "Int8AveragePool"])
def test_means(int8_machine: Machine, op: str) -> None:
    made = []
    for attrs, shape in POOLS:
        x = quantised(np.random.default_rng(6), shape, 0.7, 130)
        made.append((int8_call(f"{op}_ENGINE_DNNLOWP", [x], {"order": b"NHWC", **attrs, **Y}, ()), [x]))
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_pool")


def test_scales_that_data_decides_leave_the_loop(int8_machine: Machine) -> None:
    x = quantised(np.random.default_rng(7), (1, 4), 0.5, 7)
    call = int8_call("Int8Sum_ENGINE_DNNLOWP", [x, x], {}, ())
    assert int8_machine.library.choose(call).rule == "loop"
