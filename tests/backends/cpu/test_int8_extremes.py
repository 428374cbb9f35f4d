"""Products of the greatest bytes and weights, whose sums of pairs leave 16 bits: every target adds them up exactly.

Biases take away all of a sum but a small number, so that a sum that is wrong by 2 shows in the 8 bits of a result.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, run_call
from int8_calls import Operand, int8_call, kernels

from graphc.backends.cpu.kernels import int8_depthwise, int8_rules, int8_taps
from graphc.backends.cpu.kernels.tiles import Tile
from graphc.ir.opdef import Call
from graphc.ir.types import Quant

TARGETS = ("avx512_vnni", "avx512", "avx2", "portable")
PATTERNS = [(1, 1, 1, 1), (1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 0, 0), (1, 0, 0, 1)]
DEPTH = 68
LEFT = 40
"""What is left of every sum."""
ONE = {"Y_scale": 1.0, "Y_zero_point": 0}


@pytest.fixture(autouse=True)
def small_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile for all sizes: few kernels that compile quickly."""
    monkeypatch.setattr(int8_rules, "tile_of", lambda p, target: Tile(1, 1, 1))
    monkeypatch.setattr(int8_depthwise, "tile_for", lambda p, target: Tile(1, 1, 1))
    monkeypatch.setattr(int8_taps, "TILE", Tile(1, 1, 1))


def rows(low: int, high: int) -> np.ndarray:
    """A row of the two numbers for each pattern and its opposite, (2 * patterns, DEPTH)."""
    signs = np.tile(np.array(PATTERNS), (1, DEPTH // 4))
    return np.where(np.concatenate([signs, 1 - signs]) > 0, high, low)


def exact_bias(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """LEFT less the sums, all of which are the same for a map."""
    return np.asarray(LEFT - (x.astype(np.int64) * w.astype(np.int64)).sum(1), np.int32)


@pytest.mark.parametrize("target", TARGETS)
def test_sums_of_the_greatest_products(machines: dict[str, Machine], target: str) -> None:
    if target not in machines:
        pytest.skip(f"this processor has no {target}")
    made: list[tuple[Call, list[Operand]]] = []
    for pattern in rows(0, 255)[:3]:
        x = (pattern[None].astype(np.uint8), Quant(1.0, 0))
        for low, high, dtype in ((-128, 127, np.int8), (-128, -128, np.int8), (127, 127, np.int8), (0, 255, np.uint8)):
            w = rows(low, high)
            bias, native = exact_bias(pattern[None], w), dtype is np.int8
            operands: list[Operand] = [x, (w.astype(dtype), None if native else Quant(1.0, 0))]
            operands.append((bias, None if native else Quant(1.0, 0)))
            operands += [(np.ones(len(w), np.float32), None)] if native else []
            made.append((int8_call("g.int8_fc" if native else "Int8FC", operands, ONE, (1, 2, 3)), operands))
    kernels(machines[target], made)
    for call, operands in made:
        assert machines[target].library.choose(call).rule == "int8_conv"
        got = run_call(machines[target], call, [data for data, _ in operands])[0]
        assert (got == LEFT).all(), f"{call.node.op}: {got}"


@pytest.mark.parametrize("target", ["avx512_vnni", "avx2"])
def test_depthwise_sums_of_the_greatest_products(machines: dict[str, Machine], target: str) -> None:
    if target not in machines:
        pytest.skip(f"this processor has no {target}")
    channels, made = 66, []
    x = (np.full((1, 4, 5, channels), 255, np.uint8), Quant(1.0, 0))
    for first, second in ((-128, -128), (127, 127), (-128, 127)):
        w = np.where(np.arange(9 * channels).reshape(channels, 3, 3, 1) % 2, first, second).astype(np.int8)
        bias = exact_bias(np.full((1, 9), 255), w.reshape(channels, 9))
        operands: list[Operand] = [x, (w, None), (bias, None), (np.ones(channels, np.float32), None)]
        attrs = {"kernel": 3, "group": channels, "order": b"NHWC", **ONE}
        made.append((int8_call("g.int8_conv", operands, attrs, (1, 2, 3)), operands))
    kernels(machines[target], made)
    for call, operands in made:
        got = run_call(machines[target], call, [data for data, _ in operands])[0]
        assert (got == LEFT).all()
