"""Training agrees with real Caffe2, step by step.

The interpreter runs here; ``python tests/training_runs.py ../shared/training`` makes all 50 steps in machine code.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import training_runs

from graphc.ir import evaluate

STEPS = 22
"""The learning rate changes after 20."""


@pytest.mark.parametrize("name", ["lenet_sgd", "mlp_adagrad", "resblock_sgd"])
def test_losses_are_caffe2s(shared: Path, name: str) -> None:
    folder = shared / "training" / name
    graph, state = training_runs.training_graph(folder)
    losses, after = training_runs.train(lambda feeds: evaluate(graph, feeds), state, folder, STEPS)
    assert not training_runs.mistakes(folder, losses, after)
    assert losses[-1] != losses[0]
