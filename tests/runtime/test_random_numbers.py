"""Random numbers of compiled operators: other ones in each run, the same ones in the same run of another plan."""

from __future__ import annotations

import numpy as np

import graphc
from graphc.frontends.netdef import Device, Net, Operator, write_net

OPERATORS = [
    Operator("Dropout", ["x"], ["y", "mask"], {"ratio": 0.25}),
    Operator("UniformFill", [], ["u"], {"shape": [1000]}, device=Device(random_seed=7)),
]


def test_each_run_draws_others() -> None:
    net = write_net(Net("random", OPERATORS, ["x"], ["y", "mask", "u"]))
    x = np.ones(2000, np.float32)
    plans = [graphc.compile(net, inputs={"x": (2000,)}) for _ in range(2)]
    runs, again = ([plan.run({"x": x}) for _ in range(3)] for plan in plans)
    for first, second in zip(runs, again):
        for name in ("y", "mask", "u"):
            np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_array_equal(first["y"], np.where(first["mask"], x / np.float32(0.75), 0))
        assert 0.70 < first["mask"].mean() < 0.80  # five standard deviations
        assert 0.45 < first["u"].mean() < 0.55
    for k in range(2):
        agree = (runs[k]["mask"] == runs[k + 1]["mask"]).mean()
        assert 0.57 < agree < 0.68  # 0.75**2 + 0.25**2, five standard deviations
        assert abs(np.corrcoef(runs[k]["u"], runs[k + 1]["u"])[0, 1]) < 0.16
    interpreted = graphc.run_operator(OPERATORS[1], [], target="reference")[0]
    np.testing.assert_array_equal(runs[0]["u"], interpreted)
