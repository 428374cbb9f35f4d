"""A net of the benchmark as a plan of graphc's int8 operators, calibrated on the input of the measurements."""

from __future__ import annotations

from model_files import ModelFiles

import graphc
from graphc.zoo.layers import Net


def write(net: Net, files: ModelFiles) -> None:
    """Write ``NAME.int8.pkl`` from the NetDef pair."""
    made = graphc.quantize(
        files.predict_net,
        files.init_net,
        [{"data": net.example()}],
        native=True,
        ranges="min-max",
        refine=False,
        equalize=False,
        correct_bias=False,
    )
    made.compile().save(files.int8_plan)
