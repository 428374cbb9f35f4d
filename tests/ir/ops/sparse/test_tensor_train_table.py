"""Look-ups in a tensor train against the table that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answers

from graphc.ir.errors import RunError


def i32(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def test_look_ups_in_a_tensor_train_are_those_in_its_table() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=s).astype(np.float32) for s in ((2, 1, 2, 3), (3, 3, 2, 4), (2, 4, 3, 1)))
    table = np.einsum("ixam,jmbn,kncy->kjiabc", a, b, c).reshape(12, 12)
    indices, lengths = np.array([11, 0, 7, 3]), i32(3, 0, 1)
    sizes = {"factor_i": [2, 3, 2], "factor_j": [2, 2, 3], "ranks": [1, 3, 4, 1], "emb_size": 12}
    y, first, second, places = answers("TTSparseLengthsSum", a, b, c, indices, lengths, outputs=4, **sizes)
    np.testing.assert_allclose(y, [table[[11, 0, 7]].sum(0), np.zeros(12), table[3]], rtol=1e-4, atol=1e-5)
    grads = rng.normal(size=(3, 12)).astype(np.float32)
    rest = (lengths, first, second, places, grads)
    slopes = answers("TTSparseLengthsSumGradient", a, b, c, *rest, outputs=3, **sizes)
    for core, slope in zip((a, b, c), slopes):
        for at in ((0, 0, 0, 0), (1, 0, 1, 0)):
            unit = [np.zeros_like(x) if x is core else x for x in (a, b, c)]
            next(u for u, x in zip(unit, (a, b, c)) if x is core)[at] = 1
            line = answers("TTSparseLengthsSum", *unit, indices, lengths, outputs=4, **sizes)[0]
            assert slope[at] == pytest.approx((line * grads).sum(), rel=1e-3, abs=1e-4)
    with pytest.raises(RunError, match="rows of the table"):
        answers("TTSparseLengthsSum", a, b, c, np.array([12]), i32(1), outputs=4, **sizes)
