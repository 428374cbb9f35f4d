"""Random nets of operators that passes move and merge: every level keeps the outputs."""

from __future__ import annotations

import numpy as np
import pytest
from random_nets import CHANNELS, NetMaker

from graphc.ir import Sym
from graphc.ir.reference import evaluate
from graphc.passes import LEVELS, run_pipeline, with_block


@pytest.mark.parametrize("seed", range(60))
def test_every_level_keeps_the_outputs(seed: int) -> None:
    made = NetMaker(seed)
    graph = made.graph(made.r.randrange(3, 25))
    inputs = {"x": np.random.default_rng(seed).standard_normal((2, CHANNELS, 5, 5)).astype(np.float32)}
    expected = evaluate(graph, inputs)
    for level in (0, 1, 2):
        optimised = graph.clone()
        run_pipeline(optimised, with_block(LEVELS[level], 4), check=2)
        got = evaluate(optimised, inputs)
        assert list(got) == list(expected)
        for name, a in expected.items():
            scale = max(1.0, float(np.abs(a).max()))
            np.testing.assert_allclose(got[name], a, rtol=0, atol=2e-5 * scale, err_msg=f"level {level} {name}")


def test_symbols_and_numbers_both_occur() -> None:
    batches = {NetMaker(seed).values[0].type.shape[0] for seed in range(20)}  # type: ignore[index]
    assert batches == {2, Sym("N")}
