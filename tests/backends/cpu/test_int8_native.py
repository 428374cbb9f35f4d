"""graphc's int8 products against the reference, bit for bit, on every target; the reference against sums by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from harness import Machine
from int8_calls import Case, assert_exact, call_of, int8_call, kernels

from graphc.backends.cpu.kernels import int8_depthwise, int8_rules, int8_taps
from graphc.backends.cpu.kernels.tiles import Tile
from graphc.ir import VerifyError
from graphc.ir.reference import evaluate_node
from graphc.ir.types import Quant

DIRECT = [
    Case((2, 5, 7, 64), (48, 1, 1, 64)),
    Case((1, 6, 5, 36), (33, 1, 1, 36), {"stride": 2, "relu": 1, "high": 200}),
    Case((2, 9, 11, 16), (64, 3, 3, 16), {"pad": 1, "relu": 1}, 1 / 9000, 0.75),
    Case((1, 9, 4, 8), (70, 1, 1, 8), {"high": 250}, 1 / 9000, 3.5, (0, 255, 240)),
    Case((1, 8, 17, 3), (40, 3, 5, 3), {"stride": 2, "pads": (1, 2, 0, 3), "to_float": 1}, 1.0),
    Case((1, 3, 3, 8), (34, 1, 1, 8), {"to_float": 1, "relu": 1}, 1 / 9000, 0.5),
    Case((1, 7, 9, 24), (18, 3, 3, 4), {"group": 6, "pad": 1}, 1 / 512),
    Case((1, 3, 3, 8), (34, 1, 1, 8), {}, 3e9),
    Case((19, 35), (40, 35), {"relu": 1}, 1 / 2048, 0.5),
    Case((1, 2, 2, 25), (70, 100), {"to_float": 1}),
]
DEPTHWISE = [
    Case((2, 5, 13, 33), (33, 2, 3, 1), {"group": 33, "pad": 1}, 1 / 300),
    Case((1, 7, 8, 16), (16, 2, 5, 1), {"group": 16, "dilation": 2, "pads": (1, 4, 0, 3), "relu": 1}, 1 / 99, 0.5),
    Case((1, 5, 6, 5), (5, 1, 1, 1), {"group": 5, "to_float": 1}),
    Case((1, 6, 9, 100), (100, 3, 3, 1), {"group": 100, "pad": 1, "stride": 2, "relu": 1, "high": 199}, 1 / 512),
    Case((2, 5, 4, 64), (64, 3, 3, 1), {"group": 64, "pads": (0, 2, 2, 1), "dilation_h": 2, "dilation_w": 1}, 1 / 512),
    Case((1, 3, 7, 66), (66, 1, 5, 1), {"group": 66, "pads": (0, 2, 0, 2)}, 1 / 200),
]


@pytest.fixture
def small_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile for all sizes: few kernels that compile quickly."""
    monkeypatch.setattr(int8_rules, "tile_of", lambda p, target: Tile(2, 1, 2))
    monkeypatch.setattr(int8_depthwise, "tile_for", lambda p, target: Tile(2, 1, 1))
    monkeypatch.setattr(int8_taps, "TILE", Tile(2, 1, 1))


@pytest.mark.usefixtures("small_tile")
@pytest.mark.parametrize("cases", [DIRECT, DEPTHWISE], ids=["direct", "depthwise"])
def test_products_are_those_of_the_reference(int8_machine: Machine, cases: Sequence[Case]) -> None:
    share = {"avx2": cases[::2], "portable": cases[1::2]}  # one text for both: half of the kernels each will do
    made = [call_of(case) for case in share.get(int8_machine.library.target_name, cases)]
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_conv")


def test_the_reference_against_sums_by_hand() -> None:
    """Two maps of scales 0.5 and 0.25: X - 10 = (2, -3); sums 2*4 + -3*-1 + 1 = 12 and 2*-2 + -3*2 - 4 = -14.

    In units of Y (0.5): 12 * 1 * 0.5 / 0.5 = 12 and -14 * 0.5 = -7, plus (R - 1) * 1.5 = 4.5 and 0: 16.5 and -7, of
    which the first goes to the even 16; plus the zero point 5: 21, and -2, below the least.
    """
    x, rest = (np.array([[12, 7]], np.uint8), Quant(1.0, 10)), (np.array([[4, 1]], np.uint8), Quant(0.75, 1))
    weights = [np.array([[4, -1], [-2, 2]], np.int8), np.array([1, -4], np.int32), np.array([0.5, 0.25], np.float32)]
    operands = [x, *((w, None) for w in weights), rest]
    for more, want in (({}, [[21, 0]]), ({"relu": 1, "high": 20}, [[20, 5]]), ({"to_float": 1}, [[8.25, -3.5]])):
        call = int8_call("g.int8_fc", operands, {"Y_scale": 0.5, "Y_zero_point": 5, **more}, (1, 2, 3))
        assert evaluate_node(call.node, [data for data, _ in operands])[0].tolist() == want


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": np.zeros(7, np.float32)}, "is not positive"),
        ({"scales": np.ones(6, np.float32)}, "scales and maps differ"),
        ({"weights": np.zeros((7, 5), np.uint8)}, "the operator takes int8"),
        ({"weights": np.zeros((7, 70000), np.int8)}, "70000 products"),
        ({"attrs": {"high": 300}}, "argument 'high'"),
        ({"rest": (np.zeros((2, 6), np.uint8), Quant(1.0, 0))}, "R"),
    ],
)
def test_wrong_calls_are_told(change: dict, message: str) -> None:
    weights = change.get("weights", np.zeros((7, 5), np.int8))
    x = (np.zeros((2, weights.shape[1]), np.uint8), Quant(1.0, 0))
    scales = change.get("scales", np.ones(7, np.float32))
    operands = [x, (weights, None), (np.zeros(7, np.int32), None), (scales, None)]
    operands += [change["rest"]] if "rest" in change else []
    with pytest.raises(VerifyError, match=message):
        int8_call("g.int8_fc", operands, change.get("attrs", {}), (1, 2, 3))
