"""The example script runs, and its forms read as many digits as the float net does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_example(tmp_path: Path) -> None:
    """The float net's count is that of probabilities computed in double precision; half a point may be lost."""
    command = [sys.executable, "-I", str(EXAMPLES / "quantize_digits.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    counts = {name.strip(): int(right) for name, right in re.findall(r"^(.+?)(\d+) of 300", done.stdout, re.MULTILINE)}
    pictures = np.load(EXAMPLES / "digits" / "test_images.npz")
    right = int((pictures["expected"][60:].argmax(1) == pictures["labels"][60:]).sum())
    assert list(counts) == ["float32", "bfloat16", "int8, Caffe2 pair", "int8, graphc's operators"]
    assert counts["float32"] == right
    assert min(counts.values()) >= right - 1
    assert {path.name for path in tmp_path.iterdir()} >= {"predict_net.pb", "init_net.pb", "report.svg", "scales.txt"}
