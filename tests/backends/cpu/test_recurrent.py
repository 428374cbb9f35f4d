"""LSTMUnit against the record's loop."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, build_call, run_call

from graphc.ir.reference import evaluate_node

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("width", [1, 5, 16, 33, 300])
@pytest.mark.parametrize("drop", [0, 1])
@pytest.mark.parametrize("lengths", [0, 1])
def test_lstm_unit(machine: Machine, width: int, drop: int, lengths: int) -> None:
    hidden, cell = (RNG.standard_normal((1, 3, width)).astype(np.float32) for _ in range(2))
    gates = (RNG.standard_normal((1, 3, 4 * width)) * 3).astype(np.float32)
    ends = [np.array([1, 2, 3], np.int32)] if lengths else []
    inputs = [hidden, cell, gates, *ends, np.array([1], np.int32)]
    attrs = {"forget_bias": 0.5, "drop_states": drop, "sequence_lengths": lengths}
    call = build_call("LSTMUnit", inputs, target=machine.target, attrs=attrs, results=2)
    want = evaluate_node(call.node, inputs)
    for got, expected in zip(run_call(machine, call, inputs), want):
        np.testing.assert_allclose(got, expected, rtol=3e-6, atol=3e-7)
