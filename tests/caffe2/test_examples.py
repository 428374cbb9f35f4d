"""The examples of the Python API run, each in a process of its own, and say what they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(script: str, *arguments: str) -> str:
    """What an example prints."""
    command = [sys.executable, "-I", "-m", "graphc.caffe2", str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workspace_basics() -> None:
    lines = run("workspace_basics.py").splitlines()
    assert lines[2] == "relu: [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]"
    # [[-2, -1, 0], [1, 2, 3]] times [[.5, .25, 0], [0, .25, .5]], plus one
    assert lines[5] == "scores of 1 x: [[-0.25, 0.75], [2.0, 3.0]]"
    assert lines[-2:] == ["[enforce fail] Can't find blob: score", "help: near names: scores"]


def test_toy_regression() -> None:
    assert run("toy_regression.py").splitlines()[-1] == "weights [[2.  1.5]] bias [0.5]"


def test_memonger_sharing() -> None:
    """In KB: 13 gradients of 64 and that of the scores, 2.5, become two of 64; 12 results of 64 become two."""
    lines = run("memonger_sharing.py").splitlines()
    assert lines[0].startswith("training: ")
    before, after = (int(n) for n in re.findall(r"(\d+) KB", lines[0]))
    assert before - after in (706, 707)
    assert lines[2] == "inference: 770 KB of blobs, 130 KB when they share"
    assert [line for line in lines if line.endswith("bit for bit the same")] == [lines[1], lines[4]]


@pytest.mark.slow
def test_training_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Two epochs with a break between them end in the very checkpoint that two epochs at a stretch end in."""
    run("mnist_lenet.py", "--epochs", "1", "--checkpoints", str(tmp_path / "a"))
    resumed = run("mnist_lenet.py", "--epochs", "2", "--checkpoints", str(tmp_path / "a"))
    straight = run("mnist_lenet.py", "--epochs", "2", "--checkpoints", str(tmp_path / "b"))
    assert resumed.splitlines() == ["resuming from step_000010.minidb", *straight.splitlines()[1:]]
    files = [tmp_path / folder / "step_000020.minidb" for folder in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    losses = [float(n) for n in re.findall(r"loss ([0-9.]+)", straight)]
    assert losses[1] < losses[0] < 2.5
    assert float(straight.split()[-1]) > 0.5
