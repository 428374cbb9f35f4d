"""Convolutions by a library whose four paddings differ."""

from __future__ import annotations

import numpy as np
import pytest
from one_net import operator, reference
from test_libraries import WEIGHTS, X, labels, on_card, plan_of


def test_every_side_has_a_padding_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"kernel": 3, "stride_h": 2, "stride_w": 1, "pad_t": 0, "pad_l": 1, "pad_b": 2, "pad_r": 3, "group": 2}
    ops = [operator("Conv", "x w b", "y", **args)]
    plan = plan_of(ops, engine="CUDNN")
    assert labels(plan) == {"y": "cudnn"}
    on_card(plan, monkeypatch)
    (want,) = reference(ops, {"x": X}, "y", WEIGHTS)
    np.testing.assert_allclose(plan.run({"x": X})["y"], want, rtol=0, atol=2e-6 * np.abs(want).max())
