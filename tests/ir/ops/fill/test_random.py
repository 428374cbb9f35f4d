"""Random fills against NumPy, whose generator is the same."""

from __future__ import annotations

import numpy as np
import operator_cases
import pytest

from graphc.ir.infer import infer_node
from graphc.ir.ops.fill._twister import begin, word


def test_words_of_the_loop_are_those_of_the_generator() -> None:
    state = np.zeros(625, np.int64)
    begin(state, 5489)
    words = [int(word(state)) for _ in range(1000)]
    want = np.random.RandomState(5489).randint(0, 1 << 32, 1000, np.uint32)
    assert words == want.tolist()


@pytest.mark.parametrize("op", ["UniformFill", "GaussianFill", "XavierFill", "MSRAFill", "UniformIntFill"])
def test_loops_of_fills_draw_what_numpy_draws(op: str) -> None:
    made = operator_cases.make_call(op, [], ["Y"], {"shape": (3, 5)})
    made.node.device = "cpu:0 random_seed=11"
    (want,) = operator_cases.run(made, [])
    got, state = np.zeros((3, 5), want.dtype), np.zeros(625, np.int64)
    assert made.opdef.loop is not None
    absent = [np.zeros(0, np.float32)] * len(made.opdef.inputs)
    infer_node(made.node)
    made.opdef.loop(*absent, got, state, *made.opdef.loop_arguments(made))
    np.testing.assert_allclose(got, want, rtol=1e-6)
