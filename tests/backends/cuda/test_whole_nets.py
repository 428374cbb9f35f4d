"""Real nets at reduced sizes, for a card in the emulator, against the reference interpreter.

Those that take the emulator more than a few seconds run where the environment has ``ALL_NETS``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from emulated import TARGET, on_emulated_card
from emulated_card import EmulatedCard
from float_nets import NETS, float_net

import graphc
from graphc.ir import evaluate, infer_types

SLOW = (
    *("inception_v1_small", "perception_v0", "resnet50_small", "super_resolution", "vgg19_small"),
    *("bvlc_alexnet", "inception_v1", "mobilenetv1_onnx", "resnet50", "shufflenet", "squeezenet_v1.0", "vgg19"),
)
MEMORY = 1 << 28


@pytest.mark.parametrize("name", NETS)
def test_nets_give_the_references_answers(name: str, shared: Path) -> None:
    if name in SLOW and "ALL_NETS" not in os.environ:
        pytest.skip("takes the emulator long: ALL_NETS=1 in the environment has it run")
    files, inputs = float_net(shared, name, reduced=True)
    plan = graphc.compile_graph(graphc.import_model(*files, inputs), target=TARGET, prepare=False)
    on_emulated_card(plan)
    plan.code.card = EmulatedCard({s.name: plan.code.source(s) for s in plan.codes[plan.code]}.__getitem__, MEMORY)
    got = plan.run(inputs)
    graph = graphc.import_model(*files, inputs)
    infer_types(graph)
    for blob, want in evaluate(graph, inputs).items():
        assert (got[blob].shape, got[blob].dtype) == (want.shape, want.dtype)
        if want.dtype == np.uint8:  # may round the other way
            assert np.abs(got[blob].astype(int) - want.astype(int)).max() <= 1
        else:
            np.testing.assert_allclose(got[blob], want, rtol=0, atol=1e-4 * float(np.abs(want).max()))
