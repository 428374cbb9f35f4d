"""Training on a card: which operators of a step stay on the CPU, and the losses of real Caffe2's steps, emulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated import TARGET, on_emulated_card
from training_runs import TOLERANCE, train, training_graph

import graphc

NETS = ("lenet_sgd", "mlp_adagrad", "resblock_sgd")
STEPS = 2


@pytest.mark.parametrize("name", NETS)
def test_a_step_is_one_piece_on_the_card(name: str, shared: Path) -> None:
    graph, state = training_graph(shared / "training" / name)
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False)
    on_cpu = [n.op for n in plan.graph.nodes if n.device == "cpu:0"]
    assert on_cpu == ["AtomicIter"]  # it counts the steps, ahead of everything else
    assert len(plan.cut.parts) == 2
    on_emulated_card(plan, beside=True)
    losses, _ = train(plan.run, state, shared / "training" / name, STEPS)
    want = np.load(shared / "training" / name / "run.npz")["loss"][:STEPS]
    np.testing.assert_allclose(losses, want, rtol=TOLERANCE)
